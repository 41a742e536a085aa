//! Deleting an instance: every row of it, then its media, and its own row last, so that an interrupted deletion is taken up
//! again by the same command.

use super::line::address_keys;
use crate::{
    app::App,
    clock::{DAY_MS, Millis},
    domain::{endpoint, forwarder::Forwarder, instance::Instance, juhe},
    error::Result,
    id::InstanceId,
    store::{Query, Read, Write, keys, log},
};

/// Rows that are deleted at once.
const PAGE: usize = 500;
/// Partitions of an instance's messages.
const BUCKETS: u8 = 16;

/// Deletes everything that belongs to the instance. Can be repeated; when it has returned, the instance is gone.
///
/// Waiting timers are left: they find no instance and do nothing. Finished jobs expire by themselves.
pub async fn erase(app: &App, id: &InstanceId) -> Result<()> {
    let Some(item) = app.store.get(&keys::instance(id), Read::Strong).await? else { return Ok(()) };
    let instance: Instance = item.into()?;
    let keys = address_keys(app, &instance, instance.address.as_deref(), &instance.aliases);
    app.store.write_many(keys.into_iter().map(Write::delete).collect()).await?;
    juhe::device::release(app, &instance).await?;
    app.calls.forget(id);
    let mut partitions = vec![
        keys::parked_of(id),
        keys::session(id),
        keys::activity(id),
        keys::chats(id),
        keys::chat_aliases(id),
        keys::contacts(id),
        keys::rooms(id),
        keys::listed_messages(id),
        keys::kept_notices(id),
        keys::stats(id),
        keys::calls(id),
        keys::quotas(id.as_str()),
        keys::delivered_days(id),
        keys::forwards(id),
        keys::happenings(id),
    ];
    // Those of forwarders that were deleted before have ended by themselves.
    let forwarders = instance.forwarders.iter().map(Forwarder::endpoint);
    let endpoints = [endpoint::WEBHOOK, endpoint::ROBOT].map(str::to_owned).into_iter().chain(forwarders);
    partitions.extend(endpoints.map(|endpoint| keys::lanes(&format!("{id}/{endpoint}"))));
    partitions.extend(keys::SANDBOX_KINDS.iter().map(|kind| keys::sandbox(id, kind)));
    for bucket in 0..BUCKETS {
        partitions.push(format!("M#{id}#{bucket:x}"));
        partitions.push(format!("MB#{id}#{bucket:x}"));
    }
    // A day more on both sides: clocks of several machines are not the same.
    let mut day = Millis(instance.created_at.day().0 - DAY_MS);
    while day.0 <= app.clock.now().0 + DAY_MS {
        partitions.push(keys::deliveries(id, day));
        day = Millis(day.0 + DAY_MS);
    }
    for partition in partitions {
        empty(app, &partition).await?;
    }
    app.media.delete_instance(id).await?;
    let tail = app.store.tail(id.as_str()).await?;
    for bucket in 0..=tail.seq / log::BUCKET {
        empty(app, &log::partition(id.as_str(), bucket * log::BUCKET)).await?;
    }
    // Everything beside the row itself, then the row: while it is there, the command is not done.
    let own = app.store.query(Query::table(keys::instance(id).pk).limit(PAGE).keys_only()).await?;
    let (row, rest): (Vec<_>, Vec<_>) = own.items.into_iter().map(|item| item.key).partition(|key| key.sk == "meta");
    app.store.write_many(rest.into_iter().map(Write::delete).collect()).await?;
    app.store.write_many(row.into_iter().map(Write::delete).collect()).await
}

async fn empty(app: &App, partition: &str) -> Result<()> {
    loop {
        let page = app.store.query(Query::table(partition).limit(PAGE).keys_only()).await?;
        if page.items.is_empty() {
            return Ok(());
        }
        let more = page.next.is_some();
        app.store.write_many(page.items.into_iter().map(|item| Write::delete(item.key)).collect()).await?;
        if !more {
            return Ok(());
        }
    }
}
