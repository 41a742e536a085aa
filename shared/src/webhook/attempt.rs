//! One attempt: the event made of its log entry, put into the endpoint's form, posted through the guard, and judged.

use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::{
    Outcome, Status,
    delivery::{Attempt, Delivery},
    format::{self, Reading},
    metric,
    outcome::Verdict,
    retry, settings,
};
use crate::{
    app::App,
    clock::Millis,
    domain::{
        event::{self, Event},
        instance::Instance,
    },
    error::{Error, Result},
    guard::Request,
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
    let tried = tokio::select! {
        tried = post(app, instance, &row.endpoint, &event) => tried?,
        () = cancel.cancelled() => return Err(Error::unavailable("shutting down")),
    };
    let now = app.clock.now();
    if tried.attempt.outcome == Outcome::Delivered {
        metric::latency(entry.body.at.until(now));
    }
    Ok(judge(app, instance, row, tried, now))
}

/// Puts the event into the endpoint's form and posts it. Errors are ours alone.
pub(crate) async fn post(app: &App, instance: &Instance, endpoint: &str, event: &Event) -> Result<Tried> {
    let at = app.clock.now();
    let Some(call) = format::call(app, instance, endpoint, event, at)? else {
        let attempt =
            Attempt { at, outcome: Outcome::InvalidUrl, status_code: None, duration_ms: 0, answer: String::new() };
        metric::attempt(Outcome::InvalidUrl);
        return Ok(Tried { attempt, retry_after: None });
    };
    let request = Request {
        url: call.url,
        headers: call.headers,
        body: Bytes::from(call.body),
        deadline: DEADLINE,
        max_answer: READ,
        keep: KEEP,
    };
    let start = app.clock.monotonic();
    let (outcome, status_code, duration, answer, retry_after) = match app.guard.post(request).await {
        Ok(answer) => {
            let Reading { outcome, pause } = call.answers.read(answer.status, &answer.body);
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            (outcome, Some(answer.status), answer.duration, text, answer.retry_after.max(pause))
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
pub(crate) fn judge(app: &App, instance: &Instance, row: &mut Delivery, tried: Tried, now: Millis) -> Judgement {
    let Tried { attempt, retry_after } = tried;
    let verdict = attempt.outcome.verdict();
    let pacing = settings::pacing(app, instance, &row.endpoint);
    row.tried(app, instance, attempt);
    row.next_attempt_at = None;
    let judgement = match verdict {
        Verdict::Delivered => Judgement::Delivered,
        Verdict::Dead => Judgement::Dead { transient: false },
        Verdict::Disable => Judgement::Disable,
        Verdict::Retry => match retry::next_attempt(pacing, row.tries, row.since, now, retry_after) {
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
