//! The protocol, step by step, over a conditional store in memory. Between any two steps anything may happen; each step may
//! lose its answer.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
};

use async_trait::async_trait;
use shared::store::{
    chaos::Dice,
    log::{self, Tail, Writer},
};

use super::{
    place::{Found, Place, Trouble, Who},
    schedule::Pace,
};

/// Entries per item: few, so that appends take several puts.
const FITTING: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FenceCheck {
    BeforeEveryPut,
    AfterConflict,
    Never,
}

/// The rules that keep the log whole. The default is the protocol; everything else is a mutant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) fence: FenceCheck,
    /// Who finds the row there looks for its entries from the number in it.
    pub(super) look_on_redelivery: bool,
    /// Who loses the race for a place looks for its entries in what is there, from the tail that it knew before it wrote the
    /// row: somebody may have redone the same job meanwhile.
    pub(super) look_after_lost_put: bool,
    pub(super) acknowledge_early: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            fence: FenceCheck::BeforeEveryPut,
            look_on_redelivery: true,
            look_after_lost_put: true,
            acknowledge_early: false,
        }
    }
}

#[derive(Debug)]
struct LogItem {
    fence: u64,
    keys: Vec<String>,
}

pub(super) struct Memory {
    rules: Rules,
    pace: Pace,
    dice: RefCell<Dice>,
    calm: Cell<bool>,
    epoch: Cell<u64>,
    /// Row of a job → the number that its first entry was predicted to get.
    rows: RefCell<HashMap<String, u64>>,
    /// By the number of the first entry.
    log: RefCell<BTreeMap<u64, LogItem>>,
    told: RefCell<BTreeSet<String>>,
}

impl Memory {
    pub(super) fn new(rules: Rules, seed: u64) -> Self {
        Self {
            rules,
            pace: Pace::default(),
            dice: RefCell::new(Dice::new(!seed)),
            calm: Cell::new(false),
            epoch: Cell::new(0),
            rows: RefCell::default(),
            log: RefCell::default(),
            told: RefCell::default(),
        }
    }

    pub(super) fn pace(&self) -> Pace {
        self.pace.clone()
    }

    pub(super) fn entries(&self) -> Vec<Found> {
        let log = self.log.borrow();
        let of_item = |(first, item): (&u64, &LogItem)| {
            let fence = item.fence;
            let found = (*first..).zip(item.keys.clone()).map(move |(seq, key)| Found { seq, fence, key });
            found.collect::<Vec<_>>()
        };
        log.iter().flat_map(of_item).collect()
    }

    /// Keys of the entries that a message was sent for.
    pub(super) fn told(&self) -> BTreeSet<String> {
        self.told.borrow().clone()
    }

    /// A change. Its answer may get lost, whether it was applied or not.
    async fn change<T>(&self, apply: impl FnOnce() -> T) -> Result<T, Trouble> {
        self.pace.step().await;
        let (throttled, lost) = {
            let mut dice = self.dice.borrow_mut();
            (!self.calm.get() && dice.chance(0.02), !self.calm.get() && dice.chance(0.04))
        };
        if throttled {
            return Err(Trouble::Lost);
        }
        let answer = apply();
        if lost { Err(Trouble::Lost) } else { Ok(answer) }
    }

    async fn tail(&self) -> Tail {
        self.pace.step().await;
        let log = self.log.borrow();
        log.last_key_value()
            .map(|(first, item)| Tail { seq: first + item.keys.len() as u64 - 1, fence: item.fence })
            .unwrap_or_default()
    }

    /// Which of the keys are there between two numbers.
    async fn look(&self, from: u64, to: u64, keys: &[String]) -> Vec<String> {
        self.pace.step().await;
        let there =
            |key: &&String| self.entries().iter().any(|found| (from..=to).contains(&found.seq) && found.key == **key);
        keys.iter().filter(there).cloned().collect()
    }

    /// Creates the row, or tells the number in the one that is there.
    async fn gate(&self, job: &str, predicted: u64) -> Result<Option<u64>, Trouble> {
        self.change(|| {
            let mut rows = self.rows.borrow_mut();
            let old = rows.get(job).copied();
            rows.entry(job.to_owned()).or_insert(predicted);
            old
        })
        .await
    }

    /// Puts an item of the log if there is none at its number.
    async fn put(&self, first: u64, item: LogItem) -> Result<bool, Trouble> {
        self.change(|| {
            let mut log = self.log.borrow_mut();
            let absent = !log.contains_key(&first);
            if absent {
                log.insert(first, item);
            }
            absent
        })
        .await
    }

    fn fence(&self, tail: Tail, writer: Writer, lost_a_put: bool) -> Result<u64, Trouble> {
        let checks = match self.rules.fence {
            FenceCheck::BeforeEveryPut => true,
            FenceCheck::AfterConflict => lost_a_put,
            FenceCheck::Never => false,
        };
        match (log::fence(tail, writer), writer) {
            (Ok(fence), _) => Ok(fence),
            (Err(_), Writer::Owner { epoch }) if !checks => Ok(epoch),
            (Err(_), _) => Err(Trouble::Fenced),
        }
    }

    /// Appends what is absent. `start`: the tail as it was known before the row was written.
    async fn append(&self, who: &Who, keys: &[String], start: Tail, look_from: Option<u64>) -> Result<(), Trouble> {
        let mut missing = keys.to_vec();
        let mut tail = start;
        // Nothing from here on has been looked at.
        let mut unseen = start.seq + 1;
        if let Some(from) = look_from.filter(|_| self.rules.look_on_redelivery) {
            unseen = from.min(unseen);
            tail = self.tail().await;
        }
        let mut looks = look_from.is_some() && self.rules.look_on_redelivery;
        let mut lost_a_put = false;
        loop {
            if looks && unseen <= tail.seq {
                let found = self.look(unseen, tail.seq, &missing).await;
                missing.retain(|key| !found.contains(key));
                unseen = tail.seq + 1;
            }
            if missing.is_empty() {
                return Ok(());
            }
            let fence = self.fence(tail, who.writer, lost_a_put)?;
            let keys: Vec<String> = missing.iter().take(FITTING).cloned().collect();
            let last = tail.seq + keys.len() as u64;
            if self.put(tail.seq + 1, LogItem { fence, keys: keys.clone() }).await? {
                missing.drain(..keys.len());
                tail = Tail { seq: last, fence };
                unseen = last + 1;
                who.tail.set(Some(tail));
            } else {
                tail = self.tail().await;
                lost_a_put = true;
                looks |= self.rules.look_after_lost_put;
            }
        }
    }
}

#[async_trait(?Send)]
impl Place for Memory {
    async fn take_over(&self) -> Result<u64, Trouble> {
        self.pace.step().await;
        let old = self.epoch.get();
        // Raised only if it is still what was read.
        let raised = self.change(|| self.epoch.get() == old && self.epoch.replace(old + 1) == old).await?;
        if raised { Ok(old + 1) } else { Err(Trouble::Lost) }
    }

    async fn deliver(&self, who: &Who, job: &str, keys: &[String]) -> Result<(), Trouble> {
        let start = match who.tail.get().filter(|_| who.remembers) {
            Some(tail) => tail,
            None => self.tail().await,
        };
        let found = self.gate(job, start.seq + 1).await?;
        self.append(who, keys, start, found).await?;
        self.change(|| self.told.borrow_mut().extend(keys.iter().cloned())).await
    }

    fn calm(&self) {
        self.calm.set(true);
    }

    fn acknowledges_early(&self) -> bool {
        self.rules.acknowledge_early
    }
}
