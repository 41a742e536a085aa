//! Receivers that are down, slow, redirecting, huge or lying harm nobody else.

use crate::harness::server::free_port;
use crate::harness::{Behaviour, Instance, Receiver, Server, Tenant, eventually, eventually_within, stays};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Everything a receiver may do to us, by the path that does it.
fn villains() -> Vec<(&'static str, Behaviour)> {
    vec![
        ("/slow", Behaviour::Slow(Duration::from_secs(60))),
        ("/drip", Behaviour::Drip),
        ("/huge", Behaviour::Huge),
        ("/lies", Behaviour::LyingLength),
        ("/closes", Behaviour::Close),
        ("/garbage", Behaviour::Garbage),
        ("/fails", Behaviour::Status(500)),
        ("/informs", Behaviour::Status(199)),
    ]
}

async fn told(tenant: &Tenant, url: &str, retries: u32) -> Instance {
    let given =
        json!({"webhookUrl": url, "webhookEvents": ["message_received"], "maxRetries": retries, "retryInterval": 1000});
    Instance::paired(&tenant.client, &given).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_good_receiver_is_told_at_once_whatever_the_others_do() {
    let server = Server::start();
    let (tenant, receiver) = (Tenant::of(&server).await, Receiver::start().await);
    let down = format!("http://127.0.0.1:{}/down", free_port());
    let mut bad = vec![told(&tenant, &down, 3).await];
    receiver.behave("/away", Behaviour::Redirect(receiver.url("/secret")));
    bad.push(told(&tenant, &receiver.url("/away"), 3).await);
    for (path, behaviour) in villains() {
        receiver.behave(path, behaviour);
        bad.push(told(&tenant, &receiver.url(path), 3).await);
    }
    let good = told(&tenant, &receiver.url("/good"), 3).await;
    let before = server.resident_kib();

    let mut slowest = Duration::ZERO;
    for round in 0..10 {
        for villain in &bad {
            for chat in 0..4 {
                villain.receive(&format!("7900111000{chat}"), &format!("round {round}")).await;
            }
        }
        let start = Instant::now();
        let text = format!("round {round}");
        good.receive("79001234567", &text).await;
        receiver.wait("/good", &text, |hit| hit.json()["data"]["body"] == text.as_str()).await;
        slowest = slowest.max(start.elapsed());
    }
    assert!(slowest < Duration::from_secs(2), "the good receiver waited {slowest:?}");
    let id = good.send("79001234567", "hello").await;
    good.wait_outbox(&id).await;
    assert_eq!(receiver.count("/secret"), 0, "a redirect was followed");
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 100 * 1024, "{grown} KiB more for ten bad receivers");
    // We read 64 KiB of each; the receiver counts what the sockets' buffers took as well.
    let most = (64 * 1024 + (8 << 20)) * receiver.count("/huge") as u64;
    assert!(
        receiver.endless_bytes("/huge") <= most,
        "{} bytes read of an endless body",
        receiver.endless_bytes("/huge")
    );
}

#[tokio::test]
async fn each_failure_is_called_what_it_is() {
    let server = Server::start();
    let (tenant, receiver) = (Tenant::of(&server).await, Receiver::start().await);
    for (path, behaviour, code) in [
        ("/away", Behaviour::Redirect(receiver.url("/secret")), json!(302)),
        ("/fails", Behaviour::Status(500), json!(500)),
        ("/closes", Behaviour::Close, Value::Null),
        ("/garbage", Behaviour::Garbage, Value::Null),
    ] {
        receiver.behave(path, behaviour);
        let instance = told(&tenant, &receiver.url(path), 0).await;
        instance.receive("79001234567", "hello").await;
        let dead = eventually(&format!("the end of {path}"), async || {
            let page = instance.get("/webhook-deliveries?status=dead").await;
            page["deliveries"].as_array()?.first().cloned()
        })
        .await;
        let attempt = &dead["attempts"][0];
        assert_eq!(attempt.get("statusCode").cloned().unwrap_or_default(), code, "{path}: {dead}");
        assert!(attempt["outcome"].as_str().is_some_and(|outcome| !outcome.is_empty()), "{path}: {dead}");
    }
    assert_eq!(receiver.count("/secret"), 0);
}

#[tokio::test]
async fn a_slow_receiver_is_given_ten_seconds_in_all() {
    let server = Server::start();
    let (tenant, receiver) = (Tenant::of(&server).await, Receiver::start().await);
    receiver.behave("/drip", Behaviour::Drip);
    let instance = told(&tenant, &receiver.url("/drip"), 0).await;
    let start = Instant::now();
    instance.receive("79001234567", "hello").await;
    eventually_within(Duration::from_secs(20), "the end", async || {
        let page = instance.get("/webhook-deliveries?status=dead").await;
        page["deliveries"].as_array()?.first().cloned()
    })
    .await;
    assert!(start.elapsed() > Duration::from_secs(9), "given up after {:?}", start.elapsed());
}

#[tokio::test]
async fn a_receiver_that_comes_back_gets_everything_it_missed_in_order() {
    let server = Server::start();
    let (tenant, receiver) = (Tenant::of(&server).await, Receiver::start().await);
    receiver.behave("/hook", Behaviour::Status(503));
    let instance = told(&tenant, &receiver.url("/hook"), 10).await;
    for number in 0..30 {
        instance.receive(&format!("7900111000{}", number % 3), &format!("{number}")).await;
    }
    receiver.wait_count("/hook", 3).await;
    receiver.behave("/hook", Behaviour::Ok);
    let mark = receiver.count("/hook");
    let bodies = eventually_within(Duration::from_secs(60), "all thirty", async || {
        let mut bodies: Vec<usize> = Vec::new();
        for hit in &receiver.hits("/hook")[mark.saturating_sub(1)..] {
            let number: usize = hit.json()["data"]["body"].as_str()?.parse().ok()?;
            if !bodies.contains(&number) {
                bodies.push(number);
            }
        }
        (bodies.len() == 30).then_some(bodies)
    })
    .await;
    for chat in 0..3 {
        let order: Vec<&usize> = bodies.iter().filter(|number| *number % 3 == chat).collect();
        assert!(order.is_sorted(), "chat {chat}: {order:?}");
    }
}

#[tokio::test]
async fn forbidden_addresses_are_never_called() {
    let server = Server::start_with(&[("OUTBOUND_ALLOW", "192.0.2.0/24")]);
    let (tenant, receiver) = (Tenant::of(&server).await, Receiver::start().await);
    let by_name = receiver.url("/hook").replace("127.0.0.1", "localhost");
    let refused = json!({"name": "n", "mode": "sandbox", "webhookUrl": receiver.url("/hook")});
    tenant.client.post("/api/instances", &refused).await.names("webhookUrl");
    // A name passes at creation and is held against the list at each send.
    let instance = told(&tenant, &by_name, 0).await;
    instance.receive("79001234567", "hello").await;
    eventually("the end", async || {
        let page = instance.get("/webhook-deliveries?status=dead").await;
        page["deliveries"].as_array()?.first().cloned()
    })
    .await;
    stays(Duration::from_millis(300), "no call", async || receiver.all().is_empty()).await;
}
