//! A part of seed 003's corpus of callbacks, shuffled and doubled, with `kill -9` of the function that takes them and of the
//! one that applies them.

use super::{kill_one, nothing_is_dead, rounds};
use crate::crash::Moments;
use crate::harness::Server;
use crate::seed003::corpus::made::{Dice, personal, the_rest, wecom};
use crate::seed003::corpus::{client, ends_as_wanted, shuffled, what_it_comes_to};
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CLIENTS: usize = 4;
/// One of so many callbacks of the corpus takes part.
const PART: usize = 5;
/// At least so many kills, and more as long as callbacks come.
const KILLS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_functions_change_nothing_of_what_the_corpus_comes_to() {
    let mut moments = Moments::new();
    let seed = moments.0;
    let mut dice = Dice(seed);
    let mut corpus = Vec::new();
    wecom(&mut dice, &mut corpus);
    personal(&mut dice, &mut corpus);
    the_rest(&mut dice, &mut corpus);
    let part = (PART / rounds(1)).max(1);
    let corpus: Vec<Value> = corpus.into_iter().step_by(part).collect();
    let wanted = what_it_comes_to(&corpus);

    let mut server = Server::start_bundle(&[]);
    let heap = Arc::new(Mutex::new(VecDeque::from(shuffled(&corpus, &mut dice))));
    let clients: Vec<_> = (1..=CLIENTS as u64)
        .map(|n| tokio::spawn(client(server.anonymous(), Arc::clone(&heap), Dice(seed.wrapping_add(n) | 1))))
        .collect();
    let (mut round, mut at_work) = (0, 0);
    while round < rounds(KILLS) || !clients.iter().all(tokio::task::JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(200 + moments.next(1000))).await;
        let function = ["run-jobs", "juhe", "run-jobs"][round % 3];
        at_work += usize::from(kill_one(server.bundle(), function, &mut moments).await);
        round += 1;
    }
    for client in clients {
        client.await.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
    println!("seed {seed}: {} callbacks, {at_work} of {round} kills hit a function at work", corpus.len());
    assert!(at_work > 1, "seed {seed}: the kills hit nothing");
    ends_as_wanted(&server, &wanted, seed).await;
    nothing_is_dead(server.bundle(), seed);
}
