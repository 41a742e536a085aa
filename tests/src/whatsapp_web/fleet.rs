//! Many accounts at once.

use crate::harness::{Instance, Tenant, whatsapp::Whatsapp};
use serde_json::json;
use std::time::{Duration, Instant};

const ACCOUNTS: usize = 200;
/// Until all are linked, on two cores that also run the phones.
const LINKED: Duration = Duration::from_secs(90);
/// From the start of the process until all are connected again.
const RESTORED: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_accounts_are_linked_at_once_and_all_are_back_after_a_restart() {
    let whatsapp = Whatsapp::start();
    let server = whatsapp.server(&[]);
    let tenant = Tenant::of(&server).await;
    let begun = Instant::now();
    let mut phones = Vec::new();
    for number in 0..ACCOUNTS {
        phones.push(whatsapp.phone(&format!("Phone {number}")).await);
    }
    let linking = phones.into_iter().map(|phone| {
        let client = tenant.client.clone();
        tokio::spawn(async move {
            let instance = Instance::create(&client, &json!({"mode": "live"})).await;
            phone.scans_within(&instance, LINKED).await;
        })
    });
    for linked in linking.collect::<Vec<_>>() {
        linked.await.expect("it is linked");
    }
    let linked = begun.elapsed();
    let memory = server.resident_kib();
    let begun = Instant::now();
    let server = server.killed_and_restarted().await;
    whatsapp.until_connected(ACCOUNTS, Duration::from_secs(60)).await;
    let restored = begun.elapsed();
    println_figures(linked, restored, memory, server.resident_kib());
    assert!(restored < RESTORED, "restored in {restored:?}");
    drop(server);
}

fn println_figures(linked: Duration, restored: Duration, before: u64, after: u64) {
    println!("{ACCOUNTS} linked in {linked:?}, restored in {restored:?}; {before} KiB, after the restart {after} KiB");
}
