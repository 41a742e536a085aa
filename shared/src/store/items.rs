//! Items and their keys, as every store holds them.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    clock::Millis,
    error::{Error, Result},
};

pub type Doc = Map<String, Value>;

/// Partition and sort key of an item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    pub pk: String,
    pub sk: String,
}

impl Key {
    pub fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self { pk: pk.into(), sk: sk.into() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.pk, self.sk)
    }
}

/// Place of an item in the one sparse, keys-only index `hist`: partition `h`, order `hs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexKey {
    pub h: String,
    pub hs: String,
}

/// A stored item: keys, an optional place in the index, an optional expiry, and a JSON document.
///
/// The attribute names `pk`, `sk`, `h`, `hs` and `ttl` are the store's and never appear in `doc`.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub key: Key,
    pub index: Option<IndexKey>,
    /// Seconds since 1970. Expired items may still be returned by a store: readers that care check it.
    pub ttl: Option<i64>,
    pub doc: Doc,
}

impl Item {
    /// An item from anything that serialises to a JSON object.
    pub fn new(key: Key, body: &impl Serialize) -> Result<Self> {
        match serde_json::to_value(body)? {
            Value::Object(doc) => Ok(Self { key, index: None, ttl: None, doc }),
            other => Err(Error::internal(format!("item {key} is not an object: {other}"))),
        }
    }

    #[must_use]
    pub fn indexed(mut self, h: impl Into<String>, hs: impl Into<String>) -> Self {
        self.index = Some(IndexKey { h: h.into(), hs: hs.into() });
        self
    }

    #[must_use]
    pub fn expires(mut self, at: Millis) -> Self {
        self.ttl = Some(at.seconds() + 1);
        self
    }

    pub fn decode<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(Value::Object(self.doc.clone()))
            .map_err(|error| Error::internal(format!("item {} does not decode: {error}", self.key)))
    }

    /// Like [`Item::decode`], taking the document along.
    pub fn into<T: DeserializeOwned>(self) -> Result<T> {
        let Self { key, doc, .. } = self;
        T::deserialize(Value::Object(doc))
            .map_err(|error| Error::internal(format!("item {key} does not decode: {error}")))
    }

    pub fn u64(&self, attribute: &str) -> Option<u64> {
        self.doc.get(attribute).and_then(Value::as_u64)
    }

    pub fn str(&self, attribute: &str) -> Option<&str> {
        self.doc.get(attribute).and_then(Value::as_str)
    }
}
