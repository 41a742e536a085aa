//! Workers of a fleet on SQLite, at a twentieth of the durations: who joins, leaves, dies, is counted out, loses its store.

use std::{sync::Arc, time::Duration};

use shared::store::{Query, Unit, Write, keys};
use tokio::task::JoinHandle;

use super::bed::Bed;
use crate::{BootTime, Fleet, Lease as _, Setup, Timing};

const SHARDS: u16 = 16;

fn timing() -> Timing {
    let Timing { beat, look, lease, watch, patience, again } = Timing::default();
    let [beat, look, lease, watch, again] = [beat, look, lease, watch, again].map(|span| span / 20);
    Timing { beat, look, lease, watch, patience: patience / 5, again }
}

/// A worker without accounts: what it loses or is to give back has always ended.
struct Member {
    fleet: Arc<Fleet>,
    tasks: [JoinHandle<()>; 2],
}

impl Member {
    fn join(bed: &Bed) -> Self {
        let names = bed.app.clone();
        let fleet = Fleet::new(Setup {
            store: bed.app.store.clone(),
            shards: SHARDS,
            time: Arc::new(BootTime),
            timing: timing(),
            names: Box::new(move || names.ids.ulid()),
            chance: Box::new(|| 0.5),
        });
        let (running, leaver) = (Arc::clone(&fleet), Arc::clone(&fleet));
        let follow = async move {
            let mut owned = leaver.owned();
            loop {
                let holds = owned.borrow_and_update().clone();
                for shard in (0..SHARDS).filter(|shard| holds.get(shard).is_none_or(|hold| hold.leaving)) {
                    leaver.left(shard);
                }
                if owned.changed().await.is_err() {
                    return;
                }
            }
        };
        Self { fleet, tasks: [tokio::spawn(running.run()), tokio::spawn(follow)] }
    }

    /// As by `kill -9`.
    fn kill(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }

    fn part(&self) -> usize {
        (0..SHARDS).filter(|shard| self.fleet.valid(*shard)).count()
    }
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..1500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never was so: {what}");
}

async fn shared_fairly(members: &[Member]) {
    until(&format!("{} equal parts", members.len()), async || {
        let parts: Vec<usize> = members.iter().map(Member::part).collect();
        let (most, least) = (parts.iter().max(), parts.iter().min());
        parts.iter().sum::<usize>() == usize::from(SHARDS)
            && most.zip(least).is_some_and(|(most, least)| most - least <= 1)
    })
    .await;
}

async fn rows(bed: &Bed) -> usize {
    bed.app.store.query(Query::table(keys::WORKERS)).await.map_or(0, |page| page.items.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_come_and_go() {
    let bed = Bed::new().await;
    let mut members = Vec::new();
    for _ in 1..=5 {
        members.push(Member::join(&bed));
        shared_fairly(&members).await;
    }
    // One leaves, and takes its row along.
    let leaver = members.remove(1);
    leaver.fleet.leave().await;
    assert_eq!(leaver.part(), 0);
    shared_fairly(&members).await;
    assert_eq!(rows(&bed).await, 4);
    // One dies: the others count it out.
    members.remove(0).kill();
    shared_fairly(&members).await;
    assert_eq!(rows(&bed).await, 3);
    while !members.is_empty() {
        // Whoever lost its lease, because the machine stood still for that long, has what it takes up by now.
        shared_fairly(&members).await;
        if let Some(member) = members.pop() {
            member.fleet.leave().await;
        }
    }
    assert_eq!(rows(&bed).await, 0);
    let shards = bed.app.store.query(Query::table(keys::SHARDS)).await.expect("reads").items;
    assert!(shards.iter().all(|shard| shard.str("owner").is_none()), "everything was given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_counted_out_loses_everything_and_comes_back_under_another_name() {
    let bed = Bed::new().await;
    let members = [Member::join(&bed)];
    shared_fairly(&members).await;
    let name = async || bed.app.store.query(Query::table(keys::WORKERS)).await.expect("reads").items.remove(0).key;
    let old = name().await;
    let mut owned = members[0].fleet.owned();
    owned.mark_unchanged();
    bed.app.store.commit(Unit::write(Write::delete(old.clone()))).await.expect("is deleted");
    owned.wait_for(|shards| shards.is_empty()).await.expect("lives");
    shared_fairly(&members).await;
    assert_ne!(name().await, old);
    members[0].fleet.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_outage_longer_than_the_lease_costs_the_shards() {
    let bed = Bed::new().await;
    let members = [Member::join(&bed)];
    shared_fairly(&members).await;
    let floors = || members[0].fleet.owned().borrow().values().map(|hold| hold.floor).sum::<u64>();
    let before = floors();
    bed.chaos.stop_after(Some(0));
    tokio::time::sleep(timing().lease / 5).await;
    bed.chaos.resume();
    tokio::time::sleep(timing().lease).await;
    assert_eq!((members[0].part(), floors()), (usize::from(SHARDS), before), "nothing has changed");
    bed.chaos.stop_after(Some(0));
    until("the lease is over", async || members[0].part() == 0).await;
    bed.chaos.resume();
    shared_fairly(&members).await;
    assert!(floors() > before, "a new tenure");
    members[0].fleet.leave().await;
}
