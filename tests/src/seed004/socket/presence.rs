//! Who has read, and who is there.

use super::{QUIET, group, listed, online, uuid};
use crate::harness::{Socket, Tenant, shared};
use serde_json::{Value, json};

#[tokio::test]
async fn reading_is_told_to_the_peer_and_to_ones_other_devices() {
    let (alice, mut sender) = online(shared()).await;
    let (bob, mut reader) = online(shared()).await;
    let mut desk = Socket::auth(&shared().url(), &bob.api_key, None).await;
    sender.said(&uuid(), &bob.id, "single", "one").await;
    sender.said(&uuid(), &bob.id, "single", "two").await;
    reader.wait("message").await;
    reader.send("read", &json!({"chatId": alice.id, "messageSeq": 1})).await;
    let told = sender.wait("read").await;
    let at = told["at"].as_i64().expect("milliseconds");
    let expected = json!({"chatId": bob.id, "chatType": "single", "userId": bob.id, "messageSeq": 1, "at": at});
    assert_eq!(told, expected, "the chat as the peer knows it");
    let own = desk.wait("read").await;
    assert_eq!((&own["chatId"], &own["userId"]), (&json!(alice.id), &json!(bob.id)));
    assert_eq!(listed(&bob, &alice.id, 2).await["unread"], 1);
    reader.send("read", &json!({"chatId": alice.id, "chatType": "single"})).await;
    assert_eq!(sender.wait("read").await["messageSeq"], 2);
    assert_eq!(listed(&bob, &alice.id, 2).await["unread"], 0);
    // Never back, and no news without any.
    reader.send("read", &json!({"chatId": alice.id, "messageSeq": 1})).await;
    reader.send("read", &json!({"chatId": alice.id, "messageSeq": 99})).await;
    let reads = |frames: &[Value]| frames.iter().filter(|frame| frame["type"] == "read").count();
    assert_eq!(reads(&sender.drain(QUIET).await), 0);
    assert_eq!(reads(&reader.drain(QUIET).await), 0, "not to where it came from");
    // In a group it is one's own business.
    let group = group(&[&alice, &bob]).await;
    sender.said(&uuid(), &group, "group", "all").await;
    desk.wait("message").await;
    reader.send("read", &json!({"chatId": group})).await;
    let own = loop {
        let read = desk.wait("read").await;
        if read["chatId"] == group {
            break read;
        }
    };
    assert_eq!((&own["chatType"], &own["messageSeq"]), (&json!("group"), &json!(1)));
    assert_eq!(reads(&sender.drain(QUIET).await), 0);
    reader.send("read", &json!({"chatId": "nobody at all"})).await;
    assert_eq!(reader.wait("error").await["field"], "chatId");
}

#[tokio::test]
async fn friends_come_and_go() {
    let (alice, mut here) = online(shared()).await;
    let (_, mut stranger) = online(shared()).await;
    let bob = Tenant::new().await;
    here.said(&uuid(), &bob.id, "single", "hello").await;
    listed(&bob, &alice.id, 1).await;
    listed(&alice, &bob.id, 1).await;
    let mut one = Socket::auth(&shared().url(), &bob.api_key, Some(&json!({&alice.id: 0}))).await;
    one.wait("message").await;
    let came = here.wait("presence").await;
    assert_eq!((&came["userId"], &came["online"]), (&json!(bob.id), &json!(true)));
    assert!(came["at"].is_i64());
    let two = Socket::auth(&shared().url(), &bob.api_key, None).await;
    one.close().await;
    assert_eq!(here.drain(QUIET).await, Vec::<Value>::new(), "another device is no news, nor is its going");
    drop(two);
    let two = Socket::auth(&shared().url(), &bob.api_key, None).await;
    here.send("presence", &json!({"userIds": [bob.id, alice.id]})).await;
    let states = [here.wait("presence").await, here.wait("presence").await];
    assert!(states.iter().all(|state| state["online"] == true), "{states:?}");
    two.close().await;
    let gone = here.wait("presence").await;
    assert_eq!((&gone["userId"], &gone["online"]), (&json!(bob.id), &json!(false)));
    here.text(r#"{"type":"presence"}"#).await;
    here.text("ping").await;
    assert_eq!(here.drain(QUIET).await.len(), 1, "none of the peers is there: only the pong");
    stranger.send("presence", &json!({"userIds": [alice.id]})).await;
    let refused = stranger.wait("error").await;
    assert_eq!((&refused["code"], &refused["field"]), (&json!("NO_CONVERSATION"), &json!("userIds[0]")));
    assert_eq!(stranger.drain(QUIET).await, Vec::<Value>::new());
}
