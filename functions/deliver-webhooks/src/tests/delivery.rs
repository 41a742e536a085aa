//! Deliveries that succeed at once, and what is written down of them.

use std::time::Duration;

use shared::{
    redact::Secret,
    sign,
    store::{Queue, Unit, Write, log},
    webhook::{self, Outcome, Status},
};

use super::world::{NOON, Reply, World};

#[tokio::test]
async fn an_event_arrives_signed_and_recorded() {
    let world = World::new().await;
    world.receiver.plan(|_| Reply { status: 201, text: "x".repeat(10_000), ..Reply::default() });
    let (app, id) = (world.app.clone(), world.id.clone());
    world.set(|webhook| webhook.rotate(&app, &id, "the old secret").expect("seals")).await;
    world.set(|webhook| webhook.rotate(&app, &id, "the new secret").expect("seals")).await;
    let seq = world.happens("alice", 1).await;
    world.pump().await;

    let calls = world.receiver.calls();
    assert_eq!(calls.len(), 1);
    let header = |name: &str| calls[0].headers[name].to_str().expect("text").to_owned();
    let (new, old) = (Secret::new("the new secret"), Secret::new("the old secret"));
    assert_eq!(header("x-webhook-signature"), sign::signature(&new, &calls[0].body));
    let event_id = format!("{}-{seq:012}", world.id);
    assert_eq!(header("webhook-id"), event_id);
    assert_eq!(header("webhook-timestamp"), NOON.seconds().to_string());
    let both = sign::standard_signature([&new, &old], &event_id, NOON.seconds(), &calls[0].body);
    assert_eq!(header("webhook-signature"), both);
    assert_eq!(header("content-type"), "application/json");

    let row = world.delivery(seq).await;
    assert_eq!((row.status, row.tries, row.event.as_str()), (Status::Delivered, 1, "message_received"));
    assert_eq!(row.url, "http://127.0.0.1");
    let attempt = &row.attempts[0];
    assert_eq!((attempt.outcome, attempt.status_code, attempt.answer.len()), (Outcome::Delivered, Some(201), 4096));

    // A day later the old secret signs no more.
    world.clock.advance(Duration::from_secs(86_401));
    world.happens("alice", 2).await;
    world.pump().await;
    let signature = world.receiver.calls()[1].headers["webhook-signature"].to_str().expect("text").to_owned();
    assert_eq!(signature.matches("v1,").count(), 1);
}

#[tokio::test]
async fn the_first_success_costs_one_write() {
    let world = World::new().await;
    world.happens("alice", 1).await;
    world.app.meter.reset();
    world.pump().await;
    let used = world.app.meter.snapshot();
    let writes: u64 = used.values().map(|used| used.write_units).sum();
    assert_eq!(writes, 1, "{used:?}");
    assert_eq!(used["commit.put"].requests, 1);
    assert_eq!(used["sqs.delete"].requests, 1);
}

#[tokio::test]
async fn what_nobody_wants_leaves_no_trace() {
    let world = World::new().await;
    world.happens("alice", 1).await;
    world.set(|webhook| webhook.notify_received = false).await;
    world.pump().await;
    world.happens("alice", 2).await;
    world.set(|webhook| webhook.notify_received = true).await;
    world.set(|webhook| webhook.enabled = false).await;
    world.pump().await;
    assert!(world.receiver.calls().is_empty());
    assert!(world.listed(None).await.is_empty());
    assert_eq!(world.depth(Queue::Dispatch).await.visible, 0);
}

#[tokio::test]
async fn a_message_that_comes_twice_is_delivered_once() {
    let world = World::new().await;
    let seq = world.happens("alice", 1).await;
    world.pump().await;
    let again = shared::domain::event::dispatch_again(&world.id, "webhook", Some("alice"), seq, "epoch-2", None);
    world.app.queues.send(vec![again]).await.expect("sends");
    world.pump().await;
    assert_eq!(world.receiver.of("alice"), [(1, 200)]);
}

#[tokio::test]
async fn an_expired_event_is_dead() {
    let world = World::new().await;
    let seq = world.happens("alice", 1).await;
    let key = log::key(world.id.as_str(), seq);
    world.app.store.commit(Unit::write(Write::delete(key))).await.expect("deletes");
    world.pump().await;
    assert!(world.receiver.calls().is_empty());
    let dead = world.listed(Some(Status::Dead)).await;
    assert_eq!((dead.len(), dead[0].attempts[0].outcome), (1, Outcome::Expired));
}

#[tokio::test]
async fn a_forbidden_address_is_not_tried_again() {
    let world = World::new().await;
    world.set(|webhook| webhook.url = Some("http://169.254.169.254/latest".into())).await;
    let seq = world.happens("alice", 1).await;
    world.settle().await;
    let row = world.delivery(seq).await;
    assert_eq!((row.status, row.tries, row.attempts[0].outcome), (Status::Dead, 1, Outcome::Forbidden));
}

#[tokio::test]
async fn lists_are_newest_first_and_page() {
    let world = World::new().await;
    world.set(|webhook| webhook.max_retries = 0).await;
    world.receiver.plan(|call| if call.n % 3 == 0 { 500.into() } else { 200.into() });
    for n in 0..7 {
        world.happens(&format!("chat {n}"), n).await;
        world.pump().await;
        world.clock.advance(Duration::from_secs(6 * 3600));
    }
    let row = world.row().await;
    let mut seqs = Vec::new();
    let mut cursor = None;
    loop {
        let page = webhook::list(&world.app, &row, None, cursor.as_deref(), 2).await.expect("lists");
        assert!(page.deliveries.len() <= 2);
        seqs.extend(page.deliveries.iter().filter_map(|row| row.seq));
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(seqs, [7, 6, 5, 4, 3, 2, 1]);
    let dead: Vec<_> = world.listed(Some(Status::Dead)).await.iter().filter_map(|row| row.seq).collect();
    assert_eq!(dead, [7, 4, 1]);
    let delivered: Vec<_> = world.listed(Some(Status::Delivered)).await.iter().filter_map(|row| row.seq).collect();
    assert_eq!(delivered, [6, 5, 3, 2]);
    assert_eq!(webhook::delivered_count(&world.app, &row, NOON).await.expect("counts"), 1);
    assert!(webhook::list(&world.app, &row, None, Some("junk"), 2).await.is_err());
}
