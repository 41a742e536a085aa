//! Messages from before the account was linked: rows as those of other messages, one log entry a page, no event of each.
//!
//! The creation of a row is the deduplication, as everywhere: a message that is there already, live or from history, stays as it
//! is. The statistics count what a page has created. So that a repeat after a crash counts the same, a row says which page made
//! it: rows of the page itself are its own whenever they are found, all others are not.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::{
    Owner,
    author::{Author, Settle},
};
use crate::{
    clock::Millis,
    connector::{ContactInfo, HistoryPage, OldMessage},
    domain::{
        chat, contact,
        event::{self, Kind},
        instance::{self, HistorySync},
        message::Message,
    },
    error::{Error, Result},
    id::ChatKey,
    store::{Change, CommitError, Item, Op, Read, Stamp, Write, log::Delta, log::NewEntry},
};

/// Attribute of a row: the page that made it.
const PAGE: &str = "page";
/// Attribute of a row: from where on the page's entry is in the log.
const STAMP: &str = "recvSeq";
/// Tries of a page against messages that come in at the same time.
const TRIES: usize = 5;

/// A message, and the second part of its place in the history of its chat.
type Row = (Message, String);

/// A page's rows, and which of them count.
struct Plan {
    /// Idempotent writes, then creations.
    writes: Vec<Write>,
    counted: Vec<usize>,
    /// Where the entry is at the earliest, if some of this was done before.
    from: Option<u64>,
}

impl Owner {
    /// Stores a page; twice the same: once. Durable when it returns. How many of its messages are new.
    pub async fn history(&self, page: &HistoryPage) -> Result<usize, CommitError> {
        let author = self.author();
        let rows = self.rows(&author, page).await?;
        // As if nothing of it were there, which is so for all but repeats and what came in live.
        let mut plan = plan(page, &rows, &vec![None; rows.len()])?;
        for _ in 0..TRIES {
            match self.store_page(&author, page, &rows, &plan).await {
                Ok(()) => {
                    self.meet_all(page, &rows, &plan).await;
                    return Ok(plan.counted.len());
                }
                Err(CommitError::Conflict { which: 0, old }) => {
                    return Err(self.fenced(old.map(|old| old.u64("epoch").unwrap_or(0))));
                }
                Err(CommitError::Conflict { .. }) => {
                    let keys: Vec<_> = rows.iter().map(|(row, _)| row.key()).collect();
                    plan = self::plan(page, &rows, &self.app.store.batch_get(&keys, Read::Strong).await?)?;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::unavailable("a page of history meets too many messages that come in").into())
    }

    /// The rows of a page, each message once.
    async fn rows(&self, author: &Author<'_>, page: &HistoryPage) -> Result<Vec<Row>> {
        let mut rows = Vec::with_capacity(page.messages.len());
        let mut seen = HashSet::with_capacity(page.messages.len());
        for old in &page.messages {
            let chat = self.chat_of(&old.message.chat).await?;
            let row = author.old_row(old, &chat)?;
            if row.content.is_message() && seen.insert(row.sort()) {
                rows.push((row, format!("{:010}", old.order)));
            }
        }
        Ok(rows)
    }

    async fn store_page(
        &self,
        author: &Author<'_>,
        page: &HistoryPage,
        rows: &[Row],
        plan: &Plan,
    ) -> Result<(), CommitError> {
        let before = self.instance().history_sync.clone().unwrap_or_default();
        let now = self.app.clock.now();
        let after = before.with(page, plan.counted.len(), now);
        let change = Change::default().set("historySync", serde_json::to_value(&after).map_err(Error::internal)?);
        // The instance's row is the fence, and shows how far it is.
        let mut writes = vec![instance::owner_write(&self.id, self.epoch, change)];
        writes.extend(plan.writes.iter().cloned());
        if plan.counted.is_empty() && !page.ends {
            self.app.store.commit(crate::store::Unit { writes, ..Default::default() }).await?;
        } else {
            let entry = entry(page, rows, plan, now);
            author.commit(author.unit(writes, &[entry], plan.from, Settle::Nothing)).await?;
        }
        self.edit(|instance| instance.history_sync = Some(after));
        Ok(())
    }

    /// Chats and people are written behind, as for messages that come in.
    async fn meet_all(&self, page: &HistoryPage, rows: &[Row], plan: &Plan) {
        let mut chats: BTreeMap<&ChatKey, &Message> = BTreeMap::new();
        for (row, _) in plan.counted.iter().filter_map(|index| rows.get(*index)) {
            let newest = chats.entry(&row.chat).or_insert(row);
            if newest.at < row.at {
                *newest = row;
            }
        }
        let names: HashMap<&str, &str> =
            page.messages.iter().map(|old| (old.message.chat.as_str(), old.chat_name.as_str())).collect();
        let mut met: BTreeMap<&str, ContactInfo> = BTreeMap::new();
        for (key, row) in chats {
            let address = row.remote_jid.as_str();
            let name = names.get(address).copied().unwrap_or_default();
            if let Err(error) = chat::see(&self.app, &self.instance(), key, address, name, row.at).await {
                tracing::warn!(instance = %self.id, %error, "a chat's row was not written");
            }
            if row.is_group {
                met.insert(address, info(address, name, true));
            }
        }
        // Without the name that the message has: who knows how old that is.
        for (row, _) in rows.iter().filter(|(row, _)| !row.from_me) {
            met.entry(&row.sender).or_insert_with(|| info(&row.sender, "", false));
        }
        let news: Vec<ContactInfo> = {
            let seen = self.seen();
            let is_news = |info: &ContactInfo| {
                seen.contacts.get(&info.address).is_none_or(|name| !info.name.is_empty() && *name != info.name)
            };
            met.into_values().filter(is_news).collect()
        };
        match contact::store(&self.app, &self.id, &news).await {
            Ok(()) => self.seen().contacts.extend(news.into_iter().map(|info| (info.address, info.name))),
            Err(error) => tracing::warn!(instance = %self.id, %error, "contacts were not written"),
        }
    }
}

fn info(address: &str, name: &str, is_group: bool) -> ContactInfo {
    ContactInfo { address: address.to_owned(), name: name.to_owned(), avatar: String::new(), is_group }
}

impl Author<'_> {
    fn old_row(&self, old: &OldMessage, chat: &ChatKey) -> Result<Message> {
        let mut row = self.received_row(&old.message, chat)?;
        row.status = old.status;
        row.rank = old.status.rank();
        row.reactions =
            old.reactions.iter().map(|(by, emoji)| (by.clone(), emoji.as_str().into())).collect::<Map<_, _>>();
        Ok(row)
    }
}

/// What is left to do of a page, given what is there.
fn plan(page: &HistoryPage, rows: &[Row], there: &[Option<Item>]) -> Result<Plan> {
    let key = page.key();
    let (mut writes, mut heads) = (Vec::new(), Vec::new());
    let mut plan = Plan { writes: Vec::new(), counted: Vec::new(), from: None };
    for (index, ((row, order), there)) in rows.iter().zip(there).enumerate() {
        match there {
            Some(item) if item.str(PAGE) == Some(&key) => {
                let at = item.u64(STAMP).ok_or_else(|| Error::internal("a row of history says where its entry is"))?;
                plan.from = Some(plan.from.map_or(at, |from: u64| from.min(at)));
            }
            Some(_) => continue,
            None => {
                let mut creates = row.creates(order)?;
                let mut head = creates.pop().ok_or_else(|| Error::internal("a message has a head"))?;
                if let Op::Put(item) = &mut head.op {
                    item.doc.insert(PAGE.to_owned(), key.as_str().into());
                }
                writes.extend(creates);
                heads.push(head.stamped(STAMP, Stamp::FIRST));
            }
        }
        plan.counted.push(index);
    }
    writes.extend(heads);
    plan.writes = writes;
    Ok(plan)
}

fn entry(page: &HistoryPage, rows: &[Row], plan: &Plan, now: Millis) -> NewEntry {
    let mut days: BTreeMap<Millis, Delta> = BTreeMap::new();
    for delta in plan.counted.iter().filter_map(|index| rows.get(*index)?.0.delta()) {
        let day = days.entry(delta.day).or_insert_with(|| Delta { day: delta.day, ..Delta::default() });
        day.messages_sent += delta.messages_sent;
        day.messages_received += delta.messages_received;
        day.media_sent += delta.media_sent;
        day.media_received += delta.media_received;
        day.total_media_size += delta.total_media_size;
    }
    let chats: HashSet<&ChatKey> = plan.counted.iter().filter_map(|index| Some(&rows.get(*index)?.0.chat)).collect();
    let mut entry = event::entry(Kind::HistorySynced, format!("history/{}", page.key()), now);
    entry.data = json!({
        "messages": plan.counted.len(),
        "chats": chats.len(),
        "progress": page.progress.map_or(Value::Null, Value::from),
        "done": page.ends,
    });
    entry.history = days.into_values().collect();
    entry
}

impl HistorySync {
    /// How far it is after a page.
    fn with(&self, page: &HistoryPage, new: usize, now: Millis) -> Self {
        let new = u64::try_from(new).unwrap_or_default();
        // A page that is told of again, since its end was not noted, is not counted again.
        let again = self.piece.as_deref() == Some(&page.piece) && page.number <= self.page;
        Self {
            messages: self.messages + if again { 0 } else { new },
            progress: page.progress.or(self.progress),
            done: page.ends,
            piece: Some(page.piece.clone()),
            page: if again { self.page } else { page.number },
            at: now,
        }
    }
}
