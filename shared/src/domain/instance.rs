//! Instances: the connected accounts of users, whatever their platform. The row, its settings, and who writes which part.
//!
//! HTTP functions write the settings; the owner alone writes status, QR code and address, and only while its epoch is not
//! behind the one on the row. Both change attributes, never the whole row, so neither overwrites the other.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    address::Platform,
    app::App,
    capability::{Capability, Transport, capability},
    clock::Millis,
    connector::Closed,
    domain::{endpoint::Webhook, forwarder::Forwarder},
    error::{Error, Result},
    id::{InstanceId, JobId, UserId},
    store::{Change, Cond, Cursor, Item, Key, Query, Read, Write, keys},
};

/// Version of the row.
pub const VERSION: u32 = 1;

/// `status` of seed 001 and spec/http.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Disconnected,
    Connecting,
    QrReceived,
    Connected,
    LoggedOut,
    Error,
    LimitExceeded,
    AuthExpired,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Connecting => "connecting",
            Self::QrReceived => "qr_received",
            Self::Connected => "connected",
            Self::LoggedOut => "logged_out",
            Self::Error => "error",
            Self::LimitExceeded => "limit_exceeded",
            Self::AuthExpired => "auth_expired",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Live,
    Sandbox,
}

/// A QR code to scan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Qr {
    pub code: String,
    pub at: Millis,
}

/// Quotas over a moving window (the original's names). Absent: no limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_messages_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_messages_received: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_media_sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_media_received: Option<u64>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_media_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_api_calls: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_window_hours: Option<u64>,
}

impl Limits {
    /// Errors: 400 unless the window has 1 to 720 hours.
    pub fn check(&self) -> Result<()> {
        if self.time_window_hours.is_some_and(|hours| !(1..=720).contains(&hours)) {
            return Err(Error::invalid("limits.timeWindowHours", "limits.timeWindowHours must be 1 to 720"));
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        *self == Self { time_window_hours: self.time_window_hours, ..Self::default() }
    }
}

/// The instance's row, `keys::instance`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    pub v: u32,
    pub id: InstanceId,
    pub user_id: UserId,
    pub platform: Platform,
    pub transport: Transport,
    pub mode: Mode,
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    pub shard: u16,
    pub created_at: Millis,
    pub updated_at: Millis,
    pub webhook: Webhook,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forwarders: Vec<Forwarder>,
    /// Sealed JSON (`Keyring::seal`, context `{id}/credentials`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
    /// Sealed (`{id}/proxy`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Until when sockets that a gateway holds may follow its events (`domain::watch`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched_until: Option<Millis>,
    /// When somebody last asked to reconnect it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconnect_asked_at: Option<Millis>,
    /// Set by a DELETE: from then on the instance does not exist for users.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,

    // Written by the owner.
    #[serde(default)]
    pub epoch: u64,
    pub status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default)]
    pub status_at: Millis,
    /// Whether a session exists: it was paired, and not logged out since.
    #[serde(default)]
    pub paired: bool,
    /// The job that brought its session here (`domain::moving`), so that its repetition finds it done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_by: Option<JobId>,
    /// The account's own address on its platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Other addresses of the account: a bot's username, say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qr: Option<Qr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen_at: Option<Millis>,
    /// How far the messages from before it was linked are stored, once some were handed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_sync: Option<HistorySync>,
    /// What the platform does not let the account do for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restriction: Option<Restriction>,
}

/// Why an account may do less than others: `banned` (it does not get in), `reachout_timelock` (it may not write to strangers).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Restriction {
    pub reason: String,
    pub since: Millis,
    /// When it is over.
    pub until: Millis,
}

impl Restriction {
    pub fn is_over(&self, now: Millis) -> bool {
        self.until <= now
    }
}

/// Messages from before the account was linked, as far as they are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistorySync {
    pub messages: u64,
    /// What the platform says of how much it has handed over, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// Everything that was handed over is stored.
    pub done: bool,
    /// The last page: of which piece, and which of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub piece: Option<String>,
    pub page: u32,
    pub at: Millis,
}

impl Instance {
    pub fn capability(&self) -> Result<Capability> {
        capability(self.platform, self.transport)
    }

    /// Whether its line is held by somebody else, who reports to us over HTTP: the worker then leaves its status alone.
    pub fn is_reported(&self) -> bool {
        self.mode == Mode::Live && self.transport == Transport::Juhe
    }

    pub fn ready(&self) -> bool {
        self.status == Status::Connected
    }

    /// Whether there will be a QR code without anybody doing anything for it: the line is being opened, is opened again by itself,
    /// or somebody has just asked for it.
    pub fn will_show_code(&self) -> bool {
        let asked = self.reconnect_asked_at.is_some_and(|at| at >= self.status_at);
        let again = || self.reason.as_deref().and_then(Closed::of).is_some_and(Closed::will_reconnect);
        match self.status {
            Status::Disconnected => asked || (!self.paired && again()),
            Status::LoggedOut | Status::Error => asked,
            Status::Connecting
            | Status::QrReceived
            | Status::Connected
            | Status::LimitExceeded
            | Status::AuthExpired => true,
        }
    }

    /// The `connectionStatus` of seed 001, with our additions.
    pub fn connection_status(&self, now: Millis) -> Value {
        let lag = self.last_seen_at.filter(|_| self.ready()).map(|seen| (now.0 - seen.0).max(0));
        let mut status = serde_json::json!({
            "ready": self.ready(),
            "status": self.status.name(),
            "hasQr": self.qr.is_some(),
            "lastSeenAt": self.last_seen_at.map(Millis::iso),
            "lagMs": lag,
            "reason": self.reason,
        });
        if let Some(Restriction { reason, since, until }) = self.restriction.as_ref().filter(|it| !it.is_over(now)) {
            status["restriction"] = serde_json::json!({ "reason": reason, "since": since.iso(), "until": until.iso() });
        }
        status
    }
}

/// Reads an instance, whoever's it is. Those being deleted are not there.
pub async fn find(app: &App, id: &InstanceId) -> Result<Option<Instance>> {
    let Some(item) = app.store.get(&keys::instance(id), Read::Strong).await? else { return Ok(None) };
    let instance: Instance = item.into()?;
    Ok((!instance.deleting).then_some(instance))
}

/// What [`find`] says when there is none.
pub fn unknown() -> Error {
    Error::not_found("Instance not found").code("INSTANCE_NOT_FOUND")
}

/// Instances of a user, oldest first; a page of at most `limit` after `cursor`.
pub async fn of_user(
    app: &App,
    user: &UserId,
    limit: usize,
    cursor: Option<crate::store::Cursor>,
) -> Result<(Vec<Instance>, Option<crate::store::Cursor>)> {
    let page = app.store.query(Query::index(keys::instances_of(user)).limit(limit).after(cursor)).await?;
    let mut instances = Vec::with_capacity(page.items.len());
    for item in page.items {
        let instance: Instance = item.into()?;
        if !instance.deleting {
            instances.push(instance);
        }
    }
    Ok((instances, page.next))
}

/// All instances of a user.
pub async fn all_of_user(app: &App, user: &UserId) -> Result<Vec<Instance>> {
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let (page, next) = of_user(app, user, 500, cursor).await?;
        all.extend(page);
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok(all),
        }
    }
}

/// Instances of all users, by shard and id: a page of at most `limit` after `cursor`. It may be short and still have a cursor.
///
/// Errors: 400 for a cursor that this did not make.
pub async fn of_everybody(app: &App, limit: usize, cursor: Option<Cursor>) -> Result<(Vec<Instance>, Option<Cursor>)> {
    let mut place = cursor.map_or(Ok(Place::default()), Place::of)?;
    let mut found = Vec::new();
    while place.shard < app.config.worker_shards {
        if found.len() == limit {
            return Ok((found, Some(place.cursor())));
        }
        let query = Query::index(keys::shard_instances(place.shard)).limit(limit - found.len()).keys_only();
        let page = app.store.query(query.after(place.after.take())).await?;
        let ids = page.items.iter().filter_map(|item| item.key.pk.strip_prefix("I#")).map(InstanceId::new);
        for ids in ids.collect::<Vec<_>>().chunks(100) {
            found.extend(existing(app, ids).await?);
        }
        match page.next {
            Some(next) => return Ok((found, Some(Place { after: Some(next), ..place }.cursor()))),
            None => place.shard += 1,
        }
    }
    Ok((found, None))
}

/// Those of these instances that are there, in order.
async fn existing(app: &App, ids: &[InstanceId]) -> Result<Vec<Instance>> {
    let rows: Vec<_> = ids.iter().map(keys::instance).collect();
    let items = app.store.batch_get(&rows, Read::Strong).await?;
    let instances = items.into_iter().flatten().map(Item::into::<Instance>).collect::<Result<Vec<_>>>()?;
    Ok(instances.into_iter().filter(|instance| !instance.deleting).collect())
}

/// Where a walk over all shards is. As a cursor its sort value begins with the shard.
#[derive(Debug, Default)]
struct Place {
    shard: u16,
    /// `None`: at the shard's beginning.
    after: Option<Cursor>,
}

impl Place {
    fn of(cursor: Cursor) -> Result<Self> {
        let Cursor { sort, key } = cursor;
        let place = sort.split_once('/').and_then(|(shard, sort)| {
            let after = (!sort.is_empty()).then(|| Cursor { sort: sort.to_owned(), key });
            Some(Self { shard: shard.parse().ok()?, after })
        });
        place.ok_or_else(|| Error::invalid("cursor", "cursor is not valid"))
    }

    fn cursor(self) -> Cursor {
        let shard = self.shard;
        match self.after {
            Some(Cursor { sort, key }) => Cursor { sort: format!("{shard}/{sort}"), key },
            None => Cursor { sort: format!("{shard}/"), key: Key::new("", "") },
        }
    }
}

/// Ids of the instances of a shard, those being deleted included.
pub async fn ids_in_shard(app: &App, shard: u16) -> Result<Vec<InstanceId>> {
    let mut ids = Vec::new();
    let mut query = Query::index(keys::shard_instances(shard)).limit(1000).keys_only();
    loop {
        let page = app.store.query(query.clone()).await?;
        ids.extend(page.items.iter().filter_map(|item| item.key.pk.strip_prefix("I#")).map(InstanceId::new));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(ids),
        }
    }
}

/// The row as an item, with its place in the user's list.
pub fn item(instance: &Instance) -> Result<Item> {
    Ok(Item::new(keys::instance(&instance.id), instance)?
        .indexed(keys::instances_of(&instance.user_id), format!("{}{}", instance.created_at.digits(), instance.id)))
}

/// The instance's place in its shard's list.
pub fn placement(instance: &Instance) -> Result<Item> {
    Ok(Item::new(keys::placement(&instance.id), &serde_json::json!({ "shard": instance.shard }))?
        .indexed(keys::shard_instances(instance.shard), instance.id.as_str()))
}

/// A write of the owner: happens only while no higher epoch has written.
pub fn owner_write(id: &InstanceId, epoch: u64, change: Change) -> Write {
    let mine = i64::try_from(epoch).unwrap_or(i64::MAX);
    Write::update(keys::instance(id), change.set("epoch", epoch))
        .only_if(Cond::All(vec![Cond::Exists, Cond::Any(vec![Cond::lacks("epoch"), Cond::Le("epoch".into(), mine)])]))
}

/// Waits until the row is as `settled` wants it (a deleted one always is), at most `wait`. No error if it is not: the owner
/// may be away, and what was asked of it is queued.
pub async fn settled(app: &App, id: &InstanceId, wait: Duration, settled: impl Fn(&Instance) -> bool) -> Result<()> {
    let deadline = app.clock.monotonic() + wait;
    let mut pause = Duration::from_millis(4);
    loop {
        let now = find(app, id).await?;
        if now.as_ref().is_none_or(&settled) || app.clock.monotonic() >= deadline {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(250));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn instance(changes: &Value) -> Instance {
        let mut row = json!({
            "v": 1, "id": "i", "userId": "u", "platform": "whatsapp", "transport": "web", "mode": "live", "name": "n", "shard": 0,
            "createdAt": 1, "updatedAt": 1, "webhook": Webhook::default(), "status": "disconnected", "statusAt": 10,
        });
        for (name, value) in changes.as_object().expect("an object") {
            row[name] = value.clone();
        }
        serde_json::from_value(row).expect("a row")
    }

    #[test]
    fn a_code_is_waited_for_while_one_is_on_its_way() {
        for (changes, expected) in [
            (json!({ "status": "connecting" }), true),
            (json!({ "reason": "unreachable" }), true),
            (json!({ "reason": "restart" }), true),
            (json!({ "reason": "unreachable", "paired": true }), false),
            (json!({ "reason": "pairing_expired" }), false),
            (json!({ "reason": "replaced" }), false),
            (json!({ "status": "logged_out", "reason": "logout" }), false),
            (json!({ "status": "error", "reason": "banned" }), false),
            (json!({ "status": "logged_out", "reason": "logout", "reconnectAskedAt": 11 }), true),
            (json!({ "reason": "pairing_expired", "reconnectAskedAt": 11 }), true),
            (json!({ "reason": "pairing_expired", "reconnectAskedAt": 9 }), false),
        ] {
            assert_eq!(instance(&changes).will_show_code(), expected, "{changes}");
        }
    }
}
