//! Scoped keys.

use shared::{
    domain::access::{self, Presented, Scope},
    id::{InstanceId, UserId},
    store::{Item, Unit, Write, keys},
};

use super::*;

async fn caller(server: &Server, key: &str) -> access::Caller {
    access::authenticate(&server.app, &Presented::ApiKey(secret(key)), None).await.expect("a valid key")
}

async fn instance(server: &Server, id: &str, owner: &str) -> InstanceId {
    let id = InstanceId::new(id);
    let item = Item::new(keys::instance(&id), &json!({ "id": id, "userId": owner })).expect("an object");
    server.app.store.commit(Unit::write(Write::put(item))).await.expect("writes");
    id
}

#[tokio::test]
async fn a_scoped_key_reaches_as_far_as_its_scopes() {
    let server = Server::start("").await;
    let admin = server.admin_key().await;
    let body = json!({ "name": "bot", "scopes": ["messages:send", "stats:read"] });
    let made = server.post("/api/auth/keys", &admin, body).await.ok(201);
    let key = text(&made["key"]);
    assert_eq!(
        (made["name"].as_str(), &made["instanceIds"], &made["expiresAt"]),
        (Some("bot"), &Value::Null, &Value::Null)
    );

    server.get("/api/auth/me", &key).await.ok(200);
    let caller = caller(&server, &key).await;
    assert!(caller.require(Scope::MessagesSend).is_ok() && caller.require(Scope::StatsRead).is_ok());
    assert!(caller.require(Scope::MessagesRead).is_err() && caller.require(Scope::InstancesManage).is_err());
    assert!(!caller.is_admin(), "the role is not enough without the scope");
    for (method, path) in [
        ("POST", "/api/auth/api-key/rotate"),
        ("PUT", "/api/auth/password"),
        ("PUT", "/api/auth/allowed-ips"),
        ("POST", "/api/auth/keys"),
        ("GET", "/api/auth/keys"),
        ("DELETE", "/api/auth/keys/x"),
        ("POST", "/api/auth/invites"),
    ] {
        let body = json!({ "name": "x", "allowedIps": [], "oldPassword": PASSWORD, "newPassword": PASSWORD });
        let answer = server.call(method, path, &[("x-api-key", &key)], Some(body)).await;
        assert_eq!(answer.status, 403, "{method} {path} {}", answer.body);
    }

    let listed = server.get("/api/auth/keys", &admin).await.ok(200);
    assert_eq!(listed["keys"][0]["id"], made["id"]);
    assert!(listed["keys"][0].get("key").is_none() && listed["keys"][0].get("secretHash").is_none());
    let path = format!("/api/auth/keys/{}", text(&made["id"]));
    server.call("DELETE", &path, &[("x-api-key", &admin)], None).await.ok(200);
    server.get("/api/auth/me", &key).await.refused(401, "Invalid API key");
    server.call("DELETE", &path, &[("x-api-key", &admin)], None).await.refused(404, "API key not found");
}

#[tokio::test]
async fn a_key_can_be_for_some_instances() {
    let server = Server::start("").await;
    let (key, id) = server.user("ann@example.com").await;
    let (_, other) = server.user("bob@example.com").await;
    let mine = instance(&server, "i1", &id).await;
    let second = instance(&server, "i2", &id).await;
    let theirs = instance(&server, "i3", &other).await;

    let make = async |ids: Value| server.post("/api/auth/keys", &key, json!({ "name": "x", "instanceIds": ids })).await;
    make(json!(["i3"])).await.refused(403, "You do not have access to this instance");
    make(json!(["i4"])).await.refused(404, "Instance i4 not found");
    assert_eq!(make(json!([])).await.body["field"], "instanceIds");
    let scoped = caller(&server, &text(&make(json!(["i1"])).await.ok(201)["key"])).await;
    let (id, other) = (UserId::new(id), UserId::new(other));
    assert!(scoped.require_instance(&id, &mine).is_ok() && scoped.require(Scope::MessagesSend).is_ok());
    assert!(scoped.require_instance(&id, &second).is_err() && scoped.is_limited_to_instances());
    assert!(scoped.require_instance(&other, &theirs).is_err());

    let admin = caller(&server, &server.admin_key().await).await;
    assert!(admin.require_instance(&other, &theirs).is_ok(), "an administrator passes ownership");
    let user = caller(&server, &key).await;
    assert!(user.require_instance(&id, &second).is_ok() && user.require_instance(&other, &theirs).is_err());
}

#[tokio::test]
async fn keys_expire_and_have_networks() {
    let server = Server::start("").await;
    let admin = server.admin_key().await;
    let make = async |body: Value| server.post("/api/auth/keys", &admin, body).await;
    for (field, body) in [
        ("name", json!({ "name": " " })),
        ("name", json!({})),
        ("scopes[0]", json!({ "name": "x", "scopes": ["everything"] })),
        ("expiresAt", json!({ "name": "x", "expiresAt": "tomorrow" })),
        ("expiresAt", json!({ "name": "x", "expiresAt": "2023-01-01T12:00:00.000Z" })),
        ("allowedIps", json!({ "name": "x", "allowedIps": ["10.0.0.0/99"] })),
    ] {
        let answer = make(body).await;
        assert_eq!((answer.status.as_u16(), answer.body["field"].as_str()), (400, Some(field)), "{}", answer.body);
    }
    let short = text(&make(json!({ "name": "short", "expiresAt": "2023-01-01T12:00:01.000Z" })).await.ok(201)["key"]);
    server.get("/api/auth/me", &short).await.ok(200);
    server.turn(Duration::from_secs(1));
    server.get("/api/auth/me", &short).await.refused(401, "Invalid API key");

    let elsewhere = text(&make(json!({ "name": "x", "allowedIps": ["203.0.113.7"] })).await.ok(201)["key"]);
    assert_eq!(server.get("/api/auth/me", &elsewhere).await.body["code"], "IP_NOT_ALLOWED");
}
