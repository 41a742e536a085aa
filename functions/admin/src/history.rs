//! Everybody's messages.

use axum::extract::State;
use serde_json::json;
use shared::{
    Error,
    app::AppState,
    domain::im::{ChannelKey, Type, chat, group, message, views},
    edge::{Admin, envelope, query::Params},
};

use crate::{Answer, people};

/// `GET /api/admin/history?type&toId&fromId`: newest first. `single`: both directions between two users; `group`: `toId` is the
/// group's id.
pub(crate) async fn list_history(State(app): State<AppState>, Admin(_): Admin, params: Params) -> Answer {
    let required =
        |name: &'static str| params.text(name).ok_or_else(|| Error::invalid(name, format!("{name} is required")));
    let kind = chat::kind("type", required("type")?)?;
    let to = required("toId")?;
    let limit = params.limit(200, 50)?;
    // The number below which the page before ended.
    let before = match params.text("cursor") {
        Some(_) => Some(params.number("cursor", 1..=u64::MAX, 1)?),
        None => None,
    };
    let (channel, group) = match kind {
        Type::Person => {
            let from = people::find(&app, "fromId", required("fromId")?).await?;
            let to = people::find(&app, "toId", to).await?;
            (ChannelKey::person(&from.id, &to.id), None)
        }
        Type::Group => {
            let group = group::find(&app, to).await?.ok_or_else(|| group::unknown().field("toId"))?;
            (group.key, Some(group.id))
        }
    };
    let (messages, next) = message::history(&app, &channel, before, limit).await?;
    let messages = views::messages(&app, &channel, group.as_deref(), &messages).await?;
    Ok(envelope::chat_ok(json!({ "messages": messages, "nextCursor": next.map(|next| next.to_string()) })))
}
