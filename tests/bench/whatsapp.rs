//! Linked WhatsApp accounts, against the fake of its server: memory and time of each, work at rest, a restart of all, and what
//! messages write of the session.

use crate::start::mebibytes;
use crate::summary::Latencies;
use futures_util::StreamExt as _;
use http::Method;
use serde_json::json;
use std::time::{Duration, Instant};
use suite::harness::whatsapp::{Phone, Whatsapp};
use suite::harness::{Client, Instance, Server, Tenant, eventually_within};

const ACCOUNTS: [usize; 4] = [1, 10, 100, 500];
/// Accounts that are linked at the same time.
const AT_ONCE: usize = 8;
/// How long accounts at rest are watched.
const REST: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(120);
const MESSAGES: usize = 100;

pub(crate) async fn run() {
    let most = ACCOUNTS[ACCOUNTS.len() - 1];
    println!("linked WhatsApp accounts");
    let whatsapp = Whatsapp::start();
    let mut server = whatsapp.server(&[]);
    let tenant = Tenant::of(&server).await;
    // The first one brings what all have in common.
    let mut linked = link(&whatsapp, &tenant.client, 1).await;
    settle().await;
    let first = mebibytes(&server);
    let mut took = Vec::new();
    for wanted in ACCOUNTS {
        let more = link(&whatsapp, &tenant.client, wanted - linked.len()).await;
        took.extend(more.iter().map(|(_, took)| *took));
        linked.extend(more);
        settle().await;
        report_memory(&server, linked.len(), first);
    }
    println!("  linked, {AT_ONCE} at a time: each        {}", Latencies::new(took));
    let before = server.cpu_time();
    tokio::time::sleep(REST).await;
    let share = (server.cpu_time() - before).as_secs_f64() / REST.as_secs_f64();
    println!("  {most} at rest                          {:8.2} % of a core", share * 100.0);

    server = tokio::task::spawn_blocking(move || {
        server.kill();
        server.restart();
        server
    })
    .await
    .expect("it starts again");
    let start = Instant::now();
    eventually_within(PATIENCE, "all are connected", async || {
        let stats = whatsapp.ask(Method::GET, "/stats", None).await;
        (stats["connections"] == most).then_some(())
    })
    .await;
    println!("  all {most} back after kill -9            {:8.1} s", start.elapsed().as_secs_f64());
    settle().await;
    report_memory(&server, most, first);
    drop(server);
    writes().await;
}

/// Links that many new phones; gives the instances, and how long each took from its creation until it was connected.
async fn link(whatsapp: &Whatsapp, client: &Client, count: usize) -> Vec<(Instance, Duration)> {
    let linking = (0..count).map(|number| async move {
        let phone = whatsapp.phone(&format!("Phone {number}")).await;
        let start = Instant::now();
        let instance = phone.links(client, &json!({})).await;
        (instance, start.elapsed())
    });
    futures_util::stream::iter(linking).buffer_unordered(AT_ONCE).collect().await
}

/// `first`: with one account.
#[expect(clippy::cast_precision_loss, reason = "a few hundred")]
fn report_memory(server: &Server, accounts: usize, first: f64) {
    let now = mebibytes(server);
    let each = (now - first) * 1024.0 / (accounts.max(2) - 1) as f64;
    println!("  {accounts:4} accounts                         {now:8.1} MiB, {each:7.1} KiB for each beyond the first");
}

/// Rows of session state that messages change, and in how many writes, as the connector's log tells.
async fn writes() {
    let whatsapp = Whatsapp::start();
    let server = whatsapp.server(&[("RUST_LOG", "warn,connector_whatsapp=trace")]);
    let tenant = Tenant::of(&server).await;
    let (own, other) = (whatsapp.phone("Alice").await, whatsapp.phone("Bob").await);
    let mut seen = Written::default();
    let instance = own.links(&tenant.client, &json!({})).await;
    settle().await;
    seen.report(&server, "linking", 1);
    // The first messages of two make their session.
    send(&instance, &other, 1).await;
    receive(&instance, &own, &other, 1).await;
    settle().await;
    seen.since(&server);
    send(&instance, &other, MESSAGES).await;
    settle().await;
    seen.report(&server, "a message sent, delivered", MESSAGES);
    receive(&instance, &own, &other, MESSAGES).await;
    settle().await;
    seen.report(&server, "a message received", MESSAGES);
    println!();
}

async fn send(instance: &Instance, other: &Phone, count: usize) {
    for number in 0..count {
        let id = instance.send(&other.number, &format!("hello {number}")).await;
        other.receives(&id).await;
    }
}

async fn receive(instance: &Instance, own: &Phone, other: &Phone, count: usize) {
    for number in 0..count {
        let id = other.writes(&own.number, &json!({ "text": format!("hello {number}") })).await;
        instance.wait_event(&id, |event| event["data"]["messageId"] == id.as_str()).await;
    }
}

/// Rows and writes so far.
#[derive(Default)]
struct Written {
    rows: u64,
    puts: u64,
}

impl Written {
    /// What came since the last look.
    fn since(&mut self, server: &Server) -> (u64, u64) {
        let (mut rows, mut puts) = (0, 0);
        for line in server.log().lines().filter(|line| line.contains("session state is written")) {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            rows += line["changes"].as_u64().expect("a number of rows");
            puts += 1;
        }
        let new = (rows - self.rows, puts - self.puts);
        (self.rows, self.puts) = (rows, puts);
        new
    }

    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    fn report(&mut self, server: &Server, what: &str, count: usize) {
        let (rows, puts) = self.since(server);
        let each = |number: u64| number as f64 / count as f64;
        println!("  {what:30}       {:8.2} rows of the session in {:.2} writes", each(rows), each(puts));
    }
}

async fn settle() {
    tokio::time::sleep(Duration::from_secs(4)).await;
}
