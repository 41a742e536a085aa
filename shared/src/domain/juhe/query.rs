//! What is asked about a device: contacts, messages, rooms, and how far synchronisation is.
//!
//! Totals are exact. Those of whole days come from the statistics, which are folded from the log that every message is told
//! of in; only what is left of the first and the last day is counted.

use serde_json::{Value, json};

use super::{
    device::Device,
    people::{self, Contact},
    rooms::Room,
};
use crate::{
    app::App,
    clock::{DAY_MS, Millis},
    domain::{
        chat,
        instance::Status,
        message::{self, Message},
        stats,
    },
    error::Result,
    store::{Item, Query, Range, Search, Source, keys},
};

/// A page of many: `page` counts from 1.
#[derive(Debug, Clone, Copy)]
pub struct Paging {
    pub page: usize,
    /// 1 to 200.
    pub limit: usize,
}

impl Paging {
    fn skip(self) -> usize {
        (self.page - 1).saturating_mul(self.limit)
    }
}

/// A page of answers, and how many there are in all.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub rows: Vec<Value>,
    pub total: u64,
}

/// Which messages.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Address of the conversation, see [`conversation`].
    pub conversation: Option<String>,
    pub keyword: Option<String>,
    /// Both inclusive.
    pub from: Option<Millis>,
    pub to: Option<Millis>,
}

/// The address of a conversation as callers name it: with `S:` or `R:`, or by the bare name that personal WeChat has for it.
pub fn conversation(text: &str) -> String {
    let text = text.trim();
    if text.starts_with("S:") || text.starts_with("R:") {
        text.to_owned()
    } else if text.ends_with("@chatroom") {
        format!("R:{text}")
    } else {
        people::address(text)
    }
}

/// The last moment that has a place in a list.
const LAST: Millis = Millis(9_999_999_999_999);

impl Wanted {
    fn range(&self) -> Range {
        let from = self.from.unwrap_or_default().min(LAST).digits();
        Range::Between(from, format!("{}~", self.to.unwrap_or(LAST).min(LAST).digits()))
    }
}

/// Messages, newest first.
///
/// Errors: invalid for a blank keyword, or one that would take the store too long.
pub async fn messages(app: &App, device: &Device, wanted: &Wanted, paging: Paging) -> Result<Answer> {
    let (list, range) = (keys::listed_messages(device.id()), wanted.range());
    let chat = match &wanted.conversation {
        Some(address) => Some(chat::key_of(app, device.id(), address).await?),
        None => None,
    };
    let (messages, total) = match (&wanted.keyword, chat) {
        (Some(keyword), chat) => {
            let mut search = Search::new(list, keyword).range(range).newest_first().page(paging.skip(), paging.limit);
            if let Some(chat) = chat {
                search = search.filter("chat", chat.as_str());
            }
            let found = app.store.search(search).await?;
            (listed(app, device, &found.items).await?, found.total)
        }
        (None, Some(chat)) => {
            let history = keys::history(device.id(), &chat);
            let mut query = Query::index(history.clone()).newest_first();
            query.range = range.clone();
            let heads = page(app, query, paging).await?.into_iter().map(Some).collect();
            let messages = message::with_bodies(app, heads).await?.into_iter().flatten().collect();
            (messages, app.store.count(Source::Index(history), range).await?)
        }
        (None, None) => {
            let mut query = Query::table(list).newest_first();
            query.range = range;
            let items = page(app, query, paging).await?;
            (listed(app, device, &items).await?, count(app, device, wanted).await?)
        }
    };
    Ok(Answer { rows: messages.iter().map(shown).collect(), total })
}

/// As many items as the page has room for: a store may give fewer at a time.
async fn page(app: &App, mut query: Query, paging: Paging) -> Result<Vec<Item>> {
    query.skip = paging.skip();
    query.limit = paging.limit;
    let mut items = Vec::new();
    loop {
        let page = app.store.query(query.clone()).await?;
        items.extend(page.items);
        match page.next {
            Some(next) if items.len() < paging.limit => {
                query.after = Some(next);
                query.skip = 0;
                query.limit = paging.limit - items.len();
            }
            _ => return Ok(items),
        }
    }
}

async fn listed(app: &App, device: &Device, items: &[Item]) -> Result<Vec<Message>> {
    let sorts: Vec<&str> = items.iter().filter_map(|item| item.str("ref")).collect();
    Ok(message::load_many(app, device.id(), &sorts).await?.into_iter().flatten().collect())
}

/// How many messages there are between two moments: whole days from the statistics, the rest counted.
async fn count(app: &App, device: &Device, wanted: &Wanted) -> Result<u64> {
    let (from, to) = (wanted.from.unwrap_or_default().max(Millis(0)).min(LAST), wanted.to.unwrap_or(LAST).min(LAST));
    if to < from {
        return Ok(0);
    }
    let part = async |from: Millis, to: Millis| {
        if to < from {
            return Ok(0);
        }
        let range = Range::Between(from.digits(), format!("{}~", to.digits()));
        app.store.count(Source::Table(keys::listed_messages(device.id())), range).await
    };
    // The first and the last day that are wanted as a whole.
    let first = if from == from.day() { from } else { Millis(from.day().0 + DAY_MS) };
    let last =
        if wanted.to.is_none() || to.0 == to.day().0 + DAY_MS - 1 { to.day() } else { Millis(to.day().0 - DAY_MS) };
    if last < first {
        return part(from, to).await;
    }
    let (before, behind) = (Millis(first.0 - 1), Millis(last.0 + DAY_MS));
    Ok(part(from, before).await? + stats::messages(app, device.id(), first, last).await? + part(behind, to).await?)
}

fn shown(message: &Message) -> Value {
    let sender = message.sender.strip_prefix("S:").unwrap_or(&message.sender);
    json!({
        "id": message.platform_id(),
        "conversation_id": message.remote_jid,
        "from": sender,
        // What was taken back is not shown any more.
        "content": if message.revoked { "" } else { message.content.text() },
        "timestamp": message.at.iso(),
        "type": kind(message),
        // Ours.
        "from_name": message.push_name.as_deref().unwrap_or_default(),
        "from_me": message.from_me,
        "revoked": message.revoked,
        "read": message.status == message::Status::Read,
    })
}

/// The service's words for what a message is; for everything that it has none for, `other`.
fn kind(message: &Message) -> &'static str {
    match message.kind.as_str() {
        "text" => "text",
        "image" => "image",
        "audio" => "voice",
        "video" => "video",
        "document" => "file",
        "location" => "location",
        "link" => "link",
        _ => "other",
    }
}

/// Contacts, in an order that does not change; `keyword` is looked for in name and remark.
pub async fn contacts(app: &App, device: &Device, keyword: Option<&str>, paging: Paging) -> Result<Answer> {
    let list = keys::contacts(device.id());
    let (items, total) = match keyword {
        Some(keyword) => {
            let found = app.store.search(Search::new(list, keyword).page(paging.skip(), paging.limit)).await?;
            (found.items, found.total)
        }
        None => {
            let items = page(app, Query::table(list.clone()), paging).await?;
            (items, app.store.count(Source::Table(list), Range::All).await?)
        }
    };
    let own = device.state.corp.as_ref().map_or("", |corp| corp.value.as_str());
    let rows = items
        .into_iter()
        .map(|item| {
            let contact: Contact = item.into()?;
            let internal = !own.is_empty() && contact.corp() == own;
            Ok(json!({
                "id": contact.id(),
                "name": contact.name,
                "remark": contact.remark,
                "avatar": contact.avatar,
                "type": if internal { "internal" } else { "external" },
            }))
        })
        .collect::<Result<_>>()?;
    Ok(Answer { rows, total })
}

/// Rooms, in an order that does not change.
pub async fn rooms(app: &App, device: &Device, paging: Paging) -> Result<Answer> {
    let list = keys::rooms(device.id());
    let items = page(app, Query::table(list.clone()), paging).await?;
    let total = app.store.count(Source::Table(list), Range::All).await?;
    let rows = items
        .into_iter()
        .map(|item| {
            let room: Room = item.into()?;
            Ok(json!({
                "id": room.address,
                "name": room.name,
                "owner": room.owner,
                "member_count": room.member_count,
                "avatar": room.avatar,
                "dismissed": room.dismissed,
            }))
        })
        .collect::<Result<_>>()?;
    Ok(Answer { rows, total })
}

/// How far synchronisation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sync {
    /// `idle` (nothing came yet), `syncing`, `synced`, `error`.
    pub status: &'static str,
    /// When the last callback came.
    pub last: Option<Millis>,
    pub contacts: u64,
    pub messages: u64,
    pub rooms: u64,
}

pub async fn sync(app: &App, device: &Device) -> Result<Sync> {
    let id = device.id();
    let everything = Wanted::default();
    let (contacts, rooms, messages) = futures_util::try_join!(
        app.store.count(Source::Table(keys::contacts(id)), Range::All),
        app.store.count(Source::Table(keys::rooms(id)), Range::All),
        count(app, device, &everything),
    )?;
    let last = Some(device.state.last_at).filter(|at| at.0 > 0);
    let status = match device.instance.status {
        Status::Error | Status::AuthExpired | Status::LoggedOut => "error",
        _ if last.is_none() => "idle",
        _ if device.state.synced => "synced",
        _ => "syncing",
    };
    Ok(Sync { status, last, contacts, messages, rooms })
}
