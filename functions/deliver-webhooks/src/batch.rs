//! Working off records: what is common to the queue loop and to Lambda.

use std::{collections::VecDeque, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt as _;
use shared::{
    Error, Result,
    domain::{event::Dispatch, timer::Waiting},
    store::{Doc, Receipt},
    webhook::{Courier, Handled},
};
use tokio::time::Instant;

/// An attempt, and some reading and writing around it: with less time left than this nothing is begun.
const ROOM: Duration = Duration::from_secs(shared::webhook::DEADLINE.as_secs() + 3);
/// A timer may set off many attempts: a lane, or a recovery.
const ROOM_FOR_TIMER: Duration = Duration::from_secs(60);
/// Pause before a message that failed is received again: doubling with each receive.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A queue message.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// Names it in logs and in the answer to Lambda.
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) body: Doc,
    /// 1 at first.
    pub(crate) receives: u32,
    /// `None` where the answer acknowledges.
    pub(crate) receipt: Option<Receipt>,
}

/// Records that are not done, and when to try again.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// In order; the first is the one that failed.
    pub(crate) records: Vec<Record>,
    pub(crate) pause: Duration,
}

/// The attribute that only timers have.
const TIMER: &str = "timer";

/// What a body asks for.
#[derive(Debug)]
enum Work {
    Dispatch(Dispatch),
    Timer(Waiting),
}

impl Work {
    fn read(body: &Doc) -> Result<Self> {
        let body_value = serde_json::Value::Object(body.clone());
        Ok(if body.contains_key(TIMER) {
            Self::Timer(serde_json::from_value(body_value)?)
        } else {
            Self::Dispatch(serde_json::from_value(body_value)?)
        })
    }
}

/// Splits records into groups, each in order.
pub(crate) fn groups(records: Vec<Record>) -> Vec<VecDeque<Record>> {
    let mut groups: Vec<VecDeque<Record>> = Vec::new();
    for record in records {
        // Standard queues have no groups: every record is alone.
        match groups.iter_mut().find(|group| !record.group.is_empty() && group[0].group == record.group) {
            Some(group) => group.push_back(record),
            None => groups.push(VecDeque::from([record])),
        }
    }
    groups
}

/// Does the records of one group in order. `done` is told after each; `until`: when the process is taken away.
pub(crate) async fn work_off(
    courier: &Courier,
    mut group: VecDeque<Record>,
    until: Option<Instant>,
    mut done: impl FnMut(),
) -> Rest {
    while let Some(record) = group.front() {
        let room = if record.body.contains_key(TIMER) { ROOM_FOR_TIMER } else { ROOM };
        if until.is_some_and(|until| Instant::now() + room > until) {
            return Rest { records: group.into(), pause: Duration::ZERO };
        }
        let pause = match AssertUnwindSafe(handle(courier, record)).catch_unwind().await {
            Ok(Ok(Handled::Done)) => {
                group.pop_front();
                done();
                continue;
            }
            Ok(Ok(Handled::Later(pause))) => pause,
            Ok(Err(error)) => {
                report(record, &error);
                backoff(record.receives)
            }
            Err(_) => {
                // The panic hook has told where.
                tracing::error!(record = %record.id, receives = record.receives, "a record caused a panic");
                backoff(record.receives)
            }
        };
        return Rest { records: group.into(), pause };
    }
    Rest::default()
}

async fn handle(courier: &Courier, record: &Record) -> Result<Handled> {
    match Work::read(&record.body)? {
        Work::Dispatch(dispatch) => {
            courier.dispatch(&dispatch, record.receives, record.receipt.clone()).await?;
            Ok(Handled::Done)
        }
        Work::Timer(waiting) => courier.timer(&waiting, record.receives, record.receipt.clone()).await,
    }
}

fn report(record: &Record, error: &Error) {
    let source = error.source.as_ref().map(ToString::to_string);
    tracing::warn!(
        record = %record.id,
        receives = record.receives,
        code = %error.code,
        source,
        "a record is given back"
    );
}

fn backoff(receives: u32) -> Duration {
    PAUSE.saturating_mul(2u32.saturating_pow(receives.saturating_sub(1).min(16))).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str, group: &str) -> Record {
        Record { id: id.into(), group: group.into(), body: Doc::new(), receives: 1, receipt: None }
    }

    #[test]
    fn groups_keep_their_order_and_timers_are_alone() {
        let records = vec![record("1", "a"), record("2", "b"), record("3", "a"), record("4", ""), record("5", "")];
        let ids: Vec<Vec<String>> =
            groups(records).into_iter().map(|group| group.into_iter().map(|record| record.id).collect()).collect();
        assert_eq!(ids, [vec!["1", "3"], vec!["2"], vec!["4"], vec!["5"]]);
    }

    #[test]
    fn pauses_double_up_to_five_minutes() {
        assert_eq!(backoff(1), Duration::from_secs(1));
        assert_eq!(backoff(4), Duration::from_secs(8));
        assert_eq!(backoff(60), LONGEST_PAUSE);
    }
}
