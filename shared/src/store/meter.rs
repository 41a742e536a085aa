//! Capacity units, computed in our own layer: emulators count reads wrongly. Every implementation reports what it does here,
//! as DynamoDB would charge it, per operation; SQLite reports what the same work would cost there.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::{Cond, Item, Op, Write};

/// What was used, in DynamoDB's units. Reads are in half-units, so that eventual reads stay whole numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    pub requests: u64,
    pub read_half_units: u64,
    pub write_units: u64,
}

/// Counts per operation name (`commit.put`, `get`, `query`, `sqs.send`, …).
#[derive(Debug, Default)]
pub struct Meter(Mutex<BTreeMap<&'static str, Used>>);

impl Meter {
    pub fn record(&self, operation: &'static str, used: Used) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = all.entry(operation).or_default();
        sum.requests += used.requests;
        sum.read_half_units += used.read_half_units;
        sum.write_units += used.write_units;
    }

    /// What was used so far, by operation.
    pub fn snapshot(&self) -> BTreeMap<&'static str, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was used since the last call, by operation.
    pub fn take(&self) -> BTreeMap<&'static str, Used> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn reset(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub fn total(&self) -> Used {
        self.snapshot().values().fold(Used::default(), |sum, used| Used {
            requests: sum.requests + used.requests,
            read_half_units: sum.read_half_units + used.read_half_units,
            write_units: sum.write_units + used.write_units,
        })
    }
}

/// Bytes of an item as DynamoDB counts them, near enough: attribute names and values, keys included.
pub fn bytes(item: &Item) -> usize {
    let keys = 4 + item.key.pk.len() + item.key.sk.len();
    let index = item.index.as_ref().map_or(0, |index| 3 + index.h.len() + index.hs.len());
    keys + index
        + item.ttl.map_or(0, |_| 9)
        + item.doc.iter().map(|(name, value)| name.len() + value_bytes(value)).sum::<usize>()
}

fn value_bytes(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::Null | Value::Bool(_) => 1,
        Value::Number(number) => number.to_string().len().div_ceil(2) + 1,
        Value::String(text) => text.len(),
        Value::Array(list) => 3 + list.iter().map(|value| 1 + value_bytes(value)).sum::<usize>(),
        Value::Object(map) => 3 + map.iter().map(|(name, value)| 1 + name.len() + value_bytes(value)).sum::<usize>(),
    }
}

/// Write units of one write: one a started KiB of the larger of the old and the new item, and as much again for the index
/// entry where it appears, changes or goes (keys only: one unit; a move is a delete and a put).
pub fn write_units(old: Option<&Item>, new: Option<&Item>) -> u64 {
    let size = old.map_or(0, bytes).max(new.map_or(0, bytes)).max(1);
    let table = size.div_ceil(1024) as u64;
    let index = match (old.and_then(|item| item.index.as_ref()), new.and_then(|item| item.index.as_ref())) {
        (None, None) => 0,
        (Some(old), Some(new)) if old == new => 0,
        (Some(_), Some(_)) => 2,
        _ => 1,
    };
    table + index
}

/// Half-units of reading that many bytes: one a started 4 KiB eventually, two strongly.
pub fn read_half_units(bytes: usize, strong: bool) -> u64 {
    let blocks = bytes.max(1).div_ceil(4096) as u64;
    if strong { 2 * blocks } else { blocks }
}

/// A condition that only looks at keys or attributes costs nothing beyond the write; a check in a transaction costs as a
/// write of the item's size, twice.
pub fn is_check(write: &Write) -> bool {
    matches!(write.op, Op::Check(_)) && write.cond != Cond::Always
}
