//! One attempt: the event made of its log entry, signed, posted through the guard, and judged.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    Outcome, Status,
    delivery::{Attempt, Delivery},
    metric,
    outcome::Verdict,
    retry,
};
use crate::{
    app::App,
    clock::Millis,
    domain::{event, instance::Instance},
    error::{Error, Result},
    guard::Request,
    sign,
    store::log::Entry,
};

/// From the start of an attempt to the last byte of its answer.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const READ: usize = 64 * 1024;
/// Bytes of an answer that are kept.
const KEEP: usize = 4 * 1024;

/// An attempt that was made.
#[derive(Debug)]
pub(crate) struct Tried {
    pub(crate) attempt: Attempt,
    pub(crate) retry_after: Option<Duration>,
}

/// What a delivery has come to after an attempt. Its row says so already; it is not stored yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    Delivered,
    /// Again at that time.
    Retry(Millis),
    /// `transient`: what failed might have worked, so it says something about the endpoint's health.
    Dead {
        transient: bool,
    },
    /// Dead, and the webhook is to be switched off.
    Disable,
}

/// Delivers the entry once and writes the result into the row, in memory. Errors are ours alone: the row is then as it was.
pub(crate) async fn deliver(
    app: &App,
    cancel: &CancellationToken,
    instance: &Instance,
    entry: &Entry,
    row: &mut Delivery,
) -> Result<Judgement> {
    let event = event::materialise(app, instance, std::slice::from_ref(entry)).await?.pop();
    let event = event.ok_or_else(|| Error::internal("an entry makes an event"))?;
    let body = event.webhook_body(&instance.id);
    let tried = tokio::select! {
        tried = post(app, instance, &event.id, &body) => tried?,
        () = cancel.cancelled() => return Err(Error::unavailable("shutting down")),
    };
    let now = app.clock.now();
    if tried.attempt.outcome == Outcome::Delivered {
        metric::latency(entry.body.at.until(now));
    }
    Ok(judge(instance, row, tried, now))
}

/// Signs and posts. Errors are ours alone.
pub(crate) async fn post(app: &App, instance: &Instance, id: &str, body: &Value) -> Result<Tried> {
    let at = app.clock.now();
    // It was checked when it was saved; the guard checks it again.
    let url = instance.webhook.url.as_deref().and_then(|url| url.parse().ok());
    let Some(url) = url else {
        let attempt =
            Attempt { at, outcome: Outcome::InvalidUrl, status_code: None, duration_ms: 0, answer: String::new() };
        metric::attempt(Outcome::InvalidUrl);
        return Ok(Tried { attempt, retry_after: None });
    };
    let body = serde_json::to_vec(body)?;
    let secrets = instance.webhook.live_secrets(app, &instance.id)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in sign::headers(&secrets, id, at.seconds(), &body) {
        let value = HeaderValue::from_str(&value).map_err(Error::internal)?;
        headers.insert(HeaderName::from_static(name), value);
    }
    let request = Request { url, headers, body: Bytes::from(body), deadline: DEADLINE, max_answer: READ, keep: KEEP };
    let start = app.clock.monotonic();
    let (outcome, status_code, duration, answer, retry_after) = match app.guard.post(request).await {
        Ok(answer) => {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            (Outcome::of_status(answer.status), Some(answer.status), answer.duration, text, answer.retry_after)
        }
        Err(failure) => {
            let Some(outcome) = Outcome::of_failure(&failure) else { return Err(Error::unavailable(failure)) };
            (outcome, None, app.clock.monotonic().saturating_sub(start), String::new(), None)
        }
    };
    metric::attempt(outcome);
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Ok(Tried { attempt: Attempt { at, outcome, status_code, duration_ms, answer }, retry_after })
}

/// Decides what follows from an attempt, and notes both in the row.
pub(crate) fn judge(instance: &Instance, row: &mut Delivery, tried: Tried, now: Millis) -> Judgement {
    let Tried { attempt, retry_after } = tried;
    let verdict = attempt.outcome.verdict();
    row.tried(instance, attempt);
    row.next_attempt_at = None;
    let judgement = match verdict {
        Verdict::Delivered => Judgement::Delivered,
        Verdict::Dead => Judgement::Dead { transient: false },
        Verdict::Disable => Judgement::Disable,
        Verdict::Retry => match retry::next_attempt(&instance.webhook, row.tries, row.since, now, retry_after) {
            Some(due) => Judgement::Retry(due),
            None => Judgement::Dead { transient: true },
        },
    };
    row.status = match judgement {
        Judgement::Delivered => Status::Delivered,
        Judgement::Retry(due) => {
            row.next_attempt_at = Some(due);
            Status::Retrying
        }
        Judgement::Dead { .. } | Judgement::Disable => Status::Dead,
    };
    if row.is_final() {
        metric::ended(row.status);
    }
    judgement
}
