//! The same sending by instance: every platform, and the view that seed 000 has of it.

use super::{SEND, account, answer_of, status, text};
use crate::harness::{Tenant, shape};
use serde_json::{Value, json};

#[tokio::test]
async fn every_platform_sends_through_its_instance() {
    let tenant = Tenant::new().await;
    for (platform, to) in [
        ("whatsapp", "+79001234567"),
        ("telegram", "@somebody"),
        ("wechat", "wxid_abc"),
        ("signal", "+79001234567"),
        ("wecom", "S:1688850000000001"),
    ] {
        let instance = account(&tenant, platform).await;
        let body = json!({"to": to, "content": "hello", "metadata": {"conversationId": "conv-001"}});
        let sent = instance.post("/messages", &body).await.expect(201);
        shape(answer_of(SEND), &sent);
        assert_eq!((&sent["to"], &sent["type"], &sent["metadata"]), (&json!(to), &json!("text"), &body["metadata"]));
        assert_eq!((&sent["platform"], &sent["instanceId"]), (&json!(platform), &json!(instance.id)));
        assert_eq!(sent["from"], instance.get("").await["address"]);
        let id = sent["id"].as_str().unwrap();
        let read = instance.get(&format!("/messages/{id}")).await;
        for field in ["id", "platform", "to", "from", "content", "type", "metadata", "createdAt", "instanceId"] {
            assert_eq!(read[field], sent[field], "{field} on {platform}");
        }
    }
}

#[tokio::test]
async fn both_ways_see_the_same_message() {
    let tenant = Tenant::new().await;
    let instance = account(&tenant, "telegram").await;
    let there = text(&tenant.client, "telegram", &instance.phone, "79001234567", "over there").await;
    let read = instance.get(&format!("/messages/{}", there["id"].as_str().unwrap())).await;
    assert_eq!((&read["from"], &read["content"]), (&there["from"], &json!("over there")));
    let here = instance.post("/messages", &json!({"to": "79001234567", "content": "over here"})).await.expect(201);
    assert_ne!(status(&tenant.client, "telegram", &here).await, "failed");
}

#[tokio::test]
async fn every_content_type_goes_through_the_instance() {
    let tenant = Tenant::new().await;
    let instance = account(&tenant, "whatsapp").await;
    let first = instance.post("/messages", &json!({"to": "79001234567", "content": "a"})).await.expect(201);
    for body in [
        json!({"type": "image", "base64": "aGVsbG8=", "caption": "c"}),
        json!({"type": "sticker", "base64": "aGVsbG8="}),
        json!({"type": "file", "base64": "aGVsbG8=", "filename": "a.txt"}),
        json!({"type": "location", "latitude": 1.5, "longitude": 2, "name": "n", "address": "a"}),
        json!({"type": "location", "location": {"latitude": 1.5, "longitude": 2}}),
        json!({"type": "contact", "contact": {"name": "Ivan", "phone": "1"}}),
        json!({"type": "contact", "name": "Ivan", "phone": "1"}),
        json!({"type": "poll", "poll": {"question": "q", "options": ["a", "b"]}}),
        json!({"type": "reaction", "reaction": {"messageId": first["messageId"], "emoji": "👍"}}),
    ] {
        let mut ask = json!({"to": "79001234567"});
        crate::harness::instance::merge(&mut ask, &body);
        let sent = instance.post("/messages", &ask).await.expect(201);
        assert_eq!(sent["type"], body["type"]);
    }
    for (field, body) in [
        ("content", json!({})),
        ("url", json!({"type": "image"})),
        ("latitude", json!({"type": "location", "latitude": 91, "longitude": 0})),
        ("name", json!({"type": "contact", "phone": "1"})),
        ("options", json!({"type": "poll", "poll": {"question": "q", "options": ["a", "a"]}})),
        ("poll", json!({"type": "poll"})),
        ("reaction", json!({"type": "reaction"})),
        ("type", json!({"type": "fax", "content": "x"})),
    ] {
        let mut ask = json!({"to": "79001234567"});
        crate::harness::instance::merge(&mut ask, &body);
        instance.post("/messages", &ask).await.names(field);
    }
}

#[tokio::test]
async fn capability_records_tell_the_truth() {
    let tenant = Tenant::new().await;
    let truth = [
        ("whatsapp", json!(["delivered", "read"]), true, "client", "account"),
        ("telegram", json!([]), false, "platform", "chat"),
        ("wechat", json!([]), false, "platform", "account"),
        ("signal", json!(["delivered", "read"]), true, "platform", "chat"),
    ];
    for (platform, receipts, list, ids, scope) in truth {
        let instance = account(&tenant, platform).await;
        let record = instance.get("/capabilities").await;
        assert_eq!((&record["receipts"], &record["contactList"]), (&receipts, &json!(list)), "{record}");
        assert_eq!((&record["messageIds"], &record["messageIdScope"]), (&json!(ids), &json!(scope)), "{record}");
        assert!(record["sends"].as_array().is_some_and(|sends| sends.contains(&Value::from("text"))));
    }
}

#[tokio::test]
async fn long_texts_and_metadata_survive_edits() {
    let tenant = Tenant::new().await;
    let instance = account(&tenant, "whatsapp").await;
    let metadata = json!({"note": "m".repeat(2000)});
    let body = json!({"to": "79001234567", "content": "short", "metadata": metadata});
    let sent = instance.post("/messages", &body).await.expect(201);
    let id = sent["messageId"].as_str().unwrap().to_owned();
    instance.wait_message("79001234567", &id, "read").await;
    for text in ["better", &"long ".repeat(500), "short again"] {
        let path = instance.wa(&format!("/messages/{id}"));
        tenant.client.put(&path, &json!({"message": text.trim()})).await.expect(200);
        crate::harness::eventually("the edit", async || {
            let read = instance.get(&format!("/messages/{id}")).await;
            assert_eq!(read["metadata"], metadata);
            (read["content"] == text.trim()).then_some(())
        })
        .await;
    }
}
