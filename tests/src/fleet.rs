//! A fleet of real worker processes behind the bundle: one is told to end, one joins, one is killed, one sleeps for longer than its
//! lease. Sends go on, each arrives once, and no account has to be paired anew.

use crate::harness::bundle::Bundle;
use crate::harness::process::{Signal, signal};
use crate::harness::server::{ADMIN_API_KEY, ADMIN_EMAIL, ADMIN_PASSWORD, free_port};
use crate::harness::{Client, Credential, Instance, eventually_within};
use futures_util::future::join_all;
use serde_json::json;
use shared::store::{Item, Query, Store, keys, log};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Accounts of a test.
const ACCOUNTS: usize = 6;
/// What issue 4 gives a dead worker's part.
const TAKEN_OVER: Duration = Duration::from_secs(15);
/// Workers see each other move, and give back what is too much.
const SHARED_OUT: Duration = Duration::from_secs(25);
/// What a dead worker had received is visible again after 20 s.
const ALL_SENT: Duration = Duration::from_secs(60);

struct Fleet {
    bundle: Bundle,
    instances: Vec<Instance>,
    _folder: TempDir,
}

impl Fleet {
    /// Two workers, and accounts that are connected.
    async fn start() -> Fleet {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let env: Vec<(String, String)> = [
            ("ADMIN_EMAIL", ADMIN_EMAIL),
            ("ADMIN_PASSWORD", ADMIN_PASSWORD),
            ("ADMIN_API_KEY", ADMIN_API_KEY),
            ("RATE_LIMIT", "off"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let log = folder.path().join("fleet.log");
        let bundle = tokio::task::block_in_place(|| {
            let mut bundle = Bundle::new(port, &log, &env, "worker");
            bundle.launch();
            bundle
        });
        let client = Client::new(&format!("http://127.0.0.1:{port}"), Credential::ApiKey(ADMIN_API_KEY.to_owned()));
        let nothing = json!({});
        let instances = join_all((0..ACCOUNTS).map(|_| Instance::paired(&client, &nothing))).await;
        Fleet { bundle, instances, _folder: folder }
    }

    async fn rows(&self, partition: &str) -> Vec<Item> {
        self.bundle.aws().query(Query::table(partition)).await.expect("reads").items
    }

    /// Names of the workers that have a row.
    async fn workers(&self) -> BTreeSet<String> {
        self.rows(keys::WORKERS).await.into_iter().map(|item| item.key.sk).collect()
    }

    /// Worker → how many shards it owns.
    async fn parts(&self) -> BTreeMap<String, usize> {
        let mut parts: BTreeMap<String, usize> = self.workers().await.into_iter().map(|name| (name, 0)).collect();
        for item in self.rows(keys::SHARDS).await {
            if let Some(owner) = item.str("owner") {
                *parts.entry(owner.to_owned()).or_default() += 1;
            }
        }
        parts
    }

    /// Waits until so many workers own equal parts of all four shards; how long that took.
    async fn shared_by(&self, workers: usize, deadline: Duration) -> Duration {
        let start = Instant::now();
        eventually_within(deadline, &format!("{workers} workers with equal parts"), async || {
            let parts = self.parts().await;
            (parts.len() == workers && parts.values().all(|part| *part == 4 / workers)).then_some(())
        })
        .await;
        start.elapsed()
    }

    /// Sends from every account, again and again, until it is told to stop; the ids by account.
    fn keep_sending(&self) -> Sending {
        let stop = Arc::new(AtomicBool::new(false));
        let all: Vec<_> = self
            .instances
            .iter()
            .map(|instance| {
                let (instance, stop) = (instance.clone(), Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut ids = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        ids.push(instance.send("15550100001", "hello").await);
                        tokio::time::sleep(Duration::from_millis(700)).await;
                    }
                    ids
                })
            })
            .collect();
        Sending { stop, all }
    }

    /// Everything that was accepted has arrived once, in order.
    async fn all_arrived(&self, sending: Sending) {
        sending.stop.store(true, Ordering::Relaxed);
        for (instance, sent) in self.instances.iter().zip(join_all(sending.all).await) {
            let sent = sent.expect("sends");
            assert!(!sent.is_empty());
            let arrived = eventually_within(ALL_SENT, &format!("all of {}", instance.id), async || {
                let outbox = instance.outbox().await;
                let ids: Vec<String> = outbox.iter().filter_map(|one| one["id"].as_str().map(str::to_owned)).collect();
                sent.iter().all(|id| ids.contains(id)).then_some(ids)
            })
            .await;
            let of_these: Vec<&String> = arrived.iter().filter(|id| sent.contains(id)).collect();
            assert_eq!(of_these, sent.iter().collect::<Vec<_>>(), "once each, in order");
        }
    }

    /// Nobody had to scan a second code, and every line is up.
    async fn nobody_paired_again(&self) {
        for instance in &self.instances {
            instance.wait_status("connected").await;
            let events = instance.events().await;
            let paired = events.iter().position(|event| event["type"] == "connection_opened").expect("was paired");
            let again = events[paired..].iter().find(|event| event["type"] == "qr_received");
            assert_eq!(again, None, "{}", instance.id);
        }
    }

    /// In the order of the log, no epoch is lower than one before; the last one is of the shard's present tenure.
    async fn epochs_never_fall(&self) {
        let floors: BTreeSet<u64> = self.rows(keys::SHARDS).await.iter().filter_map(|item| item.u64("epoch")).collect();
        let lowest = floors.first().copied().unwrap_or(0);
        for instance in &self.instances {
            let entries = log::read(&**self.bundle.aws(), &instance.id, 0, 10_000).await.expect("reads");
            let fences: Vec<u64> = entries.iter().map(|entry| entry.fence).collect();
            assert!(fences.is_sorted(), "{fences:?}");
            assert!(fences.last().is_some_and(|last| *last >= lowest), "{fences:?} after {floors:?}");
        }
    }
}

struct Sending {
    stop: Arc<AtomicBool>,
    all: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_is_told_to_end_one_joins_and_one_is_killed() {
    let mut fleet = Fleet::start().await;
    fleet.shared_by(2, SHARED_OUT).await;
    let sending = fleet.keep_sending();

    let first = fleet.bundle.workers()[0];
    signal(first, Signal::TERM);
    let took = fleet.shared_by(1, TAKEN_OVER).await;
    assert!(took < Duration::from_secs(6), "given back after {took:?}");

    tokio::task::block_in_place(|| fleet.bundle.add_worker());
    fleet.shared_by(2, SHARED_OUT).await;

    let second = fleet.bundle.workers()[1];
    signal(second, Signal::KILL);
    let took = fleet.shared_by(1, TAKEN_OVER).await;
    assert!(took > Duration::from_secs(2), "nobody is declared dead after {took:?}");

    fleet.all_arrived(sending).await;
    fleet.nobody_paired_again().await;
    fleet.epochs_never_fall().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_sleeps_longer_than_its_lease_writes_nothing_as_the_owner_it_was() {
    let fleet = Fleet::start().await;
    fleet.shared_by(2, SHARED_OUT).await;
    let names = fleet.workers().await;
    let sending = fleet.keep_sending();

    let sleeper = fleet.bundle.workers()[0];
    signal(sleeper, Signal::STOP);
    fleet.shared_by(1, TAKEN_OVER).await;
    let of_new_owner = fleet.workers().await;
    assert!(of_new_owner.is_subset(&names));
    fleet.nobody_paired_again().await;

    signal(sleeper, Signal::CONT);
    fleet.shared_by(2, SHARED_OUT).await;
    let back = fleet.workers().await;
    assert!(back.is_superset(&of_new_owner), "who stayed keeps its name");
    assert_eq!(back.intersection(&names).count(), 1, "who slept has another one");

    fleet.all_arrived(sending).await;
    fleet.nobody_paired_again().await;
    fleet.epochs_never_fall().await;
}
