//! Statistics: folded from the instance's log, a row a day; what is not folded yet is read from the tail of the log.
//!
//! Every row carries `upto`, the last entry that it contains, and changes only if nobody else has folded meanwhile, so a repeat
//! adds nothing. Readers take the rows and add those entries beyond each row's own `upto`: counts are exact at any moment. Two
//! numbers are not in the log: successful webhook deliveries are counted where they are stored, and API calls that are not
//! sends are added up (and may be off by a retry).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    clock::{DAY_MS, Millis},
    domain::instance::Instance,
    error::Result,
    id::InstanceId,
    store::{
        Change, CommitError, Cond, Item, Query, Read, Unit, Write, keys,
        log::{self, Delta, Entry},
    },
    webhook,
};

/// Entries folded in one go.
const BATCH: usize = 512;
/// A reader that finds a longer tail than this folds it first.
const LONG_TAIL: u64 = 2048;
/// Whoever appends and has time for it leaves no more than that.
const SHORT_TAIL: u64 = 256;

/// Counts of a period (field names of seed 001).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    pub messages_sent: i64,
    pub messages_received: i64,
    pub media_sent: i64,
    pub media_received: i64,
    pub total_media_size: i64,
    pub api_calls: i64,
    pub webhook_sent: i64,
}

impl Usage {
    pub fn add(&mut self, other: &Self) {
        self.messages_sent += other.messages_sent;
        self.messages_received += other.messages_received;
        self.media_sent += other.media_sent;
        self.media_received += other.media_received;
        self.total_media_size += other.total_media_size;
        self.api_calls += other.api_calls;
        self.webhook_sent += other.webhook_sent;
    }

    fn count(&mut self, delta: &Delta) {
        self.messages_sent += delta.messages_sent;
        self.messages_received += delta.messages_received;
        self.media_sent += delta.media_sent;
        self.media_received += delta.media_received;
        self.total_media_size += delta.total_media_size;
        self.api_calls += delta.api_calls;
    }
}

/// A row of `keys::stats_day`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Row {
    instance_id: String,
    day: Millis,
    #[serde(flatten)]
    usage: Usage,
    upto: u64,
    /// Hour of the day → counts, for quotas.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    hours: BTreeMap<String, Usage>,
}

/// Folds what the log has beyond the last fold, at most [`BATCH`] entries. Returns whether there may be more.
pub async fn fold(app: &App, id: &InstanceId) -> Result<bool> {
    let upto = folded_upto(app, id).await?;
    let entries = log::read(app.store.as_ref(), id.as_str(), upto, BATCH).await?;
    let Some(last) = entries.last().map(|entry| entry.seq) else { return pass_expired(app, id, upto).await };
    let mut days: BTreeMap<Millis, Vec<&Entry>> = BTreeMap::new();
    for entry in &entries {
        for delta in entry.body.deltas() {
            days.entry(delta.day).or_default().push(entry);
        }
    }
    for (day, entries) in days {
        loop {
            let key = keys::stats_day(id, day);
            let old = app.store.get(&key, Read::Strong).await?;
            let mut row = old.as_ref().map(Item::decode::<Row>).transpose()?.unwrap_or_default();
            let before = row.upto;
            row.instance_id = id.to_string();
            row.day = day;
            for entry in entries.iter().filter(|entry| entry.seq > before) {
                row.apply(entry);
            }
            row.upto = last.max(before);
            let cond = if old.is_some() { Cond::eq("upto", before) } else { Cond::Absent };
            let mut item = Item::new(key, &row)?;
            // Counted where the deliveries are stored.
            item.doc.remove("webhookSent");
            match app.store.commit(Unit::write(Write::put(item).only_if(cond))).await {
                Ok(_) => break,
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    mark_folded(app, id, last).await?;
    Ok(entries.len() == BATCH)
}

/// Folds if readers would have to add up more than [`SHORT_TAIL`] entries.
pub async fn keep_short(app: &App, id: &InstanceId) -> Result<()> {
    let tail = app.store.tail(id.as_str()).await?.seq;
    while tail.saturating_sub(folded_upto(app, id).await?) > SHORT_TAIL && fold(app, id).await? {}
    Ok(())
}

/// Entries that expired before anybody folded them cannot be counted any more: the fold goes on behind them.
async fn pass_expired(app: &App, id: &InstanceId, upto: u64) -> Result<bool> {
    let tail = app.store.tail(id.as_str()).await?.seq;
    let mut bucket = (upto + 1) / log::BUCKET + 1;
    while bucket * log::BUCKET <= tail {
        if let Some(first) = log::read(app.store.as_ref(), id.as_str(), bucket * log::BUCKET - 1, 1).await?.first() {
            mark_folded(app, id, first.seq - 1).await?;
            return Ok(true);
        }
        bucket += 1;
    }
    Ok(false)
}

/// The row of the owner is never made here: an instance that was deleted meanwhile stays deleted.
async fn mark_folded(app: &App, id: &InstanceId, upto: u64) -> Result<()> {
    let forward = vec![Cond::lacks("foldedUpto"), Cond::lt("foldedUpto", i64::try_from(upto).unwrap_or(i64::MAX))];
    let mark = Write::update(keys::owner(id), Change::default().set("foldedUpto", upto))
        .only_if(Cond::All(vec![Cond::Exists, Cond::Any(forward)]));
    match app.store.commit(Unit::write(mark)).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Row {
    /// Adds what the entry has for the row's day.
    fn apply(&mut self, entry: &Entry) {
        for delta in entry.body.deltas().filter(|delta| delta.day == self.day) {
            self.usage.count(delta);
        }
        if let Some(delta) = entry.body.delta.as_ref().filter(|delta| delta.day == self.day) {
            // Within the day that is counted: an entry after midnight belongs to its last hour.
            let hour = (entry.body.at.0 - delta.day.0).clamp(0, DAY_MS - 1) / 3_600_000;
            self.hours.entry(format!("{hour:02}")).or_default().count(delta);
        }
    }
}

async fn folded_upto(app: &App, id: &InstanceId) -> Result<u64> {
    Ok(app.store.get(&keys::owner(id), Read::Strong).await?.and_then(|item| item.u64("foldedUpto")).unwrap_or(0))
}

/// Rows of the days `from..=to`, brought up to the end of the log.
async fn rows(app: &App, id: &InstanceId, from: Millis, to: Millis) -> Result<BTreeMap<Millis, Row>> {
    let mut upto = folded_upto(app, id).await?;
    let tail = app.store.tail(id.as_str()).await?;
    while tail.seq.saturating_sub(upto) > LONG_TAIL && fold(app, id).await? {
        upto = folded_upto(app, id).await?;
    }
    // The tail before the rows: an entry that is folded in between is then in a row and passed over by its number.
    let mut fresh = Vec::new();
    loop {
        let page = log::read(app.store.as_ref(), id.as_str(), upto, BATCH).await?;
        let Some(last) = page.last() else { break };
        upto = last.seq;
        fresh.extend(page);
    }
    let mut rows = BTreeMap::new();
    let mut query = Query::table(keys::stats(id)).between(from.yyyymmdd(), to.yyyymmdd()).limit(1000);
    loop {
        let page = app.store.query(query.clone()).await?;
        for item in page.items {
            let row: Row = item.into()?;
            rows.insert(row.day, row);
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    for entry in fresh {
        for delta in entry.body.deltas().filter(|delta| (from..=to).contains(&delta.day)) {
            let row = rows.entry(delta.day).or_default();
            if entry.seq > row.upto {
                row.day = delta.day;
                row.apply(&entry);
            }
        }
    }
    Ok(rows)
}

/// Usage of an instance, day by day from `from` to `to` (both 00:00 UTC), days without any included.
pub async fn daily(app: &App, instance: &Instance, from: Millis, to: Millis) -> Result<Vec<(Millis, Usage)>> {
    let from = from.max(instance.created_at.day());
    let mut rows = rows(app, &instance.id, from, to).await?;
    let mut calls = BTreeMap::new();
    let mut query = Query::table(keys::calls(&instance.id)).between(from.yyyymmdd(), to.yyyymmdd()).limit(1000);
    loop {
        let page = app.store.query(query.clone()).await?;
        for item in page.items {
            calls.insert(item.key.sk.clone(), item.u64("calls").unwrap_or(0));
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    let webhooks = webhook::delivered_counts(app, instance, from, to).await?;
    let mut days = Vec::new();
    let mut day = from;
    while day <= to {
        let mut usage = rows.remove(&day).map(|row| row.usage).unwrap_or_default();
        usage.api_calls += calls.get(&day.yyyymmdd()).copied().and_then(|n| i64::try_from(n).ok()).unwrap_or(0);
        usage.webhook_sent = webhooks.get(&day).copied().unwrap_or(0);
        days.push((day, usage));
        day = Millis(day.0 + DAY_MS);
    }
    Ok(days)
}

/// How many messages there are from `from` to `to` (both 00:00 UTC), those from before the instance was made included.
pub async fn messages(app: &App, id: &InstanceId, from: Millis, to: Millis) -> Result<u64> {
    let rows = rows(app, id, from, to).await?;
    let sum: i64 = rows.values().map(|row| row.usage.messages_sent + row.usage.messages_received).sum();
    Ok(u64::try_from(sum).unwrap_or(0))
}

/// Sum over the days `from..=to`.
pub async fn total(app: &App, instance: &Instance, from: Millis, to: Millis) -> Result<Usage> {
    let mut sum = Usage::default();
    for (_, usage) in daily(app, instance, from, to).await? {
        sum.add(&usage);
    }
    Ok(sum)
}

/// Counts of the last `hours` hours, for quotas.
pub async fn last_hours(app: &App, id: &InstanceId, hours: u64) -> Result<Usage> {
    let now = app.clock.now();
    let hour_ms = 3_600_000;
    let first = now.0.div_euclid(hour_ms) - i64::try_from(hours).unwrap_or(24) + 1;
    let mut sum = Usage::default();
    for (day, row) in rows(app, id, Millis(first * hour_ms).day(), now.day()).await? {
        for (hour, usage) in row.hours {
            let at = day.0.div_euclid(hour_ms) + hour.parse::<i64>().unwrap_or(0);
            if at >= first {
                sum.add(&usage);
            }
        }
    }
    Ok(sum)
}
