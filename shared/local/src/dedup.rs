//! Which FIFO messages were sent within the last five minutes. Belongs to the writer; rebuilt from the table at start.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
};

use shared::{clock::Millis, store::Queue};

/// How long an id counts, in milliseconds; as on SQS.
pub(crate) const WINDOW_MS: i64 = 5 * 60_000;
/// Ids are kept in slots of this width, so that old ones go by the slot.
const SLOT_MS: i64 = 60_000;

/// Two independently keyed hashes of (queue, id): a collision would lose a message, so 64 bits would not do.
pub(crate) type Mark = u128;

#[derive(Debug, Default)]
pub(crate) struct Dedup {
    keys: [RandomState; 2],
    /// Start of the slot, and when each id in it was sent. Oldest first.
    slots: VecDeque<(i64, HashMap<Mark, i64>)>,
}

impl Dedup {
    pub(crate) fn mark(&self, queue: Queue, id: &str) -> Mark {
        let [high, low] = &self.keys;
        (u128::from(high.hash_one((queue, id))) << 64) | u128::from(low.hash_one((queue, id)))
    }

    /// Notes the id as sent at `at`, unless it was within the window before: then `false`.
    pub(crate) fn insert(&mut self, mark: Mark, at: Millis) -> bool {
        while self.slots.front().is_some_and(|(start, _)| start + SLOT_MS + WINDOW_MS <= at.0) {
            self.slots.pop_front();
        }
        let recent = |sent: &i64| at.0 - sent < WINDOW_MS;
        if self.slots.iter().any(|(_, slot)| slot.get(&mark).is_some_and(recent)) {
            return false;
        }
        let start = at.0.div_euclid(SLOT_MS) * SLOT_MS;
        // A clock that went back a little writes into the newest slot: it only lives a little longer.
        if self.slots.back().is_none_or(|(newest, _)| *newest < start) {
            self.slots.push_back((start, HashMap::new()));
        }
        if let Some((_, slot)) = self.slots.back_mut() {
            slot.insert(mark, at.0);
        }
        true
    }

    /// Takes back what a failed transaction noted.
    pub(crate) fn forget(&mut self, mark: Mark) {
        if let Some(slot) = self.slots.iter_mut().rev().map(|(_, slot)| slot).find(|slot| slot.contains_key(&mark)) {
            slot.remove(&mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_counts_for_five_minutes_and_per_queue() {
        let mut dedup = Dedup::default();
        let mark = dedup.mark(Queue::Jobs, "a");
        assert!(dedup.insert(mark, Millis(1)));
        assert!(!dedup.insert(mark, Millis(WINDOW_MS)));
        assert!(dedup.insert(dedup.mark(Queue::Dispatch, "a"), Millis(2)));
        assert!(dedup.insert(mark, Millis(WINDOW_MS + 1)));
        assert!(!dedup.insert(mark, Millis(WINDOW_MS + 2)));
        dedup.forget(mark);
        assert!(dedup.insert(mark, Millis(WINDOW_MS + 2)));
    }
}
