//! API key, password, allow-list.

use super::*;

#[tokio::test]
async fn a_rotated_key_stops_at_once() {
    let server = Server::start("").await;
    let old = server.admin_key().await;
    let new = text(&server.post("/api/auth/api-key/rotate", &old, json!({})).await.ok(200)["apiKey"]);
    server.get("/api/auth/me", &old).await.refused(401, "Invalid API key");
    server.get("/api/auth/me", &new).await.ok(200);
    assert_eq!(server.login(ADMIN, PASSWORD).await.ok(200)["user"]["apiKey"], new.as_str());
}

#[tokio::test]
async fn a_configured_key_follows_the_configuration() {
    let server = Server::start("").await;
    server.get("/api/auth/me", "my own key, long enough").await.refused(401, "Invalid API key");
    let server = server.restart("ADMIN_API_KEY = 'my own key, long enough'").await;
    server.get("/api/auth/me", "my own key, long enough").await.ok(200);
    server.post("/api/auth/api-key/rotate", "my own key, long enough", json!({})).await.ok(200);
    server.get("/api/auth/me", "my own key, long enough").await.ok(200);

    let Server { app, router, folder, settings, .. } = server;
    drop((app, router));
    let server = Server::start_in(folder, settings.replace("my own key, long enough", "my other key, long too")).await;
    server.get("/api/auth/me", "my own key, long enough").await.refused(401, "Invalid API key");
    server.get("/api/auth/me", "my other key, long too").await.ok(200);

    let Server { app, router, folder, settings, .. } = server;
    drop((app, router));
    let server = Server::start_in(folder, settings.replace("ADMIN_API_KEY = 'my other key, long too'", "")).await;
    server.get("/api/auth/me", "my other key, long too").await.refused(401, "Invalid API key");
}

#[tokio::test]
async fn a_new_password_ends_tokens_and_keeps_keys() {
    let server = Server::start("").await;
    let session = server.login(ADMIN, PASSWORD).await.ok(200);
    let (token, key) = (bearer(&text(&session["token"])), text(&session["user"]["apiKey"]));
    let change = async |old: &str, new: &str| {
        let body = json!({ "oldPassword": old, "newPassword": new });
        server.call("PUT", "/api/auth/password", &[("authorization", &token)], Some(body)).await
    };
    change("wrong password", "battery staple").await.refused(401, "Invalid credentials");
    assert_eq!(change(PASSWORD, "short").await.body["field"], "newPassword");
    let fresh = bearer(&text(&change(PASSWORD, "battery staple").await.ok(200)["token"]));

    server.call("GET", "/api/auth/me", &[("authorization", &token)], None).await.refused(401, "Unauthorized");
    server.call("GET", "/api/auth/me", &[("authorization", &fresh)], None).await.ok(200);
    server.get("/api/auth/me", &key).await.ok(200);
    server.login(ADMIN, PASSWORD).await.refused(401, "Invalid credentials");
    server.login(ADMIN, "battery staple").await.ok(200);
}

#[tokio::test]
async fn a_disabled_user_is_nobody() {
    let server = Server::start("").await;
    let session = server.login(ADMIN, PASSWORD).await.ok(200);
    let admin = user::find_by_name(&server.app, ADMIN).await.expect("reads").expect("is there");
    user::set_disabled(&server.app, &admin, true).await.expect("writes");
    let token = bearer(&text(&session["token"]));
    server.call("GET", "/api/auth/me", &[("authorization", &token)], None).await.refused(401, "Unauthorized");
    server.get("/api/auth/me", &text(&session["user"]["apiKey"])).await.refused(401, "Unauthorized");
    server.login(ADMIN, PASSWORD).await.refused(401, "Invalid credentials");
}

#[tokio::test]
async fn an_account_can_be_limited_to_networks() {
    let server = Server::start("").await;
    let key = server.admin_key().await;
    let put = async |list: Value| server.put("/api/auth/allowed-ips", &key, json!({ "allowedIps": list })).await;
    assert_eq!(put(json!(["not an address"])).await.body["field"], "allowedIps");
    let list = json!(["127.0.0.0/8", "2001:db8::1/128"]);
    assert_eq!(put(list.clone()).await.ok(200)["allowedIps"], list);
    assert_eq!(server.get("/api/auth/allowed-ips", &key).await.ok(200)["allowedIps"], list);
    put(json!(["203.0.113.0/24"])).await.ok(200);
    for answer in [server.get("/api/auth/me", &key).await, server.login(ADMIN, PASSWORD).await] {
        assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (403, Some("IP_NOT_ALLOWED")));
    }
    let mut request = request("GET", "/api/auth/me", &[("x-api-key", &key)], Body::empty());
    request.extensions_mut().insert(shared::edge::PeerIp([203, 0, 113, 7].into()));
    assert_eq!(server.send(request).await.status, 200, "what the gateway says counts");
    let forwarded = [("x-api-key", key.as_str()), ("x-forwarded-for", "203.0.113.7")];
    assert_eq!(server.call("GET", "/api/auth/me", &forwarded, None).await.status, 403, "what anybody says does not");
}
