//! Callbacks as such: who may send them, how often, in which order.

use super::World;
use crate::harness::graph::Sender;
use crate::harness::{Instance, Tenant, stays};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn what_is_not_signed_is_not_stored() {
    let world = World::shared();
    let (account, other) = (world.account().await, world.account().await);
    let sender = Sender::new("Mallory");
    let callback = account.number.message(&sender, "wamid.forged", "text", &json!({"body": "x"}));
    let body = serde_json::to_vec(&callback).expect("JSON");
    let right = account.number.signature(&body);
    let wrong = other.number.signature(&body);
    let upper = right.replace("sha256=", "SHA256=");
    let mut longer = body.clone();
    longer.push(b' ');
    let post = async |body: &[u8], signature: Option<&str>| {
        account.number.post_raw(account.client(), &account.instance.id, body.to_vec(), signature).await
    };
    for (body, signature) in [
        (&body, None),
        (&body, Some("")),
        (&body, Some("sha256=")),
        (&body, Some(wrong.as_str())),
        (&body, Some(upper.as_str())),
        (&body, Some(&right[7..])),
        (&longer, Some(right.as_str())),
    ] {
        assert_eq!(post(body, signature).await.refused(401).code, "INVALID_SIGNATURE", "{signature:?}");
    }
    let none = async || !account.instance.events().await.iter().any(|event| event["type"] == "message_received");
    stays(Duration::from_millis(700), "nothing was stored", none).await;
    assert_eq!(post(&body, Some(&right)).await.status, 200);
    account.heard("wamid.forged").await;

    let no_json = b"not JSON";
    assert_eq!(post(no_json, Some(&account.number.signature(no_json))).await.status, 400);
    for odd in
        [json!([]), json!({"object": "page"}), json!({"entry": [{"changes": [{"field": "messages", "value": 7}]}]})]
    {
        assert_eq!(account.tell(&odd).await.expect(200)["taken"], 0, "{odd}");
    }
    let big = vec![b'x'; 4 * 1024 * 1024 + 1];
    assert_eq!(post(&big, Some(&account.number.signature(&big))).await.status, 413);
}

#[tokio::test]
async fn callbacks_for_others_are_not_taken() {
    let world = World::shared();
    let (account, neighbour) = (world.account().await, world.account().await);
    // One business account has several numbers, and one URL for all of them: what is the neighbour's is not this instance's.
    let mut callback = neighbour.number.message(&Sender::new("A"), "wamid.theirs", "text", &json!({"body": "x"}));
    let own = account.number.message(&Sender::new("B"), "wamid.ours", "text", &json!({"body": "y"}));
    let change = own["entry"][0]["changes"][0].clone();
    callback["entry"][0]["changes"].as_array_mut().expect("changes").push(change);
    assert_eq!(account.tell(&callback).await.expect(200)["taken"], 1);
    account.heard("wamid.ours").await;
    assert_eq!(account.told("message_received", "wamid.theirs").await, Vec::<Value>::new());

    let sandbox = Instance::create(&Tenant::of(&world.server).await.client, &json!({})).await;
    account.number.post(account.client(), &sandbox.id, &own).await.refused(404);
    account.number.post(account.client(), "01k0000000000000", &own).await.refused(404);
    assert_eq!(account.client().delete(&account.instance.at("")).await.status / 100, 2);
    account.tell(&own).await.refused(404);
}

#[tokio::test]
async fn repeats_are_one_message_and_order_is_kept() {
    let account = World::shared().account().await;
    let sender = Sender::new("Ada");
    let callbacks: Vec<Value> = (0..30)
        .map(|n| account.number.message(&sender, &format!("wamid.n{n:02}"), "text", &json!({"body": format!("{n}")})))
        .collect();
    for callback in &callbacks {
        account.takes(callback).await;
    }
    // A day later, in another order and in one piece.
    let mut messages: Vec<Value> =
        callbacks.iter().map(|one| one["entry"][0]["changes"][0]["value"]["messages"][0].clone()).collect();
    messages.reverse();
    assert_eq!(account.tell(&account.number.callback(&json!({"messages": messages}))).await.expect(200)["taken"], 30);
    account.gets(&sender, "wamid.last", "text", &json!({"body": "last"})).await;
    let told: Vec<String> = account
        .instance
        .events()
        .await
        .iter()
        .filter(|event| event["type"] == "message_received")
        .map(|event| event["data"]["messageId"].as_str().expect("an id").to_owned())
        .collect();
    let wanted: Vec<String> = (0..30).map(|n| format!("wamid.n{n:02}")).chain(["wamid.last".to_owned()]).collect();
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn statuses_rise_whatever_their_order_and_number() {
    let account = World::shared().account().await;
    for order in [["sent", "delivered", "read"], ["read", "sent", "delivered"], ["delivered", "read", "sent"]] {
        let sent = account.sent(&json!({"to": "15557654321", "content": order.join(",")})).await;
        for status in order.iter().chain(&order) {
            account.takes(&account.number.status(&sent, status, &json!({}))).await;
        }
        account.until(&sent.id, "read").await;
        let sender = Sender { phone: sent.to.clone(), ..Sender::new("A") };
        account.gets(&sender, &format!("wamid.p{}", order[0]), "text", &json!({"body": "p"})).await;
        let statuses: Vec<Value> =
            account.told("message_status", &sent.id).await.iter().map(|data| data["status"].clone()).collect();
        let wanted: &[&str] = if order[0] == "read" || order[1] == "read" && order[0] != "delivered" {
            &["sent", "read"]
        } else {
            &["sent", "delivered", "read"]
        };
        assert_eq!(statuses, wanted, "{order:?}");
        assert_eq!(account.message(&sent.id).await["status"], "read");
    }
    // Of messages that other programs have sent from this number there is nothing to tell.
    let foreign = json!({"statuses": [{"id": "wamid.elsewhere", "status": "read", "timestamp": "1700000000", "recipient_id": "15557654321",
                                       "biz_opaque_callback_data": "~not-one-of-ours"}]});
    assert_eq!(account.tell(&account.number.callback(&foreign)).await.expect(200)["taken"], 1);
}

#[tokio::test]
async fn an_account_that_cannot_send_is_still_written_to() {
    let account = World::shared().account().await;
    account.graph.change_token(&account.number, "EAAother");
    account.text("15557654321", "x").await;
    account.instance.wait_status("auth_expired").await;
    let sender = Sender::new("Ada");
    let heard = account.gets(&sender, "wamid.still", "text", &json!({"body": "hello?"})).await;
    assert_eq!(heard["data"]["body"], "hello?");
}
