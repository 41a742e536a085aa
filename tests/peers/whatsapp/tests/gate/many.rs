//! The binary, and many accounts in it.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tokio::task::JoinSet;
use wacore_binary::Jid;

use crate::client::Device;
use crate::control::Server;

fn number(at: usize) -> String {
    format!("1777{at:07}")
}

/// Links `accounts` clients to one process of the fake, lets each of them write and read a message, and says what the process
/// needs for that.
#[expect(clippy::print_stdout, reason = "the figure is what it is run for")]
async fn serve(accounts: usize, at_once: usize) {
    let (server, process) = Server::process();
    let server = Arc::new(server);
    let empty = resident_kib(process);
    let since = Instant::now();
    let mut devices = Vec::new();
    let mut running = JoinSet::new();
    for at in 0..accounts {
        if running.len() >= at_once {
            devices.push(running.join_next().await.expect("running").expect("linked"));
        }
        let server = server.clone();
        running.spawn(async move {
            server.phone(&number(at), "Somebody").await;
            (at, Device::linked(&server, &number(at)).await)
        });
    }
    while let Some(linked) = running.join_next().await {
        devices.push(linked.expect("linked"));
    }
    let linked = since.elapsed();
    for (at, device) in &devices {
        let other = (at + 1) % accounts;
        device.say(&Jid::pn(number(other)), "hello").await;
    }
    for (_, device) in &devices {
        device.text("hello").await;
    }
    let full = resident_kib(process);
    let stats = server.get("/stats").await;
    assert_eq!(stats["connections"], json!(accounts), "{stats}");
    assert_eq!(stats["linkedDevices"], json!(accounts), "{stats}");
    assert_eq!(stats["undecryptable"], 0, "{stats}");
    let each = (full - empty) / accounts as u64;
    println!("{accounts} accounts linked in {linked:?}; {full} KiB resident, {each} KiB for each");
}

fn resident_kib(process: u32) -> u64 {
    std::fs::read_to_string(format!("/proc/{process}/status"))
        .expect("Linux")
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse().ok())
        .expect("a number of KiB")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binary_serves_several_accounts() {
    serve(8, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_carries_500_accounts() {
    serve(500, 8).await;
}
