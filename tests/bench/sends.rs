//! Durable sends accepted per second, beside a route that does nothing and raw batched inserts.

use crate::raw::{Line, inserts_per_second};
use crate::summary::Latencies;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use suite::harness::{Instance, Server, Tenant};

const SPAN: Duration = Duration::from_secs(4);

pub(crate) async fn run() {
    println!("sends, {} s each", SPAN.as_secs());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().to_owned();
    let batch = 128;
    let raw = tokio::task::spawn_blocking(move || inserts_per_second(&path, batch, SPAN)).await.expect("no panic");
    println!("  raw SQLite, {batch} units a commit      {raw:9.0} /s");
    for connections in [1, 16, 128] {
        // A server of its own each time: what waits in the queues of the one before does not count.
        let server = Server::start();
        let tenant = Tenant::of(&server).await;
        let instance = Instance::paired(&tenant.client, &json!({})).await;
        let nothing = Work { method: "GET", path: "/health".into(), key: String::new(), send: false };
        let (rate, latencies) = load(&server, connections, nothing).await;
        println!("  {connections:3} connections, nothing to do    {rate:9.0} /s  {latencies}");
        let send = Work { method: "POST", path: instance.wa("/send"), key: tenant.api_key.clone(), send: true };
        let (rate, latencies) = load(&server, connections, send).await;
        println!(
            "  {connections:3} connections, sends            {rate:9.0} /s  {latencies}  {:.2} of raw",
            rate / raw
        );
    }
    println!("  (aim at 128 connections: 0.5 of raw)\n");
}

#[derive(Clone)]
struct Work {
    method: &'static str,
    path: String,
    key: String,
    send: bool,
}

async fn load(server: &Server, connections: usize, work: Work) -> (f64, Latencies) {
    let work = Arc::new(work);
    let start = Instant::now();
    let mut tasks = Vec::new();
    for connection in 0..connections {
        let (url, work) = (server.url(), Arc::clone(&work));
        tasks.push(tokio::spawn(async move {
            let mut line = Line::open(&url).await;
            let mut latencies = Vec::new();
            while start.elapsed() < SPAN {
                let number = latencies.len();
                let body = if work.send {
                    json!({"phone": format!("79001{connection:06}"), "message": format!("message {number} of the benchmark")})
                        .to_string()
                } else {
                    String::new()
                };
                let asked = Instant::now();
                let status = line.ask(work.method, &work.path, &work.key, &body).await;
                assert_eq!(status, 200, "{} {}", work.method, work.path);
                latencies.push(asked.elapsed());
            }
            latencies
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("no panic"));
    }
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let rate = all.len() as f64 / start.elapsed().as_secs_f64();
    (rate, Latencies::new(all))
}
