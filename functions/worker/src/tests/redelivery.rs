//! A step that stopped after any of its changes is completed by its repetition: the entry and its dispatches are there once.

use std::time::Duration;

use shared::{
    address::Platform,
    capability::Ids,
    connector::{Command, Receipt},
    domain::{
        instance::Instance,
        message::{Message, Status},
        owner::{Owner, SendRow, Settle},
    },
    store::{CommitError, Queue, Received},
};

use super::bed::Bed;

/// What a worker does with the message of a command, once.
enum Act {
    Sent,
    Failed,
    Parked,
}

async fn received(bed: &Bed) -> Received {
    let mut all = bed.app.queues.receive(Queue::Commands(0), 1, Duration::from_secs(1)).await.expect("receives");
    all.pop().expect("a command")
}

async fn dispatches(bed: &Bed) -> u64 {
    bed.app.queues.depth(Queue::Dispatch).await.expect("counts").visible
}

async fn step(bed: &Bed, owner: &Owner, command: &Received, message: &Message, act: &Act) -> Result<(), CommitError> {
    let author = owner.author();
    let settle = Settle::Queue(command.receipt.clone());
    let row = SendRow::load(&bed.app, owner.id(), &message.sort(), Some(&message.content)).await?.expect("a row");
    if !row.is_pending() {
        return author.settled_before(&row, settle).await;
    }
    match act {
        Act::Sent => {
            let names_itself = owner.instance().capability()?.message_ids == Ids::Client;
            let id = (!names_itself).then_some("4711");
            author.sent(&row, id, bed.app.clock.now(), settle).await
        }
        Act::Failed => author.failed(&row, "number does not exist", settle).await,
        Act::Parked => {
            let whole: Command = command.decode()?;
            author.parked(&row, &whole, message.at, settle).await
        }
    }
}

/// Stops the step after each of its changes in turn, repeats it, and looks.
async fn enumerate(platform: Platform, act: Act, expected: &[&str]) {
    let bed = Bed::serial().await;
    let instance = bed.paired(platform).await;
    let owner = Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("works").expect("is there");
    for changes in 0.. {
        let message = bed.accept(&instance, "15550100001", &format!("message {changes}")).await;
        let command = received(&bed).await;
        let before = dispatches(&bed).await;
        bed.chaos.stop_after(Some(changes));
        let died = step(&bed, &owner, &command, &message, &act).await.is_err();
        bed.chaos.resume();
        // Another process, and another entry between: the look-up must not depend on the tail.
        owner.received(&bed.incoming(&format!("in{changes}"), "meanwhile")).await.expect("works");
        step(&bed, &owner, &command, &message, &act).await.expect("heals");
        step(&bed, &owner, &command, &message, &act).await.expect("again");
        assert_eq!(bed.told(&message).await, expected, "stopped after {changes}");
        let own = dispatches(&bed).await - before - 1;
        assert_eq!(own, expected.len() as u64, "dispatches, stopped after {changes}");
        let depth = bed.app.queues.depth(Queue::Commands(0)).await.expect("counts");
        assert_eq!((depth.visible, depth.in_flight), (0, 0), "the command is acknowledged");
        if !died {
            assert!(changes >= 4, "the step has several changes");
            counted_once(&bed, &instance, changes as i64 + 1).await;
            return;
        }
    }
}

async fn counted_once(bed: &Bed, instance: &Instance, messages: i64) {
    let sent: i64 =
        bed.log(instance).await.iter().filter_map(|entry| entry.body.delta).map(|delta| delta.messages_sent).sum();
    assert_eq!(sent, messages, "each message is counted once");
}

#[tokio::test]
async fn sent_is_told_once() {
    enumerate(Platform::Whatsapp, Act::Sent, &["sent/*", "status/*/sent"]).await;
}

#[tokio::test]
async fn sent_under_the_platforms_id_is_told_once() {
    enumerate(Platform::Telegram, Act::Sent, &["sent/*", "status/*/sent"]).await;
}

#[tokio::test]
async fn failed_is_told_once() {
    enumerate(Platform::Whatsapp, Act::Failed, &["status/*/failed"]).await;
}

#[tokio::test]
async fn parked_is_told_once() {
    enumerate(Platform::Whatsapp, Act::Parked, &["queued/*"]).await;
}

#[tokio::test]
async fn a_message_that_came_in_is_told_once() {
    let bed = Bed::serial().await;
    let instance = bed.paired(Platform::Whatsapp).await;
    let owner = Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("works").expect("is there");
    for changes in 0.. {
        // Long, so that it has a body of its own.
        let incoming = bed.incoming(&format!("long{changes}"), &"words ".repeat(300));
        let before = dispatches(&bed).await;
        bed.chaos.stop_after(Some(changes));
        let died = owner.received(&incoming).await.is_err();
        bed.chaos.resume();
        owner.received(&bed.incoming(&format!("between{changes}"), "meanwhile")).await.expect("works");
        owner.received(&incoming).await.expect("heals");
        owner.received(&incoming).await.expect("again");
        let log = bed.log(&instance).await;
        let key = format!("recv/{}#", incoming.id);
        assert_eq!(log.iter().filter(|entry| entry.body.key.starts_with(&key)).count(), 1, "stopped after {changes}");
        assert_eq!(dispatches(&bed).await - before, 2, "stopped after {changes}");
        if !died {
            assert!(changes >= 4);
            return;
        }
    }
}

#[tokio::test]
async fn receipts_rise_and_are_told_once() {
    let bed = Bed::serial().await;
    let instance = bed.paired(Platform::Whatsapp).await;
    let owner = Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("works").expect("is there");
    for changes in 0.. {
        let message = bed.accept(&instance, "15550100001", "hello").await;
        let command = received(&bed).await;
        // The receipt overtakes the record of the sending.
        let (ids, chat) = ([message.pmid.clone()], message.remote_jid.clone());
        let at = bed.app.clock.now();
        bed.chaos.stop_after(Some(changes));
        let died = owner.receipts(&ids, &chat, Receipt::Delivered, at).await.is_err();
        bed.chaos.resume();
        owner.receipts(&ids, &chat, Receipt::Delivered, at).await.expect("heals");
        step(&bed, &owner, &command, &message, &Act::Sent).await.expect("settles");
        owner.receipts(&ids, &chat, Receipt::Read, at).await.expect("works");
        owner.receipts(&ids, &chat, Receipt::Delivered, at).await.expect("comes late, changes nothing");
        let expected = ["sent/*", "status/*/sent", "status/*/delivered", "status/*/read"];
        let mut told = bed.told(&message).await;
        if died {
            // A crash between the row and the log may let the receipt be told first; never twice, and never not.
            told.sort_by_key(|key| expected.iter().position(|known| known == key));
        }
        assert_eq!(told, expected, "stopped after {changes}");
        assert_eq!(bed.message(&message).await.status, Status::Read);
        if !died {
            break;
        }
    }
    owner
        .receipts(&["unknown".into()], "15550100009@s.whatsapp.net", Receipt::Read, bed.app.clock.now())
        .await
        .expect("unknown ids are ignored");
}
