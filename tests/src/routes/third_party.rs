//! The routes of seed 000, under their shortest prefix.

use super::Query::{Cursor, Number};
use super::Whose::{Instance, User};
use super::{Route, route};

pub(super) const ROUTES: &[Route] = &[
    route(
        "POST",
        "/third-party/{platform}/messages",
        Instance,
        r#"{"to": "{phone}", "from": "{instance}", "content": "hello", "type": "text",
            "metadata": {"conversationId": "conv-001"}}"#,
        &[],
    ),
    route("GET", "/third-party/{platform}/messages/{public}/status", Instance, "", &[]),
    route("POST", "/third-party/{platform}/contacts/sync", User, r#"{"userId": "{user}"}"#, &[]),
    route("GET", "/third-party/{platform}/contacts?userId={user}&platformUserId={phone}", User, "", &[]),
    route(
        "GET",
        "/third-party/{platform}/contacts/list?userId={user}",
        User,
        "",
        &[Number("limit", 1, 5000), Cursor("cursor")],
    ),
];
