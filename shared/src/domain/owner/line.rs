//! The life of a line: QR codes, opened, closed, logged out. The status row, its entry, and the activity.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Owner, author::Settle, restricted::ends_with_a_login};
use crate::{
    address::{self, Platform},
    app::App,
    clock::Millis,
    connector::{Closed, SessionStore as _},
    domain::{
        activity::{self, Action},
        event::{self, Kind},
        instance::{self, Instance, Mode, Qr, Status},
    },
    error::{Error, Result},
    store::{Change, CommitError, Item, Key, Write, keys, log::NewEntry},
};

/// Tries of a step whose outcome is unknown: the look-up in the log keeps the entry single.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(100);

/// `reason` of an instance whose QR codes nobody scanned.
pub const PAIRING_EXPIRED: &str = "pairing_expired";

impl Owner {
    /// A QR code to scan. The first of a pairing is noted as activity; all are events.
    pub async fn qr(&self, code: &str) -> Result<(), CommitError> {
        let now = self.app.clock.now();
        let qr = Qr { code: code.to_owned(), at: now };
        let first = self.instance().status != Status::QrReceived;
        let change =
            status(now, Status::QrReceived, None).set("qr", serde_json::to_value(&qr).map_err(Error::internal)?);
        let entry = self.entry(Kind::QrReceived, json!({ "qrCode": code }));
        let note = if first { Some((Action::QrReceived, json!({}))) } else { None };
        self.turn(change, Vec::new(), Some(entry), note).await?;
        self.edit(|instance| {
            set_status(instance, now, Status::QrReceived, None);
            instance.qr = Some(qr);
        });
        Ok(())
    }

    /// The line is up: the account's own address, and its aliases, lead to the instance from now on.
    pub async fn opened(&self, own: &str, aliases: &[String], name: &str) -> Result<(), CommitError> {
        let now = self.app.clock.now();
        let instance = self.instance();
        let free = ends_with_a_login(&instance, now);
        let change = status(now, Status::Connected, None)
            .set("address", own)
            .set("aliases", aliases)
            .set("accountName", name)
            .set("paired", true)
            .set("lastSeenAt", now.0)
            .remove("qr");
        let change = if free { change.remove("restriction") } else { change };
        let mut writes = Vec::new();
        let keys = address_keys(&self.app, &instance, Some(own), aliases);
        let old = address_keys(&self.app, &instance, instance.address.as_deref(), &instance.aliases);
        writes.extend(old.into_iter().filter(|key| !keys.contains(key)).map(Write::delete));
        let sandbox = instance.mode == Mode::Sandbox;
        for key in keys {
            writes.push(Write::put(Item::new(key, &json!({ "userId": instance.user_id, "sandbox": sandbox }))?));
        }
        let entry = self.entry(Kind::ConnectionOpened, Value::Null);
        self.turn(change, writes, Some(entry), Some((Action::ConnectionOpened, json!({})))).await?;
        self.edit(|instance| {
            set_status(instance, now, Status::Connected, None);
            instance.address = Some(own.to_owned());
            instance.aliases = aliases.to_vec();
            instance.account_name = Some(name.to_owned());
            instance.paired = true;
            instance.last_seen_at = Some(now);
            instance.qr = None;
            if free {
                instance.restriction = None;
            }
        });
        Ok(())
    }

    /// The line is down. Told once: a reconnect that fails again is no news.
    pub async fn closed(&self, reason: Closed, will_reconnect: bool) -> Result<(), CommitError> {
        if reason == Closed::Logout {
            return self.logged_out().await;
        }
        let new = match reason {
            Closed::Banned | Closed::Error => Status::Error,
            Closed::Replaced | Closed::Unreachable | Closed::Restart | Closed::Logout => Status::Disconnected,
        };
        let instance = self.instance();
        if instance.status == new && instance.reason.as_deref() == Some(reason.name()) {
            return Ok(());
        }
        let now = self.app.clock.now();
        let entry = closed_entry(format!("line/{}", self.app.ids.ulid()), now, reason, will_reconnect);
        self.down(now, new, reason.name(), entry, &[Action::ConnectionClosed]).await
    }

    /// The device is not linked any more: what it knew is of no use.
    pub async fn logged_out(&self) -> Result<(), CommitError> {
        let instance = self.instance();
        if instance.status != Status::LoggedOut || instance.paired {
            let now = self.app.clock.now();
            let key = format!("line/{}", self.app.ids.ulid());
            let entry = closed_entry(key, now, Closed::Logout, false);
            self.down(
                now,
                Status::LoggedOut,
                Closed::Logout.name(),
                entry,
                &[Action::ConnectionClosed, Action::Logout],
            )
            .await?;
        }
        Ok(self.session().clear().await?)
    }

    /// Nobody scanned: no more codes until somebody asks again.
    pub async fn pairing_expired(&self) -> Result<(), CommitError> {
        self.pairing_ended(PAIRING_EXPIRED).await
    }

    /// Pairing stopped, for this reason, until somebody asks again.
    pub async fn pairing_ended(&self, reason: &str) -> Result<(), CommitError> {
        let now = self.app.clock.now();
        let key = format!("line/{}", self.app.ids.ulid());
        let mut entry = closed_entry(key, now, Closed::Error, false);
        entry.data["detail"] = reason.into();
        self.down(now, Status::Disconnected, reason, entry, &[Action::ConnectionClosed]).await
    }

    /// The platform does not take the account's credentials: the line stays down until somebody gives others.
    pub async fn unauthorized(&self, reason: &str, detail: &str) -> Result<(), CommitError> {
        let now = self.app.clock.now();
        let key = format!("line/{}", self.app.ids.ulid());
        let mut entry = closed_entry(key, now, Closed::Error, false);
        entry.data["detail"] = reason.into();
        entry.data["message"] = detail.into();
        self.down(now, Status::AuthExpired, reason, entry, &[Action::ConnectionClosed]).await
    }

    async fn down(
        &self,
        now: Millis,
        new: Status,
        reason: &str,
        entry: NewEntry,
        notes: &[Action],
    ) -> Result<(), CommitError> {
        let mut change = status(now, new, Some(reason)).remove("qr");
        if new == Status::LoggedOut {
            change = change.set("paired", false).remove("restriction");
        }
        let details = entry.data.clone();
        let more = notes.iter().map(|action| activity::note(&self.app, &self.id, *action, details.clone()));
        self.turn(change, more.collect::<Result<_>>()?, Some(entry), None).await?;
        self.edit(|instance| {
            set_status(instance, now, new, Some(reason));
            instance.qr = None;
            if new == Status::LoggedOut {
                instance.paired = false;
                instance.restriction = None;
            }
        });
        Ok(())
    }

    /// A line is being opened (again); no event, since nothing has happened yet.
    pub async fn connecting(&self) -> Result<(), CommitError> {
        if self.instance().status == Status::Connecting {
            return Ok(());
        }
        let now = self.app.clock.now();
        self.turn(status(now, Status::Connecting, None).remove("qr"), Vec::new(), None, None).await?;
        self.edit(|instance| {
            set_status(instance, now, Status::Connecting, None);
            instance.qr = None;
        });
        Ok(())
    }

    pub(super) fn entry(&self, kind: Kind, data: Value) -> NewEntry {
        let mut entry = event::entry(kind, format!("line/{}", self.app.ids.ulid()), self.app.clock.now());
        entry.data = data;
        entry
    }

    /// Status, activity and entry in one unit. The row's condition on the epoch is the gate; the entry is looked for from the
    /// tail as it was, so that an unknown outcome can be tried again.
    pub(super) async fn turn(
        &self,
        change: Change,
        more: Vec<Write>,
        entry: Option<NewEntry>,
        note: Option<(Action, Value)>,
    ) -> Result<(), CommitError> {
        let mut writes = vec![instance::owner_write(&self.id, self.epoch, change)];
        writes.extend(more);
        if let Some((action, details)) = note {
            writes.push(activity::note(&self.app, &self.id, action, details)?);
        }
        let author = self.author();
        let unit = match entry {
            Some(entry) => {
                let from = self.app.store.tail(self.id.as_str()).await?.seq + 1;
                author.unit(writes, &[entry], Some(from), Settle::Nothing)
            }
            None => crate::store::Unit { writes, ..Default::default() },
        };
        let mut tries = 1;
        loop {
            match author.commit(unit.clone()).await {
                Ok(_) => return Ok(()),
                Err(CommitError::Conflict { which: 0, old }) => {
                    return Err(self.fenced(old.map(|old| old.u64("epoch").unwrap_or(0))));
                }
                Err(CommitError::Store(error)) if error.is_temporary() && tries < TRIES => {
                    tracing::debug!(instance = %self.id, %error, "a status is written again");
                    tokio::time::sleep(PAUSE * tries).await;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

pub(super) fn status(now: Millis, status: Status, reason: Option<&str>) -> Change {
    Change::default().set("status", status.name()).set("statusAt", now.0).set_or_remove("reason", reason)
}

pub(super) fn set_status(instance: &mut Instance, now: Millis, status: Status, reason: Option<&str>) {
    instance.status = status;
    instance.status_at = now;
    instance.reason = reason.map(str::to_owned);
}

/// `connection_closed` (seed 001: `reason`, `willReconnect`).
pub(super) fn closed_entry(key: String, at: Millis, reason: Closed, will_reconnect: bool) -> NewEntry {
    let mut entry = event::entry(Kind::ConnectionClosed, key, at);
    entry.data = json!({ "reason": reason.name(), "willReconnect": will_reconnect });
    entry
}

/// The rows that lead from an account's addresses to its instance. On WhatsApp people write the number, so it has one, too.
pub(super) fn address_keys(app: &App, instance: &Instance, own: Option<&str>, aliases: &[String]) -> Vec<Key> {
    let mut spellings: Vec<String> =
        own.into_iter().chain(aliases.iter().map(String::as_str)).map(address::comparable).collect();
    if instance.platform == Platform::Whatsapp
        && let Some((number, _)) = own.and_then(|own| own.split_once('@'))
    {
        spellings.push(address::comparable(number));
    }
    spellings.sort_unstable();
    spellings.dedup();
    spellings
        .iter()
        .map(|text| keys::address(instance.platform.as_str(), &app.keyring.index("address", text), &instance.id))
        .collect()
}
