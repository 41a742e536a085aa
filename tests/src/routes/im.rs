//! The routes of seed 002, under the shorter prefix.

use super::Query::Number;
use super::Whose::{Instance, Own, Public};
use super::{Route, route};

pub(super) const ROUTES: &[Route] = &[
    route("GET", "/api/im/config", Own, "", &[]),
    route("POST", "/api/im/token", Own, "", &[]),
    route(
        "POST",
        "/api/im/message/send",
        Instance,
        r#"{"channelId": "{im-group}", "channelType": 2, "payload": "aGVsbG8=", "clientMsgNo": "no-1", "fromUid": "{user}"}"#,
        &[],
    ),
    route(
        "POST",
        "/api/im/message/sendbatch",
        Instance,
        r#"[{"channelId": "{im-group}", "channelType": 2, "payload": "aGVsbG8=", "clientMsgNo": "no-2"}]"#,
        &[],
    ),
    route(
        "GET",
        "/api/im/message/sync?channelId={im-group}&channelType=2",
        Instance,
        "",
        &[Number("lastMessageSeq", 0, i64::MAX), Number("limit", 1, 1000)],
    ),
    route(
        "POST",
        "/api/im/channel/create",
        Own,
        r#"{"channelId": "{user}", "channelType": 1, "name": "a name", "avatar": "https://example.com/a.png"}"#,
        &[],
    ),
    route("POST", "/api/im/channel/delete", Instance, r#"{"channelId": "{im-group}", "channelType": 2}"#, &[]),
    route(
        "POST",
        "/api/im/channel/subscriber/add",
        Instance,
        r#"{"channelId": "{im-group}", "channelType": 2, "subscribers": ["{other}"]}"#,
        &[],
    ),
    route(
        "POST",
        "/api/im/channel/subscriber/remove",
        Instance,
        r#"{"channelId": "{im-group}", "channelType": 2, "subscribers": ["{other}"]}"#,
        &[],
    ),
    route("GET", "/api/im/health", Public, "", &[]),
    route("GET", "/api/im/system/info", Own, "", &[]),
];
