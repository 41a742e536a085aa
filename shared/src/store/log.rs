//! The instance log: gapless, fenced, append-only (protocol.md §2). Layout and pure rules, shared by every implementation.
//!
//! One item holds up to [`MAX_ENTRIES`] entries. Its sort key is the sequence number of the first; the partition is that
//! number divided by [`BUCKET`], and an item never crosses a bucket. Who appends has read the item at the tail, and puts the
//! next one if it is absent: nobody can slip in between, so a strong read never sees a hole.
//!
//! Every item carries `fence`, the highest owner epoch so far. An owner appends only while the tail's fence is not above its
//! epoch; others copy the fence. The check comes before every put, not after a failed one.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Item, Key, Query};
use crate::{
    clock::{DAY_MS, Millis},
    error::Result,
};

/// Sequence numbers per partition.
pub const BUCKET: u64 = 4096;
/// Entries per item at the most.
pub const MAX_ENTRIES: usize = 24;
/// Bytes per item to aim at; a single larger entry still gets an item of its own.
pub const MAX_BYTES: usize = 1000;
/// Entries live that long; an older cursor is gone.
pub const LIFE_MS: i64 = 30 * DAY_MS;

/// Logs with this prefix hold the messages of IM channels (`domain::im`): they do not expire, and have no owners.
pub const CHANNELS: &str = "im:";

/// Who appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// The owner of the instance, under its epoch. Raises the fence.
    Owner { epoch: u64 },
    /// Anybody else (an HTTP function, a job): copies the fence.
    Foreign,
}

/// What an entry adds to the statistics of its day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Delta {
    /// 00:00 UTC of the day that is counted, in milliseconds: the day of acceptance, not that of the entry.
    pub day: Millis,
    #[serde(skip_serializing_if = "is_zero")]
    pub messages_sent: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub messages_received: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub media_sent: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub media_received: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub total_media_size: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub api_calls: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// An entry before it has its number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewEntry {
    /// Unique within the log: what a redelivery looks for, for example `sent/<id>`.
    #[serde(rename = "k")]
    pub key: String,
    /// The event's name, for example `message_received`.
    #[serde(rename = "t")]
    pub kind: String,
    pub at: Millis,
    /// The chat that it belongs to; order is kept per chat.
    #[serde(rename = "c", skip_serializing_if = "Option::is_none", default)]
    pub chat: Option<String>,
    /// `sk` of the message that it is about; the partition follows from it.
    #[serde(rename = "r", skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// Small facts of the event itself (status, reason, QR code); never message contents.
    #[serde(rename = "d", skip_serializing_if = "Value::is_null", default)]
    pub data: Value,
    #[serde(rename = "s", skip_serializing_if = "Option::is_none", default)]
    pub delta: Option<Delta>,
    /// What messages from before the account was linked add, a day each: to the statistics, and not to quotas.
    #[serde(rename = "h", skip_serializing_if = "Vec::is_empty", default)]
    pub history: Vec<Delta>,
}

impl NewEntry {
    /// Everything that it adds to the statistics.
    pub fn deltas(&self) -> impl Iterator<Item = &Delta> {
        self.delta.iter().chain(&self.history)
    }
}

/// An entry as it is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub seq: u64,
    pub fence: u64,
    pub body: NewEntry,
}

/// The newest entry of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tail {
    /// 0: the log is empty.
    pub seq: u64,
    pub fence: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Body {
    fence: u64,
    n: u64,
    e: Vec<NewEntry>,
}

pub fn partition(log: &str, seq: u64) -> String {
    format!("E#{log}#{}", seq / BUCKET)
}

pub fn key(log: &str, seq: u64) -> Key {
    Key::new(partition(log, seq), format!("{seq:012}"))
}

/// The fence that an append by `writer` behind `tail` carries, or `Err(fence)` if the writer is stale.
pub fn fence(tail: Tail, writer: Writer) -> Result<u64, u64> {
    match writer {
        Writer::Owner { epoch } if epoch < tail.fence => Err(tail.fence),
        Writer::Owner { epoch } => Ok(epoch),
        Writer::Foreign => Ok(tail.fence),
    }
}

/// How many of the entries fit into the item that starts at `first`.
pub fn fitting(first: u64, entries: &[NewEntry]) -> usize {
    let room = usize::try_from(BUCKET - first % BUCKET).unwrap_or(MAX_ENTRIES);
    let mut bytes = 0;
    let mut count = 0;
    for entry in entries.iter().take(room.min(MAX_ENTRIES)) {
        bytes += serde_json::to_string(entry).map_or(MAX_BYTES, |json| json.len());
        if count > 0 && bytes > MAX_BYTES {
            break;
        }
        count += 1;
    }
    count
}

/// The item that holds these entries.
pub fn item(log: &str, first: u64, fence: u64, entries: &[NewEntry], now: Millis) -> Result<Item> {
    let body = Body { fence, n: entries.len() as u64, e: entries.to_vec() };
    let item = Item::new(key(log, first), &body)?;
    Ok(if log.starts_with(CHANNELS) { item } else { item.expires(Millis(now.0 + LIFE_MS)) })
}

/// The entries of an item, in order.
pub fn entries(item: Item) -> Result<Vec<Entry>> {
    let first: u64 = item.key.sk.parse().unwrap_or(0);
    let body: Body = item.into()?;
    Ok((first..).zip(body.e).map(|(seq, entry)| Entry { seq, fence: body.fence, body: entry }).collect())
}

/// The tail that an item stands for when it is the newest.
pub fn tail_of(item: &Item) -> Tail {
    let first: u64 = item.key.sk.parse().unwrap_or(0);
    Tail { seq: first + item.u64("n").unwrap_or(1) - 1, fence: item.u64("fence").unwrap_or(0) }
}

/// The query that finds the newest item of a bucket.
pub fn newest_in(log: &str, bucket: u64) -> Query {
    Query::table(format!("E#{log}#{bucket}")).newest_first().limit(1)
}

/// Reads up to `limit` entries with `seq > after`, in order, as far as they exist. Costs one query a bucket.
pub async fn read(store: &dyn super::Store, log: &str, after: u64, limit: usize) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    let mut want = after + 1;
    'buckets: loop {
        // The item that holds `want` may start before it, but in the same bucket.
        let bucket_start = want / BUCKET * BUCKET;
        let from = want.saturating_sub(MAX_ENTRIES as u64 - 1).max(bucket_start);
        let mut query = Query::table(partition(log, want))
            .between(format!("{from:012}"), "9".repeat(12))
            .limit((limit - found.len()).clamp(1, 500) + MAX_ENTRIES);
        loop {
            let page = store.query(query.clone()).await?;
            for item in page.items {
                for entry in entries(item)? {
                    if entry.seq < want {
                        continue;
                    }
                    want = entry.seq + 1;
                    found.push(entry);
                    if found.len() >= limit {
                        break 'buckets;
                    }
                }
            }
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        // Go on only into a bucket that the last entry has completed.
        if !want.is_multiple_of(BUCKET) || want / BUCKET * BUCKET == bucket_start {
            break;
        }
    }
    Ok(found)
}

/// The oldest entry that is still there, from `bucket` of the cursor upwards, so that an expired cursor can be told from one
/// at the tail.
pub async fn exists(store: &dyn super::Store, log: &str, seq: u64) -> Result<bool> {
    Ok(read(store, log, seq.saturating_sub(1), 1).await?.first().is_some_and(|entry| entry.seq == seq))
}

/// Sequence numbers of the entries among `wanted` keys, looked for from `from` to the tail.
pub async fn find(store: &dyn super::Store, log: &str, from: u64, wanted: &[&str]) -> Result<HashMap<String, u64>> {
    let mut found = HashMap::new();
    let mut after = from.saturating_sub(1);
    loop {
        let page = read(store, log, after, 500).await?;
        let Some(last) = page.last().map(|entry| entry.seq) else { return Ok(found) };
        for entry in page {
            if wanted.contains(&entry.body.key.as_str()) {
                found.entry(entry.body.key).or_insert(entry.seq);
            }
        }
        if found.len() == wanted.len() {
            return Ok(found);
        }
        after = last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str) -> NewEntry {
        NewEntry {
            key: key.into(),
            kind: "x".into(),
            at: Millis(0),
            chat: None,
            message: None,
            data: Value::Null,
            delta: None,
            history: Vec::new(),
        }
    }

    #[test]
    fn a_stale_owner_is_fenced_and_a_foreigner_copies() {
        let tail = Tail { seq: 9, fence: 4 };
        assert_eq!(fence(tail, Writer::Owner { epoch: 3 }), Err(4));
        assert_eq!(fence(tail, Writer::Owner { epoch: 5 }), Ok(5));
        assert_eq!(fence(tail, Writer::Foreign), Ok(4));
    }

    #[test]
    fn an_item_never_crosses_a_bucket_nor_the_byte_limit() {
        let many: Vec<_> = (0..100).map(|n| entry(&format!("k{n}"))).collect();
        assert_eq!(fitting(BUCKET - 2, &many), 2);
        assert!(fitting(1, &many) <= MAX_ENTRIES);
        let big = vec![entry(&"x".repeat(2000)), entry("y")];
        assert_eq!(fitting(1, &big), 1);
    }

    #[test]
    fn an_item_gives_back_its_entries_and_its_tail() {
        let item = item("i", 7, 3, &[entry("a"), entry("b")], Millis(0)).expect("encodes");
        assert_eq!(tail_of(&item), Tail { seq: 8, fence: 3 });
        let back = entries(item).expect("decodes");
        assert_eq!(back.iter().map(|e| (e.seq, e.body.key.as_str())).collect::<Vec<_>>(), [(7, "a"), (8, "b")]);
    }
}
