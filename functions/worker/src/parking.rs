//! Sends that wait in rows of their own: into them, out of them again, and their end when the account is logged out.

use std::{collections::HashSet, sync::Arc};

use futures_util::future::join_all;
use shared::{
    domain::owner::{self, Park, SendRow},
    store::{CommitError, keys},
};

use crate::{
    gauges::{self, SendOutcome},
    port::Port,
    sending::{self, From, Send},
};

/// Rows that are read at once.
const PAGE: usize = 200;
/// Rows that are looked through for such that may begin.
const LOOK: usize = 5000;
/// Sends that move in one unit.
const TOGETHER: usize = 64;

/// What became of a send that was to move into a row of its own.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) chat: String,
    pub(crate) message: String,
    pub(crate) to: To,
}

#[derive(Debug)]
pub(crate) enum To {
    Row(From),
    /// It was settled before.
    Nowhere,
    /// It stays in the queue: the store does not answer.
    Stays,
}

/// Moves sends from the queue into rows of their own, in their order. After one that stays, all later ones stay.
pub(crate) async fn park(port: Arc<Port>, sends: Vec<Send>) -> Vec<Moved> {
    let mut moved: Vec<Moved> = Vec::with_capacity(sends.len());
    let mut rest = sends.as_slice();
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(rest.len().min(TOGETHER));
        if let Err(error) = port.check(park_chunk(&port, chunk, &mut moved).await) {
            tracing::warn!(instance = %port.owner.id(), %error, "sends are not parked yet");
            break;
        }
        rest = later;
    }
    let stays = sends.get(moved.len()..).unwrap_or_default();
    moved.extend(stays.iter().map(|send| Moved::of(send, To::Stays)));
    moved
}

/// All of these in one unit. Where one of them was begun before, one after the other.
async fn park_chunk(port: &Port, sends: &[Send], moved: &mut Vec<Moved>) -> Result<(), CommitError> {
    let wanted: Vec<_> = sends.iter().map(|send| (send.message.as_str(), &send.outgoing.content)).collect();
    let rows = SendRow::load_many(port.app(), port.owner.id(), &wanted).await?;
    let fresh: Option<Vec<Park>> = rows
        .into_iter()
        .zip(sends)
        .map(|(row, send)| {
            let row = row.filter(|row| row.is_pending() && !row.was_parked())?;
            Some(Park { row, command: send.command(port), accepted: send.accepted })
        })
        .collect();
    let together = match &fresh {
        Some(fresh) => port.owner.author().parked_together(fresh).await,
        None => Ok(false),
    };
    if together? {
        let receipts = sends.iter().filter_map(Send::receipt);
        join_all(receipts.map(|receipt| port.acknowledge(receipt))).await;
        for (park, send) in fresh.into_iter().flatten().zip(sends) {
            gauges::send(SendOutcome::Parked);
            let key = keys::parked(port.owner.id(), send.accepted, &park.row.message.id);
            moved.push(Moved::of(send, To::Row(From::Parked(key))));
        }
        return Ok(());
    }
    for send in sends {
        let mut now = send.clone();
        let to = if park_one(port, &mut now).await? { To::Row(now.from) } else { To::Nowhere };
        moved.push(Moved::of(send, to));
    }
    Ok(())
}

/// `false`: there is nothing to do for it any more.
async fn park_one(port: &Port, send: &mut Send) -> Result<bool, CommitError> {
    let Some(receipt) = send.receipt().cloned() else { return Ok(true) };
    let pending = match sending::pending(port, send).await? {
        Some(row) => sending::park(port, send, &row).await.map(|_| true)?,
        None => false,
    };
    port.in_hand.settled(&receipt);
    Ok(pending)
}

impl Moved {
    fn of(send: &Send, to: To) -> Self {
        Self { chat: send.chat(), message: send.message.clone(), to }
    }
}

/// Sends out of their rows.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) sends: Vec<Send>,
    /// Whether no other rows are left. `false` also while the store does not answer.
    pub(crate) all: bool,
}

/// Reads parked sends, oldest first: at most `room` that are not among `held`, and none of the chats that are `full`.
pub(crate) async fn find(port: Arc<Port>, held: HashSet<String>, full: HashSet<String>, room: usize) -> Found {
    let mut found = Found::default();
    let (mut after, mut passed) = (None, false);
    let mut looked = 0;
    loop {
        let page = match owner::parked(port.app(), port.owner.id(), after, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(instance = %port.owner.id(), %error, "parked sends were not read");
                return found;
            }
        };
        looked += page.sends.len();
        for (key, command) in page.sends {
            let Some(send) = Send::of(command, From::Parked(key)) else { continue };
            if held.contains(&send.message) {
                continue;
            }
            if full.contains(&send.chat()) || found.sends.len() >= room {
                passed = true;
            } else {
                found.sends.push(send);
            }
        }
        if page.next.is_none() {
            found.all = !passed;
            return found;
        }
        if found.sends.len() >= room || looked >= LOOK {
            return found;
        }
        after = page.next;
    }
}

/// Ends what is parked for an account that is logged out: it must not go out from whichever account is linked next.
pub(crate) async fn fail_all(port: &Port) {
    let mut after = None;
    loop {
        let page = match owner::parked(port.app(), port.owner.id(), after, PAGE).await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(instance = %port.owner.id(), %error, "parked sends were not read");
                return;
            }
        };
        for (key, command) in page.sends {
            let Some(send) = Send::of(command, From::Parked(key)) else { continue };
            if let Err(error) = port.check(end(port, &send).await) {
                tracing::warn!(instance = %port.owner.id(), %error, "parked sends were not ended");
                return;
            }
        }
        after = page.next;
        if after.is_none() {
            return;
        }
    }
}

async fn end(port: &Port, send: &Send) -> Result<(), CommitError> {
    match sending::pending(port, send).await? {
        Some(row) => sending::fail(port, send, &row, "logged_out").await.map(drop),
        None => Ok(()),
    }
}
