//! `Idempotency-Key`, and `clientMessageId`.

use crate::harness::{Answer, Behaviour, Client, Instance, Receiver, Tenant};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

async fn keyed(client: &Client, path: &str, key: &str, body: &Value) -> Answer {
    client.send(client.request(Method::POST, path).header("idempotency-key", key).json(body)).await
}

#[tokio::test]
async fn the_same_key_and_body_is_the_first_answer_again() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let (path, body) = (instance.wa("/send"), json!({"phone": "79001234567", "message": "once"}));
    let first = keyed(&tenant.client, &path, "key-1", &body).await;
    let again = keyed(&tenant.client, &path, "key-1", &body).await;
    assert_eq!(first.expect(200), again.expect(200));
    assert_eq!((first.header("idempotent-replay"), again.header("idempotent-replay")), ("", "true"));
    instance.wait_outbox(first.json()["id"].as_str().unwrap()).await;
    assert_eq!(instance.outbox().await.len(), 1);

    let other = json!({"phone": "79001234567", "message": "twice"});
    keyed(&tenant.client, &path, "key-1", &other).await.refused(422);
    keyed(&tenant.client, &path, "key-2", &body).await.expect(200);
    let stranger = Tenant::new().await;
    let theirs = Instance::paired(&stranger.client, &json!({})).await;
    let answer = keyed(&stranger.client, &theirs.wa("/send"), "key-1", &other).await;
    answer.expect(200);
    assert_eq!(answer.header("idempotent-replay"), "", "keys are the user's own");
}

#[tokio::test]
async fn a_rejected_request_is_not_kept() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let path = instance.wa("/send");
    keyed(&tenant.client, &path, "key-1", &json!({"phone": "bad", "message": "x"})).await.refused(400);
    keyed(&tenant.client, &path, "key-1", &json!({"phone": "79001234567", "message": "x"})).await.expect(200);
}

#[tokio::test]
async fn creations_are_made_once() {
    let tenant = Tenant::new().await;
    let body = json!({"name": "once", "mode": "sandbox"});
    let first = keyed(&tenant.client, "/api/instances", "key-1", &body).await.expect(201);
    let again = keyed(&tenant.client, "/api/instances", "key-1", &body).await.expect(201);
    assert_eq!(first["id"], again["id"]);
    assert_eq!(tenant.client.get("/api/instances").await.expect(200)["instances"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_that_is_still_at_work_is_409() {
    let (tenant, web) = (Tenant::new().await, Receiver::start().await);
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    web.behave("/slow.png", Behaviour::Slow(Duration::from_secs(3)));
    let (path, body) = (instance.wa("/send-media"), json!({"phone": "79001234567", "url": web.url("/slow.png")}));
    let (first, second) = tokio::join!(keyed(&tenant.client, &path, "key-1", &body), async {
        web.wait_count("/slow.png", 1).await;
        keyed(&tenant.client, &path, "key-1", &body).await
    });
    first.expect(200);
    second.refused(409);
    assert_eq!(web.count("/slow.png"), 1);
}

#[tokio::test]
async fn a_hundred_at_once_send_one_message() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let (path, body) = (instance.wa("/send"), json!({"phone": "79001234567", "message": "once"}));
    let answers = futures_util::future::join_all((0..100).map(|_| keyed(&tenant.client, &path, "key-1", &body))).await;
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 409)), "{}", answers[0]);
    let first = keyed(&tenant.client, &path, "key-1", &body).await.expect(200);
    instance.wait_outbox(first["id"].as_str().unwrap()).await;
    assert_eq!(instance.get("/chats/79001234567/messages").await["pagination"]["total"], 1);
}
