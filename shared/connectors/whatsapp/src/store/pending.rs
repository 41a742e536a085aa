//! Messages that were decrypted and are not durable in the log yet.
//!
//! They are needed after a crash, when the platform delivers them again and the ratchet has moved on. As long as the ratchet's step
//! is not durable either, a message delivered again is decrypted again. So a message is written together with the first ratchet
//! step that becomes durable after it (`journal.rs` puts [`Pending::bundles`] in front of each put), and a message that is settled
//! before is never written.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shared::clock::Millis;

use super::codec;

/// Prefix of the keys of bundles.
pub(super) const BUNDLES: &str = "in/";
/// Bytes of messages in one bundle, about: an item of the store holds 400 KB of base64.
const BUNDLE_BYTES: usize = 200 << 10;
/// A message that nobody delivers again within that time is not wanted any more: the platform keeps messages for 30 days.
const LIFE_SECONDS: i64 = 31 * 86_400;

/// Chat, sender, id: what a message is unique by.
pub(crate) type Place = (String, String, String);

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Row {
    place: Place,
    message: Bytes,
    /// Seconds since 1970 when it came in.
    at: i64,
}

#[derive(Debug, Clone)]
struct Waiting {
    message: Bytes,
    at: i64,
    /// The bundle that it is in, once it is in one.
    bundle: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Pending {
    waiting: BTreeMap<Place, Waiting>,
    /// How many messages of each bundle are not settled.
    bundles: HashMap<u64, usize>,
    /// Bundles of a put that is under way.
    flying: Vec<u64>,
    last: u64,
    emptied: Vec<u64>,
}

fn key(bundle: u64) -> String {
    format!("{BUNDLES}{bundle:016}")
}

impl Pending {
    /// Takes in what an earlier process has left.
    pub(crate) fn load(&mut self, bundles: &[(String, Bytes)]) {
        for (key, value) in bundles {
            let number = key.strip_prefix(BUNDLES).and_then(|number| number.parse().ok());
            let (Some(number), Ok(rows)) = (number, codec::decode::<Vec<Row>>(value)) else { continue };
            self.last = self.last.max(number);
            for row in rows {
                *self.bundles.entry(number).or_default() += 1;
                let waiting = Waiting { message: row.message, at: row.at, bundle: Some(number) };
                self.waiting.entry(row.place).or_insert(waiting);
            }
        }
    }

    pub(crate) fn store(&mut self, place: Place, message: Bytes, at: i64) {
        // The same again is in its bundle already.
        self.waiting.entry(place).or_insert(Waiting { message, at, bundle: None });
    }

    pub(crate) fn get(&self, place: &Place) -> Option<Bytes> {
        self.waiting.get(place).map(|waiting| waiting.message.clone())
    }

    pub(crate) fn settle(&mut self, place: &Place) -> bool {
        let Some(waiting) = self.waiting.remove(place) else { return false };
        let Some(bundle) = waiting.bundle else { return true };
        if let Some(left) = self.bundles.get_mut(&bundle) {
            *left -= 1;
            if *left == 0 && !self.flying.contains(&bundle) {
                self.bundles.remove(&bundle);
                self.emptied.push(bundle);
            }
        }
        true
    }

    /// Forgets what came in before that moment (seconds since 1970); says how many.
    pub(crate) fn expire(&mut self, before: i64) -> usize {
        let old: Vec<Place> =
            self.waiting.iter().filter(|(_, waiting)| waiting.at < before).map(|(place, _)| place.clone()).collect();
        old.iter().filter(|place| self.settle(place)).count()
    }

    /// Keys of bundles of which nothing is needed any more.
    pub(super) fn emptied(&mut self) -> Vec<String> {
        std::mem::take(&mut self.emptied).into_iter().map(key).collect()
    }

    /// New bundles of everything that is in none: key, value, and until when it is needed.
    pub(super) fn bundles(&mut self) -> Vec<(String, Bytes, Millis)> {
        let mut made = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        let mut bytes = 0;
        for (place, waiting) in self.waiting.iter_mut().filter(|(_, waiting)| waiting.bundle.is_none()) {
            if bytes > BUNDLE_BYTES {
                made.push(std::mem::take(&mut rows));
                bytes = 0;
            }
            waiting.bundle = Some(self.last + 1 + made.len() as u64);
            bytes += waiting.message.len();
            rows.push(Row { place: place.clone(), message: waiting.message.clone(), at: waiting.at });
        }
        if !rows.is_empty() {
            made.push(rows);
        }
        let mut bundles = Vec::with_capacity(made.len());
        for rows in made {
            self.last += 1;
            let at = rows.iter().map(|row| row.at).max().unwrap_or_default();
            self.bundles.insert(self.last, rows.len());
            self.flying.push(self.last);
            bundles.push((key(self.last), codec::encode(&rows), Millis((at + LIFE_SECONDS) * 1000)));
        }
        bundles
    }

    pub(super) fn landed(&mut self) {
        for bundle in std::mem::take(&mut self.flying) {
            if self.bundles.get(&bundle) == Some(&0) {
                self.bundles.remove(&bundle);
                self.emptied.push(bundle);
            }
        }
    }

    /// The put failed: what is still waiting goes into new bundles. The old ones may be there; they are removed, too.
    pub(super) fn take_back(&mut self) {
        let flying = std::mem::take(&mut self.flying);
        for waiting in self.waiting.values_mut() {
            if waiting.bundle.is_some_and(|bundle| flying.contains(&bundle)) {
                waiting.bundle = None;
            }
        }
        for bundle in flying {
            self.bundles.remove(&bundle);
            self.emptied.push(bundle);
        }
    }
}
