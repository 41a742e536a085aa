//! How many deliveries of a day succeeded: counted where they are stored, and remembered for days that are long past.
//!
//! The memo of a day is a row of its own, beside the records. Whatever changes an old day's records raises the memo's
//! generation afterwards; a count is only remembered under the generation that was read before counting. So a memo never
//! outlives the count that it holds.

use std::collections::BTreeMap;

use super::{
    delivery::{Delivery, Status},
    health::took_place,
};
use crate::{
    app::App,
    clock::{DAY_MS, Millis},
    domain::instance::Instance,
    error::Result,
    id::InstanceId,
    store::{Change, Cond, Query, Range, Read, Source, Unit, Write, keys},
};

/// Days older than this are remembered: no attempt of theirs is still to come.
const SETTLED_MS: i64 = 7 * DAY_MS;

fn is_settled(app: &App, day: Millis) -> bool {
    day.day().0 + SETTLED_MS < app.clock.now().day().0
}

/// A record has changed: what is remembered of its day is no longer true.
pub(super) async fn changed(app: &App, row: &Delivery) -> Result<()> {
    if !is_settled(app, row.event_at) {
        return Ok(());
    }
    let change = Change::default().add("gen", 1).remove("count");
    app.store.commit(Unit::write(Write::update(keys::delivered(&row.instance_id, row.event_at), change))).await?;
    Ok(())
}

/// Records of one day with status `delivered`: all, less those that the index lists under another status.
async fn count(app: &App, instance: &InstanceId, day: Millis) -> Result<i64> {
    let all = app.store.count(Source::Table(keys::deliveries(instance, day)), Range::All).await?;
    if all == 0 {
        return Ok(0);
    }
    let mut others = 0;
    for status in Status::LISTED {
        let range = Range::Between(day.digits(), format!("{}~", Millis(day.0 + DAY_MS - 1).digits()));
        others += app.store.count(Source::Index(keys::deliveries_in(instance, status.name())), range).await?;
    }
    Ok(i64::try_from(all.saturating_sub(others)).unwrap_or(i64::MAX))
}

/// Successful deliveries of the events of a day (00:00 UTC).
pub async fn delivered_count(app: &App, instance: &Instance, day: Millis) -> Result<i64> {
    let day = day.day();
    if !is_settled(app, day) {
        return count(app, &instance.id, day).await;
    }
    let key = keys::delivered(&instance.id, day);
    let memo = app.store.get(&key, Read::Strong).await?;
    if let Some(count) = memo.as_ref().and_then(|memo| memo.doc.get("count")?.as_i64()) {
        return Ok(count);
    }
    let found = count(app, &instance.id, day).await?;
    let generation = memo.as_ref().and_then(|memo| memo.u64("gen"));
    let unchanged = match generation {
        Some(generation) => Cond::eq("gen", generation),
        None => Cond::Absent,
    };
    let change = Change::default().set("gen", generation.unwrap_or(0)).set("count", found);
    took_place(app.store.commit(Unit::write(Write::update(key, change).only_if(unchanged))).await)?;
    Ok(found)
}

/// [`delivered_count`] of every day `from..=to`, what is remembered in one query.
pub async fn delivered_counts(
    app: &App,
    instance: &Instance,
    from: Millis,
    to: Millis,
) -> Result<BTreeMap<Millis, i64>> {
    let mut known = BTreeMap::new();
    let partition = keys::delivered_days(&instance.id);
    let mut query = Query::table(partition).between(from.yyyymmdd(), to.yyyymmdd()).limit(1000);
    loop {
        let page = app.store.query(query.clone()).await?;
        for item in page.items {
            if let Some(count) = item.doc.get("count").and_then(serde_json::Value::as_i64) {
                known.insert(item.key.sk, count);
            }
        }
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    let mut counts = BTreeMap::new();
    let mut day = from.day();
    while day <= to {
        let count = match known.get(&day.yyyymmdd()) {
            Some(count) => *count,
            None => delivered_count(app, instance, day).await?,
        };
        counts.insert(day, count);
        day = Millis(day.0 + DAY_MS);
    }
    Ok(counts)
}
