//! The storm of IM senders with `kill -9` of the functions that take their messages and spread them.

use super::{kill_one, nothing_is_dead, rounds};
use crate::crash::Moments;
use crate::harness::{Person, Server};
use crate::seed002::storm::{Answered, all_is_there, sender};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PEOPLE: usize = 4;
const SENDERS: usize = 8;
const KILLS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_functions_leave_no_gap_lose_nothing_and_double_nothing() {
    let mut moments = Moments::new();
    let seed = moments.0;
    let mut server = Server::start_bundle(&[]);
    let mut people = Vec::new();
    for _ in 0..PEOPLE {
        people.push(Person::of(&server, "sender").await);
    }
    let group = people[0].group(&people[1..].iter().collect::<Vec<_>>()).await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Answered::default());
    let tasks: Vec<_> = (0..SENDERS)
        .map(|name| {
            let person = people[name % PEOPLE].clone();
            tokio::spawn(sender(person, group.clone(), name, Arc::clone(&stop), Arc::clone(&answered)))
        })
        .collect();
    let mut at_work = 0;
    for round in 0..rounds(KILLS) {
        tokio::time::sleep(Duration::from_millis(300 + moments.next(600))).await;
        let function = ["im", "chat", "run-jobs"][round % 3];
        at_work += usize::from(kill_one(server.bundle(), function, &mut moments).await);
    }
    stop.store(true, Ordering::Relaxed);
    let mut wanted = 0;
    for task in tasks {
        wanted += task.await.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
    let answered = std::mem::take(&mut *answered.lock().expect("no panic before"));
    println!("seed {seed}: {wanted} messages, functions killed at work {at_work} times");
    assert_eq!(answered.len(), wanted, "seed {seed}");
    assert!(at_work > 1 && wanted > SENDERS, "seed {seed}: too little load to prove anything");
    all_is_there(&people, &group, &answered).await;
    nothing_is_dead(server.bundle(), seed);
}
