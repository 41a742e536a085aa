//! How far the dispatches of a log have certainly been sent, while units of work end in any order.

use std::collections::BTreeMap;

/// A low-water mark. A unit that begins while the highest finished entry is `n` appends behind `n`; so everything up to the
/// lowest such `n` of the units still running is done.
#[derive(Debug)]
pub(super) struct Marks {
    saved: u64,
    highest: u64,
    /// Start → how many running units began there.
    running: BTreeMap<u64, usize>,
}

impl Marks {
    pub(super) fn new(saved: u64) -> Self {
        Self { saved, highest: saved, running: BTreeMap::new() }
    }

    /// A unit begins: hand the result back to [`Marks::end`].
    pub(super) fn begin(&mut self) -> u64 {
        *self.running.entry(self.highest).or_default() += 1;
        self.highest
    }

    pub(super) fn end(&mut self, start: u64) {
        if let Some(count) = self.running.get_mut(&start) {
            *count -= 1;
            if *count == 0 {
                self.running.remove(&start);
            }
        }
    }

    /// The entries up to `seq` of a unit are appended and dispatched.
    pub(super) fn finished(&mut self, seq: u64) {
        self.highest = self.highest.max(seq);
    }

    fn upto(&self) -> u64 {
        self.running.first_key_value().map_or(self.highest, |(start, _)| *start)
    }

    /// Entries that are done and not saved.
    pub(super) fn behind(&self) -> u64 {
        self.upto().saturating_sub(self.saved)
    }

    /// The position to save, if it is at least `distance` ahead of the saved one. Counts as saved from now on.
    pub(super) fn take(&mut self, distance: u64) -> Option<u64> {
        (self.behind() >= distance).then(|| {
            self.saved = self.upto();
            self.saved
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_never_passes_a_running_unit() {
        let mut marks = Marks::new(10);
        let (first, second) = (marks.begin(), marks.begin());
        marks.finished(12);
        marks.end(second);
        assert_eq!(marks.take(1), None, "the first may have appended 11");
        marks.finished(11);
        marks.end(first);
        assert_eq!(marks.take(3), None);
        assert_eq!(marks.take(2), Some(12));
        assert_eq!(marks.take(1), None);
    }
}
