//! Failures: when they are tried again, what waits behind them, and when they are given up.

use std::time::Duration;

use serde_json::json;
use shared::{
    clock::{Clock as _, Millis},
    domain::activity::{self, Action},
    store::{Change, Queue, Unit, Write, keys},
    webhook::{Outcome, Status},
};

use super::world::{Reply, World};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_failure_is_tried_again_after_its_interval() {
    let world = World::new().await;
    world.receiver.always(503);
    let seq = world.happens("alice", 1).await;
    world.pump().await;
    let row = world.delivery(seq).await;
    assert_eq!((row.status, row.attempts[0].outcome), (Status::Retrying, Outcome::ServerError));
    let due = row.next_attempt_at.expect("another").0 - world.clock.now().0;
    assert!((10_000..=11_000).contains(&due), "{due}");
    world.receiver.always(200);
    world.pass(9 * SECOND, SECOND).await;
    assert_eq!(world.receiver.calls().len(), 1, "not before its time");
    world.pass(3 * SECOND, SECOND).await;
    assert_eq!(world.receiver.of("alice"), [(1, 503), (1, 200)]);
    let row = world.delivery(seq).await;
    assert_eq!((row.status, row.attempts.len(), row.next_attempt_at), (Status::Delivered, 2, None));
    world.settle().await;
    assert!(world.listed(Some(Status::Retrying)).await.is_empty());
    assert_eq!(world.health().await["failures"], 0);
    let ids: Vec<_> = world.receiver.calls().iter().map(|call| call.headers["webhook-id"].clone()).collect();
    assert_eq!(ids[0], ids[1], "the id stays");
}

#[tokio::test]
async fn a_blocked_chat_keeps_its_order_and_others_go_on() {
    let world = World::new().await;
    world.receiver.plan(|call| if call.chat == "alice" { 500.into() } else { 200.into() });
    for n in 1..=4 {
        world.happens("alice", n).await;
        world.happens("bob", n).await;
    }
    world.pump().await;
    assert_eq!(world.receiver.of("alice"), [(1, 500)], "nothing overtakes the head");
    assert_eq!(world.receiver.of("bob"), [(1, 200), (2, 200), (3, 200), (4, 200)]);
    assert_eq!(world.lanes().await[0]["upto"], 7);
    world.receiver.always(200);
    world.settle().await;
    assert_eq!(world.receiver.of("alice"), [(1, 500), (1, 200), (2, 200), (3, 200), (4, 200)]);
}

#[tokio::test]
async fn a_delivery_dies_after_its_attempts_and_lets_the_next_one_go() {
    let world = World::new().await;
    world.set(|webhook| webhook.max_retries = 2).await;
    world.receiver.plan(|call| if call.n == 1 { 400.into() } else { 200.into() });
    let first = world.happens("alice", 1).await;
    world.happens("alice", 2).await;
    world.settle().await;
    assert_eq!(world.receiver.of("alice"), [(1, 400), (1, 400), (1, 400), (2, 200)]);
    let row = world.delivery(first).await;
    assert_eq!((row.status, row.tries, row.next_attempt_at), (Status::Dead, 3, None));
    assert_eq!(row.attempts[0].outcome, Outcome::ClientError);
    let listed = world.listed(Some(Status::Dead)).await;
    assert_eq!(listed, [row]);
}

#[tokio::test]
async fn no_retries_means_one_attempt_and_no_lane() {
    let world = World::new().await;
    world.set(|webhook| webhook.max_retries = 0).await;
    world.receiver.always(500);
    let seq = world.happens("alice", 1).await;
    world.pump().await;
    assert_eq!(world.delivery(seq).await.status, Status::Dead);
    assert!(world.lanes().await.is_empty());
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let world = World::new().await;
    let reply = || Reply { status: 429, retry_after: Some("100"), ..Reply::default() };
    world.receiver.plan(move |_| reply());
    world.happens("alice", 1).await;
    world.pump().await;
    world.receiver.always(200);
    world.pass(98 * SECOND, SECOND).await;
    assert_eq!(world.receiver.calls().len(), 1);
    world.pass(15 * SECOND, SECOND).await;
    assert_eq!(world.receiver.of("alice"), [(1, 429), (1, 200)]);
}

#[tokio::test]
async fn long_pauses_go_through_the_sweep() {
    let world = World::new().await;
    world.set(|webhook| webhook.retry_interval = 3_600_000).await;
    world.receiver.plan(|_| 500.into());
    world.happens("alice", 1).await;
    world.pump().await;
    assert_eq!(world.depth(Queue::Timers).await.delayed, 0, "too far ahead for a queue");
    world.receiver.always(200);
    world.pass(58 * 60 * SECOND, 60 * SECOND).await;
    assert_eq!(world.receiver.calls().len(), 1);
    world.pass(10 * 60 * SECOND, 60 * SECOND).await;
    assert_eq!(world.receiver.calls().len(), 2);
}

#[tokio::test]
async fn redirects_are_failures_and_are_not_followed() {
    let world = World::new().await;
    world.receiver.plan(|_| 307.into());
    let seq = world.happens("alice", 1).await;
    world.pump().await;
    assert_eq!(world.delivery(seq).await.attempts[0].outcome, Outcome::Redirect);
    assert!(world.receiver.calls().iter().all(|call| call.path == "/hook"));
}

#[tokio::test]
async fn gone_switches_the_webhook_off_and_ends_what_waits() {
    let world = World::new().await;
    world.receiver.plan(|call| if call.chat == "alice" { 500.into() } else { 410.into() });
    let waiting = world.happens("alice", 1).await;
    world.pump().await;
    let gone = world.happens("bob", 1).await;
    world.settle().await;
    let row = world.row().await;
    assert!(!row.webhook.enabled);
    assert_eq!(row.webhook.disabled_reason.as_deref(), Some("gone"));
    assert_eq!(world.delivery(gone).await.attempts[0].outcome, Outcome::Gone);
    let waiting = world.delivery(waiting).await;
    assert_eq!((waiting.status, waiting.attempts[1].outcome), (Status::Dead, Outcome::Disabled));
    let far = Millis(world.clock.now().0 + 1);
    let (noted, total) =
        activity::list(&world.app, &world.id, &[Action::WebhookDisabled], Millis(0), far, 10, 0).await.expect("lists");
    assert_eq!((total, &noted[0].details), (1, &json!({ "reason": "gone" })));
}

#[tokio::test]
async fn five_days_of_failures_switch_it_off() {
    let world = World::new().await;
    world.set(|webhook| (webhook.max_retries, webhook.retry_interval) = (20, 6 * 3_600_000)).await;
    world.receiver.always(500);
    for day in 0..6 {
        world.happens(&format!("chat {day}"), day).await;
        world.pump().await;
        world.pass(24 * 3600 * SECOND, 900 * SECOND).await;
    }
    assert_eq!(world.row().await.webhook.disabled_reason.as_deref(), Some("failing"));
    assert!(world.lanes().await.is_empty());
    assert!(world.listed(Some(Status::Retrying)).await.is_empty());
}

#[tokio::test]
async fn a_leased_lane_is_left_alone_until_the_lease_ends() {
    let world = World::new().await;
    world.receiver.always(500);
    world.happens("alice", 1).await;
    world.pump().await;
    world.receiver.always(200);
    // Somebody has taken the lane and died.
    let lease = world.clock.now().plus(40 * SECOND);
    let change = Change::default().set("lease", lease.0).add("rev", 1);
    let lane = keys::lane(&format!("{}/webhook", world.id), "alice");
    world.app.store.commit(Unit::write(Write::update(lane, change))).await.expect("stores");
    world.pass(39 * SECOND, SECOND).await;
    assert_eq!(world.receiver.calls().len(), 1);
    world.pass(30 * SECOND, SECOND).await;
    assert_eq!(world.receiver.of("alice"), [(1, 500), (1, 200)]);
    assert!(world.lanes().await.is_empty());
}

#[tokio::test]
async fn settings_that_change_meanwhile_count() {
    let world = World::new().await;
    world.receiver.always(500);
    let seq = world.happens("alice", 1).await;
    world.pump().await;
    world.set(|webhook| webhook.notify_received = false).await;
    world.settle().await;
    let row = world.delivery(seq).await;
    assert_eq!((row.status, row.attempts[1].outcome), (Status::Skipped, Outcome::Unwanted));
    assert_eq!(world.receiver.calls().len(), 1);
}
