//! What comes in has one schema, whatever the platform, and ids in the platform's manner.

use super::{account, text};
use crate::harness::{Instance, Tenant, eventually, shape};
use http::Method;
use serde_json::{Value, json};

/// What every event of a received message has.
fn event() -> Value {
    json!({
        "instanceId": "x", "id": "x", "messageId": "x", "from": "x", "pushName": "x", "isGroup": false, "body": "x",
        "type": "x", "contentType": "text", "platform": "x", "timestamp": 1, "hasMedia": false,
    })
}

fn row() -> Value {
    json!({
        "id": "x", "instanceId": "x", "remoteJid": "x", "fromMe": false, "messageType": "x", "contentType": "text",
        "platform": "x", "content": "x", "messageId": "x", "hasMedia": false, "status": "received", "pushName": "x",
        "sender": "x", "createdAt": "2024-01-01T00:00:00.000Z", "updatedAt": "2024-01-01T00:00:00.000Z",
    })
}

async fn received(instance: &Instance, count: usize) -> Vec<Value> {
    eventually("the events", async || {
        let events = instance.events().await;
        let found: Vec<Value> = events.into_iter().filter(|event| event["type"] == "message_received").collect();
        (found.len() >= count).then_some(found)
    })
    .await
}

#[tokio::test]
async fn events_and_history_have_the_same_fields_everywhere() {
    let tenant = Tenant::new().await;
    let mut fields: Option<(Vec<String>, Vec<String>)> = None;
    for platform in ["whatsapp", "telegram", "wechat", "signal", "wecom"] {
        let instance = account(&tenant, platform).await;
        let from = "+79001234567";
        instance.receive_with(&json!({"from": from, "name": "Ivan", "text": "hello"})).await;
        let events = received(&instance, 1).await;
        let data = &events[0]["data"];
        shape(&event(), data);
        assert_eq!((&data["contentType"], &data["body"]), (&json!("text"), &json!("hello")));
        assert_eq!((&data["platform"], &data["pushName"]), (&json!(platform), &json!("Ivan")));
        let chat = data["from"].as_str().unwrap().replace('+', "%2B");
        let history = instance.history(&chat).await;
        shape(&row(), &history[0]);
        assert_eq!(history[0]["messageId"], data["messageId"]);
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let found = (names(data), names(&history[0]));
        assert_eq!(fields.get_or_insert_with(|| found.clone()), &found, "{platform} has other fields");
        // It is found by either of its ids.
        for id in [&data["id"], &data["messageId"]] {
            let read = instance.get(&format!("/messages/{}", id.as_str().unwrap())).await;
            assert_eq!((&read["content"], &read["status"]), (&json!("hello"), &json!("received")));
        }
    }
}

async fn receive(instance: &Instance, from: &str) -> String {
    let answer = instance.receive_with(&json!({"from": from, "text": "hello"})).await;
    answer["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn telegram_counts_in_each_chat() {
    let tenant = Tenant::new().await;
    let instance = account(&tenant, "telegram").await;
    assert_eq!(receive(&instance, "79001230001").await, "1");
    assert_eq!(receive(&instance, "79001230001").await, "2");
    let sent = text(&tenant.client, "telegram", &instance.id, "79001230001", "mine").await;
    assert_eq!(sent["messageId"], "3");
    assert_eq!(receive(&instance, "79001230001").await, "4");
    for chat in 2..=30 {
        assert_eq!(receive(&instance, &format!("790012300{chat:02}")).await, "1");
    }
    // The platform's id names many messages; ours names one.
    let events = received(&instance, 32).await;
    assert_eq!(events.len(), 32);
    for event in &events {
        let data = &event["data"];
        let read = instance.get(&format!("/messages/{}", data["id"].as_str().unwrap())).await;
        assert_eq!((&read["chatId"], &read["messageId"]), (&data["from"], &data["messageId"]), "{event}");
    }
    let ids: std::collections::HashSet<&str> =
        events.iter().map(|event| event["data"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 32);
}

#[tokio::test]
async fn signal_ids_are_moments_and_wechat_ids_numbers() {
    let tenant = Tenant::new().await;
    let instance = account(&tenant, "signal").await;
    let before = chrono::Utc::now().timestamp_millis();
    let mut ids: Vec<i64> = Vec::new();
    for _ in 0..10 {
        ids.push(receive(&instance, "+79001230001").await.parse().expect("milliseconds"));
    }
    let sent = text(&tenant.client, "signal", &instance.id, "+79001230001", "mine").await;
    ids.push(sent["messageId"].as_str().unwrap().parse().expect("milliseconds"));
    let after = chrono::Utc::now().timestamp_millis();
    assert!(ids.iter().all(|id| (before..=after + 20).contains(id)), "{ids:?} are not between {before} and {after}");
    assert!(ids[..10].is_sorted_by(|a, b| a < b), "{ids:?}");
    for platform in ["wechat", "wecom"] {
        let instance = account(&tenant, platform).await;
        let one: u64 = receive(&instance, "+79001230001").await.parse().expect("a number");
        let other: u64 = receive(&instance, "+79001230001").await.parse().expect("a number");
        assert_ne!(one, other);
        let sent = instance.post("/messages", &json!({"to": "+79001230001", "content": "mine"})).await.expect(201);
        let path = format!("/messages/{}", sent["id"].as_str().unwrap());
        eventually("its number", async || instance.get(&path).await["messageId"].as_str()?.parse::<u64>().ok()).await;
    }
}

#[tokio::test]
async fn what_is_received_twice_under_one_key_is_one_message_everywhere() {
    let tenant = Tenant::new().await;
    for platform in ["whatsapp", "telegram", "wechat", "signal", "wecom"] {
        let instance = account(&tenant, platform).await;
        let ask = || {
            let request = tenant.client.request(Method::POST, &instance.at("/sandbox/receive"));
            request.header("idempotency-key", "one").json(&json!({"from": "+79001230001", "text": "once"}))
        };
        let first = tenant.client.send(ask()).await.expect(200);
        assert_eq!(tenant.client.send(ask()).await.expect(200), first);
        assert_eq!(received(&instance, 1).await.len(), 1);
    }
}

#[tokio::test]
async fn the_echo_answers_on_every_platform() {
    let tenant = Tenant::new().await;
    for platform in super::PLATFORMS {
        let instance = account(&tenant, platform).await;
        let sent = text(&tenant.client, platform, &instance.id, "+99900050000", "echo?").await;
        let events = received(&instance, 1).await;
        let data = &events[0]["data"];
        assert_eq!((&data["body"], &data["pushName"]), (&json!("echo?"), &json!("Echo")));
        assert_ne!(data["messageId"], sent["messageId"]);
        if platform != "whatsapp" {
            data["messageId"].as_str().unwrap().parse::<u64>().expect("a number");
        }
    }
}
