//! Who may tell, and who may ask.

use super::{Device, text};
use crate::harness::{Credential, Server, Tenant};
use http::Method;
use serde_json::json;

#[tokio::test]
async fn outside_open_mode_a_key_is_asked_for() {
    let server = Server::start_with(&[
        ("JUHE_APP_KEY", "the-key"),
        ("JUHE_APP_SECRET", "the-secret"),
        ("JUHE_AUTO_REGISTER", "on"),
    ]);
    let device = Device { client: server.anonymous(), ..Device::new(&server) };
    device.tell(11010, text(1, "5", "hello")).await;
    let ask = async |what: &str, key: Option<&str>, secret: Option<&str>| {
        let mut request = device.client.request(Method::GET, &format!("/api/{what}?guid={}", device.guid));
        for (name, value) in [("X-App-Key", key), ("X-App-Secret", secret)] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        device.client.send(request).await
    };
    for what in ["contacts", "messages", "rooms", "sync-status"] {
        ask(what, Some("the-key"), Some("the-secret")).await.expect(200);
        for (key, secret) in [
            (None, None),
            (Some("the-key"), None),
            (None, Some("the-secret")),
            (Some("the-key"), Some("x")),
            (Some("x"), Some("the-secret")),
        ] {
            ask(what, key, secret).await.refused(401);
        }
        // The administrator owns what came by itself; others do not see it.
        let path = format!("/api/{what}?guid={}", device.guid);
        server.admin().get(&path).await.expect(200);
        let other = Tenant::of(&server).await;
        assert_eq!(other.client.get(&path).await.refused(404).code, "GUID_NOT_FOUND");
        device.client.with(Credential::ApiKey("nonsense".into())).get(&path).await.refused(401);
    }
}

#[tokio::test]
async fn behind_a_proxy_nothing_is_open() {
    let server = Server::start();
    let device = Device::new(&server);
    let forwarded = |method, path: &str| device.client.request(method, path).header("x-forwarded-for", "10.0.0.1");
    let body = json!({"guid": device.guid, "notify_type": 11010, "data": text(1, "5", "x")});
    let answer = device.client.send(forwarded(Method::POST, "/callback").json(&body)).await;
    assert_eq!(answer.refused(404).code, "GUID_NOT_FOUND", "unknown devices are not registered");
    device.tell(11010, text(1, "5", "x")).await;
    device.client.send(forwarded(Method::POST, "/callback").json(&body)).await.expect(200);
    let path = format!("/api/messages?guid={}", device.guid);
    device.client.send(forwarded(Method::GET, &path)).await.refused(401);
}

#[tokio::test]
async fn callbacks_may_need_a_token() {
    let server = Server::start_with(&[("JUHE_CALLBACK_TOKEN", "sesame & more")]);
    let client = server.anonymous();
    let body = json!({"guid": "g", "notify_type": 11001});
    for path in ["/callback", "/callback?token=", "/callback?token=wrong", "/callback?token=sesame"] {
        client.post(path, &body).await.refused(401);
    }
    client.post("/callback?token=sesame%20%26%20more", &body).await.expect(200);
}

#[tokio::test]
async fn unknown_devices_are_registered_only_if_wanted() {
    let server = Server::start_with(&[("JUHE_AUTO_REGISTER", "off")]);
    let body = json!({"guid": "g", "notify_type": 11001});
    assert_eq!(server.anonymous().post("/callback", &body).await.refused(404).code, "GUID_NOT_FOUND");
    let tenant = Tenant::of(&server).await;
    let given = json!({"name": "phone", "platform": "wecom", "credentials": {"guid": "g"}});
    tenant.client.post("/api/instances", &given).await.expect(201);
    server.anonymous().post("/callback", &body).await.expect(200);
}

#[tokio::test]
async fn a_key_for_other_instances_does_not_reach_a_device() {
    let server = Server::start();
    let tenant = Tenant::of(&server).await;
    let create = async |guid: &str| {
        let given = json!({"name": "phone", "platform": "wecom", "credentials": {"guid": guid}});
        tenant.client.post("/api/instances", &given).await.expect(201)["id"].clone()
    };
    let (one, _) = (create("one").await, create("two").await);
    let key = tenant
        .client
        .post("/api/auth/keys", &json!({"name": "k", "instanceIds": [one], "scopes": ["messages:read"]}))
        .await
        .expect(201);
    let limited = tenant.client.with(Credential::ApiKey(key["key"].as_str().expect("a key").into()));
    limited.get("/api/messages?guid=one").await.expect(200);
    limited.get("/api/messages?guid=two").await.refused(404);
    let key = tenant.client.post("/api/auth/keys", &json!({"name": "k", "scopes": ["stats:read"]})).await.expect(201);
    let other = tenant.client.with(Credential::ApiKey(key["key"].as_str().expect("a key").into()));
    other.get("/api/messages?guid=one").await.refused(403);
}
