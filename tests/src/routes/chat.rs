//! The routes of seed 004 for users.

use super::Query::{Cursor, Number, Word};
use super::Whose::{Instance, Own, Public};
use super::{Route, route};

pub(super) const ROUTES: &[Route] = &[
    route("POST", "/api/login", Public, r#"{"username": "nobody", "password": "not a password"}"#, &[]),
    route(
        "POST",
        "/api/register",
        Public,
        r#"{"username": "fuzzchat", "password": "a long password", "nickname": "F", "email": "fuzzchat@example.com"}"#,
        &[],
    ),
    route(
        "POST",
        "/api/message/send",
        Instance,
        r#"{"id": "a-client-id", "toId": "{im-group}", "chatType": "group", "content": "hello", "contentType": "image",
            "replyTo": "another", "imageUrl": "https://example.com/a.png"}"#,
        &[],
    ),
    route(
        "GET",
        "/api/message/history?chatType=group&chatId={im-group}",
        Instance,
        "",
        &[Word("chatType"), Number("limit", 1, 200), Cursor("cursor")],
    ),
    route("GET", "/api/conversations", Own, "", &[Number("limit", 1, 50), Cursor("cursor")]),
    route(
        "POST",
        "/api/conversations/read",
        Instance,
        r#"{"chatId": "{im-group}", "chatType": "group", "messageSeq": 1}"#,
        &[],
    ),
];
