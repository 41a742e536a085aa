//! Which LID belongs to which phone number.
//!
//! The rows lie by LID; the way back is made of them in memory when it is needed first, packed, since the crate keeps every pair
//! anyway.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use whatsapp_rust::traits::LidPnMappingEntry;

use super::{Failure, Store};

const BUCKETS: u8 = 64;
const PREFIX: &str = "l/";

/// What is kept of a pair, by LID.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Pair {
    p: String,
    c: i64,
    u: i64,
    s: String,
}

type Pairs = BTreeMap<String, Pair>;

/// LIDs by phone number.
#[derive(Debug, Default)]
pub(crate) struct Lids {
    numbers: HashMap<u64, u64>,
    /// Where one of them is no number.
    texts: HashMap<String, String>,
}

impl Lids {
    fn set(&mut self, phone: &str, lid: &str) {
        match (number(phone), number(lid)) {
            (Some(phone), Some(lid)) => drop(self.numbers.insert(phone, lid)),
            _ => drop(self.texts.insert(phone.to_owned(), lid.to_owned())),
        }
    }

    fn get(&self, phone: &str) -> Option<String> {
        let found = number(phone).and_then(|phone| self.numbers.get(&phone)).map(u64::to_string);
        found.or_else(|| self.texts.get(phone).cloned())
    }

    /// Unless the number leads to another LID by now.
    fn remove(&mut self, phone: &str, lid: &str) {
        if self.get(phone).as_deref() == Some(lid) {
            number(phone).and_then(|phone| self.numbers.remove(&phone));
            self.texts.remove(phone);
        }
    }
}

/// A text that a number gives back as it is.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

impl Pair {
    fn entry(self, lid: String) -> LidPnMappingEntry {
        LidPnMappingEntry { lid, phone_number: self.p, created_at: self.c, updated_at: self.u, learning_source: self.s }
    }
}

impl Store {
    fn lid_bucket(&self, lid: &str) -> String {
        format!("{PREFIX}{}", self.names.bucket(lid, BUCKETS))
    }

    async fn by_phone(&self) -> Result<MutexGuard<'_, Lids>, Failure> {
        let lids = self.lids.get_or_try_init(|| async {
            let mut pairs = self.members::<String, Pair>(PREFIX).await?;
            // Of two LIDs of a number the one learned last counts.
            pairs.sort_by_key(|(_, pair)| pair.u);
            let mut lids = Lids::default();
            for (lid, pair) in &pairs {
                lids.set(&pair.p, lid);
            }
            Ok::<_, Failure>(std::sync::Mutex::new(lids))
        });
        Ok(lids.await?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) async fn lid(&self, lid: &str) -> Result<Option<LidPnMappingEntry>, Failure> {
        let mut pairs: Pairs = self.look(&self.lid_bucket(lid)).await?;
        Ok(pairs.remove(lid).map(|pair| pair.entry(lid.to_owned())))
    }

    pub(super) async fn lid_of(&self, phone: &str) -> Result<Option<LidPnMappingEntry>, Failure> {
        let lid = self.by_phone().await?.get(phone);
        match lid {
            Some(lid) => self.lid(&lid).await,
            None => Ok(None),
        }
    }

    pub(super) async fn all_lids(&self) -> Result<Vec<LidPnMappingEntry>, Failure> {
        let pairs = self.members::<String, Pair>(PREFIX).await?;
        Ok(pairs.into_iter().map(|(lid, pair)| pair.entry(lid)).collect())
    }

    pub(super) async fn put_lids(&self, entries: &[LidPnMappingEntry]) -> Result<(), Failure> {
        // In memory before the rows change, or the way back would be made of what is not durable yet, in any order.
        drop(self.by_phone().await?);
        let mut buckets: BTreeMap<String, Vec<&LidPnMappingEntry>> = BTreeMap::new();
        for entry in entries {
            buckets.entry(self.lid_bucket(&entry.lid)).or_default().push(entry);
        }
        for (key, entries) in buckets {
            let moved = self
                .change(key, None, |pairs: &mut Pairs| {
                    let (mut changed, mut moved) = (false, Vec::new());
                    for entry in entries {
                        let pair = Pair {
                            p: entry.phone_number.clone(),
                            c: entry.created_at,
                            u: entry.updated_at,
                            s: entry.learning_source.clone(),
                        };
                        let old = pairs.insert(entry.lid.clone(), pair.clone());
                        changed |= old.as_ref() != Some(&pair);
                        moved.push((old.map(|old| old.p), entry));
                    }
                    (changed, moved)
                })
                .await?;
            let mut lids = self.by_phone().await?;
            for (old, entry) in moved {
                if let Some(old) = old.filter(|old| *old != entry.phone_number) {
                    lids.remove(&old, &entry.lid);
                }
                lids.set(&entry.phone_number, &entry.lid);
            }
        }
        Ok(())
    }
}
