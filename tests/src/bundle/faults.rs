//! The emulator behind the proxy: throttled, failing, slow and silent services; messages that come twice, late, and in another
//! order.

use super::{World, rounds};
use crate::crash::Moments;
use crate::harness::fault_proxy::Fault;
use crate::harness::{FaultProxy, Server};
use std::time::Duration;

/// How long the storm lasts.
const STORM: Duration = Duration::from_secs(20);
/// What must have happened for the run to show anything. Messages of several groups in one answer, to be shuffled, are rarer.
const ALL: [Fault; 8] = [
    Fault::Throttled,
    Fault::Failed,
    Fault::Slow,
    Fault::Unanswered,
    Fault::HungUp,
    Fault::Partial,
    Fault::Again,
    Fault::Late,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_loses_nothing_doubles_nothing_and_keeps_the_order() {
    let seed = Moments::new().0;
    let proxy = FaultProxy::start(seed);
    let mut server = Server::start_bundle(&[("AWS_ENDPOINT_URL", proxy.url())]);
    let world = World::begin(&server).await;
    proxy.storm();
    tokio::time::sleep(STORM * u32::try_from(rounds(1)).expect("small")).await;
    proxy.calm();
    let counts = proxy.counts();
    println!("seed {seed}: {counts:?}");
    for fault in ALL {
        assert!(counts.contains_key(&fault), "seed {seed}: never {fault:?}: {counts:?}");
    }
    world.end(&mut server, seed).await;
}
