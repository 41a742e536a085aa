//! One attempt to send: what is looked at before, the line, and what becomes durable of it.
//!
//! An attempt that takes long does not wait for its outcome to be counted, nor does it keep others of its instance in the
//! queue: its command moves into a row of its own ([`From::Parked`]) while the attempt goes on.

use std::{future::Future, time::Duration};

use shared::{
    Error, Result,
    capability::Ids,
    clock::Millis,
    connector::{About, Command, Outgoing, Sent},
    domain::{
        instance::Status,
        message::{self, DEADLINE_MS},
        owner::{OUTCOME_UNKNOWN, SendRow, Settle},
    },
    store::{CommitError, Key, Receipt, keys},
};

use crate::{
    gauges::{self, SendOutcome},
    locks::Held,
    port::Port,
};

/// A send that is not done that long after its acceptance is counted without waiting for its outcome: the statistics are to
/// be right within 5 s (spec/http.md, "stats").
pub(crate) const COUNT_AFTER: Duration = Duration::from_millis(1500);
/// Sends that come out of the queue that late are parked as fast as they come: the queue shows what is behind them only when
/// they have left it.
const BEHIND_AFTER: Duration = Duration::from_millis(2500);
/// An attempt that begins late has at least that long before it is counted as one that takes long.
const GRACE: Duration = Duration::from_millis(250);
/// Pause before a send is tried again whose outcome nobody knows, or while the store does not answer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Pauses grow with the number of tries up to that.
const AGAIN_MOST: Duration = Duration::from_secs(15);
/// Tries of a step that the store did not answer: every step may be repeated, an attempt on the line better not.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(50);

/// What a send is removed from once its outcome is durable.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum From {
    Queue(Receipt),
    Parked(Key),
}

/// One send.
#[derive(Debug, Clone)]
pub(crate) struct Send {
    pub(crate) from: From,
    pub(crate) message: String,
    pub(crate) accepted: Millis,
    pub(crate) deadline: Millis,
    pub(crate) outgoing: Outgoing,
    /// Attempts in a row that ended without anybody knowing how.
    pub(crate) tries: u32,
}

/// How it went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Went {
    Settled,
    /// It waits in a row of its own until there is a line.
    Parked,
    /// Not now: again after that.
    Again(Duration),
    /// The owner has changed, or the lease is over: nothing of this instance may go on here.
    Stop,
}

impl Send {
    /// A send, if the command is one.
    pub(crate) fn of(command: Command, from: From) -> Option<Self> {
        match command.action {
            shared::connector::Action::Send { message, accepted, deadline, outgoing } => {
                Some(Self { from, message, accepted, deadline, outgoing: *outgoing, tries: 0 })
            }
            _ => None,
        }
    }

    pub(crate) fn settle(&self) -> Settle {
        match &self.from {
            From::Queue(receipt) => Settle::Queue(receipt.clone()),
            From::Parked(key) => Settle::Parked(key.clone()),
        }
    }

    /// Whether it is still in the command queue.
    pub(crate) fn is_queued(&self) -> bool {
        matches!(self.from, From::Queue(_))
    }

    /// The chat, from the message's sort key.
    pub(crate) fn chat(&self) -> String {
        self.message.split('#').nth(1).unwrap_or_default().to_owned()
    }

    /// About how much room it takes in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        300 + self.outgoing.content.text().len()
    }

    /// For how long it has been on its way: since its acceptance, or since its time came.
    fn age(&self, now: Millis) -> Duration {
        Millis(self.deadline.0 - DEADLINE_MS).until(now)
    }

    /// Whether it is on its way for so long that the statistics should have it, sent or not.
    pub(crate) fn is_late(&self, now: Millis) -> bool {
        self.age(now) >= COUNT_AFTER
    }

    /// Whether it was in the queue for so long that those behind it should be counted, too.
    pub(crate) fn is_behind(&self, now: Millis) -> bool {
        self.age(now) >= BEHIND_AFTER
    }

    /// Its message in the command queue, while it is there.
    pub(crate) fn receipt(&self) -> Option<&Receipt> {
        match &self.from {
            From::Queue(receipt) => Some(receipt),
            From::Parked(_) => None,
        }
    }

    pub(crate) fn command(&self, port: &Port) -> Command {
        let action = shared::connector::Action::Send {
            message: self.message.clone(),
            accepted: self.accepted,
            deadline: self.deadline,
            outgoing: Box::new(self.outgoing.clone()),
        };
        Command::new(port.owner.id().clone(), action)
    }
}

/// Attempts a send from wherever it is; gives it back with what became of it, and where it is now.
pub(crate) async fn attempt(port: &Port, mut send: Send) -> (Send, Went) {
    if !port.lease_is_valid() {
        return (send, Went::Stop);
    }
    let receipt = send.receipt().cloned();
    let went = match port.check(one(port, &mut send).await) {
        Ok(went) => went,
        Err(CommitError::Fenced { .. }) => Went::Stop,
        Err(error) => {
            // Not knowing is harmless: every step of it can be repeated.
            tracing::warn!(instance = %port.owner.id(), %error, "a send is tried again");
            send.tries += 1;
            Went::Again((AGAIN_AFTER * send.tries).min(AGAIN_MOST))
        }
    };
    if let Some(receipt) = receipt
        && (went == Went::Settled || !send.is_queued())
    {
        port.in_hand.settled(&receipt);
    }
    (send, went)
}

async fn one(port: &Port, send: &mut Send) -> Result<Went, CommitError> {
    let author = port.owner.author();
    let Some(mut row) = pending(port, send).await? else { return Ok(Went::Settled) };
    if send.is_queued() && row.was_parked() {
        // Its first delivery stopped somewhere on the way into its row: complete that.
        row = park(port, send, &row).await?;
    }
    if port.app().clock.now() > send.deadline {
        return fail(port, send, &row, "expired").await;
    }
    let instance = port.owner.instance();
    if !instance.paired {
        let reason = if instance.status == Status::LoggedOut { "logged_out" } else { "not_paired" };
        return fail(port, send, &row, reason).await;
    }
    let names_itself = instance.capability()?.message_ids == Ids::Client;
    if !names_itself && row.message.attempting.is_some() {
        return fail(port, send, &row, OUTCOME_UNKNOWN).await;
    }
    let Some(line) = port.line_up() else {
        park(port, send, &row).await?;
        return Ok(Went::Parked);
    };
    let mut outgoing = send.outgoing.clone();
    outgoing.about = about(port, &outgoing).await?;
    let sending = async {
        // Few at a time are on the line; what comes before and after that is not counted among them.
        let _slot = port.slots.acquire().await;
        if !names_itself {
            author.attempting(&row).await?;
        }
        if !port.lease_is_valid() {
            return Ok(None);
        }
        let limit = port.context.settings.send + Duration::from_millis(outgoing.typing_ms);
        Ok(Some(tokio::time::timeout(limit, line.send(&outgoing)).await.unwrap_or(Sent::Unknown)))
    };
    let (sent, counted) = counting(port, send, &row, sending).await?;
    let row = counted.unwrap_or(row);
    let Some(sent) = sent else { return Ok(Went::Stop) };
    if !names_itself && matches!(sent, Sent::Later { .. } | Sent::NoLine) {
        author.not_attempted(&row).await?;
    }
    match sent {
        Sent::Accepted { id, at } => {
            let told = in_order(port, send).await;
            insist(|| author.sent(&row, id.as_deref(), at, send.settle())).await?;
            drop(told);
            port.owner.wrote_to(&row.message).await;
            gauges::send(SendOutcome::Sent);
            Ok(Went::Settled)
        }
        Sent::Rejected { reason } => fail(port, send, &row, &reason).await,
        Sent::Later { after } => {
            gauges::send(SendOutcome::Later);
            Ok(Went::Again(after))
        }
        Sent::NoLine => {
            park(port, send, &row).await?;
            Ok(Went::Parked)
        }
        Sent::Unknown if names_itself => {
            send.tries += 1;
            Ok(Went::Again((AGAIN_AFTER * send.tries).min(AGAIN_MOST)))
        }
        Sent::Unknown => fail(port, send, &row, OUTCOME_UNKNOWN).await,
    }
}

/// The message that a send refers to, if it is one that we know.
async fn about(port: &Port, outgoing: &Outgoing) -> Result<Option<About>, CommitError> {
    let Some(id) = outgoing.content.target().or(outgoing.quoted.as_deref()) else { return Ok(None) };
    let found = message::find(port.app(), &port.owner.instance(), id).await?;
    Ok(found.map(|message| About {
        id: message.platform_id().to_owned(),
        from_me: message.from_me,
        text: message.content.text().to_owned(),
        sender: message.sender,
    }))
}

/// The send's row while there is something to do for it. `None`: settled, now or before.
pub(crate) async fn pending(port: &Port, send: &Send) -> Result<Option<SendRow>, CommitError> {
    let Some(row) = SendRow::load(port.app(), port.owner.id(), &send.message, Some(&send.outgoing.content)).await?
    else {
        // Deleted with its instance's history: there is nothing to send any more.
        settle_without_row(port, send).await?;
        return Ok(None);
    };
    if row.is_pending() {
        return Ok(Some(row));
    }
    let _told = in_order(port, send).await;
    port.owner.author().settled_before(&row, send.settle()).await?;
    Ok(None)
}

/// Until this is dropped nothing else of the chat is appended here. A unit's dispatches leave after its entries are in the log,
/// and take their time or several tries; what the platform tells of the message meanwhile must not be told before them.
async fn in_order<'a>(port: &'a Port, send: &Send) -> Held<'a> {
    port.chats.hold(&send.outgoing.to).await
}

/// Waits for the attempt. One that takes long is parked meanwhile, and so counted: then the row as it is since.
async fn counting<T>(
    port: &Port,
    send: &mut Send,
    row: &SendRow,
    sending: impl Future<Output = Result<T, CommitError>>,
) -> Result<(T, Option<SendRow>), CommitError> {
    if !send.is_queued() {
        return Ok((sending.await?, None));
    }
    let mut sending = std::pin::pin!(sending);
    let typing = Duration::from_millis(send.outgoing.typing_ms);
    let left = COUNT_AFTER.saturating_sub(send.age(port.app().clock.now())).max(GRACE);
    if typing < left {
        tokio::select! {
            biased;
            sent = &mut sending => return Ok((sent?, None)),
            () = tokio::time::sleep(left) => {}
        }
    }
    // Whether it is counted must be known before its outcome is written.
    let (sent, counted) = tokio::join!(sending, park(port, send, row));
    Ok((sent?, Some(counted?)))
}

pub(crate) async fn fail(port: &Port, send: &Send, row: &SendRow, reason: &str) -> Result<Went, CommitError> {
    let author = port.owner.author();
    let _told = in_order(port, send).await;
    insist(|| author.failed(row, reason, send.settle())).await?;
    gauges::send(SendOutcome::Failed);
    Ok(Went::Settled)
}

/// Moves a send from the queue into a row of its own; in such a row it stays. The row of the message as it is then.
pub(crate) async fn park(port: &Port, send: &mut Send, row: &SendRow) -> Result<SendRow, CommitError> {
    if !send.is_queued() {
        return Ok(row.clone());
    }
    let (command, author) = (send.command(port), port.owner.author());
    let _told = in_order(port, send).await;
    insist(|| author.parked(row, &command, send.accepted, send.settle())).await?;
    gauges::send(SendOutcome::Parked);
    send.from = From::Parked(keys::parked(port.owner.id(), send.accepted, &row.message.id));
    Ok(row.clone().counted())
}

/// Repeats a step while the store does not answer.
async fn insist<T, F>(mut step: impl FnMut() -> F) -> Result<T, CommitError>
where
    F: Future<Output = Result<T, CommitError>>,
{
    let mut tries = 1;
    loop {
        match step().await {
            Err(CommitError::Store(error)) if error.is_temporary() && tries < TRIES => {
                tracing::debug!(%error, "a step of a send is repeated");
                tokio::time::sleep(PAUSE * (1 << tries)).await;
                tries += 1;
            }
            result => return result,
        }
    }
}

async fn settle_without_row(port: &Port, send: &Send) -> Result<(), Error> {
    match &send.from {
        From::Queue(receipt) => port.app().queues.delete(receipt).await,
        From::Parked(key) => {
            let write = shared::store::Write::delete(key.clone());
            port.app().store.commit(shared::store::Unit::write(write)).await?;
            Ok(())
        }
    }
}
