//! The routes of seed 004 for administrators.

use super::Query::{Cursor, Number, Time, Word};
use super::Whose::Admin;
use super::{Route, route};

pub(super) const ROUTES: &[Route] = &[
    route("GET", "/api/admin/users", Admin, "", &[Number("limit", 1, 500), Cursor("cursor")]),
    route(
        "POST",
        "/api/admin/user/create",
        Admin,
        r#"{"username": "fuzzadmin", "email": "fuzzadmin@example.com", "password": "a long password", "nickname": "F",
            "avatar": "https://example.com/a.png", "role": "user", "limits": {"maxMessagesSent": 1000, "timeWindowHours": 24}}"#,
        &[],
    ),
    route(
        "POST",
        "/api/admin/user/update",
        Admin,
        r#"{"id": "{other}", "nickname": "O", "email": "{other}@example.com", "avatar": "https://example.com/a.png", "role": "user",
            "password": "another long password",
            "limits": {"maxMessagesSent": 1000, "maxMessagesReceived": 1000, "maxMediaSent": 1000, "maxMediaReceived": 1000,
                       "maxMediaSize": 1000, "maxApiCalls": 1000, "timeWindowHours": 24}}"#,
        &[],
    ),
    route("POST", "/api/admin/user/disable", Admin, r#"{"id": "{other}", "disabled": true}"#, &[]),
    route(
        "GET",
        "/api/admin/history?type=single&toId={user}&fromId={other}",
        Admin,
        "",
        &[Word("type"), Number("limit", 1, 200), Cursor("cursor")],
    ),
    route(
        "POST",
        "/api/admin/group/create",
        Admin,
        r#"{"id": "a group of {user}", "name": "a group", "avatar": "https://example.com/a.png", "creatorId": "{user}"}"#,
        &[],
    ),
    route(
        "POST",
        "/api/admin/group/members/add",
        Admin,
        r#"{"id": "{im-group}", "groupId": "{im-group}", "members": ["{other}"]}"#,
        &[],
    ),
    route(
        "POST",
        "/api/admin/group/members/remove",
        Admin,
        r#"{"id": "{im-group}", "groupId": "{im-group}", "members": ["{other}"]}"#,
        &[],
    ),
    route("POST", "/api/admin/group/delete", Admin, r#"{"id": "{im-group}", "groupId": "{im-group}"}"#, &[]),
    route("GET", "/api/admin/groups", Admin, "", &[Number("limit", 1, 200), Cursor("cursor")]),
    route("GET", "/api/admin/group/members?id={im-group}", Admin, "", &[Number("limit", 1, 500), Cursor("cursor")]),
    route("GET", "/api/admin/instances", Admin, "", &[Number("limit", 1, 500), Cursor("cursor")]),
    route(
        "GET",
        "/api/admin/audit",
        Admin,
        "",
        &[Word("action"), Time("startDate"), Time("endDate"), Number("limit", 1, 500), Cursor("cursor")],
    ),
];
