//! The event log as users read it: by cursor, by long poll, by Server-Sent Events.
//!
//! A cursor is the sequence number of the last event that was seen. Numbers have no gaps, so no reader of `after` skips one.

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::HeaderMap,
    response::{
        IntoResponse as _, Response, Sse,
        sse::{Event as Frame, KeepAlive},
    },
};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use shared::{
    Error,
    app::AppState,
    domain::{
        access::Scope,
        cursor,
        event::{self, Event, Kind},
        instance::Instance,
    },
    edge::{Owned, Reject, WholeAnswers, auth::Credential, query::Params},
    store::log,
};

use crate::Answer;

/// Entries that are read at once, and looked at for one answer.
const PAGE: usize = 500;
const MOST_LOOKED_AT: usize = 20 * PAGE;
/// A stream looks that often at whether its reader may still read.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// The longest stream where answers leave as a whole: no request takes longer than 20 s, reading included.
const LONGEST: Duration = Duration::from_millis(19_500);

fn types(params: &Params) -> Result<Vec<Kind>, Error> {
    let kind = |name: &str| Kind::parse(name).ok_or_else(|| Error::invalid("types", "types must be names of events"));
    params.list("types").into_iter().map(kind).collect()
}

fn number(field: &'static str, text: &str) -> Result<u64, Error> {
    // As far as a signed number goes: what JSON and databases of users can hold.
    text.parse::<u64>()
        .ok()
        .filter(|number| i64::try_from(*number).is_ok())
        .ok_or_else(|| Error::invalid(field, format!("{field} must be a cursor that an answer gave")))
}

/// `GET /api/instances/{instanceId}/events?after=&limit=&types=&wait=`.
pub(crate) async fn list_events(State(app): State<AppState>, params: Params, owned: Owned) -> Answer {
    let Owned { instance, caller } = owned.with(Scope::MessagesRead)?;
    let may_pair = caller.require(Scope::InstancesManage).is_ok();
    let limit = params.limit(500, 100)?;
    // No answer takes longer than 20 s, reading included.
    let wait = Duration::from_secs(params.number("wait", 0..=20, 0)?).min(Duration::from_millis(19_500));
    let types = types(&params)?;
    let after = params.text("after").map(|text| number("after", text)).transpose()?;
    let deadline = app.clock.monotonic() + wait;
    let mut seen = cursor::start(&app, &instance.id, after).await?;
    let mut wanted = Vec::new();
    let mut looked = 0;
    let more = loop {
        let page = log::read(app.store.as_ref(), instance.id.as_str(), seen, PAGE).await?;
        let full = page.len() == PAGE;
        looked += page.len();
        let mut rest = page.into_iter().peekable();
        while wanted.len() < limit
            && let Some(entry) = rest.next()
        {
            seen = entry.seq;
            if types.is_empty() || Kind::parse(&entry.body.kind).is_some_and(|kind| types.contains(&kind)) {
                wanted.push(entry);
            }
        }
        let more = full || rest.peek().is_some();
        // Where few match the answer is short, or empty, and its cursor leads on.
        if !wanted.is_empty() || (more && looked >= MOST_LOOKED_AT) {
            break more;
        }
        if more {
            continue;
        }
        let left = deadline.saturating_sub(app.clock.monotonic());
        if left.is_zero() || app.closing.is_cancelled() {
            break false;
        }
        tokio::select! {
            () = app.store.changed(instance.id.as_str(), seen, left) => {}
            () = app.closing.cancelled() => {}
        }
    };
    let mut events = event::materialise(&app, &instance, &wanted).await?;
    if !may_pair {
        events.iter_mut().for_each(Event::hide_codes);
    }
    Ok(axum::Json(json!({ "events": events, "nextCursor": seen.to_string(), "hasMore": more })))
}

/// `GET /api/instances/{instanceId}/events/stream`: Server-Sent Events; `Last-Event-ID` (or `after`) resumes, without either
/// it begins with what comes next. Where answers leave as a whole, it ends after the first events or after 20 s, and clients
/// resume at once.
pub(crate) async fn stream_events(
    State(app): State<AppState>,
    headers: HeaderMap,
    params: Params,
    credential: Credential,
    whole: Option<Extension<WholeAnswers>>,
    owned: Owned,
) -> Result<Response, Reject> {
    let Owned { instance, caller } = owned.with(Scope::MessagesRead)?;
    let may_pair = caller.require(Scope::InstancesManage).is_ok();
    let types = types(&params)?;
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let after = match (last, params.text("after")) {
        (Some(text), _) => Some(number("Last-Event-ID", text)?),
        (None, Some(text)) => Some(number("after", text)?),
        (None, None) => None,
    };
    let seen = match after {
        Some(after) => cursor::start(&app, &instance.id, Some(after)).await?,
        None => app.store.tail(instance.id.as_str()).await?.seq,
    };
    let checked = app.clock.monotonic();
    let until = whole.map(|_| checked + LONGEST);
    let reader = Reader { app, instance, credential, checked, until, may_pair, types, seen, ready: VecDeque::new() };
    let frames = stream::unfold(reader, |mut reader| async {
        let event = reader.next().await?;
        let frame = Frame::default().id(event.seq.to_string()).event(&event.kind).json_data(&event).ok()?;
        Some((Ok::<_, Infallible>(frame), reader))
    });
    if until.is_some() {
        let resume = stream::iter([Ok(Frame::default().retry(Duration::ZERO))]);
        return Ok(Sse::new(resume.chain(frames)).into_response());
    }
    Ok(Sse::new(frames).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))).into_response())
}

struct Reader {
    app: AppState,
    instance: Instance,
    credential: Credential,
    /// When the credential was last looked at (monotonic).
    checked: Duration,
    /// When the stream ends (monotonic); it ends before, when what was there has been told.
    until: Option<Duration>,
    may_pair: bool,
    types: Vec<Kind>,
    seen: u64,
    ready: VecDeque<Event>,
}

impl Reader {
    /// The next event; `None` ends the stream: at shutdown, and when the store fails (the client resumes).
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if self.ready.is_empty() && self.until.is_some() {
                    self.until = Some(Duration::ZERO);
                }
                return Some(event);
            }
            if self.until.is_some_and(|until| self.app.clock.monotonic() >= until) {
                return None;
            }
            if self.app.closing.is_cancelled() {
                return None;
            }
            if self.app.clock.monotonic().saturating_sub(self.checked) >= CHECK_EVERY {
                // Revoked, disabled, deleted: the stream ends.
                let caller = self.credential.caller(&self.app).await?;
                let instance = shared::domain::instance::find(&self.app, &self.instance.id).await.ok()??;
                caller.require_instance(&instance.user_id, &instance.id).ok()?;
                caller.require(Scope::MessagesRead).ok()?;
                self.checked = self.app.clock.monotonic();
            }
            let (app, name) = (&self.app, self.instance.id.as_str());
            let page = log::read(app.store.as_ref(), name, self.seen, 100).await.ok()?;
            let Some(last) = page.last().map(|entry| entry.seq) else {
                let left = self.until.map(|until| until.saturating_sub(app.clock.monotonic()));
                tokio::select! {
                    () = app.store.changed(name, self.seen, left.unwrap_or(Duration::from_secs(30))) => {}
                    () = app.closing.cancelled() => return None,
                }
                continue;
            };
            self.seen = last;
            let wanted: Vec<_> = page
                .into_iter()
                .filter(|entry| {
                    self.types.is_empty()
                        || Kind::parse(&entry.body.kind).is_some_and(|kind| self.types.contains(&kind))
                })
                .collect();
            let mut events = event::materialise(app, &self.instance, &wanted).await.ok()?;
            if !self.may_pair {
                events.iter_mut().for_each(Event::hide_codes);
            }
            self.ready.extend(events);
        }
    }
}
