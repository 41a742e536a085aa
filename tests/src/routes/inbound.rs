//! Callbacks of platforms. What they take is signed, or shows a token: `cloud` has them with both.

use super::Whose::Public;
use super::{Route, route};

pub(super) const ROUTES: &[Route] = &[
    route("GET", "/inbound/whatsapp/{instance}", Public, "", &[]),
    route("POST", "/inbound/whatsapp/{instance}", Public, "", &[]),
];
