//! Sending everything that is not a file: text, location, contact, poll, reaction, edit, revoke; and the refusals.

use super::{answer_of, request_of};
use crate::harness::tenant::fresh_phone;
use crate::harness::{Instance, Tenant, eventually, shape};
use serde_json::{Value, json};

async fn phone() -> (Tenant, Instance) {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    (tenant, instance)
}

#[tokio::test]
async fn a_text_arrives_under_the_id_that_was_answered() {
    let (_tenant, instance) = phone().await;
    let sent = instance.wa_post("/send", &request_of("POST /api/whatsapp/{instanceId}/send")).await.expect(200);
    shape(answer_of("POST /api/whatsapp/{instanceId}/send"), &sent);
    let id = sent["id"].as_str().unwrap();
    let arrived = instance.wait_outbox(id).await;
    shape(&json!({"id": "x", "to": "x", "type": "x", "text": "x"}), &arrived);
    assert_eq!(arrived["text"], "你好！最近怎么样？");
    assert_eq!(arrived["type"], "text");
    assert!(arrived["to"].as_str().unwrap().contains("79001234567"), "{arrived}");
    instance.wait_message("79001234567", id, "read").await;
    assert_eq!(instance.outbox().await.iter().filter(|message| message["id"] == id).count(), 1);
}

#[tokio::test]
async fn a_phone_is_written_in_many_ways_and_means_one_chat() {
    let (_tenant, instance) = phone().await;
    for written in ["79005550001", "+79005550001", "+7 900 555-00-01", "7 (900) 555 0001", "79005550001@s.whatsapp.net"]
    {
        let id = instance.send(written, "hello").await;
        instance.wait_outbox(&id).await;
    }
    assert_eq!(instance.get("/chats/79005550001/messages").await["pagination"]["total"], 5);
    for group in ["120363000000000001@g.us", "123456789@lid", "120363000000000002@newsletter"] {
        let id = instance.send(group, "hello").await;
        assert_eq!(instance.wait_outbox(&id).await["to"], group);
    }
}

#[tokio::test]
async fn bad_requests_are_400_with_the_originals_texts() {
    let (_tenant, instance) = phone().await;
    for body in [json!({}), json!({"phone": "79001234567"}), json!({"message": "hello"})] {
        instance.wa_post("/send", &body).await.refused_with(400, "Phone and message are required");
    }
    for body in [json!({}), json!({"phone": "79001234567"})] {
        instance.wa_post("/send-media", &body).await.refused_with(400, "Phone and URL are required");
    }
    for bad in ["abc", "", "79001234567@example.com", "+", "7900123456789012345678901234567890", "7900/1234567"] {
        let answer = instance.wa_post("/send", &json!({"phone": bad, "message": "hello"})).await;
        answer.names("phone");
    }
    instance.wa_post("/send", &json!({"phone": "79001234567", "message": 5})).await.names("message");
    instance
        .wa_post("/send", &json!({"phone": "79001234567", "message": "x", "mentions": "all"}))
        .await
        .names("mentions");
    instance.wa_post("/send", &json!({"phone": "79001234567", "message": "x", "sendAt": "soon"})).await.names("sendAt");
    instance.wa_post("/send", &json!({"phone": "79001234567", "message": "x", "delayMs": -1})).await.names("delayMs");
    assert!(instance.outbox().await.is_empty());
    assert_eq!(instance.get("/chats/79001234567/messages").await["pagination"]["total"], 0);
}

#[tokio::test]
async fn what_was_never_paired_or_is_logged_out_is_not_ready() {
    let tenant = Tenant::new().await;
    let instance = Instance::create(&tenant.client, &json!({})).await;
    let text = format!("Instance {} not ready", instance.id);
    let send = json!({"phone": "79001234567", "message": "hello"});
    instance.wa_post("/send", &send).await.refused_with(409, &text);
    instance.scan().await;
    instance.wa_post("/send", &send).await.expect(200);
    tenant.client.order(&instance.wa("/logout")).await.expect(200);
    instance.wait_status("logged_out").await;
    instance.wa_post("/send", &send).await.refused_with(409, &text);
}

#[tokio::test]
async fn what_is_sent_while_the_line_is_down_leaves_after_the_reconnect() {
    let (_tenant, instance) = phone().await;
    let broken = instance.post("/sandbox/disconnect", &json!({})).await;
    assert!((200..300).contains(&broken.status), "{broken}");
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(instance.send("79001234567", &format!("number {number}")).await);
    }
    instance.client.order(&instance.at("/reconnect")).await.expect(200);
    for id in &ids {
        instance.wait_outbox(id).await;
    }
    let arrived: Vec<Value> = instance.outbox().await.iter().map(|message| message["id"].clone()).collect();
    assert_eq!(arrived, ids.iter().map(|id| json!(id)).collect::<Vec<_>>(), "in order, once");
}

#[tokio::test]
async fn every_kind_of_message_arrives() {
    let (_tenant, instance) = phone().await;
    let to = fresh_phone();
    let target = instance.send(&to, "first").await;
    instance.wait_message(&to, &target, "read").await;
    for (path, kind, body) in [
        ("/send-location", "location", json!({"phone": to, "latitude": 59.93, "longitude": 30.31, "name": "here"})),
        ("/send-contact", "contact", json!({"phone": to, "contact": {"name": "Ivan", "phone": "79001234567"}})),
        ("/send-poll", "poll", json!({"phone": to, "question": "tea?", "options": ["yes", "no"]})),
    ] {
        let sent = instance.wa_post(path, &body).await.expect(200);
        let id = sent["id"].as_str().expect("a message id");
        assert_eq!(instance.wait_outbox(id).await["type"], kind);
        let row = instance.wait_message(&to, id, "read").await;
        assert_eq!(row["messageType"], kind, "{row}");
    }
    let reaction = json!({"messageId": target, "emoji": "👍"});
    instance.wa_post("/send-reaction", &reaction).await.expect(200);
    eventually("the reaction in the outbox", async || {
        instance.outbox().await.into_iter().find(|message| message["type"] == "reaction")
    })
    .await;

    instance.client.put(&instance.wa(&format!("/messages/{target}")), &json!({"message": "better"})).await.expect(200);
    eventually("the edited text in the history", async || {
        instance
            .history(&to)
            .await
            .into_iter()
            .find(|row| row["messageId"] == target.as_str() && row["content"] == "better")
    })
    .await;
    instance.client.delete(&instance.wa(&format!("/messages/{target}"))).await.expect(200);
    eventually("the revocation in the history", async || {
        let rows = instance.history(&to).await;
        rows.into_iter().find(|row| row["messageId"] == target.as_str() && row["content"] != "better")
    })
    .await;
    for kind in ["edit", "revoke"] {
        eventually(&format!("{kind} in the outbox"), async || {
            instance.outbox().await.into_iter().find(|message| message["type"] == kind)
        })
        .await;
    }
}

#[tokio::test]
async fn bad_locations_contacts_polls_and_unknown_messages_are_refused() {
    let (_tenant, instance) = phone().await;
    let to = "79001234567";
    for (path, field, body) in [
        ("/send-location", "latitude", json!({"phone": to, "latitude": 91, "longitude": 0})),
        ("/send-location", "longitude", json!({"phone": to, "latitude": 0, "longitude": -181})),
        ("/send-location", "latitude", json!({"phone": to, "longitude": 0})),
        ("/send-location", "latitude", json!({"phone": to, "latitude": "59", "longitude": 0})),
        ("/send-contact", "contact", json!({"phone": to})),
        ("/send-poll", "options", json!({"phone": to, "question": "tea?", "options": []})),
        ("/send-poll", "options", json!({"phone": to, "question": "tea?", "options": ["a", 5]})),
        ("/send-poll", "question", json!({"phone": to, "options": ["a", "b"]})),
        ("/send-reaction", "messageId", json!({"emoji": "👍"})),
    ] {
        instance.wa_post(path, &body).await.names(field);
    }
    instance.wa_post("/send-reaction", &json!({"messageId": "no-such-message", "emoji": "👍"})).await.refused(404);
    instance.client.put(&instance.wa("/messages/no-such-message"), &json!({"message": "x"})).await.refused(404);
    instance.client.delete(&instance.wa("/messages/no-such-message")).await.refused(404);
}

#[tokio::test]
async fn an_instance_of_another_platform_is_the_wrong_one() {
    let tenant = Tenant::new().await;
    let instance = Instance::create(&tenant.client, &json!({"platform": "telegram"})).await;
    let answer = instance.wa_post("/send", &json!({"phone": "79001234567", "message": "hello"})).await;
    assert_eq!(answer.refused(400).code, "WRONG_PLATFORM");
    assert_eq!(tenant.client.get(&instance.wa("/status")).await.refused(400).code, "WRONG_PLATFORM");
}

#[tokio::test]
async fn a_send_may_wait_for_its_time() {
    let (_tenant, instance) = phone().await;
    let at = chrono::Utc::now() + chrono::Duration::seconds(2);
    let body = json!({"phone": "79001234567", "message": "later", "sendAt": at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)});
    let sent = instance.wa_post("/send", &body).await.expect(200);
    assert!(instance.outbox().await.is_empty());
    instance.wait_outbox(sent["id"].as_str().unwrap()).await;
    assert!(chrono::Utc::now() >= at, "sent before its time");
}

#[tokio::test]
async fn what_waits_for_its_time_can_be_taken_back_and_is_counted_at_once() {
    let (tenant, instance) = phone().await;
    // Long enough for three requests on a busy machine.
    let at = chrono::Utc::now() + chrono::Duration::seconds(8);
    let body = json!({"phone": "79001234567", "message": "cancel", "sendAt": at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)});
    let id = instance.wa_post("/send", &body).await.expect(200)["id"].as_str().unwrap().to_owned();
    let stats = tenant.client.get(&format!("/api/stats/instances/{}", instance.id)).await.expect(200);
    assert_eq!(stats["usage"]["messagesSent"], 1, "counted when it is accepted");
    let path = instance.wa(&format!("/messages/{id}"));
    assert_eq!(instance.client.put(&path, &json!({"message": "other"})).await.refused(409).code, "MESSAGE_SCHEDULED");
    assert_eq!(instance.client.delete(&path).await.expect(200)["status"], "failed");
    let row = instance.wait_message("79001234567", &id, "failed").await;
    assert_eq!((&row["reason"], &row["revoked"]), (&json!("cancelled"), &json!(true)));
    let left = (at - chrono::Utc::now()).to_std().unwrap_or_default();
    tokio::time::sleep(left + std::time::Duration::from_secs(1)).await;
    assert!(instance.outbox().await.is_empty(), "it went out all the same");
}

#[tokio::test]
async fn magic_numbers_fail_and_echo() {
    let (_tenant, instance) = phone().await;
    for (phone, last) in
        [("9990000", "read"), ("9990001", "failed"), ("9990004", "read"), ("9990005", "read"), ("9990006", "delivered")]
    {
        let id = instance.send(phone, "hello").await;
        instance.wait_message(phone, &id, last).await;
    }
    eventually("the echo", async || {
        let rows = instance.history("9990005").await;
        rows.into_iter().find(|row| row["fromMe"] == false && row["content"] == "hello")
    })
    .await;
    let never = instance.send("9990002", "hello").await;
    instance.wait_message("9990002", &never, "sent").await;
}

#[tokio::test]
async fn the_neutral_form_sends_on_every_platform() {
    let tenant = Tenant::new().await;
    for platform in ["whatsapp", "telegram", "signal"] {
        let instance = Instance::paired(&tenant.client, &json!({"platform": platform})).await;
        let body = json!({"to": "+8613800138000", "type": "text", "content": "hello", "metadata": {"conversationId": "conv-001"}});
        let message = instance.post("/messages", &body).await.expect(201);
        let example = json!({"id": "x", "platform": "x", "to": "x", "from": "x", "content": "x", "type": "x", "status": "x",
                             "metadata": {"conversationId": "x"}, "createdAt": "2024-01-01T00:00:00.000Z",
                             "updatedAt": "2024-01-01T00:00:00.000Z", "instanceId": "x"});
        shape(&example, &message);
        assert_eq!((&message["to"], &message["content"]), (&body["to"], &body["content"]));
        assert_eq!(message["metadata"], body["metadata"]);
        let path = format!("/messages/{}", message["id"].as_str().unwrap());
        let got = eventually("the message sent", async || {
            let got = instance.get(&path).await;
            (got["status"] != "pending").then_some(got)
        })
        .await;
        shape(&example, &got);
    }
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    instance.post("/messages", &json!({"type": "text", "content": "x"})).await.names("to");
    instance.post("/messages", &json!({"to": "79001234567", "type": "dance", "content": "x"})).await.names("type");
    instance.client.get(&instance.at("/messages/no-such-message")).await.refused(404);
}
