//! The health of an endpoint: failures in a row, and the breaker that they open. One row, there only once something failed.
//!
//! While the breaker is open nothing is posted but probes. Dispatch messages are acknowledged, and the row remembers the range
//! of the log, `from..=upto`, that they lie in. After a probe has succeeded the range is dispatched again ([`super::probe`]).
//! A dispatch message that lies in the range is never lost, whenever it comes: see [`Health::place`].

use serde::{Deserialize, Serialize};

use super::{metric, retry, settings};
use crate::{
    app::App,
    clock::{DAY_MS, Millis},
    domain::{
        event::Dispatch,
        instance::Instance,
        timer::{self, Timer},
    },
    error::Result,
    id::InstanceId,
    store::{Change, CommitError, Committed, Cond, Item, Read, Unit, Write, keys},
};

/// The breaker opens after that many failures in a row …
const FAILURES: u32 = 20;
/// … in at least that many chats: a chat with one poisonous event is not an endpoint that is down.
const CHATS: usize = 3;
/// A webhook that has only failed for that long is switched off …
const FAILING_MS: i64 = 5 * DAY_MS;
/// … if it was tried at least that often: two failures with days of silence between them say nothing.
const FAILING_TRIES: u32 = 10;
/// A timer that is that late is lost (dead letters): the next dispatch message sets another.
pub(super) const OVERDUE_MS: i64 = 30 * 60_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    #[default]
    Up,
    /// The breaker is open.
    Down,
    /// A probe has succeeded; what was passed over is being dispatched again.
    Recovering,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Recovering => "recovering",
        }
    }
}

/// The row (`keys::endpoint_state`). The default stands for "no row".
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Health {
    pub(super) v: u32,
    /// Changes with every write.
    pub(super) rev: u64,
    pub(super) state: State,
    /// Counts how often the breaker has opened: dispatch messages of the recovery that follows carry it.
    pub(super) round: u64,
    /// In a row.
    failures: u32,
    /// Some of the chats that failed.
    chats: Vec<String>,
    /// When the first of the failures was.
    since: Option<Millis>,
    /// What was passed over lies in here; 0: nothing was.
    pub(super) from: u64,
    pub(super) upto: u64,
    /// Dispatched again up to here.
    pub(super) done: u64,
    pub(super) probe_at: Millis,
    pub(super) probes: u32,
}

/// What to do with a dispatch message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Deliver,
    /// The recovery does it, or has done it: acknowledge.
    Covered,
    /// Note it in the range, then acknowledge.
    Skip,
}

/// What a failure has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Nothing,
    /// Failures only, for five days: switch it off.
    TooLong,
}

impl Health {
    pub(crate) fn of(item: Option<Item>) -> Result<Self> {
        item.map_or_else(|| Ok(Self::default()), Item::into)
    }

    pub(crate) async fn load(app: &App, instance: &InstanceId, endpoint: &str) -> Result<Self> {
        Self::of(app.store.get(&keys::endpoint_state(instance, endpoint), Read::Strong).await?)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// Where a dispatch message of a chat without a lane belongs.
    ///
    /// Up: an original message inside the range of the last recovery has a copy in the queue, behind the copies of the
    /// chat's earlier events. Delivering the original would overtake those. The same holds for copies of earlier recoveries.
    ///
    /// Down, or recovering: the recovery begins at `from` and ends at the tail of the log, not before `upto`. A message
    /// inside is covered by that. Copies of this very recovery are what it delivers with. Once it has begun it goes
    /// forwards only: what lies before `from` it will not come upon, and nothing of the chat is queued ahead of it.
    pub(crate) fn place(&self, message: &Dispatch) -> Place {
        let after_from = self.from > 0 && self.from <= message.seq;
        let superseded = !message.again || message.round.is_some_and(|round| round != self.round);
        match self.state {
            State::Up if superseded && after_from && message.seq <= self.done => Place::Covered,
            State::Up => Place::Deliver,
            State::Recovering if message.round == Some(self.round) || !after_from => Place::Deliver,
            State::Down | State::Recovering if after_from && message.seq <= self.upto => Place::Covered,
            State::Down | State::Recovering => Place::Skip,
        }
    }

    fn same_round(&self) -> Vec<Cond> {
        vec![Cond::eq("state", self.state.name()), Cond::eq("round", self.round)]
    }

    pub(crate) fn is_recovering(&self) -> bool {
        self.state == State::Recovering
    }

    /// Widens the range so that it holds `seq`: upwards at any time, downwards only while the endpoint is down.
    /// `false`: the row has changed meanwhile, look again.
    pub(crate) async fn skip(&self, app: &App, instance: &InstanceId, endpoint: &str, seq: u64) -> Result<bool> {
        let number = i64::try_from(seq).unwrap_or(i64::MAX);
        let mut cond = self.same_round();
        let mut change = Change::default().add("rev", 1);
        if self.from == 0 {
            cond.push(Cond::eq("from", 0));
            change = change.set("from", seq).set("upto", seq);
        } else if seq > self.upto {
            cond.push(Cond::lt("upto", number));
            change = change.set("upto", seq);
        } else {
            cond.push(Cond::Gt("from".into(), number));
            change = change.set("from", seq);
        }
        let mut unit = Unit::default();
        let now = app.clock.now();
        if now.0 > self.probe_at.0 + OVERDUE_MS {
            cond.push(Cond::eq("probeAt", self.probe_at.0));
            change = change.set("probeAt", now.0);
            timer::schedule(app, &mut unit, now, probe_timer(instance, endpoint, self.probes))?;
        }
        unit.writes.insert(0, Write::update(keys::endpoint_state(instance, endpoint), change).only_if(Cond::All(cond)));
        took_place(app.store.commit(unit).await)
    }
}

pub(super) fn probe_timer(instance: &InstanceId, endpoint: &str, attempt: u32) -> Timer {
    Timer::Probe { instance: instance.clone(), endpoint: endpoint.to_owned(), attempt }
}

/// Whether a conditional unit happened.
pub(super) fn took_place(result: Result<Committed, CommitError>) -> Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(CommitError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Replaces the row if it is still as it was read.
async fn replace(
    app: &App,
    instance: &Instance,
    endpoint: &str,
    old: &Health,
    new: &Health,
    unit: Unit,
) -> Result<bool> {
    let item = Item::new(keys::endpoint_state(&instance.id, endpoint), new)?;
    let write = if old.v == 0 { Write::create(item) } else { Write::put(item).only_if(Cond::eq("rev", old.rev)) };
    let mut unit = unit;
    unit.writes.insert(0, write);
    took_place(app.store.commit(unit).await)
}

/// Charges a failure to the endpoint. `transient`: it may have to do with the endpoint being down.
pub(crate) async fn failed(
    app: &App,
    instance: &Instance,
    endpoint: &str,
    chat: &str,
    transient: bool,
) -> Result<After> {
    loop {
        let old = Health::load(app, &instance.id, endpoint).await?;
        let now = app.clock.now();
        let since = old.since.unwrap_or(now);
        let mut new = Health { v: 1, rev: old.rev + 1, failures: old.failures + 1, since: Some(since), ..old.clone() };
        if transient && new.chats.len() < CHATS && !new.chats.iter().any(|known| known == chat) {
            new.chats.push(chat.to_owned());
        }
        let mut unit = Unit::default();
        let opens = transient && old.state != State::Down && new.failures >= FAILURES && new.chats.len() >= CHATS;
        if opens {
            new.open(retry::next_probe(settings::pacing(app, instance, endpoint), 1, now));
            timer::schedule(app, &mut unit, new.probe_at, probe_timer(&instance.id, endpoint, 1))?;
        }
        let too_long = now.0 - since.0 >= FAILING_MS && new.failures >= FAILING_TRIES;
        if replace(app, instance, endpoint, &old, &new, unit).await? {
            if opens {
                metric::breaker_opened();
                tracing::warn!(instance = %instance.id, endpoint, "an endpoint is down: probing it");
            }
            return Ok(if too_long { After::TooLong } else { After::Nothing });
        }
    }
}

impl Health {
    fn open(&mut self, probe_at: Millis) {
        // A recovery that was under way has accounted for what lies before `done`: its copies come by again, and are noted.
        (self.from, self.upto) = match self.state {
            State::Recovering if self.from > 0 && self.done < self.upto => (self.done + 1, self.upto),
            _ => (0, 0),
        };
        self.done = 0;
        self.state = State::Down;
        self.round += 1;
        self.probe_at = probe_at;
        self.probes = 1;
    }
}

impl Health {
    /// What follows on a probe. Without proof that the endpoint is up again, the next failure opens the breaker anew.
    pub(super) fn recovering(&self, proven: bool) -> Self {
        let mut next = Self {
            rev: self.rev + 1,
            state: State::Recovering,
            done: self.from.saturating_sub(1),
            probes: 0,
            ..self.clone()
        };
        if proven {
            (next.failures, next.since) = (0, None);
            next.chats.clear();
        }
        next
    }
}

/// Ends the row of failures. While the breaker is open only a probe does that.
pub(crate) async fn succeeded(app: &App, instance: &InstanceId, endpoint: &str) -> Result<()> {
    let change = Change::default().set("failures", 0).set("chats", serde_json::json!([])).remove("since").add("rev", 1);
    let cond = Cond::All(vec![Cond::Exists, Cond::ne("state", State::Down.name())]);
    let write = Write::update(keys::endpoint_state(instance, endpoint), change).only_if(cond);
    took_place(app.store.commit(Unit::write(write)).await).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(seq: u64, again: bool, round: Option<u64>) -> Dispatch {
        Dispatch {
            v: 1,
            instance: InstanceId::new("i"),
            endpoint: "webhook".into(),
            chat: "c".into(),
            seq,
            again,
            round,
        }
    }

    #[test]
    fn messages_find_their_place() {
        let up = Health::default();
        assert_eq!(up.place(&message(5, false, None)), Place::Deliver);
        let down = Health { state: State::Down, from: 3, upto: 8, round: 2, ..Health::default() };
        assert_eq!(down.place(&message(2, false, None)), Place::Skip);
        assert_eq!(down.place(&message(5, true, Some(1))), Place::Covered);
        assert_eq!(down.place(&message(9, false, None)), Place::Skip);
        let recovering = Health { state: State::Recovering, done: 4, ..down };
        assert_eq!(recovering.place(&message(4, true, Some(2))), Place::Deliver);
        assert_eq!(recovering.place(&message(4, true, Some(1))), Place::Covered);
        assert_eq!(recovering.place(&message(9, false, None)), Place::Skip);
        assert_eq!(recovering.place(&message(2, false, None)), Place::Deliver, "the recovery never comes upon it");
        assert_eq!(recovering.place(&message(5, true, None)), Place::Covered, "unless its record is open again");
        let recovered = Health { state: State::Up, done: 9, ..recovering };
        assert_eq!(recovered.place(&message(9, false, None)), Place::Covered, "its copy keeps the order");
        assert_eq!(recovered.place(&message(9, true, Some(1))), Place::Covered, "so does that of a newer recovery");
        assert_eq!(recovered.place(&message(9, true, Some(2))), Place::Deliver);
        assert_eq!(recovered.place(&message(9, true, None)), Place::Deliver, "a replay");
        assert_eq!(recovered.place(&message(10, false, None)), Place::Deliver);
        assert_eq!(recovered.place(&message(2, false, None)), Place::Deliver);
    }

    #[test]
    fn opening_again_keeps_what_was_not_dispatched_yet() {
        let mut health = Health { state: State::Recovering, from: 3, upto: 20, done: 9, round: 1, ..Health::default() };
        health.open(Millis(1));
        assert_eq!((health.state, health.from, health.upto, health.round), (State::Down, 10, 20, 2));
        let mut idle = Health { state: State::Up, from: 3, upto: 20, done: 20, ..Health::default() };
        idle.open(Millis(1));
        assert_eq!((idle.from, idle.upto, idle.done), (0, 0, 0));
    }
}
