//! The WebSocket of seed 004, asked without an upgrade.

use super::Whose::Public;
use super::{Route, route};

pub(super) const ROUTES: &[Route] = &[route("GET", "/ws", Public, "", &[])];
