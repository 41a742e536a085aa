//! Webhooks: all six events as the seed shows them, the filters, the signatures by three foreign opinions, retries.

use super::webhook_of;
use crate::harness::tools::{node, python, seed_file, stdout};
use crate::harness::{Behaviour, Hit, Instance, Receiver, Tenant, eventually, shape, stays};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::time::Duration;

const SECRET: &str = "optional-secret-key";
const EVENTS: [&str; 6] =
    ["message_received", "message_sent", "message_status", "connection_opened", "connection_closed", "qr_received"];

/// An instance that lives through everything, with all flags on.
async fn eventful(receiver: &Receiver, more: &Value) -> Instance {
    let tenant = Tenant::new().await;
    let mut given = json!({"webhookUrl": receiver.url("/hook"), "webhookSecret": SECRET,
                           "notifyDelivery": true, "notifyRead": true, "retryInterval": 1000});
    crate::harness::instance::merge(&mut given, more);
    let instance = Instance::paired(&tenant.client, &given).await;
    let id = instance.send("79001234567", "你好！我很好。").await;
    instance.wait_message("79001234567", &id, "read").await;
    instance.receive_with(&json!({"from": "79001234567", "name": "伊万", "text": "你好！最近怎么样？"})).await;
    instance.wait_event("message_received", |event| event["type"] == "message_received").await;
    instance.client.order(&instance.wa("/logout")).await.expect(200);
    instance.wait_event("connection_closed", |event| event["type"] == "connection_closed").await;
    instance
}

fn line(hit: &Hit) -> String {
    let body = std::str::from_utf8(&hit.body).expect("UTF-8");
    json!({"secret": SECRET, "headers": hit.headers, "body": body}).to_string() + "\n"
}

#[tokio::test]
async fn all_six_events_come_as_the_seed_shows_them() {
    let receiver = Receiver::start().await;
    let instance = eventful(&receiver, &json!({})).await;
    for event in EVENTS {
        let hit = receiver.wait_for("/hook", event).await;
        let body = hit.json();
        shape(webhook_of(event), &body);
        assert_eq!(hit.method, "POST");
        assert!(hit.header("content-type").starts_with("application/json"), "{:?}", hit.headers);
        assert_eq!(body["data"]["instanceId"], instance.id.as_str());
        assert_eq!(body["instanceId"], instance.id.as_str());
        assert_eq!(body["id"], hit.header("webhook-id"));
    }
    let received = receiver.wait_for("/hook", "message_received").await.json()["data"].clone();
    assert_eq!(received["from"], "79001234567@s.whatsapp.net");
    assert_eq!((&received["body"], &received["type"]), (&json!("你好！最近怎么样？"), &json!("conversation")));
    assert_eq!((&received["hasMedia"], &received["pushName"]), (&json!(false), &json!("伊万")));
    let sent = receiver.wait_for("/hook", "message_sent").await.json()["data"].clone();
    assert_eq!((&sent["to"], &sent["type"]), (&json!("79001234567@s.whatsapp.net"), &json!("text")));
    let closed = receiver.wait_for("/hook", "connection_closed").await.json()["data"].clone();
    assert_eq!((&closed["reason"], &closed["willReconnect"]), (&json!("logout"), &json!(false)));
    for status in ["delivered", "read"] {
        receiver
            .wait("/hook", status, |hit| hit.event() == "message_status" && hit.json()["data"]["status"] == status)
            .await;
    }
}

#[tokio::test]
async fn the_webhooks_are_the_events_of_the_log_under_the_same_ids() {
    let receiver = Receiver::start().await;
    let instance = eventful(&receiver, &json!({})).await;
    receiver.wait_for("/hook", "connection_closed").await;
    let told: HashSet<String> = receiver.hits("/hook").iter().map(|hit| hit.header("webhook-id").to_owned()).collect();
    let events = instance.events().await;
    for id in &told {
        assert!(events.iter().any(|event| event["id"] == id.as_str()), "{id} is not in the log");
    }
    for event in events.iter().filter(|event| EVENTS.contains(&event["type"].as_str().unwrap())) {
        let id = event["id"].as_str().unwrap();
        receiver.wait("/hook", id, |hit| hit.header("webhook-id") == id).await;
    }
}

#[tokio::test]
async fn both_signatures_pass_the_five_lines_and_the_libraries_of_python_and_node() {
    let receiver = Receiver::start().await;
    eventful(&receiver, &json!({})).await;
    receiver.wait_for("/hook", "connection_closed").await;
    let hits = receiver.hits("/hook");
    let lines: String = hits.iter().map(line).collect();
    assert_eq!(stdout(&python(&seed_file("001/verify.py"), &lines)).trim(), hits.len().to_string());
    assert_eq!(stdout(&node(&seed_file("001/verify.cjs"), &lines)).trim(), hits.len().to_string());

    // The checks do check: one changed byte, and they refuse.
    let mut forged = hits[0].clone();
    forged.body = [b" ", forged.body.as_ref()].concat().into();
    assert!(!python(&seed_file("001/verify.py"), &line(&forged)).status.success());
    assert!(!node(&seed_file("001/verify.cjs"), &line(&forged)).status.success());
}

#[tokio::test]
async fn while_a_secret_is_replaced_the_old_one_is_still_signed_with() {
    let (tenant, receiver) = (Tenant::new().await, Receiver::start().await);
    let given = json!({"webhookUrl": receiver.url("/hook"), "webhookSecret": SECRET});
    let instance = Instance::paired(&tenant.client, &given).await;
    let replaced = json!({"webhookSettings": {"secret": "a newer secret"}});
    tenant.client.put(&instance.at(""), &replaced).await.expect(200);
    instance.receive("79001234567", "after the change").await;
    let hit = receiver.wait_for("/hook", "message_received").await;
    assert_eq!(hit.header("webhook-signature").split(' ').count(), 2, "{:?}", hit.headers);
    let verify = seed_file("001/verify.cjs");
    for secret in [SECRET, "a newer secret"] {
        let line = line(&hit).replacen(SECRET, secret, 1);
        assert_eq!(stdout(&node(&verify, &line)).trim(), "1", "{secret}");
    }
    let newest = line(&hit).replacen(SECRET, "a newer secret", 1);
    assert_eq!(stdout(&python(&seed_file("001/verify.py"), &newest)).trim(), "1", "X-Webhook-Signature: the newest");
}

#[tokio::test]
async fn flags_and_globs_hold_back_what_is_not_wanted() {
    for (given, wanted) in [
        (json!({"notifyReceived": false, "notifyDelivery": false, "notifyRead": false}), vec!["message_sent"]),
        (json!({"notifySent": false, "notifyDelivery": false, "notifyRead": false}), vec!["message_received"]),
        (
            json!({"notifyReceived": false, "notifySent": false, "notifyRead": true, "notifyDelivery": false}),
            vec!["read"],
        ),
        (
            json!({"notifyReceived": false, "notifySent": false, "notifyRead": false, "notifyDelivery": true}),
            vec!["sent", "delivered"],
        ),
        (json!({"webhookEvents": ["message_rec*"]}), vec!["message_received"]),
    ] {
        let receiver = Receiver::start().await;
        eventful(&receiver, &given).await;
        let globbed = given.get("webhookEvents").is_some();
        if globbed {
            receiver.wait_for("/hook", "message_received").await;
        } else {
            receiver.wait_for("/hook", "connection_closed").await;
        }
        let told: HashSet<String> = receiver
            .hits("/hook")
            .iter()
            .filter(|hit| globbed || hit.event().starts_with("message_"))
            .map(|hit| match hit.event().as_str() {
                "message_status" => hit.json()["data"]["status"].as_str().unwrap().to_owned(),
                other => other.to_owned(),
            })
            .collect();
        let allowed: HashSet<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        assert!(told.is_subset(&allowed), "{given}: {told:?}");
        assert!(told.contains(wanted[wanted.len() - 1]), "{given}: {told:?}");
    }
}

#[tokio::test]
async fn a_disabled_webhook_is_silent() {
    let receiver = Receiver::start().await;
    eventful(&receiver, &json!({"webhookEnabled": false})).await;
    stays(Duration::from_millis(500), "silence", async || receiver.all().is_empty()).await;
}

#[tokio::test]
async fn a_failure_is_retried_under_the_same_id_and_the_chat_waits_for_it() {
    let (tenant, receiver) = (Tenant::new().await, Receiver::start().await);
    let given =
        json!({"webhookUrl": receiver.url("/hook"), "retryInterval": 1000, "webhookEvents": ["message_received"]});
    let instance = Instance::paired(&tenant.client, &given).await;
    receiver.script("/hook", [Behaviour::Status(500), Behaviour::Close]);
    instance.receive("79001234567", "first").await;
    receiver.wait_count("/hook", 1).await;
    instance.receive("79001234567", "second").await;
    instance.receive("79007654321", "another chat").await;
    let hits = receiver.wait_count("/hook", 5).await;
    let bodies: Vec<String> = hits.iter().map(|hit| hit.json()["data"]["body"].as_str().unwrap().to_owned()).collect();
    let same_chat: Vec<&String> = bodies.iter().filter(|body| *body != "another chat").collect();
    assert!(bodies.contains(&"another chat".to_owned()), "{bodies:?}");
    assert_eq!(same_chat.last().map(|body| body.as_str()), Some("second"), "{bodies:?}");
    let firsts: Vec<&Hit> = hits.iter().filter(|hit| hit.json()["data"]["body"] == "first").collect();
    assert!(firsts.len() >= 2, "{bodies:?}");
    assert!(firsts.windows(2).all(|pair| pair[0].header("webhook-id") == pair[1].header("webhook-id")));
    let seconds = bodies.iter().position(|body| body == "second").unwrap();
    let last_first = bodies.iter().rposition(|body| body == "first").unwrap();
    assert!(last_first < seconds, "order within the chat: {bodies:?}");
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let (tenant, receiver) = (Tenant::new().await, Receiver::start().await);
    let given =
        json!({"webhookUrl": receiver.url("/hook"), "retryInterval": 1000, "webhookEvents": ["message_received"]});
    let instance = Instance::paired(&tenant.client, &given).await;
    receiver.script("/hook", [Behaviour::RetryAfter(503, 4)]);
    instance.receive("79001234567", "first").await;
    let hits = receiver.wait_count("/hook", 2).await;
    let gap = hits[1].at - hits[0].at;
    assert!(gap >= Duration::from_millis(3900), "again after {gap:?}");
}

#[tokio::test]
async fn gone_disables_the_webhook_and_says_so() {
    let (tenant, receiver) = (Tenant::new().await, Receiver::start().await);
    let given =
        json!({"webhookUrl": receiver.url("/hook"), "webhookEvents": ["message_received"], "retryInterval": 1000});
    let instance = Instance::paired(&tenant.client, &given).await;
    receiver.behave("/hook", Behaviour::Status(410));
    instance.receive("79001234567", "first").await;
    eventually("the webhook disabled", async || (instance.get("").await["webhookEnabled"] == false).then_some(()))
        .await;
    let logs = instance.get("/activity?actions=webhook_disabled").await;
    assert_eq!(logs["pagination"]["total"], 1, "{logs}");
    instance.receive("79001234567", "second").await;
    instance.wait_event("the second", |event| event["data"]["body"] == "second").await;
    stays(Duration::from_millis(500), "no further call", async || receiver.count("/hook") == 1).await;
}

#[tokio::test]
async fn the_test_call_calls_and_tells() {
    let (tenant, receiver) = (Tenant::new().await, Receiver::start().await);
    let given =
        json!({"webhookUrl": receiver.url("/hook"), "webhookSecret": SECRET, "webhookEvents": ["message_received"]});
    let instance = Instance::create(&tenant.client, &given).await;
    receiver.behave("/hook", Behaviour::Status(418));
    let answer = instance.client.order(&instance.at("/webhook/test")).await.expect(200);
    assert_eq!(answer["statusCode"], 418, "{answer}");
    let hits = receiver.wait_count("/hook", 1).await;
    assert_eq!(stdout(&python(&seed_file("001/verify.py"), &line(&hits[0]))).trim(), "1");
    let silent = Instance::create(&tenant.client, &json!({})).await;
    let answer = silent.client.order(&silent.at("/webhook/test")).await;
    assert!(matches!(answer.status, 400 | 409), "{answer}");
}
