//! Memory per idle, connected instance.

use crate::start::mebibytes;
use serde_json::json;
use std::time::{Duration, Instant};
use suite::harness::{Instance, Server, Tenant};

pub(crate) async fn run() {
    println!("connected sandbox instances at rest");
    let server = Server::start();
    let tenant = Tenant::of(&server).await;
    settle().await;
    let empty = mebibytes(&server);
    println!("     0 instances  {empty:8.1} MiB");
    let plain = json!({});
    let (mut count, start) = (0_u32, Instant::now());
    for wanted in [1_u32, 100, 1000] {
        while count < wanted {
            let some = (wanted - count).min(20);
            futures_util::future::join_all((0..some).map(|_| Instance::paired(&tenant.client, &plain))).await;
            count += some;
        }
        settle().await;
        let now = mebibytes(&server);
        let each = (now - empty) * 1024.0 / f64::from(count);
        println!("  {count:4} instances  {now:8.1} MiB, {each:7.1} KiB each");
    }
    println!("  all {count} connected {:.1} s after the first was created\n", start.elapsed().as_secs_f64());
}

/// Lets buffers go that only the work before needed.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}
