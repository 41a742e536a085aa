//! The rules of the protocol that a run can leave out, from outside of the code under test: by durations, and by what becomes of
//! its writes on their way.

use std::time::Duration;

use shared::store::{Op, Unit, keys};

use crate::Timing;

/// The protocol by default; everything else is a mutant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// A holder trusts its lease only until its deadline.
    pub(super) deadline: bool,
    /// A dead worker's row is deleted before its shards are taken.
    pub(super) bury: bool,
    /// The log refuses entries under an epoch lower than its own.
    pub(super) fence: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { deadline: true, bury: true, fence: true }
    }
}

impl Rules {
    pub(super) fn timing(self) -> Timing {
        let timing = Timing::default();
        if self.deadline { timing } else { Timing { lease: Duration::from_secs(3600), ..timing } }
    }

    /// Whether the unit is sent; what is not counts as done.
    pub(super) fn lets_through(self, unit: &Unit) -> bool {
        let buries = |op: &Op| matches!(op, Op::Delete(key) if key.pk == keys::WORKERS);
        self.bury || !unit.writes.iter().any(|write| buries(&write.op))
    }
}
