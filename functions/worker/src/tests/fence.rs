//! A stale owner writes nothing.

use std::{sync::Arc, time::Duration};

use shared::{
    address::Platform,
    connector::{Closed, SessionStore as _},
    domain::{
        instance::Status,
        message,
        owner::{Owner, TENURE},
    },
    store::{CommitError, Depth, Queue},
};
use tokio::sync::watch;

use super::bed::Bed;
use crate::{Hold, Lease, Settings, Shards, Worker, connectors};

#[tokio::test]
async fn a_stale_owner_is_refused_everywhere() {
    let bed = Bed::serial().await;
    let instance = bed.paired(Platform::Whatsapp).await;
    let take = || async { Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("works").expect("is there") };
    let old = take().await;
    old.session().put(vec![("key".into(), Some(b"old".to_vec()))]).await.expect("is the owner");
    let new = take().await;
    assert!(new.epoch() > old.epoch());
    let fenced = |result: Result<(), CommitError>| matches!(result, Err(CommitError::Fenced { .. }));
    assert!(fenced(old.received(&bed.incoming("a", "late")).await.map(drop)), "a log entry");
    assert!(fenced(old.opened("15550100000@s.whatsapp.net", &[], "Me").await), "a status");
    assert!(fenced(old.closed(Closed::Unreachable, true).await), "a status");
    let error = old.session().put(vec![("key".into(), Some(b"stale".to_vec()))]).await.expect_err("is fenced");
    assert_eq!(error.code, "FENCED");
    let session = new.session();
    assert_eq!(session.get("key").await.expect("reads").as_deref(), Some(b"old".as_slice()));
    // The row of the message may be there: it is a fact. The new owner tells of it.
    new.received(&bed.incoming("a", "late")).await.expect("works");
    let told = bed.log(&instance).await.iter().filter(|entry| entry.body.key.starts_with("recv/a#")).count();
    assert_eq!(told, 1);
    session.put(vec![("key2".into(), Some(vec![1]))]).await.expect("works");
    assert_eq!(session.list("key", Some("key"), 10).await.expect("lists"), [("key2".to_owned(), vec![1])]);
    session.clear().await.expect("works");
    assert_eq!(session.get("key").await.expect("reads"), None);
}

#[tokio::test]
async fn a_take_over_tells_of_the_restart_and_dispatches_again() {
    let bed = Bed::new().await;
    let instance = bed.paired(Platform::Whatsapp).await;
    let old = Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("works").expect("is there");
    old.opened("15550100000@s.whatsapp.net", &[], "Me").await.expect("works");
    old.received(&bed.incoming("a", "hello")).await.expect("works");
    assert!(old.mark_is_behind());
    old.save_mark().await.expect("saves");
    assert!(!old.mark_is_behind());
    drop(old);
    let new = Owner::take_over(bed.app.clone(), &instance.id, 9).await.expect("works").expect("is there");
    assert_eq!(new.epoch(), 9, "the lease's floor");
    assert_eq!(new.instance().status, Status::Connecting);
    let kinds: Vec<String> = bed.log(&instance).await.into_iter().map(|entry| entry.body.kind).collect();
    let expected = ["owner_changed", "connection_opened", "message_received", "owner_changed", "connection_closed"];
    assert_eq!(kinds, expected);
}

/// Who fell asleep between getting a shard and taking its instance over does not take it from its next owner.
#[tokio::test]
async fn an_earlier_tenure_takes_nothing_from_a_later_one() {
    let bed = Bed::serial().await;
    let instance = bed.paired(Platform::Whatsapp).await;
    let take = |tenure: u64| Owner::take_over(bed.app.clone(), &instance.id, tenure * TENURE);
    let first = take(1).await.expect("works").expect("is there");
    let again = take(1).await.expect("works within a tenure").expect("is there");
    assert_eq!((first.epoch(), again.epoch()), (TENURE, TENURE + 1));
    let next = take(2).await.expect("works").expect("is there");
    assert!(matches!(take(1).await, Err(CommitError::Fenced { .. })));
    next.opened("15550100000@s.whatsapp.net", &[], "Me").await.expect("is still the owner");
}

/// A lease whose time is over.
struct Over(watch::Sender<Shards>);

impl Lease for Over {
    fn owned(&self) -> watch::Receiver<Shards> {
        self.0.subscribe()
    }

    fn valid(&self, _shard: u16) -> bool {
        false
    }

    fn left(&self, _shard: u16) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_belongs_to_somebody_else_is_given_back() {
    let mut bed = Bed::new().await;
    let instance = bed.paired(Platform::Whatsapp).await;
    let message = bed.accept(&instance, "15550100001", "hello").await;
    let owned = watch::Sender::new(Arc::new([(0, Hold::new(0))].into_iter().collect()));
    let all = connectors(&bed.app).expect("connectors");
    let other = Worker::start(bed.app.clone(), all, Arc::new(Over(owned)), Settings::default());
    tokio::time::sleep(Duration::from_millis(500)).await;
    other.stop().await;
    let depth = bed.app.queues.depth(Queue::Commands(0)).await.expect("counts");
    assert_eq!(depth.visible + depth.delayed + depth.in_flight, 1, "nobody has acknowledged it");
    assert_eq!(bed.message(&message).await.status, message::Status::Pending);
    bed.start();
    // Its session is none of the simulated network's: what counts is that somebody answers for it.
    for _ in 0..500 {
        let depth = bed.app.queues.depth(Queue::Commands(0)).await.expect("counts");
        if depth == Depth::default() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(bed.app.queues.depth(Queue::Commands(0)).await.expect("counts"), Depth::default());
    assert_ne!(bed.told(&message).await, Vec::<String>::new());
    bed.stop().await;
}
