//! What must ask the platform: checks, pictures, groups, aliases; reading and typing; broken lines.

use crate::harness::tenant::fresh_phone;
use crate::harness::{Answer, Instance, Tenant, eventually, shape};
use http::Method;
use serde_json::{Value, json};

/// The answer itself, or the result of the job that it became.
async fn settled(instance: &Instance, answer: Answer) -> Value {
    if answer.status != 202 {
        assert_eq!(answer.status, 200, "{answer}");
        return answer.json();
    }
    let job = answer.json()["jobId"].as_str().expect("jobId").to_owned();
    eventually("the job", async || {
        let job = instance.client.get(&format!("/api/jobs/{job}")).await.expect(200);
        job.get("result").cloned()
    })
    .await
}

#[tokio::test]
async fn the_network_answers_what_it_is_asked() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let phone = fresh_phone();
    let checked = settled(&instance, instance.wa_post("/check", &json!({"phones": [phone]})).await).await;
    assert!(checked.to_string().contains(&phone), "{checked}");
    let picture = instance.client.get(&instance.wa(&format!("/profile-picture?phone={phone}"))).await;
    assert!(matches!(picture.status, 200 | 202 | 404), "{picture}");
    let lid = instance.client.get(&instance.wa(&format!("/lid/{phone}"))).await;
    assert!(matches!(lid.status, 200 | 202 | 404), "{lid}");
    for path in ["/read", "/typing"] {
        let answer = instance.wa_post(path, &json!({"phone": phone})).await;
        assert!((200..300).contains(&answer.status), "{answer}");
    }
    instance.wa_post("/check", &json!({"phones": []})).await.names("phones");
    instance.wa_post("/check", &json!({"phones": ["abc"]})).await.names("phones");
}

#[tokio::test]
async fn a_group_is_made_filled_renamed_and_left() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let (first, second) = (fresh_phone(), fresh_phone());
    let body = json!({"subject": "a group", "participants": [first]});
    let answer = instance.wa_post("/groups", &body).await;
    let group = if answer.status == 201 { answer.json() } else { settled(&instance, answer).await };
    let id = group["id"].as_str().expect("a group id").to_owned();
    assert!(id.ends_with("@g.us"), "{id}");
    let add = json!({"action": "add", "participants": [second]});
    settled(&instance, instance.wa_post(&format!("/groups/{id}/participants"), &add).await).await;
    let renamed = json!({"subject": "renamed"});
    let answer =
        instance.client.call(Method::PUT, &instance.wa(&format!("/groups/{id}/subject")), Some(&renamed)).await;
    settled(&instance, answer).await;
    let listed = settled(&instance, instance.client.get(&instance.wa("/groups")).await).await;
    assert!(listed.to_string().contains("renamed"), "{listed}");
    let sent = instance.send(&id, "hello all").await;
    assert_eq!(instance.wait_outbox(&sent).await["to"], id.as_str());
    let invite = instance.client.get(&instance.wa(&format!("/groups/{id}/invite"))).await;
    settled(&instance, invite).await;
    let left = instance.client.order(&instance.wa(&format!("/groups/{id}/leave"))).await;
    settled(&instance, left).await;
}

#[tokio::test]
async fn a_broken_line_comes_back_by_itself_and_a_logout_on_the_phone_does_not() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let opened = async || instance.events().await.iter().filter(|event| event["type"] == "connection_opened").count();
    assert_eq!(opened().await, 1);
    let answer = instance.post("/sandbox/disconnect", &json!({})).await;
    assert!((200..300).contains(&answer.status), "{answer}");
    let closed = instance.wait_event("connection_closed", |event| event["type"] == "connection_closed").await;
    shape(&json!({"reason": "x", "willReconnect": true}), &closed["data"]);
    assert_eq!(closed["data"]["willReconnect"], true, "{closed}");
    eventually("a second opening", async || (opened().await == 2).then_some(())).await;

    let answer = instance.post("/sandbox/logout", &json!({})).await;
    assert!((200..300).contains(&answer.status), "{answer}");
    instance.wait_status("logged_out").await;
    instance
        .wait_event("the last closing", |event| {
            event["type"] == "connection_closed"
                && event["data"]["reason"] == "logout"
                && event["data"]["willReconnect"] == false
        })
        .await;
}

#[tokio::test]
async fn what_comes_in_twice_is_one_message() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    for body in [
        json!({"from": "79001234567", "text": "a text"}),
        json!({"from": "79001234567", "location": {"latitude": 59.9, "longitude": 30.3}}),
        json!({"from": "79001234567", "media": {"base64": "aGVsbG8=", "mimeType": "text/plain", "filename": "a.txt"}}),
    ] {
        instance.receive_with(&body).await;
    }
    let received = eventually("three messages", async || {
        let events = instance.events().await;
        let received: Vec<Value> = events.into_iter().filter(|event| event["type"] == "message_received").collect();
        (received.len() >= 3).then_some(received)
    })
    .await;
    let types: Vec<&str> = received.iter().map(|event| event["data"]["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["conversation", "locationMessage", "documentMessage"]);
    assert_eq!(received[2]["data"]["hasMedia"], true);
    assert_eq!(instance.get("/chats/79001234567/messages").await["pagination"]["total"], 3);
}
