//! The routes of seed 003.

use super::Query::{Number, Time};
use super::Whose::{Public, Thing};
use super::{Query, Route, route};

const PAGE: [Query; 2] = [Number("page", 1, 1_000_000_000), Number("limit", 1, 200)];

pub(super) const ROUTES: &[Route] = &[
    route("POST", "/callback", Public, r#"{"guid": "{guid}"}"#, &[]),
    route("GET", "/api/contacts?guid={guid}", Thing, "", &PAGE),
    route("GET", "/api/messages?guid={guid}", Thing, "", &[PAGE[0], PAGE[1], Time("start_time"), Time("end_time")]),
    route("GET", "/api/rooms?guid={guid}", Thing, "", &PAGE),
    route("GET", "/api/sync-status?guid={guid}", Thing, "", &[]),
];
