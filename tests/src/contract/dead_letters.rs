//! Dead letters: what was received too often is put aside, shown without being taken, and buried once.

use std::time::Duration;

use shared::store::{Queue, Received};

use super::{
    World, contract, message, number,
    queues::{next, send},
};

contract!(
    a_poison_message_becomes_a_dead_letter,
    the_group_goes_on_behind_a_dead_letter,
    dead_letters_come_oldest_first
);

/// Receives the head of the queue and gives it back until it is dead.
async fn wear_out(w: &World, queue: Queue, poison: u64) {
    let mut receives = 0;
    while receives < queue.max_receives() {
        let received = next(w, queue).await;
        w.same("the poison", number(&received), poison);
        receives += 1;
        if w.can.deliver_once {
            w.same("receives", received.receives, receives);
        } else {
            receives = received.receives.max(1);
        }
        w.ok("release", w.queues.release(&received.receipt, Duration::ZERO).await);
    }
    // The receive that would be one too many puts it aside.
    let queues = w.queues.clone();
    w.soon("nothing else to receive", 0, || async {
        let more = queues.receive(queue, 1, Duration::from_millis(200)).await.expect("receive");
        for received in &more {
            queues.release(&received.receipt, Duration::ZERO).await.expect("release");
        }
        more.iter().filter(|received| number(received) == poison).count()
    })
    .await;
}

async fn dead(w: &World, queue: Queue) -> Vec<Received> {
    w.ok("dead_letters", w.queues.dead_letters(queue, 10).await)
}

async fn a_poison_message_becomes_a_dead_letter(w: World) {
    for queue in [Queue::Jobs, Queue::Timers] {
        w.same("no dead letters yet", dead(&w, queue).await, vec![]);
        send(&w, [message(queue, "g", 1)]).await;
        wear_out(&w, queue, 1).await;
        let depth = || async { w.ok("depth", w.queues.depth(queue).await).dead };
        w.soon("the depth", 1, depth).await;
        // Looking twice shows it twice.
        for _ in 0..2 {
            let letters = dead(&w, queue).await;
            w.same("dead letters", letters.iter().map(number).collect::<Vec<_>>(), vec![1]);
            w.same("body", letters[0].body.clone(), message(queue, "g", 1).body);
        }
        let letter = dead(&w, queue).await.remove(0);
        w.ok("bury", w.queues.bury(&letter.receipt).await);
        w.same("dead letters, afterwards", dead(&w, queue).await, vec![]);
        w.soon("the depth, afterwards", 0, depth).await;
    }
}

async fn the_group_goes_on_behind_a_dead_letter(w: World) {
    send(&w, (1..=3).map(|n| message(Queue::Dispatch, "g", n))).await;
    wear_out(&w, Queue::Dispatch, 1).await;
    w.same("the rest", w.drain(Queue::Dispatch).await.iter().map(number).collect::<Vec<_>>(), vec![2, 3]);
    w.same("dead letters", dead(&w, Queue::Dispatch).await.iter().map(number).collect::<Vec<_>>(), vec![1]);
    let w = w.reopen().await;
    w.same("dead letters, reopened", dead(&w, Queue::Dispatch).await.iter().map(number).collect::<Vec<_>>(), vec![1]);
}

async fn dead_letters_come_oldest_first(w: World) {
    for n in 1..=3 {
        send(&w, [message(Queue::Jobs, &format!("g{n}"), n)]).await;
        wear_out(&w, Queue::Jobs, n).await;
    }
    let letters = dead(&w, Queue::Jobs).await;
    w.same("dead letters", letters.iter().map(number).collect::<Vec<_>>(), vec![1, 2, 3]);
    w.ok("bury", w.queues.bury(&letters[1].receipt).await);
    w.same("after burying one", dead(&w, Queue::Jobs).await.iter().map(number).collect::<Vec<_>>(), vec![1, 3]);
    w.same("at most one", w.ok("dead_letters", w.queues.dead_letters(Queue::Jobs, 1).await).len(), 1);
}
