//! What a worker of the fleet decides, as a function of what it has seen and of its own monotonic clock. No input or output
//! happens here: [`Core::poll`] says what is to be requested, [`Core::done`] takes the answers.
//!
//! The rules that keep one shard with one worker (protocol.md §5):
//! * A renewal is trusted for `lease`, from before it was sent. When that is over, all shards are lost at once.
//! * A worker whose counter has stood still for `watch`, from after it was seen, is dead. Its row is deleted, on the condition
//!   that it still stands still, before any of its shards is taken: so a later renewal of it fails.
//! * A shard is taken from nobody, from a worker without a row, or from oneself, and only from what was seen; each time its
//!   epoch is raised.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use shared::domain::owner::TENURE;

use super::{
    rows::{ShardRow, View, WorkerRow},
    share,
    steps::{Answer, Note, Step},
    timing::{Timing, jittered},
};
use crate::lease::Hold;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Held,
    /// The worker ends what runs under it.
    Leaving,
    /// Nothing runs any more; the row is to be cleared. `true`: that is under way.
    Left(bool),
}

#[derive(Debug, Clone, Copy)]
struct Tenure {
    epoch: u64,
    phase: Phase,
}

/// Another worker, as it was seen.
#[derive(Debug, Clone, Copy)]
struct Watched {
    row: WorkerRow,
    /// After that row was first seen.
    since: Duration,
    /// It has moved since it was first seen.
    moved: bool,
}

#[derive(Debug)]
pub(crate) struct Core {
    timing: Timing,
    shards: u16,
    me: String,
    /// The last one that was sent.
    counter: u64,
    joined: bool,
    /// The lease is trusted until then.
    until: Option<Duration>,
    beating: bool,
    next_beat: Duration,
    /// Requests of this look, and what follows from it, that are not answered.
    looking: usize,
    next_look: Duration,
    /// However much there is to see.
    no_look_before: Duration,
    /// Shards of takes that are not answered.
    taking: BTreeSet<u16>,
    no_clear_before: Duration,
    others: BTreeMap<String, Watched>,
    rows: BTreeMap<u16, ShardRow>,
    /// Since when a shard has had no owner that gives signs of life.
    idle: BTreeMap<u16, Duration>,
    tenures: BTreeMap<u16, Tenure>,
    /// Lost, and what ran under it has not ended.
    ending: BTreeSet<u16>,
    leaving: bool,
    last_write: LastWrite,
    queued: Vec<Step>,
    notes: Vec<Note>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastWrite {
    NotYet,
    UnderWay,
    Over,
}

impl Core {
    /// A worker that is about to join, under a name that was never used before.
    pub(crate) fn new(timing: Timing, shards: u16, name: String, now: Duration) -> Self {
        Self {
            timing,
            shards,
            me: name,
            counter: 0,
            joined: false,
            until: None,
            beating: false,
            next_beat: now,
            looking: 0,
            next_look: now,
            no_look_before: now,
            taking: BTreeSet::new(),
            no_clear_before: now,
            others: BTreeMap::new(),
            rows: BTreeMap::new(),
            idle: BTreeMap::new(),
            tenures: BTreeMap::new(),
            ending: BTreeSet::new(),
            leaving: false,
            last_write: LastWrite::NotYet,
            queued: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.me
    }

    /// Whether the lease on a shard is trusted now.
    pub(crate) fn owns(&self, shard: u16, now: Duration) -> bool {
        let tenure = self.tenures.get(&shard).filter(|tenure| !matches!(tenure.phase, Phase::Left(_)));
        tenure.is_some() && self.is_valid(now)
    }

    /// Whether the lease is trusted now.
    pub(crate) fn is_valid(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// What is owned, and what of it is being given back.
    pub(crate) fn holds(&self) -> BTreeMap<u16, Hold> {
        let visible = self.tenures.iter().filter(|(_, tenure)| !matches!(tenure.phase, Phase::Left(_)));
        let hold = |tenure: &Tenure| Hold { floor: tenure.epoch, leaving: tenure.phase == Phase::Leaving };
        visible.map(|(shard, tenure)| (*shard, hold(tenure))).collect()
    }

    /// Workers that give signs of life, this one included.
    pub(crate) fn workers(&self, now: Duration) -> usize {
        usize::from(self.joined) + self.others.values().filter(|other| !self.is_over(other, now)).count()
    }

    /// What has happened since the last call.
    pub(crate) fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Whether everything was given back, and the row is deleted.
    pub(crate) fn is_over_and_done(&self) -> bool {
        self.last_write == LastWrite::Over
    }

    /// From now on everything is given back, and nothing is taken.
    pub(crate) fn leave(&mut self, now: Duration) {
        if std::mem::replace(&mut self.leaving, true) {
            return;
        }
        for tenure in self.tenures.values_mut().filter(|tenure| tenure.phase == Phase::Held) {
            tenure.phase = Phase::Leaving;
        }
        // The others are to know before the shards are free.
        self.next_beat = now;
    }

    /// Nothing runs any more under a shard that was lost or is being given back.
    pub(crate) fn left(&mut self, shard: u16) {
        self.ending.remove(&shard);
        if let Some(tenure) = self.tenures.get_mut(&shard)
            && tenure.phase == Phase::Leaving
        {
            tenure.phase = Phase::Left(false);
        }
    }

    /// When [`Core::poll`] is to be called again at the latest.
    pub(crate) fn wake_at(&self) -> Option<Duration> {
        if self.is_over_and_done() {
            return None;
        }
        let beat = (!self.beating && self.last_write == LastWrite::NotYet).then_some(self.next_beat);
        let look = (self.looking == 0 && self.joined && !self.leaving).then(|| self.look_at());
        let over = self.until.filter(|_| !self.tenures.is_empty());
        let left = self.tenures.values().any(|tenure| tenure.phase == Phase::Left(false));
        let clear = left.then_some(self.no_clear_before);
        [beat, look, over, clear].into_iter().flatten().min()
    }

    /// The next look: as planned, or when somebody's time is over.
    fn look_at(&self) -> Duration {
        let over = self.others.values().map(|other| other.since + self.timing.watch);
        let first = over.chain([self.next_look]).min().unwrap_or(self.next_look);
        first.max(self.no_look_before)
    }

    fn is_over(&self, other: &Watched, now: Duration) -> bool {
        now >= other.since + self.timing.watch
    }

    /// Everything that is to be requested now. `chance` in 0.0..1.0 moves what comes later.
    pub(crate) fn poll(&mut self, now: Duration, chance: f64) -> Vec<Step> {
        if self.until.is_some() && !self.is_valid(now) {
            self.lose(false);
        }
        let mut steps = std::mem::take(&mut self.queued);
        if now >= self.no_clear_before {
            self.clear_left(&mut steps);
        }
        let gone = self.leaving && self.tenures.is_empty() && self.ending.is_empty();
        if gone && !self.beating && self.last_write == LastWrite::NotYet {
            if self.joined {
                self.last_write = LastWrite::UnderWay;
                steps.push(Step::Leave { worker: self.me.clone() });
            } else {
                self.last_write = LastWrite::Over;
            }
        }
        if !self.beating && now >= self.next_beat && self.last_write == LastWrite::NotYet {
            self.beating = true;
            self.counter += 1;
            self.next_beat = now + jittered(self.timing.beat, chance);
            let (worker, counter, leaving) = (self.me.clone(), self.counter, self.leaving);
            steps.push(if self.joined {
                Step::Renew { worker, counter, leaving }
            } else {
                Step::Join { worker, counter }
            });
        }
        if self.looking == 0 && self.joined && !self.leaving && now >= self.look_at() {
            self.looking = 1;
            self.next_look = now + jittered(self.timing.look, chance);
            self.no_look_before = now + self.timing.again;
            steps.push(Step::Look);
        }
        steps
    }

    fn clear_left(&mut self, steps: &mut Vec<Step>) {
        for (shard, tenure) in &mut self.tenures {
            if tenure.phase == Phase::Left(false) {
                tenure.phase = Phase::Left(true);
                steps.push(Step::Clear { worker: self.me.clone(), shard: *shard, epoch: tenure.epoch });
            }
        }
    }

    /// All shards are lost, at once.
    fn lose(&mut self, buried: bool) {
        self.until = None;
        let held = std::mem::take(&mut self.tenures);
        let running = held.iter().filter(|(_, tenure)| !matches!(tenure.phase, Phase::Left(_)));
        let running: Vec<u16> = running.map(|(shard, _)| *shard).collect();
        if buried || !running.is_empty() {
            self.notes.push(Note::Lost { shards: running.len(), buried });
        }
        self.ending.extend(running);
    }

    /// Takes an answer. `sent` and `now`: before the request and after its answer, by the same clock. `fresh`: a name that was
    /// never used, in case that this one is over.
    pub(crate) fn done(
        &mut self,
        step: Step,
        answer: Answer,
        sent: Duration,
        now: Duration,
        fresh: impl FnOnce() -> String,
    ) {
        match step {
            Step::Join { .. } | Step::Renew { .. } => self.beaten(&answer, sent, now, fresh),
            Step::Look => {
                self.looking = 0;
                match answer {
                    Answer::Seen(view) => self.look_around(view, now),
                    _ => self.look_again(now),
                }
            }
            Step::Bury { worker, .. } => {
                self.looking = self.looking.saturating_sub(1);
                match answer {
                    Answer::Done => self.buried(worker, now),
                    _ => self.look_again(now),
                }
            }
            Step::Take { worker, shard, epoch, .. } => {
                self.looking = self.looking.saturating_sub(1);
                self.taking.remove(&shard);
                // Under an earlier name it would be nobody's: the next look finds it.
                if answer == Answer::Done && worker == self.me && self.is_valid(now) && !self.leaving {
                    let gap = self.idle.remove(&shard).map_or(Duration::ZERO, |since| now.saturating_sub(since));
                    self.tenures.insert(shard, Tenure { epoch, phase: Phase::Held });
                    self.rows.insert(shard, ShardRow { owner: Some(worker), epoch });
                    self.notes.push(Note::Took { shard, epoch, gap });
                } else {
                    self.look_again(now);
                }
            }
            Step::Clear { worker, shard, epoch } => self.cleared(&worker, shard, epoch, &answer, now),
            Step::Leave { .. } => {
                // Who does not get through is buried by the others; its shards are free already.
                self.last_write = LastWrite::Over;
            }
        }
    }

    fn beaten(&mut self, answer: &Answer, sent: Duration, now: Duration, fresh: impl FnOnce() -> String) {
        self.beating = false;
        match answer {
            Answer::Done => {
                if !std::mem::replace(&mut self.joined, true) {
                    self.next_look = now;
                    self.notes.push(Note::Joined);
                }
                self.until = Some(sent + self.timing.lease).max(self.until);
            }
            Answer::Unknown if self.joined => self.next_beat = self.next_beat.min(now + self.timing.again),
            // The row is deleted; or nobody knows whether there is one, which the others clear away in time.
            _ => {
                self.lose(self.joined);
                self.joined = false;
                self.counter = 0;
                self.me = fresh();
                self.next_beat = now + self.timing.again;
            }
        }
    }

    fn look_again(&mut self, now: Duration) {
        self.next_look = self.next_look.min(now + self.timing.again);
    }

    /// Compares what is seen with what was, and plans what follows.
    fn look_around(&mut self, view: View, now: Duration) {
        let before = std::mem::take(&mut self.others);
        for (name, row) in view.workers {
            if name == self.me {
                continue;
            }
            let watched = match before.get(&name) {
                Some(known) if known.row.counter == row.counter => Watched { row, ..*known },
                known => Watched { row, since: now, moved: known.is_some() },
            };
            self.others.insert(name, watched);
        }
        self.rows = view.shards;
        for (name, gone) in before {
            if !self.others.contains_key(&name) {
                self.note_dead(&name, gone.since);
            }
        }
        self.note_idle(now);
        if !self.is_valid(now) || self.leaving {
            return;
        }
        let over: Vec<(String, u64)> = self
            .others
            .iter()
            .filter(|(_, other)| self.is_over(other, now))
            .map(|(name, other)| (name.clone(), other.row.counter))
            .collect();
        for (worker, counter) in over {
            self.looking += 1;
            self.queued.push(Step::Bury { worker, counter });
        }
        self.give_surplus(now);
        self.take_part(now);
        self.clear_strays();
    }

    /// A dead worker's row is deleted: its shards are free.
    fn buried(&mut self, worker: String, now: Duration) {
        if let Some(watched) = self.others.remove(&worker) {
            self.note_dead(&worker, watched.since);
        }
        self.notes.push(Note::Buried { worker });
        if self.is_valid(now) && !self.leaving {
            self.take_part(now);
        }
    }

    fn note_dead(&mut self, worker: &str, since: Duration) {
        for (shard, _) in self.rows.iter().filter(|(_, row)| row.owner.as_deref() == Some(worker)) {
            self.idle.insert(*shard, since);
        }
    }

    fn note_idle(&mut self, now: Duration) {
        for (shard, row) in &self.rows {
            if self.is_free(row) {
                self.idle.entry(*shard).or_insert(now);
            } else {
                self.idle.remove(shard);
            }
        }
    }

    /// Whether the shard's owner, if any, has no row.
    fn is_free(&self, row: &ShardRow) -> bool {
        row.owner.as_ref().is_none_or(|owner| *owner == self.me || !self.others.contains_key(owner))
    }

    /// The part that is this worker's, among those that count.
    fn part(&self, counts: impl Fn(&Watched) -> bool) -> usize {
        let others = self.others.iter().filter(|(_, other)| !other.row.leaving && counts(other));
        share::part(self.shards, &self.me, others.map(|(name, _)| name.as_str()))
    }

    /// Takes free shards up to this worker's part. Whoever has a row counts: it may be about to take its own.
    fn take_part(&mut self, now: Duration) {
        let part = self.part(|other| !self.is_over(other, now));
        let room = part.saturating_sub(self.tenures.len() + self.taking.len());
        let none = ShardRow::default();
        let free: Vec<(u16, ShardRow)> = (0..self.shards)
            .filter(|shard| {
                !self.tenures.contains_key(shard) && !self.ending.contains(shard) && !self.taking.contains(shard)
            })
            .map(|shard| (shard, self.rows.get(&shard).unwrap_or(&none).clone()))
            .filter(|(_, row)| self.is_free(row))
            .collect();
        // Workers that look at the same time begin at different places.
        let first = self.others.keys().filter(|other| **other < self.me).count() * part;
        let from = if free.is_empty() { 0 } else { first % free.len() };
        for at in 0..room.min(free.len()) {
            let (shard, seen) = free[(from + at) % free.len()].clone();
            self.looking += 1;
            self.taking.insert(shard);
            let epoch = (seen.epoch / TENURE + 1) * TENURE;
            self.queued.push(Step::Take { worker: self.me.clone(), shard, seen, epoch });
        }
    }

    /// Frees what is in this worker's name, is not owned by it, and is more than its part: nobody else would take it. Such rows come
    /// from takes whose answers were lost, and from leases that were lost.
    fn clear_strays(&mut self) {
        for (shard, row) in &self.rows {
            let mine = row.owner.as_ref() == Some(&self.me);
            if mine
                && ![self.tenures.contains_key(shard), self.ending.contains(shard), self.taking.contains(shard)]
                    .contains(&true)
            {
                self.queued.push(Step::Clear { worker: self.me.clone(), shard: *shard, epoch: row.epoch });
            }
        }
    }

    /// Gives back what is more than this worker's part. Only those count that were seen to move: one that starts and dies
    /// again and again moves nothing.
    fn give_surplus(&mut self, now: Duration) {
        let part = self.part(|other| other.moved && !self.is_over(other, now));
        let held: Vec<u16> =
            self.tenures.iter().filter(|(_, tenure)| tenure.phase == Phase::Held).map(|(shard, _)| *shard).collect();
        for shard in held.iter().skip(part) {
            if let Some(tenure) = self.tenures.get_mut(shard) {
                tenure.phase = Phase::Leaving;
            }
        }
    }

    fn cleared(&mut self, worker: &str, shard: u16, epoch: u64, answer: &Answer, now: Duration) {
        let Some(tenure) = self.tenures.get_mut(&shard).filter(|tenure| tenure.epoch == epoch && worker == self.me)
        else {
            return;
        };
        if *answer == Answer::Unknown {
            tenure.phase = Phase::Left(false);
            self.no_clear_before = now + self.timing.again;
            return;
        }
        self.tenures.remove(&shard);
        self.notes.push(Note::GaveBack { shard });
    }
}
