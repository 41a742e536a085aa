//! `kill -9` between a promise and what was promised.

use super::{Account, World};
use crate::harness::graph::{Fault, Sender};
use crate::harness::{cut_off, eventually};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_was_cut_off_is_never_repeated_and_known_in_the_end() {
    let mut world = World::start();
    let account = world.account().await;
    let (number, instance) = (account.number.clone(), account.instance.clone());
    account.graph.script(&number, [Fault::Held]);
    let id = account.text("15557654321", "between").await;
    let sent = eventually("taken by the platform", async || account.graph.sent(&number).pop()).await;
    drop(account);
    world = world.restarted().await;
    let account = world.known(&number, &instance);
    account.instance.wait_status("connected").await;
    let failed = account.until(&id, "failed").await;
    assert_eq!(failed["reason"], "outcome_unknown");
    for status in ["sent", "delivered"] {
        account.takes(&account.number.status(&sent, status, &json!({}))).await;
    }
    let message = account.until(&id, "delivered").await;
    assert_eq!(message["messageId"], sent.id.as_str());
    assert_eq!(account.graph.sent(&account.number).len(), 1, "it was sent once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_that_were_answered_are_told_once_whatever_is_killed() {
    const ROUNDS: usize = 4;
    const EACH: usize = 12;
    let mut world = World::start();
    let account = world.account().await;
    let (number, instance) = (account.number.clone(), account.instance.clone());
    let media = account.graph.media("image/png", &super::png(7));
    drop(account);
    let senders: Vec<Sender> = (0..3).map(|n| Sender::new(&format!("S{n}"))).collect();
    let mut answered = Vec::new();
    for round in 0..ROUNDS {
        let posts = (0..EACH).map(|n| {
            let (sender, id) = (&senders[n % senders.len()], format!("wamid.c{round}x{n:02}"));
            let (kind, object) = if n % 4 == 0 { ("image", media.clone()) } else { ("text", json!({"body": id})) };
            let callback = number.message(sender, &id, kind, &object);
            let (number, instance) = (&number, &instance);
            async move {
                let answer = number.post(&instance.client, &instance.id, &callback).await;
                assert!(answer.status == 200 || cut_off(&answer), "{answer}");
                (answer.status == 200).then_some(id)
            }
        });
        answered.extend(futures_util::future::join_all(posts).await.into_iter().flatten());
        world = world.restarted().await;
    }
    assert_eq!(answered.len(), ROUNDS * EACH);
    eventually("all are told", async || {
        (told(&world.known(&number, &instance)).await.len() >= answered.len()).then_some(())
    })
    .await;
    let told = told(&world.known(&number, &instance)).await;
    for id in &answered {
        assert_eq!(told.get(id), Some(&1), "{id}");
    }
}

/// Received messages in the log → how often each is there.
async fn told(account: &Account<'_>) -> BTreeMap<String, usize> {
    let mut told = BTreeMap::new();
    let events: Vec<Value> = account.instance.events().await;
    for event in events.iter().filter(|event| event["type"] == "message_received") {
        *told.entry(event["data"]["messageId"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    told
}
