//! Scoped API keys: made, listed, limited, revoked.

use crate::harness::{Client, Credential, Instance, Tenant, shape};
use serde_json::{Value, json};

/// A key with these restrictions; its client and its id.
async fn key(tenant: &Tenant, more: &Value) -> (Client, String) {
    let mut body = json!({"name": "a key"});
    crate::harness::instance::merge(&mut body, more);
    let made = tenant.client.post("/api/auth/keys", &body).await.expect(201);
    let text = |name: &str| made[name].as_str().expect("a text").to_owned();
    (tenant.client.with(Credential::ApiKey(text("key"))), text("id"))
}

#[tokio::test]
async fn a_key_is_shown_once_listed_without_it_and_revoked() {
    let tenant = Tenant::new().await;
    let (client, id) = key(&tenant, &json!({})).await;
    client.get("/api/auth/me").await.expect(200);
    let listed = tenant.client.get("/api/auth/keys").await.expect(200);
    let keys = listed["keys"].as_array().expect("keys");
    let one = keys.iter().find(|key| key["id"] == id.as_str()).expect("the key");
    shape(&json!({"id": "x", "name": "x", "createdAt": "2023-01-01T00:00:00.000Z"}), one);
    assert!(one.get("key").is_none(), "{one}");

    let gone = tenant.client.delete(&format!("/api/auth/keys/{id}")).await;
    assert!((200..300).contains(&gone.status), "{gone}");
    client.get("/api/auth/me").await.refused(401);
    tenant.client.delete(&format!("/api/auth/keys/{id}")).await.refused(404);
}

#[tokio::test]
async fn a_key_does_what_its_scopes_say_and_nothing_else() {
    let tenant = Tenant::new().await;
    let phone = Instance::paired(&tenant.client, &json!({})).await;
    let send = json!({"phone": "79001234567", "message": "hello"});
    let asks = async |client: &Client| {
        [
            client.post(&phone.wa("/send"), &send).await.status,
            client.get(&phone.at("/chats/79001234567/messages")).await.status,
            client.put(&phone.at(""), &json!({"description": "text"})).await.status,
            client.get("/api/stats/user").await.status,
        ]
    };
    for (scopes, expected) in [
        (json!(["messages:send"]), [200, 403, 403, 403]),
        (json!(["messages:read"]), [403, 200, 403, 403]),
        (json!(["instances:manage"]), [403, 403, 200, 403]),
        (json!(["stats:read"]), [403, 403, 403, 200]),
        (json!(["messages:send", "stats:read"]), [200, 403, 403, 200]),
    ] {
        let (client, _) = key(&tenant, &json!({"scopes": scopes})).await;
        assert_eq!(asks(&client).await, expected, "{scopes}");
    }
    let (client, _) = key(&tenant, &json!({"scopes": ["messages:read"]})).await;
    let events = client.get(&phone.at("/events?types=qr_received")).await.expect(200);
    assert!(events["events"][0]["data"]["qrCode"].is_null(), "who may only read could pair a phone: {events}");
    let (client, _) = key(&tenant, &json!({"scopes": ["messages:send"]})).await;
    client.post("/api/auth/keys", &json!({"name": "more", "scopes": ["stats:read"]})).await.refused(403);
    client.order("/api/auth/api-key/rotate").await.refused(403);
    tenant.client.post("/api/auth/keys", &json!({"name": "x", "scopes": ["everything"]})).await.names("scopes");
    tenant.client.post("/api/auth/keys", &json!({"name": "x", "scopes": ["admin"]})).await.refused(403);
}

#[tokio::test]
async fn a_key_for_one_instance_reaches_no_other() {
    let tenant = Tenant::new().await;
    let mine = Instance::create(&tenant.client, &json!({})).await;
    let other = Instance::create(&tenant.client, &json!({})).await;
    let (client, _) = key(&tenant, &json!({"instanceIds": [mine.id]})).await;
    client.get(&mine.at("")).await.expect(200);
    client.get(&other.at("")).await.refused(403);
    client.delete(&other.at("")).await.refused(403);
    let stranger = Instance::create(&Tenant::new().await.client, &json!({})).await;
    let answer = tenant.client.post("/api/auth/keys", &json!({"name": "x", "instanceIds": [stranger.id]})).await;
    assert!(matches!(answer.status, 400 | 403 | 404), "{answer}");
}

#[tokio::test]
async fn a_key_keeps_to_its_addresses_and_its_time() {
    let tenant = Tenant::new().await;
    let (here, _) = key(&tenant, &json!({"allowedIps": ["127.0.0.0/8"]})).await;
    here.get("/api/auth/me").await.expect(200);
    let (elsewhere, _) = key(&tenant, &json!({"allowedIps": ["203.0.113.7"]})).await;
    elsewhere.get("/api/auth/me").await.refused(403);
    let forwarded = elsewhere.request(http::Method::GET, "/api/auth/me").header("x-forwarded-for", "203.0.113.7");
    elsewhere.send(forwarded).await.refused(403);

    let soon = chrono::Utc::now() + chrono::Duration::milliseconds(1500);
    let (short, _) =
        key(&tenant, &json!({"expiresAt": soon.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)})).await;
    short.get("/api/auth/me").await.expect(200);
    crate::harness::eventually("the key's end", async || {
        let answer = short.get("/api/auth/me").await;
        (answer.status != 200).then(|| answer.refused(401))
    })
    .await;
    for (field, body) in [
        ("allowedIps", json!({"name": "x", "allowedIps": ["no address"]})),
        ("expiresAt", json!({"name": "x", "expiresAt": "tomorrow"})),
        ("expiresAt", json!({"name": "x", "expiresAt": "2001-01-01T00:00:00.000Z"})),
        ("name", json!({})),
    ] {
        tenant.client.post("/api/auth/keys", &body).await.names(field);
    }
}
