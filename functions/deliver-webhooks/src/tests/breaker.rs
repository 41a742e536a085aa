//! An endpoint that is down: probed, passed over, and caught up with.

use std::time::Duration;

use serde_json::json;
use shared::{
    store::{Item, Unit, Write, keys},
    webhook::{self, Status},
};

use super::world::World;

const MINUTE: Duration = Duration::from_secs(60);

/// Chats 0 to 5, six events each.
async fn happen(world: &World, from: i64) {
    for n in from..from + 6 {
        for chat in 0..6 {
            world.happens(&format!("chat {chat}"), n).await;
        }
        world.pump().await;
        world.pass(Duration::from_secs(5), Duration::from_secs(5)).await;
    }
}

async fn down() -> World {
    let world = World::new().await;
    world.set(|webhook| webhook.max_retries = 10).await;
    world.receiver.always(503);
    happen(&world, 0).await;
    world.pass(4 * MINUTE, Duration::from_secs(10)).await;
    assert_eq!(world.health().await["state"], "down");
    world
}

#[tokio::test]
async fn an_endpoint_that_is_down_gets_probes_only_and_then_everything() {
    let world = down().await;
    let before = world.receiver.calls().len();
    happen(&world, 6).await;
    world.happens("another chat", 1).await;
    world.pass(10 * MINUTE, MINUTE).await;
    let probes = world.receiver.calls().len() - before;
    assert!((1..=8).contains(&probes), "{probes} calls in ten minutes");

    world.receiver.always(200);
    world.settle().await;
    assert_eq!(world.health().await["state"], "up");
    let accepted = world.receiver.accepted();
    assert_eq!(accepted.len(), 7);
    for (chat, numbers) in accepted.iter().filter(|(chat, _)| *chat != "another chat") {
        assert_eq!(*numbers, (0..12).collect::<Vec<_>>(), "{chat}");
    }
    let again = world.receiver.calls().iter().filter(|call| call.status == 200).count();
    assert_eq!(again, 6 * 12 + 1, "nothing is accepted twice");
    assert!(world.listed(Some(Status::Retrying)).await.is_empty());
    assert!(world.listed(Some(Status::Dead)).await.is_empty());

    // From here on it is as if nothing had been.
    world.happens("chat 1", 12).await;
    world.pump().await;
    assert_eq!(world.receiver.accepted()["chat 1"].last(), Some(&12));
}

#[tokio::test]
async fn it_may_go_down_again_while_it_recovers() {
    let world = down().await;
    happen(&world, 6).await;
    let mut left = 10;
    world.receiver.plan(move |_| {
        left -= 1;
        if left >= 0 { 200.into() } else { 503.into() }
    });
    world.pass(30 * MINUTE, MINUTE).await;
    assert_eq!(world.health().await["state"], "down");
    assert!(world.health().await["round"].as_u64() >= Some(2));
    happen(&world, 12).await;
    world.receiver.always(200);
    world.settle().await;
    for (chat, numbers) in world.receiver.accepted() {
        assert_eq!(numbers, (0..18).collect::<Vec<_>>(), "{chat}");
    }
}

#[tokio::test]
async fn one_poisonous_event_does_not_keep_it_down() {
    let world = down().await;
    world.set(|webhook| webhook.max_retries = 1).await;
    world.receiver.plan(|call| if call.chat == "chat 0" && call.n == 0 { 500.into() } else { 200.into() });
    world.settle().await;
    let accepted = world.receiver.accepted();
    assert_eq!(accepted["chat 0"], (1..6).collect::<Vec<_>>());
    assert_eq!(accepted["chat 5"], (0..6).collect::<Vec<_>>());
}

#[tokio::test]
async fn new_settings_are_tried_at_once() {
    let world = down().await;
    world.pass(120 * MINUTE, MINUTE).await;
    let url = world.receiver.url.replace("/hook", "/other");
    world.receiver.plan(|call| if call.path == "/other" { 200.into() } else { 503.into() });
    world.set(|webhook| webhook.url = Some(url)).await;
    webhook::settings_changed(&world.app, &world.id, "webhook").await.expect("notes");
    world.pump().await;
    assert_eq!(world.health().await["state"], "up");
    for (chat, numbers) in world.receiver.accepted() {
        assert_eq!(numbers, (0..6).collect::<Vec<_>>(), "{chat}");
    }
}

#[tokio::test]
async fn what_is_switched_off_while_down_is_forgotten() {
    let world = down().await;
    world.set(|webhook| webhook.enabled = false).await;
    world.settle().await;
    assert!(world.listed(Some(Status::Retrying)).await.is_empty());
    assert!(world.health().await.is_null());
}

#[tokio::test]
async fn a_replay_behind_a_recovery_is_delivered() {
    let world = World::new().await;
    let mut seqs = Vec::new();
    for n in 1..=3 {
        seqs.push(world.happens("alice", n).await);
    }
    world.pump().await;
    // A recovery that has dispatched all three again, and found them delivered.
    let health = json!({
        "v": 1, "rev": 1, "state": "recovering", "round": 1, "from": seqs[0], "upto": seqs[2], "done": seqs[2],
    });
    let item = Item::new(keys::endpoint_state(&world.id, "webhook"), &health).expect("an item");
    world.app.store.commit(Unit::write(Write::put(item))).await.expect("stores");
    let id = world.delivery(seqs[1]).await.id;
    webhook::replay(&world.app, &world.row().await, &id).await.expect("replays");
    world.pump().await;
    assert_eq!(world.receiver.of("alice"), [(1, 200), (2, 200), (3, 200), (2, 200)]);
    assert_eq!(world.delivery(seqs[1]).await.status, Status::Delivered);
}
