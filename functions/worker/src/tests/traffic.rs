//! Who waits for whom within an instance.

use std::time::{Duration, Instant};

use shared::{
    address::Platform,
    connector::Play,
    domain::{instance::Status as Line, message::Status},
    store::{Query, Queue, keys},
};

use super::bed::Bed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_types_holds_up_nobody_else() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Whatsapp, "15550100000").await;
    let start = Instant::now();
    let typed = bed.accept_typing(&instance, "15550100001", "typed", Duration::from_secs(4)).await;
    let behind = bed.accept(&instance, "15550100001", "behind it").await;
    let other = bed.accept(&instance, "15550100002", "other").await;
    bed.until_status(&other, Status::Sent).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The queue is free for what comes later.
    assert_eq!(bed.app.queues.depth(Queue::Commands(0)).await.expect("counts").in_flight, 0);
    let later = bed.accept(&instance, "15550100002", "later").await;
    bed.until_status(&later, Status::Sent).await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    bed.until_status(&behind, Status::Read).await;
    bed.until_status(&typed, Status::Read).await;
    assert_eq!(bed.outbox(&instance).await, ["other", "later", "typed", "behind it"]);
    let parked = bed.app.store.query(Query::table(keys::parked_of(&instance.id))).await.expect("reads");
    assert!(parked.items.is_empty());
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_loses_nothing_and_doubles_nothing() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Whatsapp, "15550100000").await;
    let mut all = Vec::new();
    for n in 0..4 {
        all.push(bed.accept(&instance, "99900030001", &format!("slow {n}")).await);
        all.push(bed.accept(&instance, &format!("1555010000{n}"), &format!("fast {n}")).await);
    }
    tokio::time::sleep(Duration::from_millis(3000)).await;
    bed.stop().await;
    bed.start();
    for message in &all {
        bed.until_status(message, Status::Read).await;
        let told = bed.told(message).await;
        for key in ["sent/*", "status/*/sent", "status/*/delivered", "status/*/read"] {
            assert_eq!(told.iter().filter(|told| *told == key).count(), 1, "{told:?}");
        }
    }
    let outbox = bed.outbox(&instance).await;
    assert_eq!(outbox.len(), all.len());
    assert!(outbox.iter().filter(|text| text.starts_with("slow")).is_sorted(), "{outbox:?}");
    assert_eq!(bed.counted(&instance).await, all.len() as i64);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_backlog_keeps_its_order_over_a_broken_line() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Whatsapp, "15550100000").await;
    bed.play(&instance, Play::Disconnect { seconds: 3 }).await;
    bed.until(&instance, |now| now.status == Line::Disconnected).await;
    let mut all = Vec::new();
    for n in 0..700 {
        all.push(bed.accept(&instance, &format!("1555010{:04}", n % 7), &format!("{n:04}")).await);
    }
    for message in &all {
        bed.until_status(message, Status::Read).await;
    }
    let outbox = bed.outbox(&instance).await;
    assert_eq!(outbox.len(), all.len());
    for chat in 0..7 {
        let of = outbox.iter().filter(|text| text.parse::<usize>().expect("a number") % 7 == chat);
        assert!(of.is_sorted(), "chat {chat}");
    }
    assert_eq!(bed.counted(&instance).await, all.len() as i64);
    bed.stop().await;
}
