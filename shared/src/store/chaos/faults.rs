//! What may go wrong, and the seeded numbers that decide when.

use std::time::Duration;

/// What goes wrong, and how often. Probabilities are per call, 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// Index queries miss entries that are younger than a random time up to this.
    pub index_lag: Duration,
    /// A transaction fails, unapplied, with a temporary error.
    pub conflict: f64,
    /// Any call fails, unapplied, with a temporary error.
    pub throttle: f64,
    /// A change (in serial mode: a step of a unit) is applied, and its answer lost: a temporary error.
    pub applied: f64,
    /// Standard queues deliver a message twice; of FIFO queues an acknowledgement is lost, and the message comes again.
    pub duplicate: f64,
    /// Units are done as on AWS: each write, each append, each queue message, then the acknowledgement.
    pub serial: bool,
}

impl Faults {
    pub const fn none() -> Self {
        Self { index_lag: Duration::ZERO, conflict: 0.0, throttle: 0.0, applied: 0.0, duplicate: 0.0, serial: false }
    }

    /// Everything except lost answers: whoever repeats what failed temporarily sees a store that keeps the contract.
    pub const fn clean() -> Self {
        Self {
            index_lag: Duration::from_millis(500),
            conflict: 0.2,
            throttle: 0.05,
            applied: 0.0,
            duplicate: 0.1,
            serial: true,
        }
    }

    /// Everything. Who repeats a call must expect that it has already happened.
    pub const fn all() -> Self {
        Self { applied: 0.05, ..Self::clean() }
    }
}

/// The faults by name, as [`Chaos::injected`] counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Lag,
    Conflict,
    Throttle,
    Applied,
    Duplicate,
    /// Calls after the stop, and the one that was stopped.
    Stopped,
}

/// Small seeded random numbers (SplitMix64): the same everywhere, for ever.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `end`, exclusive; 0 for an `end` of 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.roll().checked_rem(end).unwrap_or(0)
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let unit = (self.roll() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < probability
    }
}
