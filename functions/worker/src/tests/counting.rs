//! A send is counted soon after its acceptance, and once, whenever its outcome comes.

use std::time::{Duration, Instant};

use shared::{
    address::Platform,
    domain::{
        instance::Instance,
        message::{Message, Status},
        owner::{Owner, Park, SendRow, Settle},
    },
    store::{Queue, Read, Received, keys},
};

use super::bed::Bed;

async fn until_counted(bed: &Bed, instance: &Instance, wanted: i64, limit: Duration) {
    let start = Instant::now();
    loop {
        let counted = bed.counted(instance).await;
        if counted == wanted {
            return;
        }
        assert!(start.elapsed() < limit, "{counted} of {wanted} after {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_attempt_is_counted_before_its_outcome() {
    let mut bed = Bed::new().await;
    bed.start();
    for platform in [Platform::Whatsapp, Platform::Telegram] {
        let instance = bed.connected(platform, "15550100000").await;
        let typed = bed.accept_typing(&instance, "15550100001", "typed", Duration::from_secs(3)).await;
        let refused = bed.accept_typing(&instance, "99900010001", "refused", Duration::from_secs(3)).await;
        until_counted(&bed, &instance, 2, Duration::from_secs(1)).await;
        assert_eq!(bed.message(&typed).await.status, Status::Pending);
        bed.until_status(&typed, Status::Sent).await;
        bed.until_status(&refused, Status::Failed).await;
        assert_eq!(bed.told(&typed).await[..3], ["queued/*", "sent/*", "status/*/sent"]);
        assert_eq!(bed.told(&refused).await, ["queued/*", "status/*/failed"]);
        assert_eq!(bed.counted(&instance).await, 2);
    }
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_counted_while_it_waits() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Whatsapp, "15550100000").await;
    let mut all = Vec::new();
    for n in 0..300 {
        // More chats than attempts at once, each slow.
        all.push(bed.accept(&instance, &format!("999000300{:02}", n % 30), &format!("{n:03}")).await);
    }
    until_counted(&bed, &instance, 300, Duration::from_secs(4)).await;
    let sent = bed.outbox(&instance).await.len();
    assert!(sent < 100, "{sent} of them are sent already");
    bed.stop().await;
    assert_eq!(bed.counted(&instance).await, 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fast_send_is_not_told_of_as_waiting() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Whatsapp, "15550100000").await;
    let message = bed.accept(&instance, "15550100001", "hello").await;
    bed.until_status(&message, Status::Read).await;
    assert_eq!(bed.told(&message).await, ["sent/*", "status/*/sent", "status/*/delivered", "status/*/read"]);
    bed.stop().await;
}

async fn received(bed: &Bed, count: usize) -> Vec<Received> {
    bed.app.queues.receive(Queue::Commands(0), count, Duration::from_secs(1)).await.expect("receives")
}

/// A send with its command, and whether the command is still in the queue.
type Queued = (Message, Received, bool);

/// What the worker does about sends that wait and are then sent, as long as something of them is left to cause it.
async fn wait_and_send(bed: &Bed, owner: &Owner, all: &mut [Queued]) -> bool {
    let author = owner.author();
    let load = |message: &Message| {
        let message = message.clone();
        async move {
            let row = SendRow::load(&bed.app, owner.id(), &message.sort(), Some(&message.content)).await;
            row.map(|row| row.expect("a row"))
        }
    };
    let result = async {
        let mut fresh = Vec::new();
        for (message, command, _) in all.iter().filter(|(.., queued)| *queued) {
            let row = load(message).await?;
            fresh.push(Park { row, command: command.decode()?, accepted: message.at });
        }
        let begun = fresh.iter().any(|park| !park.row.is_pending() || park.row.was_parked());
        if begun || !author.parked_together(&fresh).await? {
            for park in fresh.iter().filter(|park| park.row.is_pending()) {
                author.parked(&park.row, &park.command, park.accepted, Settle::Nothing).await?;
            }
        }
        for (message, command, queued) in all.iter_mut() {
            if *queued {
                bed.app.queues.delete(&command.receipt).await?;
                *queued = false;
            }
            let place = keys::parked(owner.id(), message.at, &message.id);
            if bed.app.store.get(&place, Read::Strong).await?.is_none() {
                continue;
            }
            let row = load(message).await?;
            let settle = Settle::Parked(place);
            if row.is_pending() {
                author.sent(&row, None, bed.app.clock.now(), settle).await?;
            } else {
                author.settled_before(&row, settle).await?;
            }
        }
        Ok::<_, shared::store::CommitError>(())
    };
    result.await.is_ok()
}

#[tokio::test]
async fn waiting_together_is_counted_once_wherever_it_stops() {
    let bed = Bed::serial().await;
    let instance = bed.paired(Platform::Whatsapp).await;
    let owner = Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("works").expect("is there");
    let mut total = 0;
    for changes in 0.. {
        let mut all = Vec::new();
        for n in 0..3 {
            all.push(bed.accept(&instance, "15550100001", &format!("{changes}/{n}")).await);
        }
        total += 3;
        let commands = received(&bed, 3).await;
        assert_eq!(commands.len(), 3);
        let mut all: Vec<Queued> =
            all.into_iter().zip(commands).map(|(message, command)| (message, command, true)).collect();
        bed.chaos.stop_after(Some(changes));
        let done = wait_and_send(&bed, &owner, &mut all).await;
        bed.chaos.resume();
        owner.received(&bed.incoming(&format!("in{changes}"), "meanwhile")).await.expect("works");
        assert!(wait_and_send(&bed, &owner, &mut all).await, "heals, stopped after {changes}");
        for (message, ..) in &all {
            let mut told = bed.told(message).await;
            told.sort_unstable();
            assert_eq!(told, ["queued/*", "sent/*", "status/*/sent"], "stopped after {changes}");
        }
        assert_eq!(bed.counted(&instance).await, total, "stopped after {changes}");
        if done {
            assert!(changes > 10, "the step has many changes");
            return;
        }
    }
}
