//! Order within a chat, and what is never repeated.

use std::time::Duration;

use shared::{
    address::Platform,
    connector::{Action, Request},
    domain::{
        job,
        message::Status,
        owner::{Owner, SendRow},
    },
    store::{Enqueue, Queue, Unit},
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_back_untried_is_tried_and_what_was_tried_is_not_repeated() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Whatsapp, "15550100000").await;
    bed.stop().await;
    let mut jobs = Vec::new();
    for subject in ["untried", "tried"] {
        let request = Request::GroupCreate { subject: subject.into(), participants: vec!["15550100001".into()] };
        let (job, write) = job::new(&bed.app, "ask", &instance.user_id, Some(&instance.id)).expect("a job");
        bed.app.store.commit(Unit::write(write)).await.expect("is written");
        bed.command(&instance, Action::Ask { job: job.id.clone(), request }).await;
        jobs.push(job.id);
    }
    for received in bed.app.queues.receive(Queue::Commands(0), 10, Duration::ZERO).await.expect("receives") {
        bed.app.queues.release(&received.receipt, Duration::ZERO).await.expect("releases");
    }
    job::progress(&bed.app, &jobs[1], 0, None).await.expect("notes it");
    bed.start();
    let mut ends = Vec::new();
    for id in &jobs {
        for _ in 0..500 {
            let job = job::get(&bed.app, id).await.expect("reads").expect("is there");
            if matches!(job.status, job::Status::Done | job::Status::Failed) {
                ends.push((job.status, job.error.map(|error| error.code)));
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(ends, [(job::Status::Done, None), (job::Status::Failed, Some("OUTCOME_UNKNOWN".into()))]);
    let groups = bed.ask(&instance, Request::Groups).await.expect("answers");
    assert_eq!(groups["groups"].as_array().map(Vec::len), Some(1));
    bed.stop().await;
}
