//! Replays, test calls, and the counts that they change.

use std::time::Duration;

use shared::{
    clock::{Clock as _, DAY_MS, Millis},
    error::Kind,
    webhook::{self, Outcome, Status, Wanted},
};

use super::world::{NOON, World};

#[tokio::test]
async fn a_dead_delivery_can_be_replayed() {
    let world = World::new().await;
    world.set(|webhook| webhook.max_retries = 0).await;
    world.receiver.always(500);
    let seq = world.happens("alice", 1).await;
    world.pump().await;
    world.receiver.always(200);
    let id = world.delivery(seq).await.id;
    let row = webhook::replay(&world.app, &world.row().await, &id).await.expect("replays");
    assert_eq!((row.status, row.tries), (Status::Retrying, 0));
    world.settle().await;
    let row = world.delivery(seq).await;
    assert_eq!((row.status, row.attempts.len(), row.tries), (Status::Delivered, 2, 1));
    assert_eq!(world.receiver.of("alice"), [(1, 500), (1, 200)]);
    // Delivered ones, too.
    webhook::replay(&world.app, &world.row().await, &id).await.expect("replays");
    world.settle().await;
    assert_eq!(world.receiver.calls().len(), 3);
}

#[tokio::test]
async fn a_replay_into_a_blocked_chat_is_not_lost() {
    let world = World::new().await;
    let first = world.happens("alice", 1).await;
    world.pump().await;
    world.receiver.always(500);
    world.happens("alice", 2).await;
    world.pump().await;
    let id = world.delivery(first).await.id;
    webhook::replay(&world.app, &world.row().await, &id).await.expect("replays");
    world.pump().await;
    world.receiver.always(200);
    world.settle().await;
    let accepted: Vec<i64> =
        world.receiver.of("alice").into_iter().filter(|call| call.1 == 200).map(|call| call.0).collect();
    assert_eq!(accepted[0], 1);
    assert_eq!(
        {
            let mut rest = accepted[1..].to_vec();
            rest.sort_unstable();
            rest
        },
        [1, 2]
    );
    assert!(world.listed(Some(Status::Retrying)).await.is_empty());
}

#[tokio::test]
async fn what_cannot_be_replayed_says_why() {
    let world = World::new().await;
    let row = world.row().await;
    for id in ["nonsense", "20231114-000000000099-webhook"] {
        let error = webhook::replay(&world.app, &row, id).await.expect_err(id);
        assert_eq!((error.kind, error.code.as_ref()), (Kind::NotFound, "DELIVERY_NOT_FOUND"));
    }
    let test = webhook::test(&world.app, &row, "webhook").await.expect("posts");
    let error = webhook::replay(&world.app, &row, &test.id).await.expect_err("a test");
    assert_eq!(error.code, "NOT_REPLAYABLE");
}

async fn all(world: &World, since: Millis, until: Millis, status: Option<&str>) -> u64 {
    let mut cursor = None;
    loop {
        let row = world.row().await;
        let wanted = Wanted { endpoint: "webhook", since, until, status };
        let step = webhook::replay_range(&world.app, &row, &wanted, cursor.as_ref()).await.expect("replays");
        match step.next {
            Some(next) => cursor = Some(next),
            None => return step.replayed,
        }
    }
}

#[tokio::test]
async fn ranges_are_replayed_by_time_and_status() {
    let world = World::new().await;
    world.set(|webhook| webhook.max_retries = 0).await;
    world.receiver.plan(|call| if call.n % 2 == 0 { 500.into() } else { 200.into() });
    for n in 0..250 {
        world.happens(&format!("chat {}", n % 2), n).await;
        world.clock.advance(Duration::from_secs(60));
        world.pump().await;
    }
    let calls = || world.receiver.calls().len();
    assert_eq!(calls(), 250);
    world.receiver.always(200);
    let minute = |n: i64| Millis(NOON.0 + n * 60_000);
    assert_eq!(all(&world, minute(0), minute(99), Some("dead")).await, 50);
    world.settle().await;
    assert_eq!(calls(), 300);
    assert_eq!(world.receiver.accepted()["chat 0"], (0..100).step_by(2).collect::<Vec<_>>(), "in order");
    assert_eq!(all(&world, minute(100), minute(1000), Some("delivered")).await, 75);
    world.settle().await;
    assert_eq!(calls(), 375);

    // What was never dispatched, because the webhook was off.
    world.set(|webhook| webhook.enabled = false).await;
    let off = world.clock.now();
    for n in 1000..1005 {
        world.happens("chat 0", n).await;
        world.pump().await;
    }
    world.set(|webhook| webhook.enabled = true).await;
    assert_eq!(all(&world, off, world.clock.now(), None).await, 5);
    world.settle().await;
    assert_eq!(calls(), 380);
    let wanted = Wanted { endpoint: "webhook", since: off, until: off, status: Some("gone") };
    let error = webhook::replay_range(&world.app, &world.row().await, &wanted, None).await;
    assert_eq!(error.expect_err("no such status").field.as_deref(), Some("status"));
}

#[tokio::test]
async fn a_test_call_is_made_at_once_and_recorded() {
    let world = World::new().await;
    world.set(|webhook| webhook.enabled = false).await;
    let row = webhook::test(&world.app, &world.row().await, "webhook").await.expect("posts");
    assert_eq!((row.status, row.seq, row.attempts[0].outcome), (Status::Delivered, None, Outcome::Delivered));
    let calls = world.receiver.calls();
    assert_eq!((calls.len(), calls[0].event.as_str()), (1, "webhook_test"));
    world.receiver.always(404);
    let row = webhook::test(&world.app, &world.row().await, "webhook").await.expect("posts");
    assert_eq!((row.status, row.attempts[0].outcome), (Status::Dead, Outcome::ClientError));
    let listed = world.listed(None).await;
    assert_eq!(listed.len(), 2);
    assert_eq!(webhook::get(&world.app, &world.row().await, &row.id).await.expect("reads"), Some(row));
    assert!(world.health().await.is_null(), "a test says nothing about the endpoint");
    world.set(|webhook| webhook.url = None).await;
    let error = webhook::test(&world.app, &world.row().await, "webhook").await.expect_err("no URL");
    assert_eq!(error.code, "WEBHOOK_NOT_CONFIGURED");
}

#[tokio::test]
async fn counts_of_old_days_are_remembered_until_a_replay_changes_them() {
    let world = World::new().await;
    world.set(|webhook| webhook.max_retries = 0).await;
    world.receiver.plan(|call| if call.n == 3 { 500.into() } else { 200.into() });
    for n in 1..=3 {
        world.happens("alice", n).await;
    }
    world.pump().await;
    let row = world.row().await;
    let count = async || webhook::delivered_count(&world.app, &row, NOON).await.expect("counts");
    assert_eq!(count().await, 2);
    world.clock.advance(Duration::from_secs(10 * 86_400));
    assert_eq!(count().await, 2);
    world.app.meter.reset();
    assert_eq!(count().await, 2);
    assert!(!world.app.meter.snapshot().contains_key("count"), "remembered");
    world.receiver.always(200);
    assert_eq!(all(&world, NOON, world.clock.now(), Some("dead")).await, 1);
    world.settle().await;
    assert_eq!(count().await, 3);
    let from = Millis(NOON.day().0 - DAY_MS);
    let counts = webhook::delivered_counts(&world.app, &row, from, world.clock.now()).await.expect("counts");
    assert_eq!((counts.len(), counts[&NOON.day()], counts[&from]), (12, 3, 0));
}
