//! What of each log a connection has sent, so that nothing goes out twice, and nothing is left out. Numbers only: no store, no
//! sockets.
//!
//! A log (a chat's messages, an instance's events) is *live* while what is pushed continues what was sent. When something is
//! missing in between, or the client asks for what came before, the log is *read* from the store until it is live again; what
//! is pushed meanwhile is found there.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

/// Logs whose position is remembered: this many in the younger half. A log that is forgotten was quiet for long; what comes
/// next goes out.
const YOUNG: usize = 1024;
/// Messages of the connection's own that wait for their push, at the most.
const OWN: usize = 1024;

/// How far a log has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Everything after this, up to `at`, went out on this connection, or need not.
    from: u64,
    at: u64,
    /// What was sent before the client asked to go back: not again.
    #[serde(default)]
    skip: (u64, u64),
}

impl Position {
    /// For a client that has seen everything up to `seq`.
    pub(crate) fn at(seq: u64) -> Self {
        Self { from: seq, at: seq, skip: (0, 0) }
    }

    pub(crate) fn seen(&self) -> u64 {
        self.at
    }

    /// The log goes on to `seq`; whether that is to go out.
    pub(crate) fn advance(&mut self, seq: u64) -> bool {
        self.at = seq;
        !(self.skip.0 < seq && seq <= self.skip.1)
    }

    /// The client says that it has seen everything up to `seq`. What this connection has sent counts as seen.
    pub(crate) fn resume(&mut self, seq: u64) {
        if seq < self.from {
            self.skip = (self.from, self.at.max(self.skip.1));
            (self.from, self.at) = (seq, seq);
        } else {
            self.at = self.at.max(seq);
        }
    }
}

/// What is to become of a pushed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Send,
    /// It was sent, is the connection's own, or is read from the store soon.
    Drop,
    /// Something before it is missing: the log has to be read.
    Read,
}

#[derive(Debug, Default)]
pub(crate) struct Tracker {
    young: HashMap<Arc<str>, Position>,
    old: HashMap<Arc<str>, Position>,
    /// Logs that are being read: how far the store was heard to go.
    reading: HashMap<Arc<str>, (Position, u64)>,
    /// Sent on this connection: acknowledged already.
    own: VecDeque<(Arc<str>, u64)>,
    /// Where logs that nobody named start from, while they are being caught up with.
    floor: Option<u64>,
}

impl Tracker {
    /// A message was pushed.
    pub(crate) fn pushed(&mut self, log: &Arc<str>, seq: u64) -> Verdict {
        if let Some((_, heard)) = self.reading.get_mut(log) {
            *heard = seq.max(*heard);
            return Verdict::Drop;
        }
        let known = self.take(log).or(self.floor.map(Position::at));
        let mut position = known.unwrap_or_else(|| Position::at(seq.saturating_sub(1)));
        if seq > position.at + 1 {
            self.reading.insert(Arc::clone(log), (position, seq));
            return Verdict::Read;
        }
        let new = seq > position.at && position.advance(seq);
        self.put(Arc::clone(log), position);
        if new && !self.take_own(log, seq) { Verdict::Send } else { Verdict::Drop }
    }

    /// The connection has posted this message: when it is pushed, it is not sent.
    pub(crate) fn posted(&mut self, log: Arc<str>, seq: u64) {
        if self.own.len() == OWN {
            self.own.pop_front();
        }
        self.own.push_back((log, seq));
    }

    /// The client has seen the log up to `seq`; the log goes up to `tail`. Whether it has to be read.
    pub(crate) fn resume(&mut self, log: &Arc<str>, seq: u64, tail: u64) -> bool {
        let seq = seq.min(tail);
        if let Some((position, heard)) = self.reading.get_mut(log) {
            position.resume(seq);
            *heard = tail.max(*heard);
            return false;
        }
        let mut position = self.take(log).unwrap_or_else(|| Position::at(seq));
        position.resume(seq);
        if position.at < tail {
            self.reading.insert(Arc::clone(log), (position, tail));
            return true;
        }
        self.put(Arc::clone(log), position);
        false
    }

    /// From now on logs without a position start from here; `None`: with what comes next.
    pub(crate) fn set_floor(&mut self, floor: Option<u64>) {
        self.floor = floor;
    }

    /// Where to read on in a log that is being read.
    pub(crate) fn seen(&self, log: &str) -> u64 {
        self.reading.get(log).map_or(0, |(position, _)| position.at)
    }

    /// A message of a log that is being read; whether it is to go out.
    pub(crate) fn read(&mut self, log: &Arc<str>, seq: u64) -> bool {
        let Some((position, _)) = self.reading.get_mut(log) else { return false };
        seq > position.at && position.advance(seq) && !self.take_own(log, seq)
    }

    /// Nothing more was found. `true`: the log is live. `false`: more was pushed meanwhile, read again.
    pub(crate) fn caught_up(&mut self, log: &Arc<str>) -> bool {
        match self.reading.get(log) {
            Some((position, heard)) if position.at < *heard => false,
            _ => {
                self.give_up(log);
                true
            }
        }
    }

    /// The log is not read any further.
    pub(crate) fn give_up(&mut self, log: &Arc<str>) {
        if let Some((position, _)) = self.reading.remove(log) {
            self.put(Arc::clone(log), position);
        }
    }

    fn take(&mut self, log: &str) -> Option<Position> {
        self.young.remove(log).or_else(|| self.old.remove(log))
    }

    fn put(&mut self, log: Arc<str>, position: Position) {
        if self.young.len() >= YOUNG {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(log, position);
    }

    fn take_own(&mut self, log: &str, seq: u64) -> bool {
        match self.own.iter().position(|(one, number)| **one == *log && *number == seq) {
            Some(index) => self.own.remove(index).is_some(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> Arc<str> {
        name.into()
    }

    /// Reads a log whose tail is `tail`, as the shell does; what goes out.
    fn read_all(tracker: &mut Tracker, name: &str, tail: u64) -> Vec<u64> {
        let name = log(name);
        let mut out = Vec::new();
        for seq in tracker.seen(&name) + 1..=tail {
            if tracker.read(&name, seq) {
                out.push(seq);
            }
        }
        assert!(tracker.caught_up(&name));
        out
    }

    #[test]
    fn live_messages_go_out_once_and_in_order() {
        let (mut tracker, a) = (Tracker::default(), log("a"));
        assert_eq!(tracker.pushed(&a, 7), Verdict::Send, "the first sets where we are");
        assert_eq!(tracker.pushed(&a, 7), Verdict::Drop);
        assert_eq!(tracker.pushed(&a, 6), Verdict::Drop);
        assert_eq!(tracker.pushed(&a, 8), Verdict::Send);
    }

    #[test]
    fn a_gap_is_read_from_the_store() {
        let (mut tracker, a) = (Tracker::default(), log("a"));
        tracker.pushed(&a, 7);
        assert_eq!(tracker.pushed(&a, 10), Verdict::Read);
        assert_eq!(tracker.pushed(&a, 11), Verdict::Drop, "it will be read");
        assert_eq!(read_all(&mut tracker, "a", 11), [8, 9, 10, 11]);
        assert_eq!(tracker.pushed(&a, 11), Verdict::Drop);
        assert_eq!(tracker.pushed(&a, 12), Verdict::Send);
    }

    #[test]
    fn what_came_while_reading_is_read_again() {
        let (mut tracker, a) = (Tracker::default(), log("a"));
        assert!(tracker.resume(&a, 0, 2));
        assert!(tracker.read(&a, 1) && tracker.read(&a, 2));
        assert_eq!(tracker.pushed(&a, 3), Verdict::Drop);
        assert!(!tracker.caught_up(&a));
        assert_eq!(read_all(&mut tracker, "a", 3), [3]);
    }

    #[test]
    fn ones_own_messages_are_passed_over_wherever_they_come_from() {
        let (mut tracker, a) = (Tracker::default(), log("a"));
        tracker.posted(log("a"), 5);
        tracker.posted(log("a"), 8);
        assert_eq!(tracker.pushed(&a, 4), Verdict::Send, "another's, pushed late");
        assert_eq!(tracker.pushed(&a, 5), Verdict::Drop);
        assert_eq!(tracker.pushed(&a, 9), Verdict::Read);
        assert_eq!(read_all(&mut tracker, "a", 9), [6, 7, 9]);
        for seq in 0..2000 {
            tracker.posted(log("b"), seq);
        }
        assert_eq!(tracker.own.len(), OWN);
    }

    #[test]
    fn a_client_goes_on_where_it_was() {
        let (mut tracker, a) = (Tracker::default(), log("a"));
        assert!(tracker.resume(&a, 3, 5));
        assert_eq!(read_all(&mut tracker, "a", 5), [4, 5]);
        assert!(!tracker.resume(&log("b"), 9, 5), "ahead of the log: as if at its end");
        assert_eq!(tracker.pushed(&log("b"), 6), Verdict::Send);
    }

    #[test]
    fn going_back_repeats_nothing() {
        let (mut tracker, a) = (Tracker::default(), log("a"));
        tracker.pushed(&a, 7);
        tracker.pushed(&a, 8);
        assert!(tracker.resume(&a, 4, 8));
        assert_eq!(read_all(&mut tracker, "a", 9), [5, 6, 9]);
        assert!(!tracker.resume(&a, 6, 9), "all of that went out on this connection");
        assert_eq!(tracker.pushed(&a, 10), Verdict::Send);
    }

    #[test]
    fn logs_that_nobody_named_start_from_the_floor() {
        let (mut tracker, a) = (Tracker::default(), log("a"));
        tracker.set_floor(Some(0));
        assert_eq!(tracker.pushed(&a, 3), Verdict::Read);
        assert_eq!(read_all(&mut tracker, "a", 3), [1, 2, 3]);
        tracker.set_floor(None);
        assert_eq!(tracker.pushed(&log("b"), 3), Verdict::Send);
    }

    #[test]
    fn memory_is_bounded() {
        let mut tracker = Tracker::default();
        for n in 0..10 * YOUNG {
            assert_eq!(tracker.pushed(&log(&n.to_string()), 3), Verdict::Send);
        }
        assert!(tracker.young.len() + tracker.old.len() <= 2 * YOUNG);
        assert_eq!(tracker.pushed(&log(&(10 * YOUNG - 5).to_string()), 3), Verdict::Drop, "the latest are known");
    }
}
