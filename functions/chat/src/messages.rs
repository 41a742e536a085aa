//! Sending, and the history of one's own chats.

use axum::extract::State;
use serde_json::json;
use shared::{
    Error,
    app::AppState,
    domain::{
        access::{Caller, Scope},
        im::{
            self,
            chat::{self, Draft},
            message, views,
        },
    },
    edge::{Json, envelope, query::Params},
};

use crate::Answer;

/// `POST /api/message/send`. A repeat of sender, chat and `id` answers what the first did.
pub(crate) async fn send_chat_message(State(app): State<AppState>, caller: Caller, Json(draft): Json<Draft>) -> Answer {
    let sent = chat::send(&app, &caller, draft).await?;
    Ok(envelope::chat_ok(sent.data()))
}

/// `GET /api/message/history`: newest first.
pub(crate) async fn list_chat_messages(State(app): State<AppState>, caller: Caller, params: Params) -> Answer {
    caller.require_account(Scope::MessagesRead)?;
    let required =
        |name: &'static str| params.text(name).ok_or_else(|| Error::invalid(name, format!("{name} is required")));
    let kind = chat::kind("chatType", required("chatType")?)?;
    let chat = required("chatId")?;
    let limit = params.limit(200, 50)?;
    // The number below which the page before ended.
    let before = match params.text("cursor") {
        Some(_) => Some(params.number("cursor", 1..=u64::MAX, 1)?),
        None => None,
    };
    let channel = im::channel(&app, &caller.user, kind, chat).await.map_err(|error| error.field("chatId"))?;
    let (messages, next) = message::history(&app, &channel.key, before, limit).await?;
    let messages = views::messages(&app, &channel.key, channel.group_id(), &messages).await?;
    Ok(envelope::chat_ok(json!({ "messages": messages, "nextCursor": next.map(|next| next.to_string()) })))
}
