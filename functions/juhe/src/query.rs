//! The queries of seed 003.

use axum::extract::State;
use serde_json::{Value, json};
use shared::{
    Error, Result,
    app::AppState,
    clock::DAY_MS,
    domain::juhe::query::{self, Answer, Paging, Wanted},
    edge::{Reject, query::Params},
};

use crate::access::Asked;

type Page = Result<axum::Json<Value>, Reject>;

/// Pages that can be asked for: beyond, there is nothing.
const MAX_PAGE: u64 = 1_000_000_000;

/// `GET /api/contacts`.
pub(crate) async fn list_contacts(State(app): State<AppState>, Asked { device, params, .. }: Asked) -> Page {
    let paging = named(paging(&params))?;
    let answer = named(query::contacts(&app, &device, params.text("keyword"), paging).await)?;
    Ok(wrapped("contacts", &answer, paging))
}

/// `GET /api/messages`: newest first.
pub(crate) async fn list_messages(State(app): State<AppState>, Asked { device, params, .. }: Asked) -> Page {
    let (paging, wanted) = named(paging(&params).and_then(|paging| Ok((paging, wanted(&params)?))))?;
    let answer = named(query::messages(&app, &device, &wanted, paging).await)?;
    Ok(wrapped("messages", &answer, paging))
}

/// `GET /api/rooms`.
pub(crate) async fn list_rooms(State(app): State<AppState>, Asked { device, params, .. }: Asked) -> Page {
    let paging = named(paging(&params))?;
    let answer = query::rooms(&app, &device, paging).await?;
    Ok(wrapped("rooms", &answer, paging))
}

/// `GET /api/sync-status`.
pub(crate) async fn get_sync_status(State(app): State<AppState>, Asked { guid, device, .. }: Asked) -> Page {
    let sync = query::sync(&app, &device).await?;
    Ok(axum::Json(json!({
        "success": true,
        "data": {
            "guid": guid,
            "status": sync.status,
            // A text also while there is none: the seed's clients read one.
            "last_sync_time": sync.last.map(shared::clock::Millis::iso).unwrap_or_default(),
            "contacts_count": sync.contacts,
            "messages_count": sync.messages,
            "rooms_count": sync.rooms,
            "instance_id": device.id(),
            "connection": device.instance.status.name(),
        },
    })))
}

fn paging(params: &Params) -> Result<Paging> {
    let page = usize::try_from(params.number("page", 1..=MAX_PAGE, 1)?).map_err(Error::internal)?;
    Ok(Paging { page, limit: params.limit(200, 20)? })
}

fn wanted(params: &Params) -> Result<Wanted> {
    let from = params.time("start_time")?;
    let mut to = params.time("end_time")?;
    // A day without a time of day is wanted to its end.
    if let Some(to) = to.as_mut().filter(|_| params.text("end_time").is_some_and(|text| !text.contains('T'))) {
        to.0 += DAY_MS - 1;
    }
    if let (Some(from), Some(to)) = (from, to)
        && to < from
    {
        return Err(Error::invalid("end_time", "end_time must not be before start_time"));
    }
    let conversation = params.text("conversation_id").or(params.text("username")).map(query::conversation);
    Ok(Wanted { conversation, keyword: params.text("keyword").map(str::to_owned), from, to })
}

/// Wrong input has one code in this group.
fn named<T>(result: Result<T>) -> Result<T> {
    result.map_err(|error| match error.code.as_ref() {
        "VALIDATION_ERROR" => error.code("INVALID_PARAMS"),
        _ => error,
    })
}

fn wrapped(name: &str, answer: &Answer, paging: Paging) -> axum::Json<Value> {
    let data = json!({ name: answer.rows, "total": answer.total, "page": paging.page, "limit": paging.limit });
    axum::Json(json!({ "success": true, "data": data }))
}
