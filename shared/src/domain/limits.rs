//! Quotas over a moving window (the original's): per instance, and per user over all instances of that user.

use std::time::Duration;

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
    store::{Append, Change, CommitError, Item, Query, Read, Unit, Write, keys, log::Writer},
};

const DEFAULT_WINDOW_HOURS: u64 = 24;
const HOUR_MS: i64 = 3_600_000;
/// The longest window is 30 days.
const KEEP_HOURS: i64 = 31 * 24;

/// A place in the quotas that a send has taken. Given back if the send is not accepted after all.
#[derive(Debug, Default)]
#[must_use]
pub struct Reserved(Vec<(String, i64, Count)>);

/// The quotas of the user whose instance sends.
#[derive(Debug, Clone, Default)]
pub enum OfUser {
    /// To be read.
    #[default]
    Unread,
    /// The user is the caller: its row was read in this request.
    Known(Option<Limits>),
}

/// Refuses a send that would go over a quota: 429 `LIMIT_EXCEEDED`; the first time in a window the event `limit_exceeded`.
///
/// The send is counted first and looked at then: sends that come at the same time see each other, so together they never go
/// over. Without quotas this costs at most one read.
pub async fn reserve_send(app: &App, instance: &Instance, of_user: OfUser, content: &Content) -> Result<Reserved> {
    let mut reserved = Reserved::default();
    match reserve(app, instance, of_user, content, &mut reserved).await {
        Ok(()) => Ok(reserved),
        Err(error) => {
            give_back(app, reserved).await;
            Err(error)
        }
    }
}

async fn reserve(
    app: &App,
    instance: &Instance,
    of_user: OfUser,
    content: &Content,
    reserved: &mut Reserved,
) -> Result<()> {
    let of_user = match of_user {
        OfUser::Known(limits) => limits,
        OfUser::Unread => {
            let user = app.store.get(&keys::user(&instance.user_id), Read::Strong).await?;
            user.and_then(|user| serde_json::from_value::<Limits>(user.doc.get("limits")?.clone()).ok())
        }
    };
    let quotas = [(instance.limits.clone(), false), (of_user, true)];
    for (limits, whole_user) in quotas {
        let Some(limits) = limits.filter(|limits| !limits.is_empty()) else { continue };
        let name = if whole_user { instance.user_id.to_string() } else { instance.id.to_string() };
        let hours = limits.time_window_hours.unwrap_or(DEFAULT_WINDOW_HOURS);
        let hour = app.clock.now().0.div_euclid(HOUR_MS);
        let count = Count::of(content);
        count.add(app, &name, hour, 1).await?;
        reserved.0.push((name.clone(), hour, count));
        let mut usage = sent(app, &name, hour, hours).await?;
        let mut logged_sends = Usage::default();
        let instances =
            if whole_user { instance::all_of_user(app, &instance.user_id).await? } else { vec![instance.clone()] };
        for instance in instances {
            let logged = stats::last_hours(app, &instance.id, hours).await?;
            logged_sends.messages_sent += logged.messages_sent;
            logged_sends.media_sent += logged.media_sent;
            usage.messages_received += logged.messages_received;
            usage.media_received += logged.media_received;
            usage.api_calls += logged.api_calls;
        }
        // Sends from before the quota was set are only in the statistics, those under way only among the reserved.
        usage.messages_sent = usage.messages_sent.max(logged_sends.messages_sent + count.messages);
        usage.media_sent = usage.media_sent.max(logged_sends.media_sent + count.media);
        let names = exceeded(&limits, &usage);
        if !names.is_empty() {
            tell(app, instance, &limits, &usage, &names).await?;
            return Err(Error::new(
                Kind::RateLimited,
                "LIMIT_EXCEEDED",
                format!("Limit exceeded: {}", names.join(", ")),
            )
            .after(Duration::from_secs(3600)));
        }
    }
    Ok(())
}

/// Takes a reservation back. If that fails the quota is a little tighter until the hour is out of the window.
pub async fn give_back(app: &App, reserved: Reserved) {
    for (name, hour, count) in reserved.0 {
        if let Err(error) = count.add(app, &name, hour, -1).await {
            tracing::warn!(%error, "a quota keeps a send that was not accepted");
        }
    }
}

/// What a send counts as.
#[derive(Debug, Clone, Copy)]
struct Count {
    messages: i64,
    media: i64,
    bytes: i64,
}

impl Count {
    fn of(content: &Content) -> Self {
        let size = content.media().map_or(0, |media| i64::try_from(media.size).unwrap_or(i64::MAX));
        Self { messages: i64::from(content.is_message()), media: i64::from(content.media().is_some()), bytes: size }
    }

    async fn add(self, app: &App, of: &str, hour: i64, sign: i64) -> Result<()> {
        let change = Change { ttl: Some((hour + KEEP_HOURS) * 3600), ..Change::default() }
            .add("messages", sign * self.messages)
            .add("media", sign * self.media)
            .add("bytes", sign * self.bytes);
        app.store.commit(Unit::write(Write::update(keys::quota(of, hour), change))).await?;
        Ok(())
    }
}

/// Sends of the last `hours` hours, those under way included.
async fn sent(app: &App, of: &str, hour: i64, hours: u64) -> Result<Usage> {
    let first = hour - i64::try_from(hours).unwrap_or(24) + 1;
    let query = Query::table(keys::quotas(of)).between(format!("{first:010}"), format!("{hour:010}")).limit(1000);
    let mut usage = Usage::default();
    for item in app.store.query(query).await?.items {
        let number = |name: &str| item.doc.get(name).and_then(serde_json::Value::as_i64).unwrap_or(0);
        usage.messages_sent += number("messages");
        usage.media_sent += number("media");
        usage.total_media_size += number("bytes");
    }
    Ok(usage)
}

/// The quotas that this usage goes over: names as in the settings.
fn exceeded(limits: &Limits, usage: &Usage) -> Vec<&'static str> {
    let over = |limit: Option<u64>, used: i64| limit.is_some_and(|limit| u64::try_from(used).unwrap_or(0) > limit);
    [
        ("maxMessagesSent", over(limits.max_messages_sent, usage.messages_sent)),
        ("maxMessagesReceived", over(limits.max_messages_received, usage.messages_received)),
        ("maxMediaSent", over(limits.max_media_sent, usage.media_sent)),
        ("maxMediaReceived", over(limits.max_media_received, usage.media_received)),
        ("maxMediaSize", over(limits.max_media_size, usage.total_media_size)),
        ("maxApiCalls", over(limits.max_api_calls, usage.api_calls)),
    ]
    .into_iter()
    .filter_map(|(name, over)| over.then_some(name))
    .collect()
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
