//! One write: a condition, a change, an operation on one item.

use serde_json::Value;

use super::{Doc, IndexKey, Item, Key};

/// What must hold for a write to happen. Compares top-level attributes of the document with JSON scalars.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Cond {
    #[default]
    Always,
    /// No such item. An item past its TTL still counts as there, unless the condition says otherwise.
    Absent,
    Exists,
    Eq(String, Value),
    Ne(String, Value),
    /// The attribute is there and a number lower than this.
    Lt(String, i64),
    Le(String, i64),
    Gt(String, i64),
    Has(String),
    Lacks(String),
    All(Vec<Cond>),
    Any(Vec<Cond>),
}

impl Cond {
    pub fn eq(attribute: &str, value: impl Into<Value>) -> Self {
        Self::Eq(attribute.to_owned(), value.into())
    }

    pub fn ne(attribute: &str, value: impl Into<Value>) -> Self {
        Self::Ne(attribute.to_owned(), value.into())
    }

    pub fn lt(attribute: &str, value: i64) -> Self {
        Self::Lt(attribute.to_owned(), value)
    }

    pub fn has(attribute: &str) -> Self {
        Self::Has(attribute.to_owned())
    }

    pub fn lacks(attribute: &str) -> Self {
        Self::Lacks(attribute.to_owned())
    }

    /// Whether the condition holds for the item as it is now. The reference that every implementation agrees with.
    pub fn holds(&self, old: Option<&Doc>) -> bool {
        let attribute = |name: &String| old.and_then(|doc| doc.get(name));
        let number = |name: &String| attribute(name).and_then(Value::as_f64);
        #[expect(clippy::cast_precision_loss, reason = "numbers in conditions are counters and times, far below 2^53")]
        match self {
            Self::Always => true,
            Self::Absent => old.is_none(),
            Self::Exists => old.is_some(),
            Self::Eq(name, value) => attribute(name) == Some(value),
            // As in DynamoDB: an absent attribute differs from every value.
            Self::Ne(name, value) => attribute(name) != Some(value),
            Self::Lt(name, value) => number(name).is_some_and(|n| n < *value as f64),
            Self::Le(name, value) => number(name).is_some_and(|n| n <= *value as f64),
            Self::Gt(name, value) => number(name).is_some_and(|n| n > *value as f64),
            Self::Has(name) => attribute(name).is_some(),
            Self::Lacks(name) => attribute(name).is_none(),
            Self::All(all) => all.iter().all(|cond| cond.holds(old)),
            Self::Any(any) => any.iter().any(|cond| cond.holds(old)),
        }
    }
}

/// A change of top-level attributes of one item; creates the item if it is not there and `cond` allows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Change {
    pub set: Vec<(String, Value)>,
    pub remove: Vec<String>,
    /// Atomic addition. Only for counts that may be off by a retry: a repeated attempt adds twice.
    pub add: Vec<(String, i64)>,
    /// `Some(Some(_))` moves the item in the index, `Some(None)` takes it out, `None` leaves it.
    pub index: Option<Option<IndexKey>>,
    pub ttl: Option<i64>,
}

impl Change {
    #[must_use]
    pub fn set(mut self, attribute: &str, value: impl Into<Value>) -> Self {
        self.set.push((attribute.to_owned(), value.into()));
        self
    }

    /// Sets the attribute, or removes it for `None`.
    #[must_use]
    pub fn set_or_remove(self, attribute: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.set(attribute, value),
            None => self.remove(attribute),
        }
    }

    #[must_use]
    pub fn remove(mut self, attribute: &str) -> Self {
        self.remove.push(attribute.to_owned());
        self
    }

    #[must_use]
    pub fn add(mut self, attribute: &str, by: i64) -> Self {
        self.add.push((attribute.to_owned(), by));
        self
    }

    /// Applies the change to a document, as every implementation must.
    pub fn apply(&self, doc: &mut Doc) {
        for (name, value) in &self.set {
            doc.insert(name.clone(), value.clone());
        }
        for name in &self.remove {
            doc.remove(name);
        }
        for (name, by) in &self.add {
            let old = doc.get(name).and_then(Value::as_i64).unwrap_or(0);
            doc.insert(name.clone(), Value::from(old + by));
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    Put(Item),
    Update(Key, Change),
    Delete(Key),
    /// Only the condition; in [`Store::transact`].
    Check(Key),
}

/// One write under a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    pub op: Op,
    pub cond: Cond,
    /// Writes the sequence number that entry `entry` of append `append` of the same unit gets (on AWS: is predicted to get)
    /// into this attribute, so that a redelivery knows where to look in the log.
    pub stamp: Option<(String, Stamp)>,
}

impl Write {
    pub fn put(item: Item) -> Self {
        Self { op: Op::Put(item), cond: Cond::Always, stamp: None }
    }

    /// Puts the item if there is none yet.
    pub fn create(item: Item) -> Self {
        Self { op: Op::Put(item), cond: Cond::Absent, stamp: None }
    }

    pub fn update(key: Key, change: Change) -> Self {
        Self { op: Op::Update(key, change), cond: Cond::Always, stamp: None }
    }

    pub fn delete(key: Key) -> Self {
        Self { op: Op::Delete(key), cond: Cond::Always, stamp: None }
    }

    pub fn check(key: Key, cond: Cond) -> Self {
        Self { op: Op::Check(key), cond, stamp: None }
    }

    #[must_use]
    pub fn only_if(mut self, cond: Cond) -> Self {
        self.cond = cond;
        self
    }

    #[must_use]
    pub fn stamped(mut self, attribute: &str, stamp: Stamp) -> Self {
        self.stamp = Some((attribute.to_owned(), stamp));
        self
    }

    pub fn key(&self) -> &Key {
        match &self.op {
            Op::Put(item) => &item.key,
            Op::Update(key, _) | Op::Delete(key) | Op::Check(key) => key,
        }
    }
}

/// Points at an entry of an append of the same unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub append: usize,
    pub entry: usize,
}

impl Stamp {
    /// The first entry of the first append, which most units mean.
    pub const FIRST: Self = Self { append: 0, entry: 0 };
}
