//! Delivering once more what a user asks for, and test calls.
//!
//! A replay opens the record again and dispatches the event: from there on it is a delivery like any other, with all its
//! attempts, in the order of its chat. Its id stays the same, so that a receiver can tell.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    attempt,
    delivery::{self, Delivery, Status},
    lane::{self, Place},
    list, metric, settings, source, tally,
};
use crate::{
    app::App,
    clock::Millis,
    domain::{
        endpoint::WEBHOOK,
        event::{self, Event},
        instance::Instance,
    },
    error::{Error, Kind, Result},
    store::{Cursor, Enqueue, Query, Unit, keys, log::Entry},
};

/// Events looked at in one step of a range.
const STEP: usize = 100;

fn off(endpoint: &str) -> Error {
    if endpoint == WEBHOOK {
        return Error::conflict("WEBHOOK_DISABLED", "The webhook of this instance is not enabled");
    }
    Error::conflict("FORWARDER_DISABLED", "This forwarder is not enabled, or was deleted")
}

/// The message that dispatches an entry again.
fn message(app: &App, instance: &Instance, endpoint: &str, entry: &Entry) -> Enqueue {
    event::dispatch_again(&instance.id, endpoint, entry.body.chat.as_deref(), entry.seq, &app.ids.ulid(), None)
}

/// Delivers an event once more. Returns the record, open again.
///
/// Errors: `DELIVERY_NOT_FOUND` (404), `NOT_REPLAYABLE` (409) for a test call, `WEBHOOK_DISABLED` or `FORWARDER_DISABLED`
/// (409), `EVENT_EXPIRED` (410) when the event has left the log.
pub async fn replay(app: &App, instance: &Instance, id: &str) -> Result<Delivery> {
    let row = list::get(app, instance, id).await?;
    let mut row = row.ok_or_else(|| Error::not_found("Delivery not found").code("DELIVERY_NOT_FOUND"))?;
    let seq =
        row.seq.ok_or_else(|| Error::conflict("NOT_REPLAYABLE", "A test call cannot be replayed; make another"))?;
    if !settings::is_on(app, instance, &row.endpoint) {
        return Err(off(&row.endpoint));
    }
    let entry = source::entry(app.store.as_ref(), instance.id.as_str(), seq).await?;
    let entry = entry.ok_or_else(|| Error::new(Kind::Gone, "EVENT_EXPIRED", "The event is no longer stored"))?;
    row.reopen(app.clock.now());
    let unit = Unit {
        writes: vec![row.write()?],
        enqueue: vec![message(app, instance, &row.endpoint, &entry)],
        ..Unit::default()
    };
    app.store.commit(unit).await?;
    tally::changed(app, &row).await?;
    // Who asks for it now does not want to wait for the next attempt of a blocked chat.
    settings::probe_now(app, &instance.id, &row.endpoint).await?;
    lane::wake(app, &Place::new(&instance.id, &row.endpoint, source::chat_of(&entry))).await?;
    Ok(row)
}

/// Which events to deliver once more.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The endpoint's name.
    pub endpoint: &'a str,
    /// When the events were, both inclusive.
    pub since: Millis,
    pub until: Millis,
    /// Those whose delivery is in this status. Without one: all that the endpoint asks for, also those that were never
    /// dispatched (because it was off, for instance).
    pub status: Option<&'a str>,
}

/// How far a replay of a range is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// To go on with; `None`: done.
    pub next: Option<Value>,
    /// Events dispatched so far, over all steps.
    pub replayed: u64,
    /// Percent of the whole.
    pub progress: u8,
}

/// What a cursor holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Mark {
    at: At,
    replayed: u64,
}

/// Where a replay goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum At {
    /// In the log, behind this entry.
    Log(u64),
    /// In the index of a status.
    Index(Cursor),
}

/// Does one step of a replay of many events: at most a hundred are looked at. Begin without a cursor, go on with the one that
/// was returned. A step that is repeated repeats deliveries, nothing else.
///
/// Errors: an unknown status is invalid input; `WEBHOOK_DISABLED` or `FORWARDER_DISABLED` (409); an unreadable cursor is ours.
pub async fn replay_range(
    app: &App,
    instance: &Instance,
    wanted: &Wanted<'_>,
    cursor: Option<&Value>,
) -> Result<Progress> {
    let parse = |name| {
        Status::parse(name)
            .ok_or_else(|| Error::invalid("status", "status must be delivered, retrying, dead or skipped"))
    };
    let status = wanted.status.map(parse).transpose()?;
    if !settings::is_on(app, instance, wanted.endpoint) {
        return Err(off(wanted.endpoint));
    }
    let mark = cursor.map(Mark::deserialize).transpose()?;
    let before = mark.as_ref().map_or(0, |mark| mark.replayed);
    let at = mark.map(|mark| mark.at);
    let (entries, next, progress) = match (status, at) {
        (Some(status), at) if Status::LISTED.contains(&status) => {
            let after = match at {
                Some(At::Index(cursor)) => Some(cursor),
                _ => None,
            };
            of_status(app, instance, wanted, status, after).await?
        }
        (_, Some(At::Log(after))) => of_log(app, instance, wanted, status, after).await?,
        (_, _) => {
            let first = first_since(app, instance, wanted.since).await?;
            of_log(app, instance, wanted, status, first.saturating_sub(1)).await?
        }
    };
    let replayed = before + entries.len() as u64;
    let now = app.clock.now();
    let mut messages = Vec::with_capacity(entries.len());
    for (entry, row) in entries {
        if let Some(mut row) = row {
            row.reopen(now);
            app.store.commit(Unit::write(row.write()?)).await?;
            tally::changed(app, &row).await?;
        }
        messages.push(message(app, instance, wanted.endpoint, &entry));
    }
    app.queues.send(messages).await?;
    let next = next.map(|at| serde_json::to_value(Mark { at, replayed })).transpose()?;
    Ok(Progress { next, replayed, progress })
}

type Step = (Vec<(Entry, Option<Delivery>)>, Option<At>, u8);

async fn of_status(
    app: &App,
    instance: &Instance,
    wanted: &Wanted<'_>,
    status: Status,
    after: Option<Cursor>,
) -> Result<Step> {
    let query = Query::index(keys::deliveries_in(&instance.id, status.name()))
        .between(wanted.since.digits(), format!("{}~", wanted.until.digits()))
        .limit(STEP)
        .after(after);
    let page = app.store.query(query).await?;
    let mut found = Vec::new();
    let mut reached = wanted.since;
    for item in page.items {
        let row: Delivery = item.into()?;
        reached = row.event_at;
        let Some(seq) = row.seq.filter(|_| row.status == status && row.endpoint == wanted.endpoint) else { continue };
        if let Some(entry) = source::entry(app.store.as_ref(), instance.id.as_str(), seq).await? {
            found.push((entry, Some(row)));
        }
    }
    let next = page.next.map(At::Index);
    let progress =
        if next.is_none() { 100 } else { percent(wanted.since.0, reached.0, wanted.until.min(app.clock.now()).0) };
    Ok((found, next, progress))
}

async fn of_log(
    app: &App,
    instance: &Instance,
    wanted: &Wanted<'_>,
    status: Option<Status>,
    after: u64,
) -> Result<Step> {
    let log = instance.id.as_str();
    let page = source::page(app.store.as_ref(), log, after, STEP).await?;
    let Some(last) = page.last() else { return Ok((Vec::new(), None, 100)) };
    let (seq, past) = (last.seq, last.body.at > wanted.until.plus(DISORDER));
    let mut found = Vec::new();
    for entry in page {
        let inside = wanted.since <= entry.body.at && entry.body.at <= wanted.until;
        if !inside || !settings::wants(app, instance, wanted.endpoint, &entry) {
            continue;
        }
        let row = delivery::load(app, &instance.id, wanted.endpoint, entry.seq, entry.body.at).await?;
        if status.is_none_or(|status| row.as_ref().is_some_and(|row| row.status == status)) {
            found.push((entry, row));
        }
    }
    if past {
        return Ok((found, None, 100));
    }
    let tail = app.store.tail(log).await?.seq;
    Ok((found, Some(At::Log(seq)), percent(0, i64::try_from(seq).unwrap_or(0), i64::try_from(tail).unwrap_or(1))))
}

fn percent(from: i64, at: i64, to: i64) -> u8 {
    let whole = (to - from).max(1);
    u8::try_from(((at - from).clamp(0, whole)) * 99 / whole).unwrap_or(99)
}

/// Entries are in the order of their numbers; their times may be out of order by that much.
const DISORDER: std::time::Duration = std::time::Duration::from_secs(3600);

/// A number before which no entry is of `since` or later, found by halving.
async fn first_since(app: &App, instance: &Instance, since: Millis) -> Result<u64> {
    let store = app.store.as_ref();
    let log = instance.id.as_str();
    let since = since.minus(DISORDER);
    let (mut low, mut high) = (1, store.tail(log).await?.seq + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match source::entry(store, log, middle).await? {
            Some(entry) if entry.body.at >= since => high = middle,
            // Too old, or so old that it has expired.
            _ => low = middle + 1,
        }
    }
    Ok(low)
}

/// Posts a `webhook_test` to the endpoint at once, whether it is enabled or not, and records it. One attempt, which neither
/// helps nor harms the endpoint's standing.
///
/// Errors: `WEBHOOK_NOT_CONFIGURED` (409) without a URL.
pub async fn test(app: &App, instance: &Instance, endpoint: &str) -> Result<Delivery> {
    if endpoint == WEBHOOK && instance.webhook.url.is_none() {
        return Err(Error::conflict("WEBHOOK_NOT_CONFIGURED", "The instance has no webhook URL"));
    }
    let now = app.clock.now();
    let tail = app.store.tail(instance.id.as_str()).await?.seq;
    let ulid = app.ids.ulid();
    // Behind the events so far, which is where it stands in lists.
    let mut row = Delivery::blank(app, instance, endpoint, &format!("{tail:012}t{ulid}"), now);
    row.event_id = format!("{}-test-{ulid}", instance.id);
    row.event = "webhook_test".into();
    let event = Event {
        id: row.event_id.clone(),
        seq: tail,
        kind: row.event.clone(),
        timestamp: now.iso(),
        data: json!({ "instanceId": instance.id, "message": "This is a test of your webhook" }),
    };
    let tried = attempt::post(app, instance, endpoint, &event).await?;
    let delivered = tried.attempt.outcome == super::Outcome::Delivered;
    row.tried(app, instance, tried.attempt);
    row.status = if delivered { Status::Delivered } else { Status::Dead };
    metric::ended(row.status);
    app.store.commit(Unit::write(row.write()?)).await?;
    Ok(row)
}
