//! Every route there is: path, method, whose it is, a body that passes, the query it takes. `tenants`, `fuzz` and `edge`
//! go through this table, so a route that is missing here is a route without a test of its walls.

mod admin;
mod chat;
mod forwarders;
mod im;
mod inbound;
mod juhe;
mod realtime;
mod third_party;

use http::Method;
use serde_json::Value;
use std::sync::LazyLock;

/// Whose thing a route touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Anybody's: no credentials.
    Public,
    /// The caller's own: 401 without credentials.
    Own,
    /// An instance's: also 403 for another user, 404 for an unknown id.
    Instance,
    /// A user's, who is named: 403 for another user, who is not told whether there is one.
    User,
    /// Something with an id of its own: 404 for everybody else.
    Thing,
    /// The administrators': 403 for others.
    Admin,
}

/// What a query parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// A whole number in this range.
    Number(&'static str, i64, i64),
    /// A time, ISO 8601.
    Time(&'static str),
    /// One of a few words.
    Word(&'static str),
    /// What a page before it answered.
    Cursor(&'static str),
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    /// `{instance}`, `{chat}`, `{message}` (the platform's id), `{public}` (ours), `{delivery}`, `{forwarder}`, `{job}`, `{key}`, `{media}`,
    /// `{group}`, `{phone}`, `{user}`, `{platform}`, `{other}`, `{im-group}` stand for real ids.
    pub(crate) path: &'static str,
    pub(crate) whose: Whose,
    /// A body that is accepted, as JSON; `""` for none. Its types are the types that the fields must have.
    pub(crate) body: &'static str,
    pub(crate) query: &'static [Query],
}

impl Route {
    pub(crate) fn method(&self) -> Method {
        self.method.parse().expect("a method of HTTP")
    }

    /// The body with ids put in.
    pub(crate) fn json(&self, fill: impl Fn(&str) -> String) -> Option<Value> {
        (!self.body.is_empty()).then(|| serde_json::from_str(&fill(self.body)).expect("the table holds JSON"))
    }
}

/// Puts real ids into a path or a body.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    pub(crate) instance: String,
    pub(crate) phone: String,
    pub(crate) message: String,
    pub(crate) delivery: String,
    pub(crate) job: String,
    pub(crate) key: String,
    pub(crate) public: String,
    pub(crate) user: String,
    /// GUID of a device.
    pub(crate) guid: String,
    /// Another user's id.
    pub(crate) other: String,
    /// A group of the user's.
    pub(crate) im_group: String,
}

impl Ids {
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("{instance}", &self.instance)
            .replace("{chat}", &self.phone)
            .replace("{phone}", &self.phone)
            .replace("{message}", &self.message)
            .replace("{delivery}", &self.delivery)
            .replace("{job}", &self.job)
            .replace("{key}", &self.key)
            .replace("{public}", &self.public)
            .replace("{platform}", "whatsapp")
            .replace("{user}", &self.user)
            .replace("{guid}", &self.guid)
            .replace("{other}", &self.other)
            .replace("{im-group}", &self.im_group)
            .replace("{forwarder}", "no-such-forwarder")
            .replace("{media}", "no-such-media")
            .replace("{group}", "1234567890@g.us")
    }
}

const fn route(
    method: &'static str,
    path: &'static str,
    whose: Whose,
    body: &'static str,
    query: &'static [Query],
) -> Route {
    Route { method, path, whose, body, query }
}

use Query::{Cursor, Number, Time, Word};
use Whose::{Admin, Instance, Own, Public, Thing};

const SPAN: [Query; 2] = [Time("startDate"), Time("endDate")];

/// Routes that end something of the caller's: `tenants` asks them like any other, `fuzz` leaves their success aside.
pub(crate) const ENDING: &[(&str, &str)] = &[
    ("DELETE", "/api/instances/{instance}"),
    ("POST", "/api/instances/{instance}/logout"),
    ("POST", "/api/whatsapp/{instance}/logout"),
    ("POST", "/api/instances/{instance}/session/export"),
    ("POST", "/api/instances/{instance}/sandbox/logout"),
    ("POST", "/api/auth/api-key/rotate"),
    ("PUT", "/api/auth/password"),
    ("DELETE", "/api/auth/keys/{key}"),
    ("POST", "/api/im/channel/delete"),
    ("POST", "/api/admin/group/delete"),
];

/// All of them: those of the groups that have a file of their own come last.
pub(crate) static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
    [
        PLAIN,
        forwarders::ROUTES,
        third_party::ROUTES,
        im::ROUTES,
        inbound::ROUTES,
        juhe::ROUTES,
        chat::ROUTES,
        admin::ROUTES,
        realtime::ROUTES,
    ]
    .concat()
});

/// The groups of seed 001, and what is common.
const PLAIN: &[Route] = &[
    // auth
    route("POST", "/api/auth/login", Public, r#"{"email": "nobody@example.com", "password": "not a password"}"#, &[]),
    route(
        "POST",
        "/api/auth/register",
        Public,
        r#"{"email": "fuzz@example.com", "password": "a long password", "firstName": "F", "lastName": "L", "username": "fuzz"}"#,
        &[],
    ),
    route("GET", "/api/auth/me", Own, "", &[]),
    route("POST", "/api/auth/api-key/rotate", Own, "", &[]),
    route(
        "PUT",
        "/api/auth/password",
        Own,
        r#"{"oldPassword": "not the password", "newPassword": "a new password"}"#,
        &[],
    ),
    route("GET", "/api/auth/keys", Own, "", &[]),
    route(
        "POST",
        "/api/auth/keys",
        Own,
        r#"{"name": "a key", "instanceIds": ["{instance}"], "scopes": ["messages:read"], "expiresAt": "2099-01-01T00:00:00.000Z", "allowedIps": ["127.0.0.0/8"]}"#,
        &[],
    ),
    route("DELETE", "/api/auth/keys/{key}", Thing, "", &[]),
    route("GET", "/api/auth/allowed-ips", Own, "", &[]),
    route("PUT", "/api/auth/allowed-ips", Own, r#"{"allowedIps": ["127.0.0.0/8"]}"#, &[]),
    route("POST", "/api/auth/invites", Admin, "", &[]),
    // instances
    route("GET", "/api/instances", Own, "", &[Number("limit", 1, 1000), Cursor("cursor")]),
    route(
        "POST",
        "/api/instances",
        Own,
        r#"{"name": "main", "description": "text", "webhookUrl": "http://127.0.0.1:9/hook", "webhookEnabled": true,
            "notifyReceived": true, "notifySent": true, "notifyDelivery": false, "notifyRead": false, "maxRetries": 3,
            "retryInterval": 60000, "webhookSecret": "a secret of the user", "platform": "whatsapp", "mode": "sandbox",
            "transport": "web", "webhookEvents": ["message_*"],
            "webhookSettings": {"notifyReceived": true, "maxRetries": 3, "retryInterval": 60000, "secret": "another secret"}}"#,
        &[],
    ),
    route("GET", "/api/instances/{instance}", Instance, "", &[]),
    route(
        "PUT",
        "/api/instances/{instance}",
        Instance,
        r#"{"name": "renamed", "description": "text", "webhookUrl": "http://127.0.0.1:9/hook", "webhookEnabled": false,
            "webhookSettings": {"notifyReceived": true, "notifySent": false, "notifyDelivery": true, "notifyRead": true,
                                "maxRetries": 5, "retryInterval": 30000, "secret": "new-secret-key"},
            "limits": {"maxMessagesSent": 1000000, "maxMessagesReceived": 1000000, "maxMediaSent": 1000000,
                       "maxMediaReceived": 1000000, "maxMediaSize": 1000000000, "maxApiCalls": 1000000, "timeWindowHours": 24}}"#,
        &[],
    ),
    route("DELETE", "/api/instances/{instance}", Instance, "", &[]),
    route("POST", "/api/instances/{instance}/reconnect", Instance, "", &[]),
    route("POST", "/api/instances/{instance}/logout", Instance, "", &[]),
    route(
        "POST",
        "/api/instances/{instance}/session/export",
        Instance,
        r#"{"passphrase": "correct horse battery"}"#,
        &[],
    ),
    route("POST", "/api/instances/{instance}/session/import", Instance, "", &[]),
    route("GET", "/api/instances/{instance}/qr", Instance, "", &[Word("format")]),
    route("POST", "/api/instances/{instance}/pairing-code", Instance, r#"{"phone": "79001234567"}"#, &[]),
    route("GET", "/api/instances/{instance}/capabilities", Instance, "", &[]),
    route(
        "GET",
        "/api/instances/{instance}/activity",
        Instance,
        "",
        &[Number("limit", 1, 1000), Number("skip", 0, i64::MAX), SPAN[0], SPAN[1]],
    ),
    route("GET", "/api/instances/{instance}/chats", Instance, "", &[Number("limit", 1, 500), Cursor("cursor")]),
    route(
        "GET",
        "/api/instances/{instance}/chats/{chat}/messages",
        Instance,
        "",
        &[Number("limit", 1, 200), Number("skip", 0, i64::MAX), SPAN[0], SPAN[1], Cursor("cursor")],
    ),
    route(
        "POST",
        "/api/instances/{instance}/messages",
        Instance,
        r#"{"to": "{phone}", "type": "text", "content": "hello", "metadata": {"conversationId": "conv-001"}}"#,
        &[],
    ),
    route("GET", "/api/instances/{instance}/messages/{message}", Instance, "", &[]),
    route(
        "GET",
        "/api/instances/{instance}/events",
        Instance,
        "",
        &[Number("limit", 1, 500), Number("wait", 0, 20), Cursor("after")],
    ),
    route("GET", "/api/instances/{instance}/events/stream", Instance, "", &[Cursor("after")]),
    route(
        "GET",
        "/api/instances/{instance}/webhook-deliveries",
        Instance,
        "",
        &[Number("limit", 1, 200), Word("status"), Cursor("cursor")],
    ),
    route("POST", "/api/instances/{instance}/webhook-deliveries/{delivery}/replay", Instance, "", &[]),
    route(
        "POST",
        "/api/instances/{instance}/webhook-deliveries/replay",
        Instance,
        r#"{"since": "2023-01-01T00:00:00.000Z", "until": "2099-01-01T00:00:00.000Z", "status": "dead"}"#,
        &[],
    ),
    route("POST", "/api/instances/{instance}/webhook/test", Instance, "", &[]),
    // the simulated phone network
    route(
        "POST",
        "/api/instances/{instance}/sandbox/scan",
        Instance,
        r#"{"phone": "79001112233", "name": "A phone"}"#,
        &[],
    ),
    route(
        "POST",
        "/api/instances/{instance}/sandbox/receive",
        Instance,
        r#"{"from": "{phone}", "name": "Ivan", "text": "hello"}"#,
        &[],
    ),
    route(
        "GET",
        "/api/instances/{instance}/sandbox/outbox",
        Instance,
        "",
        &[Number("limit", 1, 1000), Cursor("after")],
    ),
    route("POST", "/api/instances/{instance}/sandbox/disconnect", Instance, r#"{"seconds": 1}"#, &[]),
    route("POST", "/api/instances/{instance}/sandbox/logout", Instance, "", &[]),
    // whatsapp
    route("GET", "/api/whatsapp/{instance}/status", Instance, "", &[]),
    route("GET", "/api/whatsapp/{instance}/qr", Instance, "", &[]),
    route(
        "POST",
        "/api/whatsapp/{instance}/send",
        Instance,
        r#"{"phone": "{phone}", "message": "hello", "clientMessageId": "c-1", "quotedMessageId": "{message}",
            "mentions": ["79001234567"], "delayMs": 1, "linkPreview": false, "viewOnce": false}"#,
        &[],
    ),
    route(
        "POST",
        "/api/whatsapp/{instance}/send-media",
        Instance,
        r#"{"phone": "{phone}", "base64": "aGVsbG8=", "caption": "text", "filename": "hello.txt"}"#,
        &[],
    ),
    route(
        "POST",
        "/api/whatsapp/{instance}/send-location",
        Instance,
        r#"{"phone": "{phone}", "latitude": 59.9, "longitude": 30.3, "name": "here", "address": "there"}"#,
        &[],
    ),
    route(
        "POST",
        "/api/whatsapp/{instance}/send-contact",
        Instance,
        r#"{"phone": "{phone}", "contact": {"name": "Ivan", "phone": "79001234567"}}"#,
        &[],
    ),
    route(
        "POST",
        "/api/whatsapp/{instance}/send-poll",
        Instance,
        r#"{"phone": "{phone}", "question": "tea?", "options": ["yes", "no"], "multiple": false}"#,
        &[],
    ),
    route(
        "POST",
        "/api/whatsapp/{instance}/send-reaction",
        Instance,
        r#"{"messageId": "{message}", "emoji": "👍"}"#,
        &[],
    ),
    route("PUT", "/api/whatsapp/{instance}/messages/{message}", Instance, r#"{"message": "better"}"#, &[]),
    route("DELETE", "/api/whatsapp/{instance}/messages/{message}", Instance, "", &[]),
    route("POST", "/api/whatsapp/{instance}/read", Instance, r#"{"phone": "{phone}"}"#, &[]),
    route("POST", "/api/whatsapp/{instance}/typing", Instance, r#"{"phone": "{phone}"}"#, &[]),
    route("POST", "/api/whatsapp/{instance}/presence/subscribe", Instance, r#"{"phone": "{phone}"}"#, &[]),
    route("POST", "/api/whatsapp/{instance}/check", Instance, r#"{"phones": ["{phone}"]}"#, &[]),
    route("GET", "/api/whatsapp/{instance}/profile-picture?phone={phone}", Instance, "", &[]),
    route("GET", "/api/whatsapp/{instance}/groups", Instance, "", &[]),
    route(
        "POST",
        "/api/whatsapp/{instance}/groups",
        Instance,
        r#"{"subject": "a group", "participants": ["{phone}"]}"#,
        &[],
    ),
    route(
        "POST",
        "/api/whatsapp/{instance}/groups/{group}/participants",
        Instance,
        r#"{"action": "add", "participants": ["{phone}"]}"#,
        &[],
    ),
    route("PUT", "/api/whatsapp/{instance}/groups/{group}/subject", Instance, r#"{"subject": "renamed"}"#, &[]),
    route("GET", "/api/whatsapp/{instance}/groups/{group}/invite", Instance, "", &[]),
    route("POST", "/api/whatsapp/{instance}/groups/{group}/leave", Instance, "", &[]),
    route("GET", "/api/whatsapp/{instance}/lid/{phone}", Instance, "", &[]),
    route("GET", "/api/whatsapp/{instance}/contacts", Instance, "", &[Number("limit", 1, 5000), Cursor("cursor")]),
    route("POST", "/api/whatsapp/{instance}/logout", Instance, "", &[]),
    // stats
    route("GET", "/api/stats/user", Own, "", &[Word("period")]),
    route("GET", "/api/stats/instances/{instance}", Instance, "", &[Word("period")]),
    route("GET", "/api/stats/system", Admin, "", &[]),
    // common
    route("GET", "/health", Public, "", &[]),
    route("GET", "/ready", Public, "", &[]),
    route("GET", "/openapi.json", Public, "", &[]),
    route("GET", "/docs", Public, "", &[]),
    route("GET", "/metrics", Public, "", &[]),
    route("GET", "/api/media/{instance}/{media}", Instance, "", &[]),
    route("POST", "/api/media/uploads", Own, r#"{"filename": "a.txt", "mimeType": "text/plain", "size": 5}"#, &[]),
    route("GET", "/api/jobs/{job}", Thing, "", &[]),
];
