//! The bundle on bad days: workers and functions killed with -9, and the emulator behind a proxy that does to requests and
//! deliveries what networks and services do. Afterwards nothing that was accepted is missing or doubled.
//!
//! Every test starts a bundle of its own, whatever `TRUNKLINE_HOME` says. `TRUNKLINE_TEST_ROUNDS` makes them longer.

mod callbacks;
mod conversations;
mod faults;
mod kills;

use crate::crash::{CHATS, Moments, Promised, all_was_kept, sender, writer};
use crate::harness::bundle::{Bundle, wait};
use crate::harness::process::{Signal, signal};
use crate::harness::{Client, Instance, Receiver, Server, Tenant, eventually_within};
use serde_json::json;
use shared::store::{Queue, Queues as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Accounts under load.
const INSTANCES: usize = 2;
/// Between two texts of one chat, in each direction.
const PAUSE: Duration = Duration::from_millis(1200);
/// How long anything may take that nothing bad happens to.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many bad things happen: `usual`, times what `TRUNKLINE_TEST_ROUNDS` says.
fn rounds(usual: usize) -> usize {
    let times = std::env::var("TRUNKLINE_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    usual * times
}

/// Accounts with a webhook each, which write and are written to.
struct World {
    receiver: Receiver,
    accounts: Vec<(Instance, Arc<Mutex<Promised>>)>,
    senders: Vec<JoinHandle<usize>>,
    writers: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl World {
    /// Pairs the accounts and begins the load.
    async fn begin(server: &Server) -> World {
        let (tenant, receiver) = (Tenant::of(server).await, Receiver::start().await);
        let stop = Arc::new(AtomicBool::new(false));
        let mut world = World { receiver, accounts: Vec::new(), senders: Vec::new(), writers: Vec::new(), stop };
        for number in 0..INSTANCES {
            let instance = paired(&tenant.client, &world.receiver.url(&hook(number))).await;
            let promised = Arc::new(Mutex::new(Promised::default()));
            for chat in 0..CHATS {
                let (instance, stop, promised) = (instance.clone(), Arc::clone(&world.stop), Arc::clone(&promised));
                let (again, still, too) = (instance.clone(), Arc::clone(&stop), Arc::clone(&promised));
                world.senders.push(tokio::spawn(sender(instance, chat, PAUSE, stop, promised)));
                world.writers.push(tokio::spawn(writer(again, chat, PAUSE, still, too)));
            }
            world.accounts.push((instance, promised));
        }
        world
    }

    /// Sends that were accepted, and texts that were taken.
    fn promised(&self) -> (usize, usize) {
        self.accounts.iter().fold((0, 0), |(sent, received), (_, promised)| {
            let promised = promised.lock().expect("no panic before");
            (sent + promised.sent.len(), received + promised.received.len())
        })
    }

    /// A slow machine gets the time to do something between two bad things, else they would hit nothing.
    async fn moves_on(&self, round: usize) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            let (sent, received) = self.promised();
            if sent.min(received) > 2 * round {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the load, waits until everything has settled, and looks at what became of it.
    async fn end(self, server: &mut Server, seed: u64) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.senders {
            task.await.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        }
        for task in self.writers {
            task.await.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        }
        let accounts = self
            .accounts
            .into_iter()
            .map(|(instance, promised)| (instance, std::mem::take(&mut *promised.lock().expect("no panic before"))));
        let accounts: Vec<_> = accounts.collect();
        let (sent, received) = accounts.iter().fold((0, 0), |(sent, received), (_, promised)| {
            (sent + promised.sent.len(), received + promised.received.len())
        });
        println!("seed {seed}: {sent} sends, {received} texts received");
        assert!(sent.min(received) >= CHATS, "seed {seed}: too little load to prove anything");
        let start = Instant::now();
        futures_util::future::join_all(accounts.iter().enumerate().map(async |(number, (instance, promised))| {
            all_was_kept(instance, promised, (&self.receiver, &hook(number)), seed).await;
        }))
        .await;
        println!("seed {seed}: settled within {:?}", start.elapsed());
        nothing_is_dead(server.bundle(), seed);
    }
}

fn hook(number: usize) -> String {
    format!("/hook/{number}")
}

/// An account that is connected, with a webhook that wants to hear everything.
async fn paired(client: &Client, webhook: &str) -> Instance {
    let given = json!({"webhookUrl": webhook, "notifyDelivery": true, "notifyRead": true, "maxRetries": 20,
                       "retryInterval": 1000});
    let instance = Instance::create(client, &given).await;
    eventually_within(PATIENCE, "a QR code", async || {
        (instance.client.get(&instance.at("/qr")).await.status == 200).then_some(())
    })
    .await;
    let scan = json!({"phone": instance.phone, "name": "The suite"});
    let answer = instance.post("/sandbox/scan", &scan).await;
    assert!((200..300).contains(&answer.status), "{answer}");
    eventually_within(PATIENCE, "connected", async || {
        (instance.get("").await["connectionStatus"]["status"] == "connected").then_some(())
    })
    .await;
    instance
}

/// Kills an environment of the function with -9, in the middle of its work if it gets any within a second. Gives whether it
/// was at work.
async fn kill_one(bundle: &Bundle, function: &str, moments: &mut Moments) -> bool {
    let environments = bundle.environments();
    let start = Instant::now();
    while environments.working(function).is_empty() && start.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Somewhere in the middle.
    tokio::time::sleep(Duration::from_millis(moments.next(15))).await;
    let working = environments.working(function);
    let pids = if working.is_empty() { environments.pids(function) } else { working.clone() };
    if let Some(pid) = pids.get(usize::try_from(moments.next(pids.len().max(1) as u64)).expect("small")) {
        signal(*pid, Signal::KILL);
    }
    !working.is_empty()
}

/// No message was given up.
fn nothing_is_dead(bundle: &Bundle, seed: u64) {
    let aws = Arc::clone(bundle.aws());
    wait(async move {
        let commands = (0..4).map(Queue::Commands);
        for queue in commands.chain([Queue::Dispatch, Queue::Jobs, Queue::Timers]) {
            let depth = aws.depth(queue).await.expect("the queue answers");
            assert_eq!(depth.dead, 0, "seed {seed}: dead letters of {}", queue.name());
        }
    });
}
