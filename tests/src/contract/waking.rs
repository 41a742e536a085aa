//! `changed`: whoever waits for a log hears of its growth, however close waiting and growing are.

use std::time::{Duration, Instant};

use shared::store::{Unit, log::Writer};

use super::{World, append, contract};

contract!(
    a_log_that_has_grown_already_wakes_at_once,
    growth_wakes_all_who_wait,
    no_growth_is_missed_between_reading_and_waiting,
    waiting_ends_without_growth,
);

/// Far below how long the waits are, far above how long a wake-up may take.
const SOON: Duration = Duration::from_secs(8);
const LONG: Duration = Duration::from_secs(60);

async fn grow(w: &World, log: &str, key: &str) {
    let unit = Unit { append: vec![append(log, Writer::Foreign, &[key])], ..Unit::default() };
    w.ok("append", w.store.commit(unit).await);
}

async fn a_log_that_has_grown_already_wakes_at_once(w: World) {
    grow(&w, "i1", "a").await;
    grow(&w, "i1", "b").await;
    for seen in [0, 1] {
        let start = Instant::now();
        w.store.changed("i1", seen, LONG).await;
        w.holds(&format!("woken at {seen} of 2, after {:?}", start.elapsed()), start.elapsed() < SOON);
    }
}

async fn growth_wakes_all_who_wait(w: World) {
    grow(&w, "i1", "a").await;
    let waiters: Vec<_> = (0..8)
        .map(|_| {
            let store = w.store.clone();
            tokio::spawn(async move { store.changed("i1", 1, LONG).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let start = Instant::now();
    grow(&w, "i1", "b").await;
    for waiter in waiters {
        waiter.await.expect("no panic");
    }
    w.holds(&format!("all awake after {:?}", start.elapsed()), start.elapsed() < SOON);
}

async fn no_growth_is_missed_between_reading_and_waiting(w: World) {
    let start = Instant::now();
    for round in 0..12 {
        let store = w.store.clone();
        let reader = tokio::spawn(async move {
            let mut rounds = 0;
            loop {
                let seen = store.tail("i1").await.expect("the tail").seq;
                if seen > round || rounds > 50 {
                    return seen;
                }
                store.changed("i1", seen, LONG).await;
                rounds += 1;
            }
        });
        // Sometimes before the reader looks, sometimes between its look and its wait, sometimes after.
        tokio::time::sleep(Duration::from_micros(round * 400)).await;
        grow(&w, "i1", &format!("e{round}")).await;
        let seen = tokio::time::timeout(SOON, reader).await;
        w.same("what the reader saw", seen.map(|seen| seen.expect("no panic")), Ok(round + 1));
    }
    w.holds("twelve rounds", start.elapsed() < LONG);
}

async fn waiting_ends_without_growth(w: World) {
    grow(&w, "other", "a").await;
    for log in ["none", "other"] {
        let start = Instant::now();
        w.store.changed(log, 1, Duration::from_millis(200)).await;
        w.holds(&format!("{log} after {:?}", start.elapsed()), start.elapsed() < SOON);
    }
}
