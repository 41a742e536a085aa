//! `kill -9` of workers and of functions in the middle of their work, under load.

use super::{World, kill_one, rounds};
use crate::crash::Moments;
use crate::harness::Server;
use std::time::Duration;

const KILLS: usize = 10;
/// What takes part in sends, receives and webhooks.
const FUNCTIONS: [&str; 4] = ["whatsapp", "deliver-webhooks", "instances", "deliver-webhooks"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_workers_and_functions_lose_nothing_double_nothing_and_keep_the_order() {
    let mut moments = Moments::new();
    let seed = moments.0;
    let mut server = Server::start_bundle(&[]);
    let world = World::begin(&server).await;
    let (mut workers, mut at_work) = (0, 0);
    for round in 0..rounds(KILLS) {
        tokio::time::sleep(Duration::from_millis(200 + moments.next(800))).await;
        world.moves_on(round).await;
        let bundle = server.bundle();
        // The accounts of a dead worker stand still for about twenty seconds: not one death after the other.
        if round % 6 == 3 {
            let all = bundle.workers().len() as u64;
            bundle.replace_worker(usize::try_from(moments.next(all)).expect("small"));
            workers += 1;
        } else {
            let function = FUNCTIONS[usize::try_from(moments.next(4)).expect("small")];
            at_work += usize::from(kill_one(bundle, function, &mut moments).await);
        }
    }
    println!("seed {seed}: killed {workers} workers, and functions at work {at_work} times");
    assert!(workers > 1 && at_work > 1, "seed {seed}: the kills hit nothing");
    world.end(&mut server, seed).await;
}
