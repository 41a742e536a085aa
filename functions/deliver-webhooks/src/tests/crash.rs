//! The process dies between any two changes, or the store fails at random: everything arrives all the same, in order.

use std::{sync::Mutex, time::Duration};

use shared::store::chaos::{Dice, Fault, Faults};

use super::world::{World, locked};

const SERIAL: Faults = Faults { serial: true, ..Faults::none() };

/// Two chats; the first event of one fails once.
async fn script(world: &World) {
    let failed = Mutex::new(false);
    world.receiver.plan(move |call| {
        let first = call.chat == "alice" && call.n == 1 && !std::mem::replace(&mut *locked(&failed), true);
        if first { 500.into() } else { 200.into() }
    });
    for n in 1..=3 {
        world.happens("alice", n).await;
        world.happens("bob", n).await;
    }
}

#[tokio::test]
async fn a_crash_after_any_change_loses_nothing() {
    let mut stops = 0;
    loop {
        let world = World::with(Some((SERIAL, 1))).await;
        let chaos = world.chaos.clone().expect("chaos");
        script(&world).await;
        chaos.stop_after(Some(stops));
        world.pump().await;
        world.pass(Duration::from_secs(90), Duration::from_secs(30)).await;
        let died = world.is_stopped();
        chaos.resume();
        // What the dead process held becomes visible again.
        world.clock.advance(Duration::from_secs(61));
        world.settle().await;
        let accepted = world.receiver.accepted();
        assert_eq!(accepted["alice"], [1, 2, 3], "after {stops} changes");
        assert_eq!(accepted["bob"], [1, 2, 3], "after {stops} changes");
        if !died {
            break;
        }
        stops += 1;
    }
    assert!(stops > 10, "only {stops} changes");
}

/// A receiver that comes and goes over a store that misbehaves: every event is accepted in the end, in its chat's order.
#[tokio::test]
async fn a_seeded_model_finds_no_loss_and_no_disorder() {
    let faults = Faults { throttle: 0.03, applied: 0.03, duplicate: 0.05, serial: true, ..Faults::none() };
    for seed in 0..120 {
        let world = World::with(Some((faults.clone(), seed))).await;
        let chaos = world.chaos.clone().expect("chaos");
        let mut dice = Dice::new(seed ^ 0x5eed);
        chaos.calm(true);
        world.set(|webhook| webhook.max_retries = 20).await;
        let mut next = [0; 5];
        for round in 0..40 {
            let health = if round % 8 < 5 { 0 } else { dice.below(3) };
            let mut luck = Dice::new(dice.roll());
            world.receiver.plan(move |_| match health {
                0 => 503.into(),
                1 if luck.chance(0.5) => 500.into(),
                _ => 200.into(),
            });
            chaos.calm(true);
            for _ in 0..dice.below(8) {
                let chat = usize::try_from(dice.below(5)).expect("small");
                world.happens(&format!("chat {chat}"), next[chat]).await;
                next[chat] += 1;
            }
            chaos.calm(false);
            let step = Duration::from_secs(5 + dice.below(120));
            world.pass(step, step).await;
        }
        world.receiver.always(200);
        chaos.calm(true);
        world.clock.advance(Duration::from_secs(61));
        world.settle().await;
        let accepted = world.receiver.accepted();
        for (chat, count) in next.iter().enumerate().filter(|(_, count)| **count > 0) {
            let all: Vec<i64> = (0..*count).collect();
            assert_eq!(accepted.get(&format!("chat {chat}")), Some(&all), "seed {seed}, chat {chat}");
        }
        eprintln!("{seed}: {} {:?}", world.receiver.calls().len(), world.health().await);
        assert!(chaos.injected().get(&Fault::Throttle).is_some_and(|count| *count > 0), "seed {seed} proved nothing");
    }
}
