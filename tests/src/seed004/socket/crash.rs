//! `kill -9` under load: who comes back with what it has seen gets everything, in order, once.

use super::{QUIET, group, uuid};
use crate::harness::socket::Came;
use crate::harness::{Server, Socket, Tenant, eventually_within, soon};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ROUNDS: usize = 4;

/// A socket, as soon as there is a server.
async fn back(url: &str, token: &str, after: Option<Value>) -> Socket {
    loop {
        let up = reqwest::get(format!("{url}/health")).await.is_ok();
        if up && let Ok(mut socket) = Socket::try_open(url, "", &[]).await {
            let mut data = json!({"token": token});
            if let Some(after) = &after {
                data["after"] = after.clone();
            }
            let frame = json!({"type": "auth", "data": data}).to_string();
            if socket.raw(tokio_tungstenite::tungstenite::Message::Text(frame.into())).await.is_ok() {
                return socket;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Says one thing after the other, each until it is acknowledged.
async fn speaker(
    url: String,
    token: String,
    group: String,
    stop: Arc<AtomicBool>,
    acked: Arc<Mutex<Vec<(String, u64)>>>,
) {
    let mut socket = back(&url, &token, None).await;
    while !stop.load(Ordering::Relaxed) {
        let id = uuid();
        let frame = json!({"type": "message", "data": {"id": id, "toId": group, "chatType": "group", "content": id}});
        'saying: loop {
            let said = socket.raw(tokio_tungstenite::tungstenite::Message::Text(frame.to_string().into())).await;
            while said.is_ok() {
                match socket.next_within(Duration::from_secs(5)).await {
                    Some(Came::Frame(frame)) if frame["type"] == "ack" && frame["data"]["id"] == id => {
                        let seq = frame["data"]["messageSeq"].as_u64().expect("a number");
                        acked.lock().expect("no panic").push((id.clone(), seq));
                        break 'saying;
                    }
                    Some(Came::Frame(_)) => {}
                    Some(Came::Close(_)) | None => break,
                }
            }
            socket = back(&url, &token, None).await;
        }
    }
}

#[tokio::test]
async fn nothing_is_missed_or_doubled_over_kill_9() {
    let mut server = Server::start();
    let mut members = Vec::new();
    for _ in 0..4 {
        members.push(Tenant::of(&server).await);
    }
    let group = group(&members.iter().collect::<Vec<_>>()).await;
    let (url, stop, acked) = (server.url(), Arc::new(AtomicBool::new(false)), Arc::<Mutex<Vec<_>>>::default());
    let expected = Arc::new(AtomicUsize::new(usize::MAX));
    let speakers: Vec<_> = members[1..]
        .iter()
        .map(|member| {
            let (stop, acked) = (Arc::clone(&stop), Arc::clone(&acked));
            tokio::spawn(speaker(url.clone(), member.api_key.clone(), group.clone(), stop, acked))
        })
        .collect();
    // The listener keeps what it has over its connections, and says so when it comes back.
    let listener = {
        let (url, token, group) = (url.clone(), members[0].api_key.clone(), group.clone());
        let expected = Arc::clone(&expected);
        tokio::spawn(async move {
            let mut heard: Vec<(u64, String)> = Vec::new();
            let mut socket = back(&url, &token, Some(json!({&group: 0}))).await;
            loop {
                let complete = heard.len() >= expected.load(Ordering::Relaxed);
                match socket.next_within(if complete { QUIET } else { 2 * soon() }).await {
                    Some(Came::Frame(frame)) if frame["type"] == "message" => {
                        let seq = frame["data"]["messageSeq"].as_u64().expect("a number");
                        heard.push((seq, frame["data"]["id"].as_str().expect("an id").to_owned()));
                    }
                    Some(Came::Frame(frame)) => assert_ne!(frame["type"], "error", "{frame}"),
                    Some(Came::Close(_)) => {
                        let seen = heard.last().map_or(0, |(seq, _)| *seq);
                        socket = back(&url, &token, Some(json!({&group: seen}))).await;
                    }
                    None => return heard,
                }
            }
        })
    };
    for round in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(900 + 170 * round as u64)).await;
        // Where a start takes longer, so does the load.
        let some = |acked: &Arc<Mutex<Vec<_>>>| acked.lock().expect("no panic").len() >= 6 * (round + 1);
        eventually_within(2 * soon(), "some messages", async || some(&acked).then_some(())).await;
        server = server.killed_and_restarted().await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    for speaker in speakers {
        speaker.await.expect("no panic");
    }
    expected.store(acked.lock().expect("no panic").len(), Ordering::Relaxed);
    let heard = listener.await.expect("no panic");
    let acked = acked.lock().expect("no panic");
    assert!(acked.len() > 20, "{} messages are too few to tell", acked.len());
    let seqs: Vec<u64> = heard.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "a gap, a double or another order");
    let ids: BTreeSet<&String> = heard.iter().map(|(_, id)| id).collect();
    assert_eq!(ids.len(), heard.len(), "a message under two numbers");
    for (id, seq) in acked.iter() {
        assert!(heard.contains(&(*seq, id.clone())), "acknowledged as {seq}, not heard: {id}");
    }
    assert_eq!(heard.len(), acked.len(), "every message was acknowledged in the end");
}
