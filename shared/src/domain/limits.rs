//! Quotas over a moving window (the original's): per instance, and per user over all instances of that user.

use serde_json::json;

use crate::{
    app::App,
    clock::Millis,
    domain::{
        activity::{self, Action},
        content::Content,
        event::{self, Kind as EventKind},
        instance::{self, Instance, Limits},
        stats::{self, Usage},
    },
    error::{Error, Kind, Result},
    store::{Append, CommitError, Item, Read, Unit, Write, keys, log::Writer},
};

const DEFAULT_WINDOW_HOURS: u64 = 24;

/// Refuses a send that would go over a quota: 429 `LIMIT_EXCEEDED`; the first time in a window the event `limit_exceeded`.
pub async fn check_send(app: &App, instance: &Instance, content: &Content) -> Result<()> {
    if let Some(limits) = instance.limits.as_ref().filter(|limits| !limits.is_empty()) {
        let usage =
            stats::last_hours(app, &instance.id, limits.time_window_hours.unwrap_or(DEFAULT_WINDOW_HOURS)).await?;
        refuse(app, instance, limits, &usage, content).await?;
    }
    let user = app.store.get(&keys::user(&instance.user_id), Read::Strong).await?;
    let limits = user.and_then(|user| serde_json::from_value::<Limits>(user.doc.get("limits")?.clone()).ok());
    if let Some(limits) = limits.filter(|limits| !limits.is_empty()) {
        let mut usage = Usage::default();
        for instance in instance::all_of_user(app, &instance.user_id).await? {
            let hours = limits.time_window_hours.unwrap_or(DEFAULT_WINDOW_HOURS);
            usage.add(&stats::last_hours(app, &instance.id, hours).await?);
        }
        refuse(app, instance, &limits, &usage, content).await?;
    }
    Ok(())
}

/// The quotas that are used up: names as in the settings.
fn exceeded(limits: &Limits, usage: &Usage, content: &Content) -> Vec<&'static str> {
    let size = content.media().map_or(0, |media| media.size);
    let is_media = content.media().is_some();
    let over = |limit: Option<u64>, used: i64, more: u64| {
        limit.is_some_and(|limit| u64::try_from(used).unwrap_or(0).saturating_add(more) > limit)
    };
    let mut names = Vec::new();
    let mut check = |name, exceeded| {
        if exceeded {
            names.push(name);
        }
    };
    check("maxMessagesSent", over(limits.max_messages_sent, usage.messages_sent, 1));
    check("maxMessagesReceived", over(limits.max_messages_received, usage.messages_received, 0));
    check("maxMediaSent", is_media && over(limits.max_media_sent, usage.media_sent, 1));
    check("maxMediaReceived", over(limits.max_media_received, usage.media_received, 0));
    check("maxMediaSize", is_media && over(limits.max_media_size, usage.total_media_size, size));
    check("maxApiCalls", over(limits.max_api_calls, usage.api_calls, 1));
    names
}

async fn refuse(app: &App, instance: &Instance, limits: &Limits, usage: &Usage, content: &Content) -> Result<()> {
    let names = exceeded(limits, usage, content);
    if names.is_empty() {
        return Ok(());
    }
    tell(app, instance, limits, usage, &names).await?;
    Err(Error::new(Kind::RateLimited, "LIMIT_EXCEEDED", format!("Limit exceeded: {}", names.join(", ")))
        .after(std::time::Duration::from_secs(3600)))
}

/// Tells of it once in each window.
async fn tell(app: &App, instance: &Instance, limits: &Limits, usage: &Usage, names: &[&str]) -> Result<()> {
    let now = app.clock.now();
    let window = i64::try_from(limits.time_window_hours.unwrap_or(DEFAULT_WINDOW_HOURS)).unwrap_or(24) * 3_600_000;
    let start = now.0.div_euclid(window) * window;
    let facts = json!({ "exceededLimits": names, "usage": usage });
    let mut entry = event::entry(EventKind::LimitExceeded, format!("limit/{}/{start}", names.join("+")), now);
    entry.data = facts.clone();
    let notice = Item::new(keys::limit_notice(&instance.id, &names.join("+"), start), &json!({ "at": now }))?
        .expires(Millis(start + 2 * window));
    let entries = vec![entry];
    let unit = Unit {
        writes: vec![Write::create(notice), activity::note(app, &instance.id, Action::LimitExceeded, facts)?],
        enqueue: event::dispatches(instance, &entries, 0),
        append: vec![Append { log: instance.id.to_string(), writer: Writer::Foreign, entries, look_from: None }],
        done: None,
    };
    match app.store.commit(unit).await {
        Ok(_) | Err(CommitError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
