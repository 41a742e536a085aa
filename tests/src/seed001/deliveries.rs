//! Deliveries: every attempt on record, and replay of one or of many.

use crate::harness::{Behaviour, Instance, Receiver, Tenant, eventually, shape};
use serde_json::{Value, json};

async fn deliveries(instance: &Instance, query: &str) -> Vec<Value> {
    instance.get(&format!("/webhook-deliveries{query}")).await["deliveries"].as_array().expect("deliveries").clone()
}

async fn told_instance(receiver: &Receiver, retries: u32) -> Instance {
    let tenant = Tenant::new().await;
    let given = json!({"webhookUrl": receiver.url("/hook"), "webhookEvents": ["message_received"],
                       "maxRetries": retries, "retryInterval": 1000});
    Instance::paired(&tenant.client, &given).await
}

#[tokio::test]
async fn a_success_and_its_answer_are_on_record() {
    let receiver = Receiver::start().await;
    let instance = told_instance(&receiver, 3).await;
    let long: String = "0123456789".repeat(1000);
    receiver.behave("/hook", Behaviour::Body(long.clone().into()));
    instance.receive("79001234567", "hello").await;
    let delivery = eventually("the delivery", async || deliveries(&instance, "").await.into_iter().next()).await;
    let example = json!({"id": "x", "event": "x", "status": "x", "attempts": [{"outcome": "x", "statusCode": 200, "durationMs": 1,
                         "answer": "x", "at": "2023-01-01T00:00:00.000Z"}]});
    shape(&example, &delivery);
    assert_eq!(delivery["status"], "delivered");
    let attempt = &delivery["attempts"][0];
    assert_eq!(attempt["statusCode"], 200);
    assert_eq!(attempt["answer"].as_str().map(str::len), Some(4096), "the first 4 KiB");
    assert!(long.starts_with(attempt["answer"].as_str().unwrap()));
}

#[tokio::test]
async fn a_dead_delivery_is_kept_lets_the_next_go_and_can_be_replayed() {
    let receiver = Receiver::start().await;
    let instance = told_instance(&receiver, 1).await;
    receiver.script("/hook", [Behaviour::Status(500), Behaviour::Status(502)]);
    instance.receive("79001234567", "unlucky").await;
    receiver.wait_count("/hook", 1).await;
    instance.receive("79001234567", "lucky").await;
    receiver.wait("/hook", "the next one", |hit| hit.json()["data"]["body"] == "lucky").await;
    let dead =
        eventually("a dead delivery", async || deliveries(&instance, "?status=dead").await.into_iter().next()).await;
    let codes: Vec<&Value> =
        dead["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["statusCode"]).collect();
    assert_eq!(codes, [&json!(500), &json!(502)], "maxRetries more attempts: {dead}");

    let path = instance.at(&format!("/webhook-deliveries/{}/replay", dead["id"].as_str().unwrap()));
    let answer = instance.client.order(&path).await;
    assert!((200..300).contains(&answer.status), "{answer}");
    let hits = receiver.wait_count("/hook", 4).await;
    assert_eq!(hits[3].json()["data"]["body"], "unlucky");
    assert_eq!(hits[3].header("webhook-id"), hits[0].header("webhook-id"));
    eventually("none dead", async || deliveries(&instance, "?status=dead").await.is_empty().then_some(())).await;
    instance.client.order(&instance.at("/webhook-deliveries/no-such-one/replay")).await.refused(404);
    instance.client.get(&instance.at("/webhook-deliveries?status=sleeping")).await.names("status");
}

#[tokio::test]
async fn a_span_of_time_can_be_replayed_as_a_job() {
    let receiver = Receiver::start().await;
    let instance = told_instance(&receiver, 0).await;
    receiver.behave("/hook", Behaviour::Status(500));
    for text in ["one", "two", "three"] {
        instance.receive("79001234567", text).await;
    }
    eventually("three dead", async || (deliveries(&instance, "?status=dead").await.len() == 3).then_some(())).await;
    receiver.behave("/hook", Behaviour::Ok);
    let body = json!({"since": "2023-01-01T00:00:00.000Z", "status": "dead"});
    let answer = instance.post("/webhook-deliveries/replay", &body).await.expect(202);
    let job = answer["jobId"].as_str().expect("jobId").to_owned();
    let done = eventually("the job", async || {
        let job = instance.client.get(&format!("/api/jobs/{job}")).await.expect(200);
        (job["status"] != "queued" && job["status"] != "running" && job["status"] != "pending").then_some(job)
    })
    .await;
    shape(&json!({"id": "x", "kind": "x", "status": "x"}), &done);
    assert!(done.get("progress").is_some(), "{done}");
    let hits = receiver.wait_count("/hook", 6).await;
    let again: Vec<Value> = hits[3..].iter().map(|hit| hit.json()["data"]["body"].clone()).collect();
    assert_eq!(again, ["one", "two", "three"], "in order");
    instance.post("/webhook-deliveries/replay", &json!({})).await.names("since");
    instance.post("/webhook-deliveries/replay", &json!({"since": "x"})).await.names("since");
}

#[tokio::test]
async fn what_waits_tries_a_new_address_at_once() {
    let (tenant, receiver) = (Tenant::new().await, Receiver::start().await);
    // A minute to the next attempt: longer than this test waits.
    let given =
        json!({"webhookUrl": receiver.url("/old"), "webhookEvents": ["message_received"], "retryInterval": 60_000});
    let instance = Instance::paired(&tenant.client, &given).await;
    receiver.behave("/old", Behaviour::Status(503));
    instance.receive("79001234567", "first").await;
    receiver.wait_count("/old", 1).await;
    eventually("a delivery that waits", async || deliveries(&instance, "?status=retrying").await.into_iter().next())
        .await;
    tenant.client.put(&instance.at(""), &json!({"webhookUrl": receiver.url("/new")})).await.expect(200);
    receiver.wait("/new", "the event", |hit| hit.json()["data"]["body"] == "first").await;
}
