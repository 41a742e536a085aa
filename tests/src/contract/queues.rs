//! Queues: order and exclusivity within a group, duplicates, delays, visibility, giving back, and counting all of it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use serde_json::json;
use shared::store::{Depth, Enqueue, Queue, Received};

use super::{World, contract, doc, message, number};

contract!(
    a_message_arrives_as_it_was_sent,
    a_group_keeps_its_order,
    a_group_has_one_receiver_at_a_time,
    many_receivers_share_many_groups,
    the_same_id_is_sent_once,
    standard_queues_know_no_duplicates,
    a_delayed_message_comes_later,
    an_invisible_message_comes_back,
    an_extended_message_stays_invisible,
    a_released_message_comes_back_when_asked,
    receives_are_counted,
    a_receive_waits_for_a_message,
    depths_are_counted,
);

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(5);
const NOTHING: [u64; 0] = [];

pub(super) async fn send(w: &World, messages: impl IntoIterator<Item = Enqueue>) {
    w.ok("send", w.queues.send(messages.into_iter().collect()).await);
}

pub(super) async fn receive(w: &World, queue: Queue, max: usize, wait: Duration) -> Vec<Received> {
    w.ok("receive", w.queues.receive(queue, max, wait).await)
}

/// The next message, which must come within five seconds.
pub(super) async fn next(w: &World, queue: Queue) -> Received {
    let mut received = receive(w, queue, 1, LONG).await;
    w.same(&format!("{queue:?}: messages received"), received.len(), 1);
    received.remove(0)
}

/// What this call receives for a moment, by number: nothing, normally.
async fn now(w: &World, queue: Queue) -> Vec<u64> {
    receive(w, queue, 10, SHORT).await.iter().map(number).collect()
}

async fn a_message_arrives_as_it_was_sent(w: World) {
    let body =
        json!({"text": "张三 \"quoted\"\n", "n": 1, "deep": {"list": [1, null, true]}, "long": "x".repeat(50_000)});
    for queue in [Queue::Commands(0), Queue::Dispatch, Queue::Jobs, Queue::Timers] {
        let before = shared::clock::Clock::now(&*w.clock);
        send(&w, [Enqueue { body: doc(body.clone()), ..message(queue, "group/ü#1", 1) }]).await;
        let received = next(&w, queue).await;
        w.same("the body", received.body.clone(), doc(body.clone()));
        w.same("the queue", received.receipt.queue, queue);
        if queue.is_fifo() {
            w.same("the group", received.group.as_str(), "group/ü#1");
        }
        w.same("receives", received.receives, 1);
        w.holds(
            &format!("sent at {}, not long after {before}", received.sent_at),
            (received.sent_at.0 - before.0).abs() < 3000,
        );
        w.ok("delete", w.queues.delete(&received.receipt).await);
    }
    // More than one call of SQS carries.
    send(&w, (0..25).map(|n| message(Queue::Jobs, "g", n))).await;
    w.same(
        "25 at once",
        w.drain(Queue::Jobs).await.iter().map(number).collect::<Vec<_>>(),
        (0..25).collect::<Vec<_>>(),
    );
    send(&w, []).await;
    w.ok("ready", w.queues.ready().await);
}

async fn a_group_keeps_its_order(w: World) {
    let mut should: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for n in 0..60 {
        let group = format!("g{}", n % 4);
        should.entry(group.clone()).or_default().push(n);
        send(&w, [message(Queue::Dispatch, &group, n)]).await;
    }
    let mut is: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for received in w.drain(Queue::Dispatch).await {
        is.entry(received.group.clone()).or_default().push(number(&received));
    }
    w.same("the groups", is, should);
}

async fn a_group_has_one_receiver_at_a_time(w: World) {
    send(&w, (1..=3).map(|n| message(Queue::Dispatch, "a", n))).await;
    send(&w, [message(Queue::Dispatch, "b", 11)]).await;
    let mut hand = receive(&w, Queue::Dispatch, 1, LONG).await;
    hand.extend(receive(&w, Queue::Dispatch, 1, LONG).await);
    let mut numbers: Vec<u64> = hand.iter().map(number).collect();
    numbers.sort_unstable();
    w.same("the heads of both groups", numbers, vec![1, 11]);
    w.same("while both are in hand", now(&w, Queue::Dispatch).await, NOTHING);

    // Given back: it comes first again, before those behind it.
    let head = hand.iter().find(|received| number(received) == 1).expect("the head of a");
    w.ok("release", w.queues.release(&head.receipt, Duration::ZERO).await);
    let head = next(&w, Queue::Dispatch).await;
    w.same("the head of a, again", number(&head), 1);
    w.ok("delete", w.queues.delete(&head.receipt).await);
    let after = next(&w, Queue::Dispatch).await;
    if w.can.deliver_once {
        w.same("the next of a", number(&after), 2);
    }
    w.same("while that is in hand", now(&w, Queue::Dispatch).await, NOTHING);
}

/// No group in two hands at once, nothing lost, nothing doubled, all in order.
async fn many_receivers_share_many_groups(w: World) {
    const MESSAGES: u64 = 120;
    send(&w, (0..MESSAGES).map(|n| message(Queue::Jobs, &format!("g{}", n % 6), n))).await;
    let in_hand: Arc<Mutex<HashSet<String>>> = Arc::default();
    let seen: Arc<Mutex<Vec<(String, u64)>>> = Arc::default();
    let receivers = (0..5).map(|_| {
        let (queues, in_hand, seen) = (w.queues.clone(), in_hand.clone(), seen.clone());
        tokio::spawn(async move {
            let mut doubled = Vec::new();
            let mut empty = 0;
            while empty < 4 {
                let batch = queues.receive(Queue::Jobs, 3, Duration::from_millis(200)).await.expect("receive");
                empty = if batch.is_empty() { empty + 1 } else { 0 };
                let groups: HashSet<String> = batch.iter().map(|received| received.group.clone()).collect();
                doubled.extend(
                    groups.iter().filter(|group| !in_hand.lock().expect("lock").insert((*group).clone())).cloned(),
                );
                tokio::time::sleep(Duration::from_millis(2)).await;
                for (at, received) in batch.iter().enumerate() {
                    seen.lock().expect("lock").push((received.group.clone(), number(received)));
                    if !batch[at + 1..].iter().any(|later| later.group == received.group) {
                        in_hand.lock().expect("lock").remove(&received.group);
                    }
                    queues.delete(&received.receipt).await.expect("delete");
                }
            }
            doubled
        })
    });
    for doubled in join_all(receivers).await {
        w.same("groups in two hands", doubled.expect("no panic"), Vec::<String>::new());
    }
    let mut seen = std::mem::take(&mut *seen.lock().expect("lock"));
    if !w.can.deliver_once {
        let mut known = HashSet::new();
        seen.retain(|one| known.insert(one.clone()));
    }
    w.same("messages", seen.len() as u64, MESSAGES);
    for group in (0..6).map(|n| format!("g{n}")) {
        let order: Vec<u64> = seen.iter().filter(|(of, _)| *of == group).map(|(_, n)| *n).collect();
        w.holds(&format!("{group} in order: {order:?}"), order.is_sorted());
    }
}

async fn the_same_id_is_sent_once(w: World) {
    let one = |n: u64| Enqueue { dedup: "same".into(), ..message(Queue::Dispatch, "g", n) };
    send(&w, [one(1), one(2)]).await;
    send(&w, [one(3), message(Queue::Dispatch, "g", 4)]).await;
    send(&w, [Enqueue { queue: Queue::Jobs, ..one(5) }]).await;
    w.same("messages", w.drain(Queue::Dispatch).await.iter().map(number).collect::<Vec<_>>(), vec![1, 4]);
    w.same("in another queue", w.drain(Queue::Jobs).await.iter().map(number).collect::<Vec<_>>(), vec![5]);
    send(&w, [one(6)]).await;
    w.same("after the first one was acknowledged", w.drain(Queue::Dispatch).await.len(), 0);
    if w.can.turn_time {
        w.clock.advance(Duration::from_secs(4 * 60));
        send(&w, [one(7)]).await;
        w.same("after four minutes", w.drain(Queue::Dispatch).await.len(), 0);
        w.clock.advance(Duration::from_secs(2 * 60));
        send(&w, [one(8)]).await;
        w.same("after six minutes", w.drain(Queue::Dispatch).await.iter().map(number).collect::<Vec<_>>(), vec![8]);
    }
}

async fn standard_queues_know_no_duplicates(w: World) {
    send(&w, (1..=3).map(|n| Enqueue { dedup: "same".into(), ..message(Queue::Timers, "g", n) })).await;
    let mut numbers: Vec<u64> = w.drain(Queue::Timers).await.iter().map(number).collect();
    numbers.sort_unstable();
    w.same("messages", numbers, vec![1, 2, 3]);
}

async fn a_delayed_message_comes_later(w: World) {
    let delayed = Enqueue { delay: Duration::from_secs(2), ..message(Queue::Timers, "g", 1) };
    let start = Instant::now();
    send(&w, [delayed, message(Queue::Timers, "g", 2)]).await;
    w.same("at once", number(&next(&w, Queue::Timers).await), 2);
    let later = loop {
        let received = next(&w, Queue::Timers).await;
        if number(&received) == 1 {
            break received;
        }
        w.holds("a second delivery", !w.can.deliver_once);
    };
    let after = start.elapsed();
    w.holds(
        &format!("delayed by 2 s, came after {after:?}"),
        after > Duration::from_millis(900) && after < Duration::from_secs(6),
    );
    w.same("receives", later.receives, 1);
    if w.can.turn_time {
        send(&w, [Enqueue { delay: Duration::from_secs(900), ..message(Queue::Timers, "g", 3) }]).await;
        w.clock.advance(Duration::from_secs(890));
        w.drain(Queue::Timers).await;
        w.clock.advance(Duration::from_secs(11));
        w.same("after 15 minutes", w.drain(Queue::Timers).await.iter().filter(|one| number(one) == 3).count(), 1);
    }
}

async fn an_invisible_message_comes_back(w: World) {
    for queue in [Queue::Commands(0), Queue::Timers] {
        send(&w, [message(queue, "g", 1)]).await;
        let first = next(&w, queue).await;
        if w.can.deliver_once {
            w.same("while it is invisible", now(&w, queue).await, NOTHING);
        }
        w.ok("extend", w.queues.extend(&first.receipt, Duration::from_secs(1)).await);
        let start = Instant::now();
        let second = next(&w, queue).await;
        w.holds(&format!("back after {:?}", start.elapsed()), start.elapsed() < Duration::from_secs(4));
        w.same("the body", second.body.clone(), first.body);
        if w.can.deliver_once {
            w.same("receives", second.receives, 2);
        }
        w.ok("delete", w.queues.delete(&second.receipt).await);
        if w.can.deliver_once {
            w.same("after the acknowledgement", now(&w, queue).await, NOTHING);
        }
        if w.can.turn_time && w.can.deliver_once {
            send(&w, [message(queue, "g", 2)]).await;
            next(&w, queue).await;
            w.clock.advance(queue.visibility() - Duration::from_secs(2));
            w.same("shortly before the visibility ends", now(&w, queue).await, NOTHING);
            w.clock.advance(Duration::from_secs(3));
            w.same("after that", next(&w, queue).await.receives, 2);
        }
    }
}

async fn an_extended_message_stays_invisible(w: World) {
    send(&w, [message(Queue::Commands(0), "g", 1), message(Queue::Commands(0), "g", 2)]).await;
    let received = next(&w, Queue::Commands(0)).await;
    for _ in 0..3 {
        w.ok("extend", w.queues.extend(&received.receipt, Duration::from_secs(3)).await);
        tokio::time::sleep(Duration::from_millis(1500)).await;
        w.same("an extended message, and those behind it", now(&w, Queue::Commands(0)).await, NOTHING);
    }
    w.ok("delete", w.queues.delete(&received.receipt).await);
    let rest: Vec<u64> = w.drain(Queue::Commands(0)).await.iter().map(number).filter(|n| *n != 1).collect();
    w.same("the rest", rest, vec![2]);
}

async fn a_released_message_comes_back_when_asked(w: World) {
    for queue in [Queue::Jobs, Queue::Timers] {
        send(&w, [message(queue, "g", 1)]).await;
        let first = next(&w, queue).await;
        w.ok("release", w.queues.release(&first.receipt, Duration::ZERO).await);
        let start = Instant::now();
        let second = next(&w, queue).await;
        w.holds(&format!("back after {:?}", start.elapsed()), start.elapsed() < Duration::from_secs(2));
        w.ok("release", w.queues.release(&second.receipt, Duration::from_secs(2)).await);
        if w.can.deliver_once {
            w.same("receives", second.receives, 2);
            w.same("before the delay is over", now(&w, queue).await, NOTHING);
            w.same("after it", next(&w, queue).await.receives, 3);
        }
    }
}

async fn receives_are_counted(w: World) {
    // Second deliveries of standard queues are not counted by anybody.
    let queues = [Queue::Commands(0), Queue::Dispatch, Queue::Timers];
    for queue in queues.into_iter().filter(|queue| queue.is_fifo() || w.can.deliver_once) {
        send(&w, [message(queue, "g", 1)]).await;
        for receives in 1..=6 {
            let received = next(&w, queue).await;
            w.same(&format!("{queue:?}: receives"), received.receives, receives);
            w.ok("release", w.queues.release(&received.receipt, Duration::ZERO).await);
        }
    }
}

async fn a_receive_waits_for_a_message(w: World) {
    for queue in [Queue::Commands(0), Queue::Timers] {
        let start = Instant::now();
        w.same("nothing", receive(&w, queue, 10, Duration::from_secs(1)).await, vec![]);
        let waited = start.elapsed();
        w.holds(&format!("waited {waited:?} for nothing"), waited > SHORT && waited < LONG);

        let queues = w.queues.clone();
        let waiter = tokio::spawn(async move { queues.receive(queue, 10, Duration::from_secs(10)).await });
        tokio::time::sleep(SHORT).await;
        let start = Instant::now();
        send(&w, [message(queue, "g", 1)]).await;
        let received = w.ok("receive", waiter.await.expect("no panic"));
        w.same("what came", received.iter().map(number).collect::<Vec<_>>(), vec![1]);
        w.holds(&format!("woken after {:?}", start.elapsed()), start.elapsed() < Duration::from_secs(3));
    }
    send(&w, (0..15).map(|n| message(Queue::Jobs, &format!("g{n}"), n))).await;
    for max in [1, 4] {
        let got = receive(&w, Queue::Jobs, max, LONG).await.len();
        w.holds(&format!("{got} of at most {max}"), (1..=max).contains(&got));
    }
}

async fn depths_are_counted(w: World) {
    let depth = || async { w.ok("depth", w.queues.depth(Queue::Timers).await) };
    w.same("an empty queue", depth().await, Depth::default());
    send(&w, (0..5).map(|n| message(Queue::Timers, "g", n))).await;
    send(&w, [Enqueue { delay: Duration::from_secs(600), ..message(Queue::Timers, "g", 9) }]).await;
    w.soon("five visible, one delayed", Depth { visible: 5, delayed: 1, ..Depth::default() }, depth).await;
    let received = next(&w, Queue::Timers).await;
    w.soon("one in flight", Depth { visible: 4, delayed: 1, in_flight: 1, dead: 0 }, depth).await;
    w.ok("delete", w.queues.delete(&received.receipt).await);
    w.soon("one gone", Depth { visible: 4, delayed: 1, ..Depth::default() }, depth).await;
    w.drain(Queue::Timers).await;
    w.soon("only the delayed one", Depth { delayed: 1, ..Depth::default() }, depth).await;
}
