//! Sends: of one command at a time within a chat, of many chats at once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use shared::{
    Error, Result,
    capability::Ids,
    clock::Millis,
    connector::{Command, Outgoing, Sent},
    domain::{
        instance::Status,
        owner::{self, SendRow, Settle},
    },
    store::{CommitError, Key, Receipt},
};

use crate::{
    gauges::{self, SendOutcome},
    port::Port,
};

/// Parked sends that are read at once.
const PARKED_PAGE: usize = 100;
/// A send that was received that often and still cannot go out is parked.
const PARK_AFTER: u32 = 5;
/// Pause before a send is tried again whose outcome nobody knows, or while the store does not answer.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Pauses grow with the number of receives up to that.
const AGAIN_MOST: Duration = Duration::from_secs(15);

/// What a send is removed from once its outcome is durable.
#[derive(Debug, Clone)]
pub(crate) enum From {
    Queue { receipt: Receipt, receives: u32 },
    Parked(Key),
}

/// One send.
#[derive(Debug)]
pub(crate) struct Send {
    pub(crate) from: From,
    pub(crate) message: String,
    pub(crate) accepted: Millis,
    pub(crate) deadline: Millis,
    pub(crate) outgoing: Outgoing,
}

/// How it went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    Settled,
    Parked,
    /// Not now: again after that.
    Again(Duration),
    /// The owner has changed, or the lease is over: nothing of this instance may go on here.
    Stop,
}

impl Send {
    fn settle(&self) -> Settle {
        match &self.from {
            From::Queue { receipt, .. } => Settle::Queue(receipt.clone()),
            From::Parked(key) => Settle::Parked(key.clone()),
        }
    }

    /// The chat, from the message's sort key.
    fn chat(&self) -> String {
        self.message.split('#').nth(1).unwrap_or_default().to_owned()
    }

    fn command(&self, port: &Port) -> Command {
        let action = shared::connector::Action::Send {
            message: self.message.clone(),
            accepted: self.accepted,
            deadline: self.deadline,
            outgoing: Box::new(self.outgoing.clone()),
        };
        Command::new(port.owner.id().clone(), action)
    }

    fn receives(&self) -> u32 {
        match &self.from {
            From::Queue { receives, .. } => *receives,
            From::Parked(_) => 1,
        }
    }
}

/// Sends what was received at once. Returns whether anything was parked.
///
/// `behind`: something parked waits to be drained, so these are parked behind it.
pub(crate) async fn batch(port: Arc<Port>, sends: Vec<Send>, behind: bool) -> bool {
    let mut chats: Vec<(String, Vec<Send>)> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for send in sends {
        let chat = send.chat();
        let place = *places.entry(chat.clone()).or_insert_with(|| {
            chats.push((chat, Vec::new()));
            chats.len() - 1
        });
        chats[place].1.push(send);
    }
    join_all(chats.into_iter().map(|(_, sends)| in_chat(&port, sends, behind))).await.into_iter().any(|parked| parked)
}

/// One after the other. After one that is parked all later ones are parked, after one that comes again all later ones come
/// again, behind it: so the chat keeps its order.
async fn in_chat(port: &Port, sends: Vec<Send>, behind: bool) -> bool {
    let mut parked = behind;
    let mut again: Option<Duration> = None;
    for send in sends {
        if again.is_none() {
            let went = match attempt(port, &send, parked).await {
                // The deadline is to decide about it, not the number of times that a queue shows it.
                Went::Again(_) if send.receives() >= PARK_AFTER => attempt(port, &send, true).await,
                went => went,
            };
            match went {
                Went::Settled => {}
                Went::Parked => parked = true,
                Went::Again(after) => again = Some(after),
                Went::Stop => again = Some(Duration::ZERO),
            }
        }
        if let From::Queue { receipt, .. } = &send.from {
            match again {
                None => port.in_hand.settled(receipt),
                Some(after) => port.release(receipt, after).await,
            }
        }
    }
    parked
}

/// Sends what was parked, oldest first, until nothing is left (`true`) or the line is down again.
pub(crate) async fn drain(port: Arc<Port>) -> bool {
    loop {
        let page = match owner::parked(port.app(), port.owner.id(), PARKED_PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(instance = %port.owner.id(), %error, "parked sends were not read");
                return false;
            }
        };
        if page.is_empty() {
            return true;
        }
        let mut chats: HashMap<String, Vec<Send>> = HashMap::new();
        for (key, command) in page {
            if let Some(send) = of(command, From::Parked(key)) {
                chats.entry(send.chat()).or_default().push(send);
            }
        }
        let all = join_all(chats.into_values().map(|sends| drain_chat(&port, sends))).await;
        if all.iter().any(|done| !done) {
            return false;
        }
    }
}

async fn drain_chat(port: &Port, sends: Vec<Send>) -> bool {
    for send in sends {
        match attempt(port, &send, false).await {
            Went::Settled => {}
            // The chat waits for the next drain; nothing else does.
            Went::Again(_) | Went::Parked | Went::Stop => return false,
        }
    }
    true
}

/// Ends what is parked for an account that is logged out: it must not go out from whichever account is linked next.
pub(crate) async fn fail_parked(port: &Port) {
    loop {
        let page = match owner::parked(port.app(), port.owner.id(), PARKED_PAGE).await {
            Ok(page) if page.is_empty() => return,
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(instance = %port.owner.id(), %error, "parked sends were not read");
                return;
            }
        };
        for (key, command) in page {
            let Some(send) = of(command, From::Parked(key)) else { continue };
            if let Err(error) = port.check(end_parked(port, &send).await) {
                tracing::warn!(instance = %port.owner.id(), %error, "parked sends were not ended");
                return;
            }
        }
    }
}

async fn end_parked(port: &Port, send: &Send) -> Result<(), CommitError> {
    match SendRow::load(port.app(), port.owner.id(), &send.message, Some(&send.outgoing.content)).await? {
        None => Ok(settle_without_row(port, send).await?),
        Some(row) if row.is_pending() => fail(port, send, &row, "logged_out").await.map(|_| ()),
        Some(row) => port.owner.author().settled_before(&row, send.settle()).await,
    }
}

/// A send, if the command is one.
pub(crate) fn of(command: Command, from: From) -> Option<Send> {
    match command.action {
        shared::connector::Action::Send { message, accepted, deadline, outgoing } => {
            Some(Send { from, message, accepted, deadline, outgoing: *outgoing })
        }
        _ => None,
    }
}

async fn attempt(port: &Port, send: &Send, behind_parked: bool) -> Went {
    if !port.lease_is_valid() {
        return Went::Stop;
    }
    match port.check(one(port, send, behind_parked).await) {
        Ok(went) => went,
        Err(CommitError::Fenced { .. }) => Went::Stop,
        Err(error) => {
            // Not knowing is harmless: every step of it can be repeated.
            tracing::warn!(instance = %port.owner.id(), %error, "a send is tried again");
            Went::Again((AGAIN_AFTER * send.receives()).min(AGAIN_MOST))
        }
    }
}

async fn one(port: &Port, send: &Send, behind_parked: bool) -> Result<Went, CommitError> {
    let (app, author) = (port.app(), port.owner.author());
    let Some(row) = SendRow::load(app, port.owner.id(), &send.message, Some(&send.outgoing.content)).await? else {
        // Deleted with its instance's history: there is nothing to send any more.
        settle_without_row(port, send).await?;
        return Ok(Went::Settled);
    };
    if !row.is_pending() {
        author.settled_before(&row, send.settle()).await?;
        return Ok(Went::Settled);
    }
    let from_queue = matches!(send.from, From::Queue { .. });
    if from_queue && row.was_parked() {
        // Its first delivery stopped somewhere in the parking: complete that, and let the drain send it.
        return park(port, send, &row).await;
    }
    if app.clock.now() > send.deadline {
        return fail(port, send, &row, "expired").await;
    }
    let instance = port.owner.instance();
    if !instance.paired {
        let reason = if instance.status == Status::LoggedOut { "logged_out" } else { "not_paired" };
        return fail(port, send, &row, reason).await;
    }
    let names_itself = instance.capability()?.message_ids == Ids::Client;
    if !names_itself && row.message.attempting.is_some() {
        return fail(port, send, &row, "outcome_unknown").await;
    }
    let line = match port.line_up() {
        Some(line) if !behind_parked => line,
        _ => return park(port, send, &row).await,
    };
    if !names_itself {
        author.attempting(&row).await?;
    }
    if !port.lease_is_valid() {
        return Ok(Went::Stop);
    }
    let limit = port.context.settings.send + Duration::from_millis(send.outgoing.typing_ms);
    let sent = tokio::time::timeout(limit, line.send(&send.outgoing)).await.unwrap_or(Sent::Unknown);
    if !names_itself && matches!(sent, Sent::Later { .. } | Sent::NoLine) {
        author.not_attempted(&row).await?;
    }
    match sent {
        Sent::Accepted { id, at } => {
            author.sent(&row, id.as_deref(), at, send.settle()).await?;
            port.owner.wrote_to(&row.message).await;
            gauges::send(SendOutcome::Sent);
            Ok(Went::Settled)
        }
        Sent::Rejected { reason } => fail(port, send, &row, &reason).await,
        Sent::Later { after } => {
            gauges::send(SendOutcome::Later);
            Ok(Went::Again(after))
        }
        Sent::NoLine => park(port, send, &row).await,
        Sent::Unknown if names_itself => Ok(Went::Again(AGAIN_AFTER)),
        Sent::Unknown => fail(port, send, &row, "outcome_unknown").await,
    }
}

async fn fail(port: &Port, send: &Send, row: &SendRow, reason: &str) -> Result<Went, CommitError> {
    port.owner.author().failed(row, reason, send.settle()).await?;
    gauges::send(SendOutcome::Failed);
    Ok(Went::Settled)
}

/// From the parked rows it stays where it is.
async fn park(port: &Port, send: &Send, row: &SendRow) -> Result<Went, CommitError> {
    if matches!(send.from, From::Queue { .. }) {
        port.owner.author().parked(row, &send.command(port), send.accepted, send.settle()).await?;
        gauges::send(SendOutcome::Parked);
    }
    Ok(Went::Parked)
}

async fn settle_without_row(port: &Port, send: &Send) -> Result<(), Error> {
    match &send.from {
        From::Queue { receipt, .. } => port.app().queues.delete(receipt).await,
        From::Parked(key) => {
            let write = shared::store::Write::delete(key.clone());
            port.app().store.commit(shared::store::Unit::write(write)).await?;
            Ok(())
        }
    }
}
