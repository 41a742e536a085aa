//! What must hold when all jobs are done.

use std::collections::{BTreeMap, BTreeSet};

use super::{actors::Job, place::Found};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Violation {
    /// The numbers do not go up by one.
    Gap {
        after: u64,
        next: u64,
    },
    /// An entry under an epoch lower than one before it.
    FenceFell {
        seq: u64,
        from: u64,
        to: u64,
    },
    Twice {
        key: String,
    },
    /// A job was acknowledged, and an entry of it is not there.
    Lost {
        key: String,
    },
    /// An entry that nobody was to make.
    Unknown {
        key: String,
    },
    /// An entry that no message was sent for.
    Untold {
        key: String,
    },
}

/// All violations, in the order of the log. `told`: keys of the entries that a message was sent for, if that was watched.
pub(super) fn violations(jobs: &[Job], entries: &[Found], told: Option<&BTreeSet<String>>) -> Vec<Violation> {
    let mut found = Vec::new();
    let (mut seq, mut fence) = (0, 0);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in entries {
        if entry.seq != seq + 1 {
            found.push(Violation::Gap { after: seq, next: entry.seq });
        }
        if entry.fence < fence {
            found.push(Violation::FenceFell { seq: entry.seq, from: fence, to: entry.fence });
        }
        seq = entry.seq;
        fence = fence.max(entry.fence);
        *counts.entry(&entry.key).or_default() += 1;
    }
    let accepted: BTreeSet<&str> = jobs.iter().flat_map(|job| &job.keys).map(String::as_str).collect();
    for (key, count) in &counts {
        if *count > 1 {
            found.push(Violation::Twice { key: (*key).to_owned() });
        }
        // A take-over marks the log; it may be killed before or after that.
        if !accepted.contains(key) && !key.starts_with("owner/") {
            found.push(Violation::Unknown { key: (*key).to_owned() });
        }
    }
    for key in accepted {
        if !counts.contains_key(key) {
            found.push(Violation::Lost { key: key.to_owned() });
        } else if told.is_some_and(|told| !told.contains(key)) {
            found.push(Violation::Untold { key: key.to_owned() });
        }
    }
    found
}
