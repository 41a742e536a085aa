//! From an incoming message to the receiver: latency one at a time, rate under load.

use crate::raw::Line;
use crate::summary::Latencies;
use serde_json::json;
use std::time::{Duration, Instant};
use suite::harness::{Instance, Receiver, Server, Tenant};

const SINGLE: usize = 300;
const BURST: usize = 4000;
const CONNECTIONS: usize = 32;

pub(crate) async fn run() {
    println!("webhooks to a receiver on this machine");
    let server = Server::start();
    let (tenant, receiver) = (Tenant::of(&server).await, Receiver::start().await);
    let given = json!({"webhookUrl": receiver.url("/one"), "webhookEvents": ["message_received"]});
    let instance = Instance::paired(&tenant.client, &given).await;
    let mut latencies = Vec::new();
    for number in 0..SINGLE {
        let start = Instant::now();
        instance.receive(&format!("7900100{:04}", number % 50), "hello").await;
        let hit = loop {
            let hits = receiver.hits("/one");
            if hits.len() > number {
                break hits[number].at;
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        };
        latencies.push(hit.saturating_duration_since(start));
    }
    println!("  receive to webhook, one at a time    {} (aim p99 50)", Latencies::new(latencies));

    let given = json!({"webhookUrl": receiver.url("/many"), "webhookEvents": ["message_received"]});
    let instance = Instance::paired(&tenant.client, &given).await;
    let start = Instant::now();
    let mut tasks = Vec::new();
    for connection in 0..CONNECTIONS {
        let (url, key, path) = (server.url(), tenant.api_key.clone(), instance.at("/sandbox/receive"));
        tasks.push(tokio::spawn(async move {
            let mut line = Line::open(&url).await;
            for number in 0..BURST / CONNECTIONS {
                let from = format!("79001{connection:02}{:04}", number % 10);
                let body = json!({"from": from, "text": "hello"}).to_string();
                let status = line.ask("POST", &path, &key, &body).await;
                assert!((200..300).contains(&status), "{status}");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let received = start.elapsed();
    while receiver.count("/many") < BURST {
        assert!(start.elapsed() < Duration::from_secs(120), "{} of {BURST} came", receiver.count("/many"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let told = start.elapsed();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let per_second = |span: Duration| BURST as f64 / span.as_secs_f64();
    println!("  {BURST} messages in                   {:9.0} /s", per_second(received));
    println!("  {BURST} webhooks out                  {:9.0} /s\n", per_second(told));
}
