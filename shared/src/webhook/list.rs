//! Deliveries as users list them: newest first.

use super::delivery::{Delivery, Status};
use crate::{
    app::App,
    clock::{DAY_MS, Millis},
    domain::instance::Instance,
    error::{Error, Result},
    store::{Cursor, Item, Key, Query, Read, keys},
};

/// Days that a list goes back at most.
const DAYS: i64 = 30;
/// Records looked at for one page: when few match, the page is short and the cursor leads on.
const LOOKS: usize = 2_000;

/// A page of deliveries.
#[derive(Debug, Default)]
pub struct Page {
    pub deliveries: Vec<Delivery>,
    /// Opaque; `None` at the end. A page may be short, or empty, and still have one.
    pub next: Option<String>,
}

/// Deliveries in one status or all, newest first. By status they come from the index (in the order of their events),
/// otherwise day by day.
///
/// Errors: an unknown cursor is invalid input.
pub async fn list(
    app: &App,
    instance: &Instance,
    status: Option<Status>,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page> {
    let after = cursor
        .map(|text| Cursor::decode(text).ok_or_else(|| Error::invalid("cursor", "cursor: not one that was given")))
        .transpose()?;
    match status {
        Some(status) if Status::LISTED.contains(&status) => by_status(app, instance, status, after, limit).await,
        _ => by_day(app, instance, status, after, limit).await,
    }
}

async fn by_status(
    app: &App,
    instance: &Instance,
    status: Status,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page> {
    let query = Query::index(keys::deliveries_in(&instance.id, status.name())).newest_first().limit(limit).after(after);
    let page = app.store.query(query).await?;
    let rows = page.items.into_iter().map(Item::into::<Delivery>).collect::<Result<Vec<_>>>()?;
    // The index may lag: what has changed since does not belong here.
    let deliveries = rows.into_iter().filter(|row| row.status == status).collect();
    Ok(Page { deliveries, next: page.next.map(|next| next.encode()) })
}

async fn by_day(
    app: &App,
    instance: &Instance,
    status: Option<Status>,
    after: Option<Cursor>,
    limit: usize,
) -> Result<Page> {
    let today = app.clock.now().day();
    let oldest = Millis(today.0 - DAYS * DAY_MS).max(instance.created_at.day());
    let mut day = match &after {
        Some(cursor) => (0..=DAYS)
            .map(|days| Millis(today.0 - days * DAY_MS))
            .find(|day| keys::deliveries(&instance.id, *day) == cursor.key.pk)
            .ok_or_else(|| Error::invalid("cursor", "cursor: not one that was given, or too old"))?,
        // Clocks differ: an event may be of tomorrow already.
        None => Millis(today.0 + DAY_MS),
    };
    let mut after = after;
    let mut page = Page::default();
    let mut looked = 0;
    while day >= oldest {
        let partition = keys::deliveries(&instance.id, day);
        let query = Query::table(&partition).newest_first().limit(limit.clamp(1, 1000)).after(after.take());
        let found = app.store.query(query).await?;
        looked += found.items.len();
        for item in found.items {
            let key = item.key.clone();
            let row: Delivery = item.into()?;
            if status.is_some_and(|status| status != row.status) {
                continue;
            }
            page.deliveries.push(row);
            if page.deliveries.len() == limit {
                page.next = Some(Cursor { sort: key.sk.clone(), key }.encode());
                return Ok(page);
            }
        }
        match found.next {
            Some(next) if looked >= LOOKS => {
                page.next = Some(next.encode());
                return Ok(page);
            }
            Some(next) => after = Some(next),
            None => day = Millis(day.0 - DAY_MS),
        }
    }
    Ok(page)
}

/// The delivery with this public id.
pub async fn get(app: &App, instance: &Instance, id: &str) -> Result<Option<Delivery>> {
    let key: Option<Key> = super::delivery::key_of(&instance.id, id);
    match key {
        Some(key) => app.store.get(&key, Read::Strong).await?.map(Item::into).transpose(),
        None => Ok(None),
    }
}
