//! Receivers that are slow, huge or silent harm nobody else. These run the real loop.

use std::time::Duration;

use serde_json::Value;
use shared::{id::InstanceId, store::Queue, webhook::PER_ENDPOINT};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::world::{Receiver, Reply, World, settings};

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition().await {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_slow_receiver_keeps_its_own_slots_only() {
    let world = World::new().await;
    let slow = Receiver::start().await;
    slow.plan(|_| Reply { status: 200, after: Duration::from_millis(400), ..Reply::default() });
    let other = InstanceId::new("01other000000000");
    world.instance(&other, settings(&slow.url)).await;
    for n in 0..100 {
        world.happens_to(&other, &format!("chat {n}"), n).await;
    }
    let shutdown = CancellationToken::new();
    let run = tokio::spawn(crate::run(world.app.clone(), shutdown.clone()));
    sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    world.happens("alice", 1).await;
    until("alice is served", async || !world.receiver.calls().is_empty()).await;
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
    assert!(slow.calls().len() <= 2 * PER_ENDPOINT, "eight at a time");
    let parked =
        world.app.store.count(shared::store::Source::Table(format!("L#{other}/webhook")), shared::store::Range::All);
    assert!(parked.await.expect("counts") > 0, "what does not fit waits in lanes, not in memory");
    // The parked ones come a little later.
    until("all are delivered", async || {
        world.clock.advance(Duration::from_millis(200));
        slow.calls().len() >= 100
    })
    .await;
    shutdown.cancel();
    run.await.expect("ends");
    assert_eq!(slow.accepted().len(), 100);
}

#[tokio::test]
async fn shutdown_gives_back_what_is_under_way() {
    let world = World::new().await;
    world.receiver.plan(|_| Reply { status: 200, after: Duration::from_secs(30), ..Reply::default() });
    world.happens("alice", 1).await;
    world.happens("alice", 2).await;
    let shutdown = CancellationToken::new();
    let run = tokio::spawn(crate::run(world.app.clone(), shutdown.clone()));
    until("it is in flight", async || world.depth(Queue::Dispatch).await.in_flight == 2).await;
    sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    shutdown.cancel();
    run.await.expect("ends");
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    let depth = world.depth(Queue::Dispatch).await;
    assert_eq!((depth.in_flight, depth.visible + depth.delayed), (0, 2));
    assert_eq!(world.health().await, Value::Null, "nothing is charged to the receiver");
    assert!(world.listed(None).await.is_empty());
}

#[tokio::test]
async fn a_huge_answer_is_read_in_part_and_counts_by_its_status() {
    let world = World::new().await;
    world.receiver.plan(|_| Reply { status: 200, text: "x".repeat(1 << 20), ..Reply::default() });
    let seq = world.happens("alice", 1).await;
    world.pump().await;
    let row = world.delivery(seq).await;
    assert_eq!((row.status, row.attempts[0].answer.len()), (shared::webhook::Status::Delivered, 4096));
}
