//! Chats and their message history.

use axum::extract::{Path, State};
use serde_json::json;
use shared::{
    Error, address,
    app::AppState,
    domain::{
        access::Scope,
        chat::{self, Chat},
        message, view,
    },
    edge::{Owned, Reject, query::Params},
    store::{Item, Query as StoreQuery, Range, Source, keys},
};

use crate::{Answer, activity::END_OF_TIME};

/// A chat that was merged from several is interleaved in memory.
const MAX_MERGED_SKIP: usize = 10_000;

/// `GET /api/instances/{instanceId}/chats/{chatId}/messages`: newest first, with the exact total. `skip` walks; `cursor`
/// costs the same at any depth.
pub(crate) async fn list_messages(
    State(app): State<AppState>,
    Path((_, chat_id)): Path<(String, String)>,
    params: Params,
    owned: Owned,
) -> Answer {
    let Owned { instance, .. } = owned.with(Scope::MessagesRead)?;
    let (limit, skip) = (params.limit(200, 50)?, params.skip()?);
    let (from, to) = params.dates()?;
    let (from, to) = (from.unwrap_or_default().digits(), format!("{}~", to.unwrap_or(END_OF_TIME).digits()));
    // The cursor is the sort value of the last message that was shown.
    let before = params.cursor("cursor")?.map(|cursor| cursor.sort);
    let upper = before.clone().unwrap_or_else(|| to.clone());
    let address = address::chat_id_from_path(instance.platform, &chat_id);

    let mut total = 0;
    let mut found: Vec<(String, Item)> = Vec::new();
    let chats = chat::history_keys(&app, &instance, &address).await?;
    let alone = chats.len() == 1;
    if !alone && skip > MAX_MERGED_SKIP {
        return Err(Error::invalid("skip", format!("skip must be at most {MAX_MERGED_SKIP} here; use cursor")).into());
    }
    for key in &chats {
        let partition = keys::history(&instance.id, key);
        let range = Range::Between(from.clone(), to.clone());
        total += app.store.count(Source::Index(partition.clone()), range).await?;
        let mut query = StoreQuery::index(partition).between(from.clone(), upper.clone()).newest_first();
        // One more than shown, to know whether there is more, and one that the cursor names itself. Of a chat that was
        // merged from several, all of the passed-over ones are needed to interleave.
        query.limit = limit + 2;
        query.skip = if alone && before.is_none() { skip } else { 0 };
        let wanted = limit + 2 + if query.skip == 0 { skip } else { 0 };
        let mut got = 0;
        loop {
            let page = app.store.query(query.clone()).await?;
            got += page.items.len();
            for item in page.items {
                let sort = item.index.as_ref().map(|index| index.hs.clone()).unwrap_or_default();
                if Some(&sort) != before.as_ref() {
                    found.push((sort, item));
                }
            }
            match page.next {
                Some(next) if got < wanted => {
                    query.after = Some(next);
                    query.skip = 0;
                }
                _ => break,
            }
        }
    }
    found.sort_by(|a, b| b.0.cmp(&a.0));
    if !(alone && before.is_none()) {
        found.drain(..skip.min(found.len()));
    }
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found
        .last()
        .filter(|_| has_more)
        .map(|(sort, item)| shared::store::Cursor { sort: sort.clone(), key: item.key.clone() }.encode());
    let items = found.into_iter().map(|(_, item)| Some(item)).collect();
    let messages: Vec<_> = message::with_bodies(&app, items)
        .await?
        .iter()
        .flatten()
        .map(|message| view::history_message(&app, &instance, message))
        .collect();
    let pagination = json!({ "total": total, "limit": limit, "skip": skip, "hasMore": has_more, "nextCursor": next });
    Ok(axum::Json(json!({ "messages": messages, "pagination": pagination })))
}

/// `GET /api/instances/{instanceId}/chats`: the chats that were seen, in no order that means anything.
pub(crate) async fn list_chats(
    State(app): State<AppState>,
    params: Params,
    owned: Owned,
) -> Result<axum::Json<serde_json::Value>, Reject> {
    let Owned { instance, .. } = owned.with(Scope::MessagesRead)?;
    let (limit, after) = (params.limit(500, 100)?, params.cursor("cursor")?);
    let page = app.store.query(StoreQuery::table(keys::chats(&instance.id)).limit(limit).after(after)).await?;
    let mut chats = Vec::new();
    for item in page.items {
        let chat: Chat = item.into()?;
        chats.push(json!({
            "id": chat.addresses.first(),
            "aliases": chat.addresses,
            "name": chat.name,
            "isGroup": chat.is_group,
            "lastMessageAt": chat.last_at.iso(),
        }));
    }
    Ok(axum::Json(json!({ "chats": chats, "nextCursor": page.next.map(|next| next.encode()) })))
}
