//! Order within a chat, and what is never repeated.

use shared::{
    address::Platform,
    connector::Action,
    domain::{
        message::Status,
        owner::{Owner, SendRow},
    },
    store::{Enqueue, Queue},
};

use super::bed::Bed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limit_does_not_change_the_order_of_its_chat() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Whatsapp, "15550100000").await;
    let mut last = Vec::new();
    for n in 0..3 {
        bed.accept(&instance, "99900040001", &format!("slow {n}")).await;
        last.push(bed.accept(&instance, "15550100001", &format!("fast {n}")).await);
    }
    last.push(bed.accept(&instance, "99900040001", "slow 3").await);
    for message in &last {
        bed.until_status(message, Status::Read).await;
    }
    let outbox = bed.outbox(&instance).await;
    for name in ["slow", "fast"] {
        let of: Vec<&String> = outbox.iter().filter(|text| text.starts_with(name)).collect();
        assert!(of.is_sorted(), "{of:?}");
    }
    assert_eq!(outbox.len(), 7);
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_of_unknown_outcome_is_reported_and_not_repeated() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Telegram, "15550100000").await;
    bed.stop().await;
    let message = bed.accept(&instance, "15550100001", "once").await;
    // A worker that died in the middle of its attempt.
    let owner = Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("works").expect("is there");
    let row = SendRow::load(&bed.app, &instance.id, &message.sort(), None).await.expect("reads").expect("is there");
    owner.author().attempting(&row).await.expect("notes it");
    drop(owner);
    bed.start();
    let failed = bed.until_status(&message, Status::Failed).await;
    assert_eq!(failed.reason.as_deref(), Some("outcome_unknown"));
    assert!(bed.outbox(&instance).await.is_empty());
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_instance_does_not_hold_up_another_and_bad_commands_hurt_nobody() {
    let mut bed = Bed::new().await;
    bed.start();
    let one = bed.connected(Platform::Whatsapp, "15550100000").await;
    let other = bed.connected(Platform::Signal, "15550100009").await;
    let mut body = shared::store::Doc::new();
    body.insert("v".into(), 99.into());
    body.insert("action".into(), "from the future".into());
    let bad = Enqueue {
        queue: Queue::Commands(0),
        group: one.id.to_string(),
        dedup: "bad".into(),
        body,
        delay: std::time::Duration::ZERO,
        stamp: None,
    };
    bed.app.queues.send(vec![bad]).await.expect("is queued");
    let message = bed.accept(&other, "15550100001", "hello").await;
    bed.until_status(&message, Status::Read).await;
    bed.command(&other, Action::Reconfigure).await;
    let message = bed.accept(&other, "15550100001", "again").await;
    bed.until_status(&message, Status::Read).await;
    bed.stop().await;
}
