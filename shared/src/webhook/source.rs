//! Reading the log for deliveries: one entry, or those of one chat in order.

use std::collections::VecDeque;

use crate::{
    domain::event::NO_CHAT,
    error::Result,
    store::{
        Query, Store,
        log::{self, BUCKET, Entry},
    },
};

/// Entries read at a time while looking for those of a chat.
const PAGE: usize = 300;

/// The entry with this number; `None` if it has expired. Reads the one item that holds it.
pub(crate) async fn entry(store: &dyn Store, log: &str, seq: u64) -> Result<Option<Entry>> {
    let query = Query::table(log::partition(log, seq))
        .between(format!("{:012}", seq / BUCKET * BUCKET), format!("{seq:012}"))
        .newest_first()
        .limit(1);
    let Some(item) = store.query(query).await?.items.pop() else { return Ok(None) };
    Ok(log::entries(item)?.into_iter().find(|entry| entry.seq == seq))
}

/// Entries behind `after`, in order, passing over what has expired; empty at the tail only.
pub(crate) async fn page(store: &dyn Store, log: &str, after: u64, limit: usize) -> Result<Vec<Entry>> {
    let mut after = after;
    loop {
        let found = log::read(store, log, after, limit).await?;
        if !found.is_empty() || store.tail(log).await?.seq <= after {
            return Ok(found);
        }
        // Either it has just grown, or the rest of this bucket has expired.
        let found = log::read(store, log, after, limit).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        after = (after + 1) / BUCKET * BUCKET + BUCKET - 1;
    }
}

/// The chat that an entry belongs to, as dispatch messages name it.
pub(crate) fn chat_of(entry: &Entry) -> &str {
    entry.body.chat.as_deref().unwrap_or(NO_CHAT)
}

/// The entries of one chat, in order.
#[derive(Debug)]
pub(crate) struct Scan {
    log: String,
    chat: String,
    next: u64,
    upto: u64,
    /// Whether the first entry was looked for by itself: a lane mostly needs no other.
    begun: bool,
    found: VecDeque<Entry>,
}

impl Scan {
    /// Both ends inclusive.
    pub(crate) fn new(log: &str, chat: &str, from: u64, upto: u64) -> Self {
        Self { log: log.to_owned(), chat: chat.to_owned(), next: from, upto, begun: false, found: VecDeque::new() }
    }

    pub(crate) async fn next(&mut self, store: &dyn Store) -> Result<Option<Entry>> {
        loop {
            if let Some(entry) = self.found.pop_front() {
                return Ok(Some(entry));
            }
            if self.next > self.upto {
                return Ok(None);
            }
            if self.begun {
                let page = page(store, &self.log, self.next - 1, PAGE).await?;
                self.next = page.last().map_or(self.upto, |entry| entry.seq) + 1;
                self.found
                    .extend(page.into_iter().filter(|entry| entry.seq <= self.upto && chat_of(entry) == self.chat));
            } else {
                self.begun = true;
                let first = entry(store, &self.log, self.next).await?;
                self.next += 1;
                self.found.extend(first.filter(|entry| chat_of(entry) == self.chat));
            }
        }
    }
}
