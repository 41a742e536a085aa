//! `kill -9` in the middle of traffic: nothing is lost, nothing doubled.

use super::Stage;
use crate::crash::{Moments, Promised, sender};
use crate::harness::eventually_within;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ROUNDS: usize = 4;
const SETTLED: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing_and_double_nothing() {
    let mut moments = Moments::new();
    let seed = moments.0;
    let mut stage = Stage::set().await;
    // Whoever the load writes to is a phone, too.
    let peers: Vec<_> = (0..2).map(|chat| format!("7900222000{chat}")).collect();
    for number in &peers {
        let body = json!({"phone": number, "name": number});
        stage.whatsapp.ask(http::Method::POST, "/phones", Some(&body)).await;
    }
    let (stop, promised) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Promised::default())));
    let mut load = Vec::new();
    for chat in 0..peers.len() {
        let (stop, promised) = (Arc::clone(&stop), Arc::clone(&promised));
        load.push(tokio::spawn(sender(stage.instance.clone(), chat, Duration::from_millis(20), stop, promised)));
    }
    let (writing, own, other) = (Arc::clone(&stop), stage.own.number.clone(), stage.other.clone());
    let writer = tokio::spawn(async move {
        let mut written = Vec::new();
        while !writing.load(Ordering::Relaxed) {
            let text = format!("in {}", written.len());
            written.push(other.writes(&own, &json!({ "text": text })).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        written
    });
    for _ in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(800 + moments.next(900))).await;
        stage = stage.restarted().await;
        stage.instance.wait_status("connected").await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    for task in load {
        assert!(task.await.expect("the load ended") > 0, "seed {seed}");
    }
    let written = writer.await.expect("the writer ended");
    let sent = promised.lock().expect("no panic before").sent.clone();
    assert!(written.len() > 20 && sent.len() > 20, "too little traffic: {} and {}", written.len(), sent.len());

    let arrived = eventually_within(SETTLED, "everything sent has arrived", async || {
        let mut arrived: HashMap<String, usize> = HashMap::new();
        for number in &peers {
            let inbox = stage.whatsapp.ask(http::Method::GET, &format!("/phones/{number}/inbox"), None).await;
            for message in inbox["messages"].as_array().expect("a list") {
                *arrived.entry(message["id"].as_str().expect("an id").to_owned()).or_default() += 1;
            }
        }
        sent.iter().all(|id| arrived.contains_key(id)).then_some(arrived)
    })
    .await;
    assert!(arrived.values().all(|count| *count == 1), "seed {seed}: a message arrived twice: {arrived:?}");

    let events = eventually_within(SETTLED, "everything written was told of", async || {
        let events: Vec<Value> = stage.instance.events().await;
        let of = |id: &String| events.iter().filter(|event| event["data"]["messageId"] == id.as_str()).count();
        written.iter().all(|id| of(id) > 0).then_some(events.clone())
    })
    .await;
    let told: Vec<&str> = events
        .iter()
        .filter(|event| event["type"] == "message_received")
        .filter_map(|event| event["data"]["messageId"].as_str())
        .collect();
    assert_eq!(told, written, "seed {seed}: each once, in their order");
}
