//! What administrators have changed.

use axum::extract::State;
use serde_json::{Value, json};
use shared::{
    app::AppState,
    domain::audit::{self, Action, Entry, Filter},
    edge::{Admin, envelope, query::Params},
};

use crate::{Answer, people};

/// `GET /api/admin/audit`: newest first. With filters a page may be short and still have a cursor.
pub(crate) async fn list_audit(State(app): State<AppState>, Admin(_): Admin, params: Params) -> Answer {
    let (limit, cursor) = (params.limit(500, 100)?, params.cursor("cursor")?);
    let (from, to) = params.dates()?;
    let action = match params.text("action") {
        Some(name) => Some(Action::parse(name).ok_or_else(|| audit::unknown_action(name))?),
        None => None,
    };
    let actor = match params.text("actor") {
        Some(name) => Some(people::find(&app, "actor", name).await?.id),
        None => None,
    };
    let filter = Filter { actor, action, target: params.text("target").map(str::to_owned), from, to };
    let (entries, next) = audit::list(&app, &filter, limit, cursor).await?;
    let entries: Vec<_> = entries.iter().map(view).collect();
    Ok(envelope::chat_ok(json!({ "entries": entries, "nextCursor": next.map(|next| next.encode()) })))
}

fn view(entry: &Entry) -> Value {
    json!({
        "id": entry.id,
        "at": entry.at.iso(),
        "actor": entry.actor,
        "credential": entry.credential,
        "action": entry.action,
        "target": entry.target,
        "details": entry.details,
        "requestId": entry.request_id,
        "outcome": entry.outcome,
    })
}
