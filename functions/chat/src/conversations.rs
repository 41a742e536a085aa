//! One's conversations, and how far one has read.

use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    app::AppState,
    domain::{
        access::{Caller, Scope},
        im::{
            self, chat,
            conversation::{self, View},
            frames, views,
        },
    },
    edge::{Json, envelope, query::Params},
};

use crate::Answer;

/// `GET /api/conversations`: a page, the latest of it first; pages come in no order that means anything.
pub(crate) async fn list_conversations(State(app): State<AppState>, caller: Caller, params: Params) -> Answer {
    caller.require_account(Scope::MessagesRead)?;
    let (limit, cursor) = (params.limit(50, 50)?, params.cursor("cursor")?);
    let (mut page, next) = conversation::list(&app, &caller.user, limit, cursor).await?;
    page.sort_by_key(|view| std::cmp::Reverse(view.last.as_ref().map_or(view.row.last_at, |last| last.at)));
    let last = views::last_messages(&app, &page).await?;
    let shown: Vec<Value> = page.iter().zip(&last).map(|(view, last)| shown(view, last)).collect();
    Ok(envelope::chat_ok(json!({ "conversations": shown, "nextCursor": next.map(|next| next.encode()) })))
}

fn shown(view: &View, last: &Value) -> Value {
    json!({
        "chatId": view.row.id,
        "chatType": view.row.kind.chat_type(),
        "name": view.name,
        "avatar": view.avatar,
        "unread": view.unread,
        "readSeq": view.row.read_seq.min(view.last_seq),
        "lastSeq": view.last_seq,
        "lastMessage": last,
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReadUpto {
    chat_id: String,
    chat_type: Option<String>,
    message_seq: Option<u64>,
}

/// `POST /api/conversations/read`: up to `messageSeq`, or everything. A position never moves back.
pub(crate) async fn read_conversation(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<ReadUpto>,
) -> Answer {
    caller.require_account(Scope::MessagesRead)?;
    let kind = body.chat_type.as_deref().map(|text| chat::kind("chatType", text)).transpose()?;
    let channel = im::channel_of_any_kind(&app, &caller.user, kind, &body.chat_id).await;
    let channel = channel.map_err(|error| error.field("chatId"))?;
    let upto = frames::mark_read(&app, &caller.user, &channel, body.message_seq, None).await?;
    Ok(envelope::chat_ok(json!({
        "chatId": channel.id(),
        "chatType": channel.kind().chat_type(),
        "messageSeq": upto,
    })))
}
