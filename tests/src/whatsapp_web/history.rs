//! Messages from before the link: in the history of their chats, each once, without a word to webhooks.

use super::Stage;
use crate::harness::{Receiver, eventually_within};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// For a large history on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

impl Stage {
    /// Waits until so many messages are stored and nothing is left to do; gives what the instance shows of it.
    async fn synced(&self, messages: u64) -> Value {
        eventually_within(PATIENCE, &format!("{messages} messages of history"), async || {
            let shown = self.instance.get("").await["historySync"].clone();
            (shown["status"] == "done" && shown["messages"].as_u64() >= Some(messages)).then_some(shown)
        })
        .await
    }

    /// What the log says was stored, page by page.
    async fn pages(&self) -> Vec<u64> {
        let events = self.instance.events().await;
        let pages = events.iter().filter(|event| event["type"] == "history_synced");
        pages.map(|event| event["data"]["messages"].as_u64().expect("a number")).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_stored_once_and_webhooks_hear_nothing_of_it() {
    let receiver = Receiver::start().await;
    let stage = Stage::set_with(&[], &json!({"webhookUrl": receiver.url("/told"), "webhookEvents": ["*"]})).await;
    let group = stage.whatsapp.group("Old friends", &stage.other, &[&stage.own]).await;
    // One of them has come live before.
    let live = stage.hears(&json!({"text": "live"})).await["data"]["messageId"].clone();
    let old = json!({
        "kind": "recent",
        "progress": 60,
        "generate": {"chats": 12, "messages": 20},
        "chats": [
            {"chat": stage.other.number, "name": "Bobby", "messages": [
                {"from": stage.other.number, "id": live, "message": {"text": "live"}},
                {"from": stage.own.number, "id": "MINE1", "message": {"text": "mine"}},
                {"from": stage.other.number, "id": "PIC1", "message": {"image": {"size": 1000, "caption": "long ago"}}},
            ]},
            {"chat": group, "messages": [{"from": stage.other.number, "id": "GRP1", "message": {"text": "in the group"}}]},
        ],
    });
    let handed = stage.own.does("history", &old).await;
    assert_eq!(handed["messages"], 244);
    let shown = stage.synced(243).await;
    assert_eq!((&shown["messages"], &shown["progress"]), (&json!(243), &json!(60)), "all but the one that was there");
    assert_eq!(stage.pages().await, [97 + 2, 100, 44]);

    let chat = stage.instance.history(&stage.other.number).await;
    let find = |id: &str| chat.iter().filter(|message| message["messageId"] == id).cloned().collect::<Vec<_>>();
    assert_eq!((find(live.as_str().expect("an id")).len(), find("MINE1").len(), find("PIC1").len()), (1, 1, 1));
    let (mine, picture) = (&find("MINE1")[0], &find("PIC1")[0]);
    assert_eq!((&mine["fromMe"], &mine["status"], &mine["content"]), (&json!(true), &json!("read"), &json!("mine")));
    assert_eq!((&picture["status"], &picture["messageType"]), (&json!("received"), &json!("imageMessage")));
    assert!(picture["detail"]["mediaKey"].is_string(), "it stays where it is: {picture}");
    assert_eq!(stage.instance.history(&group).await[0]["sender"], stage.other.address());
    let generated = stage.instance.history("19990000003").await;
    let texts: Vec<&str> = generated.iter().filter_map(|message| message["content"].as_str()).collect();
    assert_eq!((texts.len(), texts[0]), (20, "old message 19 of chat 3"), "newest first");
    let total = stage.instance.get("/chats/19990000003/messages?limit=1").await["pagination"]["total"].clone();
    assert_eq!(total, 20);

    // The same again is nothing new.
    stage.own.does("history", &old).await;
    eventually_within(PATIENCE, "the second time", async || (stage.pages().await.last() == Some(&0)).then_some(()))
        .await;
    assert_eq!(stage.pages().await.iter().sum::<u64>(), 243);
    assert_eq!(stage.instance.history(&stage.other.number).await.len(), chat.len());

    // Statistics are what a recount gives, of the days since the instance was made.
    let usage = stage.instance.client.get(&format!("/api/stats/instances/{}?period=all", stage.instance.id)).await;
    let usage = usage.expect(200)["usage"].clone();
    let since = &stage.instance.created["createdAt"].as_str().expect("a time")[..10];
    let mut counted = (0, 0);
    let chats = (0..12).map(|number| format!("1999{number:07}")).chain([stage.other.number.clone(), group]);
    for chat in chats {
        for message in stage.instance.history(&chat).await {
            if &message["createdAt"].as_str().expect("a time")[..10] >= since {
                if message["fromMe"] == true { counted.0 += 1 } else { counted.1 += 1 }
            }
        }
    }
    assert_eq!((&usage["messagesSent"], &usage["messagesReceived"]), (&json!(counted.0), &json!(counted.1)));

    let told: BTreeSet<String> = receiver.all().iter().map(crate::harness::Hit::event).collect();
    assert!(!told.contains("history_synced") && told.contains("message_received"), "{told:?}");
    let received = receiver.all().into_iter().filter(|hit| hit.event() == "message_received");
    let ids: BTreeSet<String> = received.map(|hit| hit.json()["data"]["messageId"].to_string()).collect();
    assert_eq!(ids, BTreeSet::from([live.to_string()]), "only the one that came live");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_of_a_large_history_loses_and_doubles_nothing() {
    // `HISTORY_CHATS` makes it larger, to measure.
    let chats: u64 = std::env::var("HISTORY_CHATS").ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let mut stage = Stage::set().await;
    let body = json!({"kind": "full", "progress": 100, "generate": {"chats": chats, "messages": 100}});
    let handed = stage.own.does("history", &body).await["messages"].as_u64().expect("a number");
    let start = Instant::now();
    for kill in 1..=2 {
        eventually_within(PATIENCE, "a beginning", async || {
            let shown = stage.instance.get("").await["historySync"]["messages"].as_u64();
            (shown >= Some(handed * kill / 4)).then_some(())
        })
        .await;
        stage = stage.restarted().await;
    }
    let shown = stage.synced(handed).await;
    println!("{handed} messages of history in {:?}, with two restarts", start.elapsed());
    assert_eq!((&shown["messages"], &shown["progress"]), (&json!(handed), &json!(100)));
    assert_eq!(stage.pages().await.iter().sum::<u64>(), handed, "each is told of once");
    for number in [0, chats / 2, chats - 1] {
        let messages = stage.instance.history(&format!("1999{number:07}")).await;
        let ids: BTreeSet<&str> = messages.iter().filter_map(|message| message["messageId"].as_str()).collect();
        assert_eq!((messages.len(), ids.len()), (100, 100), "chat {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_history_is_taken_where_none_is_wanted() {
    let stage = Stage::set_with(&[("WHATSAPP_HISTORY", "none")], &json!({})).await;
    stage.own.does("history", &json!({"generate": {"chats": 1, "messages": 2}})).await;
    stage.hears(&json!({"text": "after it"})).await;
    assert_eq!(stage.instance.get("").await["historySync"], Value::Null);
}
