//! The activity log of an instance (seed 001): what happened to the connection and the settings, newest first.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    app::App,
    clock::{DAY_MS, Millis},
    error::Result,
    id::InstanceId,
    store::{Item, Query, Write, keys},
};

/// Entries live that long.
const LIFE_MS: i64 = 180 * DAY_MS;

/// Names of activities (spec/http.md, "instances").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    InstanceCreated,
    InstanceUpdated,
    InstanceDeleted,
    InstanceReconnected,
    ConnectionOpened,
    ConnectionClosed,
    QrReceived,
    Logout,
    MessageFailed,
    WebhookDisabled,
    ForwarderCreated,
    ForwarderUpdated,
    ForwarderDeleted,
    ForwarderDisabled,
    LimitExceeded,
    SessionExported,
    SessionImported,
}

impl Action {
    const ALL: &[(&'static str, Self)] = &[
        ("instance_created", Self::InstanceCreated),
        ("instance_updated", Self::InstanceUpdated),
        ("instance_deleted", Self::InstanceDeleted),
        ("instance_reconnected", Self::InstanceReconnected),
        ("connection_opened", Self::ConnectionOpened),
        ("connection_closed", Self::ConnectionClosed),
        ("qr_received", Self::QrReceived),
        ("logout", Self::Logout),
        ("message_failed", Self::MessageFailed),
        ("webhook_disabled", Self::WebhookDisabled),
        ("forwarder_created", Self::ForwarderCreated),
        ("forwarder_updated", Self::ForwarderUpdated),
        ("forwarder_deleted", Self::ForwarderDeleted),
        ("forwarder_disabled", Self::ForwarderDisabled),
        ("limit_exceeded", Self::LimitExceeded),
        ("session_exported", Self::SessionExported),
        ("session_imported", Self::SessionImported),
        // What the original called them.
        ("connected", Self::ConnectionOpened),
        ("disconnected", Self::ConnectionClosed),
        ("instance_logout", Self::Logout),
    ];

    /// Reads a name of a filter, the original's names included.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, action)| *action)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    pub id: String,
    pub instance_id: InstanceId,
    pub action: Action,
    pub details: Value,
    pub at: Millis,
}

/// The write that notes it.
pub fn note(app: &App, instance: &InstanceId, action: Action, details: Value) -> Result<Write> {
    note_as(instance, action, details, &app.ids.ulid(), app.clock.now())
}

/// [`note`] under an id and a time that the caller knows again: repeated, it is the same row.
pub fn note_as(instance: &InstanceId, action: Action, details: Value, id: &str, at: Millis) -> Result<Write> {
    let key = keys::activity_entry(instance, at, id);
    let row = Activity { id: id.to_owned(), instance_id: instance.clone(), action, details, at };
    Ok(Write::put(Item::new(key, &row)?.expires(Millis(at.0 + LIFE_MS))))
}

/// A page, newest first, and the exact total of what matches. With a filter on actions the range is read as a whole:
/// activity is small.
pub async fn list(
    app: &App,
    instance: &InstanceId,
    actions: &[Action],
    from: Millis,
    to: Millis,
    limit: usize,
    skip: usize,
) -> Result<(Vec<Activity>, u64)> {
    let partition = keys::activity(instance);
    let (from, to) = (from.digits(), format!("{}~", to.digits()));
    if actions.is_empty() {
        let query = Query::table(&partition).between(&from, &to).newest_first().limit(limit).skip(skip);
        let page = app.store.query(query).await?;
        let total =
            app.store.count(crate::store::Source::Table(partition), crate::store::Range::Between(from, to)).await?;
        return Ok((page.items.into_iter().map(Item::into).collect::<Result<_>>()?, total));
    }
    let mut query = Query::table(&partition).between(&from, &to).newest_first().limit(500);
    let (mut found, mut total) = (Vec::new(), 0);
    loop {
        let page = app.store.query(query.clone()).await?;
        for item in page.items {
            let row: Activity = item.into()?;
            if actions.contains(&row.action) {
                if total >= skip as u64 && found.len() < limit {
                    found.push(row);
                }
                total += 1;
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok((found, total)),
        }
    }
}
