//! The state of a connection that somebody else holds and reports to us: the aggregation service's devices.
//!
//! There is no owner then, and no epoch to fence with: whoever works off the device's reports writes what they say, one after
//! the other. The worker leaves the status of such an instance alone (`Instance::is_reported`).

use serde_json::{Value, json};

use super::{
    author::{Author, Settle},
    line::{address_keys, closed_entry},
};
use crate::{
    clock::Millis,
    connector::Closed,
    domain::{
        activity::{self, Action},
        event::{self, Kind},
        instance::{Instance, Qr, Status},
    },
    error::Result,
    store::{Change, CommitError, Cond, Item, Read, Unit, Write, keys, log::NewEntry},
};

/// What is reported of a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// It is being made; no event, since nothing has happened yet.
    Connecting,
    /// Somebody is to scan a code, or has, or has refused: `scan` is the platform's number for it. The code itself is not
    /// always told.
    Qr {
        code: Option<String>,
        scan: Option<i64>,
    },
    /// The account is online, under this address and name; `None`: under those that it had.
    Opened {
        account: Option<(String, String)>,
    },
    Closed {
        status: Status,
        reason: Closed,
        detail: &'static str,
        will_reconnect: bool,
    },
}

/// What the row becomes, and what is told of it.
struct Turn {
    change: Change,
    more: Vec<Write>,
    told: Option<(NewEntry, Vec<Action>)>,
}

impl Author<'_> {
    /// Writes what `id` reports: the row first, then the event, if it is news. `from`: the log's end when it was accepted, so
    /// that a repeat finds its event there.
    pub(crate) async fn reported(&self, report: &Report, id: &str, at: Millis, from: u64) -> Result<(), CommitError> {
        let Some(item) = self.app.store.get(&keys::instance(&self.instance.id), Read::Strong).await? else {
            return Ok(());
        };
        // The row is as this report has left it: only what follows may be missing.
        let again = item.str("reportedBy") == Some(id);
        let instance: Instance = item.into()?;
        let Some(turn) = self.turn(&instance, report, id, at, again)? else { return Ok(()) };
        let exists = Cond::All(vec![Cond::Exists, Cond::lacks("deleting")]);
        let change = turn.change.set("reportedBy", id);
        let mut writes = vec![Write::update(keys::instance(&instance.id), change).only_if(exists)];
        writes.extend(turn.more);
        let unit = match turn.told {
            Some((entry, notes)) => {
                let note = |action| {
                    activity::note_as(&instance.id, action, entry.data.clone(), &format!("{id}-{action:?}"), at)
                };
                writes.extend(notes.into_iter().map(note).collect::<Result<Vec<_>>>()?);
                self.unit(writes, &[entry], Some(from + 1), Settle::Nothing)
            }
            None => Unit { writes, ..Unit::default() },
        };
        match self.commit(unit).await {
            // Gone, or going.
            Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// `None`: nothing changes.
    fn turn(&self, was: &Instance, report: &Report, id: &str, at: Millis, again: bool) -> Result<Option<Turn>> {
        let key = format!("report/{id}");
        Ok(match report {
            Report::Connecting if matches!(was.status, Status::Connected | Status::QrReceived) => None,
            Report::Connecting => {
                let change = status(at, Status::Connecting, None).remove("qr");
                Some(Turn { change, more: Vec::new(), told: None })
            }
            // The scan succeeded: the login is what counts, and may have been faster.
            Report::Qr { scan: Some(2 | 9), .. } if was.status == Status::Connected => None,
            Report::Qr { code, scan } => {
                let qr = code.as_ref().map(|code| Qr { code: code.clone(), at });
                let first = was.status != Status::QrReceived || again;
                let change =
                    status(at, Status::QrReceived, None).set_or_remove("qr", qr.map(serde_json::to_value).transpose()?);
                let mut entry = event::entry(Kind::QrReceived, key, at);
                entry.data = json!({ "qrCode": code.as_deref().unwrap_or_default(), "scanStatus": scan });
                let notes = if first { vec![Action::QrReceived] } else { Vec::new() };
                Some(Turn { change, more: Vec::new(), told: Some((entry, notes)) })
            }
            Report::Opened { account } => self.opening(was, account.as_ref(), &key, at, again)?,
            Report::Closed { status: new, reason, detail, will_reconnect } => {
                if was.status == *new && was.reason.as_deref() == Some(detail) && !again {
                    return Ok(None);
                }
                let mut change = status(at, *new, Some(detail)).remove("qr");
                let mut notes = vec![Action::ConnectionClosed];
                if *reason == Closed::Logout {
                    change = change.set("paired", false);
                    notes.push(Action::Logout);
                }
                let mut entry = closed_entry(key, at, *reason, *will_reconnect);
                entry.data["detail"] = Value::from(*detail);
                Some(Turn { change, more: Vec::new(), told: Some((entry, notes)) })
            }
        })
    }

    fn opening(
        &self,
        was: &Instance,
        account: Option<&(String, String)>,
        key: &str,
        at: Millis,
        again: bool,
    ) -> Result<Option<Turn>> {
        let mut change = status(at, Status::Connected, None).set("paired", true).set("lastSeenAt", at.0).remove("qr");
        let mut more = Vec::new();
        let mut same = true;
        if let Some((own, name)) = account {
            same = was.address.as_deref() == Some(own.as_str());
            change = change.set("address", own.as_str());
            if !name.is_empty() {
                change = change.set("accountName", name.as_str());
            }
            let new = address_keys(self.app, was, Some(own), &[]);
            let old = address_keys(self.app, was, was.address.as_deref(), &[]);
            more.extend(old.into_iter().filter(|key| !new.contains(key)).map(Write::delete));
            for key in new {
                more.push(Write::put(Item::new(key, &json!({ "userId": was.user_id, "sandbox": false }))?));
            }
        }
        let news = was.status != Status::Connected || !same || again;
        let told =
            news.then(|| (event::entry(Kind::ConnectionOpened, key.to_owned(), at), vec![Action::ConnectionOpened]));
        Ok(Some(Turn { change, more, told }))
    }
}

fn status(at: Millis, status: Status, reason: Option<&str>) -> Change {
    Change::default().set("status", status.name()).set("statusAt", at.0).set_or_remove("reason", reason)
}
