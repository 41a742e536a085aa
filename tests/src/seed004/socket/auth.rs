//! Who is let in, how, and until when.

use super::{QUIET, uuid};
use crate::harness::server::ADMIN_API_KEY;
use crate::harness::socket::Came;
use crate::harness::{Client, Credential, Server, Socket, Tenant, shared};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const REFUSED: &str = "令牌无效或已过期";

fn success(id: &str) -> Came {
    Came::Frame(json!({"type": "auth_success", "data": {"userId": id}}))
}

async fn refused(socket: &mut Socket) {
    let expected = json!({"type": "auth_error", "data": {"message": REFUSED}});
    assert_eq!(socket.next().await, Came::Frame(expected));
    assert_eq!(socket.next().await, Came::Close(4401));
}

#[tokio::test]
async fn every_kind_of_token_is_shown_in_three_ways() {
    let tenant = Tenant::new().await;
    let url = shared().url();
    let login = json!({"email": tenant.email, "password": tenant.password});
    let jwt = tenant.anonymous().post("/api/auth/login", &login).await.expect(200)["token"].clone();
    let im = tenant.client.post("/api/im/token", &json!({})).await.expect(200)["data"]["token"].clone();
    let scoped = json!({"name": "a reader", "scopes": ["messages:read"]});
    let scoped = tenant.client.post("/api/auth/keys", &scoped).await.expect(201)["key"].clone();
    for token in [&jwt, &im, &scoped, &json!(tenant.api_key)] {
        let token = token.as_str().expect("a token");
        let mut by_query = Socket::open(&url, &format!("?token={token}")).await;
        assert_eq!(by_query.next().await, success(&tenant.id));
        let bearer = [("authorization", format!("Bearer {token}"))];
        let mut by_header = Socket::try_open(&url, "", &bearer).await.expect("an upgrade");
        assert_eq!(by_header.next().await, success(&tenant.id));
        let mut by_frame = Socket::open(&url, "").await;
        by_frame.send("auth", &json!({"token": token})).await;
        assert_eq!(by_frame.next().await, success(&tenant.id));
        for socket in [by_query, by_header, by_frame] {
            socket.close().await;
        }
    }
    let key = [("x-api-key", tenant.api_key.clone()), ("origin", "https://elsewhere.example.com".into())];
    let mut socket = Socket::try_open(&url, "", &key).await.expect("a foreign origin is no obstacle");
    assert_eq!(socket.next().await, success(&tenant.id));
}

#[tokio::test]
async fn a_wrong_token_is_told_and_closed() {
    let url = shared().url();
    let never = "im1.0123456789abcdef.9999999999.AAAA";
    for token in ["", "nonsense", "a.b.c", "tk_0123456789abcdef_x", never] {
        let mut socket = Socket::open(&url, "").await;
        socket.send("auth", &json!({"token": token})).await;
        refused(&mut socket).await;
    }
    refused(&mut Socket::open(&url, "?token=nonsense").await).await;
    let bearer = [("authorization", "Bearer nonsense".to_owned())];
    refused(&mut Socket::try_open(&url, "", &bearer).await.expect("an upgrade")).await;
}

#[tokio::test]
async fn who_shows_nothing_is_sent_away_after_ten_seconds() {
    let start = Instant::now();
    let mut socket = Socket::open(&shared().url(), "").await;
    socket.send("read", &json!({"chatId": "bob"})).await;
    assert_eq!(socket.wait("error").await["code"], "UNAUTHORIZED");
    socket.text("ping").await;
    socket.wait("pong").await;
    refused(&mut socket).await;
    let waited = start.elapsed();
    assert!((Duration::from_secs(9)..Duration::from_secs(13)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn plain_http_is_refused() {
    let answer = shared().anonymous().get("/ws").await;
    assert_eq!(answer.refused(400).code, "UPGRADE_REQUIRED");
    let answer = shared().anonymous().post("/ws", &json!({})).await;
    assert_eq!((answer.status, answer.header("allow")), (405, "GET,HEAD"));
    let wrong = Socket::try_open(&shared().url(), "?after=7", &[]).await;
    assert_eq!(wrong.err(), Some(400));
}

#[tokio::test]
async fn another_token_keeps_the_connection_and_another_user_ends_it() {
    let (alice, bob) = (Tenant::new().await, Tenant::new().await);
    let mut socket = Socket::auth(&shared().url(), &alice.api_key, None).await;
    let im = alice.client.post("/api/im/token", &json!({})).await.expect(200)["data"]["token"].clone();
    socket.send("auth", &json!({"token": im})).await;
    assert_eq!(socket.next().await, success(&alice.id));
    socket.send("auth", &json!({"token": bob.api_key})).await;
    refused(&mut socket).await;
}

async fn scoped(tenant: &Tenant, scopes: &[&str]) -> (Value, Socket) {
    let key = tenant.client.post("/api/auth/keys", &json!({"name": "a key", "scopes": scopes})).await.expect(201);
    let socket = Socket::open(&shared().url(), &format!("?token={}", key["key"].as_str().expect("a key"))).await;
    (key, socket)
}

#[tokio::test]
async fn scopes_decide_what_comes_and_goes() {
    let (alice, bob) = (Tenant::new().await, Tenant::new().await);
    let (_, mut reader) = scoped(&alice, &["messages:read"]).await;
    let (_, mut writer) = scoped(&alice, &["messages:send"]).await;
    let (_, mut neither) = scoped(&alice, &["stats:read"]).await;
    assert_eq!(neither.wait("error").await["code"], "SCOPE_REQUIRED");
    assert_eq!(neither.closed().await, 4403);
    reader.wait("auth_success").await;
    writer.wait("auth_success").await;
    reader.say(&uuid(), &bob.id, "single", "hello").await;
    assert_eq!(reader.wait("error").await["code"], "SCOPE_REQUIRED");
    let id = uuid();
    writer.said(&id, &bob.id, "single", "hello").await;
    assert_eq!(reader.wait("message").await["id"], id, "the user's other device");
    let mut peer = Socket::auth(&shared().url(), &bob.api_key, None).await;
    peer.said(&uuid(), &alice.id, "single", "hello to you").await;
    reader.wait("message").await;
    writer.send("read", &json!({"chatId": bob.id})).await;
    writer.send("sync", &json!({"after": {&bob.id: 0}})).await;
    let frames = writer.drain(QUIET).await;
    let told: Vec<_> = frames.iter().map(|frame| (&frame["type"], &frame["data"]["code"])).collect();
    let (error, scope) = (&json!("error"), &json!("SCOPE_REQUIRED"));
    let expected = [(error, scope), (error, scope), (&json!("synced"), &Value::Null)];
    assert_eq!(told, expected, "and no message: {frames:?}");
}

#[tokio::test]
async fn a_key_for_one_instance_brings_its_events_and_no_messages() {
    let (alice, bob) = (Tenant::new().await, Tenant::new().await);
    let one = crate::harness::Instance::paired(&alice.client, &json!({})).await;
    let other = crate::harness::Instance::paired(&alice.client, &json!({})).await;
    let key = json!({"name": "for one", "scopes": ["messages:read", "messages:send"], "instanceIds": [one.id]});
    let key = alice.client.post("/api/auth/keys", &key).await.expect(201)["key"].clone();
    let mut socket = Socket::auth(&shared().url(), key.as_str().expect("a key"), None).await;
    let mut peer = Socket::auth(&shared().url(), &bob.api_key, None).await;
    peer.said(&uuid(), &alice.id, "single", "hello").await;
    other.receive("79001234567", "elsewhere").await;
    one.receive("79001234567", "here").await;
    socket.say(&uuid(), &bob.id, "single", "hello").await;
    let frames = socket.drain(QUIET).await;
    assert!(frames.iter().all(|frame| frame["type"] != "message"), "{frames:?}");
    let events: Vec<_> = frames.iter().filter(|frame| frame["type"] == "event").collect();
    assert!(!events.is_empty() && events.iter().all(|event| event["data"]["instanceId"] == one.id), "{frames:?}");
    assert!(frames.iter().any(|frame| frame["data"]["code"] == "SCOPE_REQUIRED"), "{frames:?}");
}

#[tokio::test]
async fn what_is_revoked_ends_at_once() {
    let tenant = Tenant::new().await;
    let login = json!({"email": tenant.email, "password": tenant.password});
    let jwt = tenant.anonymous().post("/api/auth/login", &login).await.expect(200)["token"].clone();
    let mut by_jwt = Socket::auth(&shared().url(), jwt.as_str().expect("a token"), None).await;
    let (key, mut by_scoped) = scoped(&tenant, &["messages:read"]).await;
    by_scoped.wait("auth_success").await;
    let mut by_key = Socket::auth(&shared().url(), &tenant.api_key, None).await;
    let id = key["id"].as_str().expect("an id");
    tenant.client.delete(&format!("/api/auth/keys/{id}")).await.expect(200);
    refused(&mut by_scoped).await;
    let password = json!({"oldPassword": tenant.password, "newPassword": "another password"});
    tenant.client.put("/api/auth/password", &password).await.expect(200);
    refused(&mut by_jwt).await;
    by_key.text("ping").await;
    by_key.wait("pong").await;
    tenant.client.order("/api/auth/api-key/rotate").await.expect(200);
    refused(&mut by_key).await;
}

#[tokio::test]
async fn a_disabled_user_is_put_out() {
    let server = Server::start();
    let tenant = Tenant::of(&server).await;
    let mut socket = Socket::auth(&server.url(), &tenant.api_key, None).await;
    let admin = Client::new(&server.url(), Credential::Bearer(ADMIN_API_KEY.into()));
    admin.post("/api/admin/user/disable", &json!({"id": tenant.id})).await.expect(200);
    refused(&mut socket).await;
    refused(&mut Socket::open(&server.url(), &format!("?token={}", tenant.api_key)).await).await;
}

#[tokio::test]
async fn a_user_has_twenty_connections_at_the_most() {
    let tenant = Tenant::new().await;
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(Socket::auth(&shared().url(), &tenant.api_key, None).await);
    }
    let mut one_more = Socket::open(&shared().url(), &format!("?token={}", tenant.api_key)).await;
    assert_eq!(one_more.wait("error").await["code"], "TOO_MANY_CONNECTIONS");
    assert_eq!(one_more.closed().await, 4429);
    open.pop().expect("one of them").close().await;
    Socket::auth(&shared().url(), &tenant.api_key, None).await;
}

#[tokio::test]
async fn the_server_has_a_limit_and_says_goodbye() {
    let mut server = Server::start_with(&[("WS_MAX_CONNECTIONS", "2"), ("RATE_LIMIT", "30/60")]);
    let tenant = Tenant::of(&server).await;
    let mut one = Socket::auth(&server.url(), &tenant.api_key, None).await;
    // The limit of the credential holds here, too.
    let limited = loop {
        one.say(&uuid(), &tenant.id, "single", "to myself").await;
        match one.next().await {
            Came::Frame(frame) if frame["type"] == "ack" => {}
            Came::Frame(frame) if frame["type"] == "error" => break frame["data"].clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(limited["code"], "RATE_LIMITED");
    assert!(limited["retryAfter"].as_f64().is_some_and(|seconds| seconds >= 1.0), "{limited}");
    assert!(limited["id"].is_string(), "{limited}");
    let idle = Socket::open(&server.url(), "").await;
    let refused = Socket::try_open(&server.url(), &format!("?token={}", tenant.api_key), &[]).await;
    assert_eq!(refused.err(), Some(503));
    let stopping = tokio::task::spawn_blocking(move || server.stop());
    let mut closed = Vec::new();
    for mut socket in [one, idle] {
        closed.push(socket.closed().await);
    }
    assert_eq!(closed, [1001, 1001]);
    assert!(stopping.await.expect("no panic").success());
}
