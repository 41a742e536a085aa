//! The routes of forwarders, and the one that hands messages over to them.

use super::Whose::{Instance, Own};
use super::{Route, route};

pub(super) const ROUTES: &[Route] = &[
    route("GET", "/api/instances/{instance}/forwarders", Instance, "", &[]),
    route(
        "POST",
        "/api/instances/{instance}/forwarders",
        Instance,
        r#"{"type": "dingtalk", "name": "a group", "url": "http://127.0.0.1:9/robot", "key": "a-token", "secret": "SEC1",
            "events": ["message_*"], "enabled": true, "maxRetries": 3, "retryInterval": 60000}"#,
        &[],
    ),
    route(
        "PUT",
        "/api/instances/{instance}/forwarders/{forwarder}",
        Instance,
        r#"{"name": "another", "url": "http://127.0.0.1:9/robot", "key": "a-token", "secret": "SEC1",
            "events": ["message_*"], "enabled": true, "maxRetries": 3, "retryInterval": 60000,
            "contentType": "application/json", "template": "{}"}"#,
        &[],
    ),
    route("DELETE", "/api/instances/{instance}/forwarders/{forwarder}", Instance, "", &[]),
    route("POST", "/api/instances/{instance}/forwarders/{forwarder}/test", Instance, "", &[]),
    route(
        "POST",
        "/api/webhook/wechat",
        Own,
        r#"{"event": "new_message", "data": {"fromName": "Alice", "content": "你好"}}"#,
        &[],
    ),
];
