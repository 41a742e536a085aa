//! `messagesSent` is counted at accept: within 5 s it is what was accepted, whatever becomes of it, and it stays so.

use crate::harness::{Instance, Server, Tenant, eventually_within};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Counts equal what is stored within that (spec/http.md, "stats").
const COUNTED: Duration = Duration::from_secs(5);
/// A send that is not out by then is counted, and told of, as one that waits.
const WAITS: Duration = Duration::from_millis(1500);

async fn usage(instance: &Instance) -> Value {
    let path = format!("/api/stats/instances/{}", instance.id);
    instance.client.get(&path).await.expect(200)["usage"].clone()
}

/// Waits for the counts, at most until 5 s after the last send, and sees to it that they were never too high.
async fn until_counted(instance: &Instance, wanted: u64, accepted: Instant) {
    eventually_within(COUNTED.saturating_sub(accepted.elapsed()), "all accepted sends are counted", async || {
        let sent = usage(instance).await["messagesSent"].as_u64().expect("a number");
        assert!(sent <= wanted, "{sent} of {wanted}");
        (sent == wanted).then_some(())
    })
    .await;
}

async fn send(instance: &Instance, phone: &str, text: &str, delay_ms: u64) -> String {
    let body = json!({"phone": phone, "message": text, "delayMs": delay_ms});
    let answer = instance.wa_post("/send", &body).await.expect(200);
    answer["id"].as_str().expect("an id").to_owned()
}

/// The events about a message, by type.
async fn told(instance: &Instance, id: &str, kind: &str) -> usize {
    let about = |event: &&Value| event["type"] == kind && event["data"]["messageId"] == id;
    instance.events().await.iter().filter(about).count()
}

#[tokio::test]
async fn slow_sends_count_before_they_are_sent() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let mut slow = Vec::new();
    for number in 0..4 {
        // One after the other, two seconds each.
        slow.push(send(&instance, "99900030001", &format!("slow {number}"), 0).await);
    }
    let typed = send(&instance, "79001234567", "typed", 8000).await;
    let nobody = send(&instance, "99900010001", "nobody", 6000).await;
    let accepted = Instant::now();
    // Whoever types keeps nobody else waiting.
    let quick = send(&instance, "79001234568", "quick", 0).await;
    instance.wait_outbox(&quick).await;
    let took = accepted.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    until_counted(&instance, 7, accepted).await;
    assert!(instance.outbox().await.len() < 6, "not everything was sent yet");
    for id in slow.iter().chain([&typed]) {
        instance.wait_outbox(id).await;
    }
    instance.wait_message("79001234567", &typed, "sent").await;
    instance.wait_message("99900010001", &nobody, "failed").await;
    assert_eq!(usage(&instance).await["messagesSent"], 7, "outcomes count nothing again");
    assert_eq!(usage(&instance).await["apiCalls"].as_u64().map(|calls| calls >= 7), Some(true));
    for id in [&typed, &slow[3]] {
        assert_eq!((told(&instance, id, "message_queued").await, told(&instance, id, "message_sent").await), (1, 1));
    }
    // On a busy machine it may have taken long enough to count as waiting.
    let queued = told(&instance, &quick, "message_queued").await;
    assert!(queued == 0 || took >= WAITS, "told of as waiting after {took:?}");
}

#[tokio::test]
async fn a_kill_in_the_middle_changes_no_count() {
    let mut server = Server::start();
    let tenant = Tenant::of(&server).await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let mut all = Vec::new();
    for round in 0..3_u64 {
        for number in 0..3 {
            all.push(send(&instance, &format!("9990003000{number}"), &format!("slow {round} {number}"), 0).await);
        }
        all.push(send(&instance, "79001234567", &format!("typed {round}"), 2500).await);
        let accepted = Instant::now();
        // Before, while and after they are noted as waiting.
        tokio::time::sleep(Duration::from_millis(700 + 800 * round)).await;
        server.kill();
        server.restart();
        until_counted(&instance, all.len() as u64, accepted).await;
    }
    for id in &all {
        instance.wait_outbox(id).await;
    }
    let sent = eventually_within(Duration::from_secs(30), "everything has its outcome", async || {
        let events = instance.events().await;
        let sent: Vec<_> = events.iter().filter(|event| event["type"] == "message_sent").cloned().collect();
        (sent.len() >= all.len()).then_some(sent)
    })
    .await;
    assert_eq!(sent.len(), all.len(), "told once each");
    assert_eq!(usage(&instance).await["messagesSent"], all.len());
    assert_eq!(instance.outbox().await.len(), all.len());
}
