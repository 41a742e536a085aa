//! The people that a user knows on a platform.

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use shared::{
    Error,
    app::{App, AppState},
    domain::{
        access::Scope,
        contact::{
            person::{Circle, Person},
            sync,
        },
        job,
    },
    edge::{Json, query::Params},
    id::UserId,
    store::Cursor,
};

use crate::{Answer, access::Access};

/// Contacts an answer has at the most.
const MAX: u64 = 5000;
/// Seconds that a sync is waited for at the most.
const MAX_WAIT: u64 = 20;
/// Bytes of an address that is looked up, at the most.
const MAX_ADDRESS: usize = 512;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sync {
    user_id: String,
}

/// `POST …/{platform}/contacts/sync {userId}` → the contacts, once every instance of the user on the platform has been asked
/// for them; after 20 s (`?wait=0–20`) those that are known by then. `X-Sync-Job`, `X-Sync-Status: complete|running`.
pub(crate) async fn sync_third_party_contacts(
    State(app): State<AppState>,
    access: Access,
    params: Params,
    Json(body): Json<Sync>,
) -> Answer<Response> {
    access.require(Scope::MessagesRead)?;
    let wait = Duration::from_secs(params.number("wait", 0..=MAX_WAIT, MAX_WAIT)?).min(job::WAIT);
    let user = access.user(&app, &body.user_id).await?;
    let job = sync::start(&app, &user, access.platform).await?;
    let status = match job::ended(&app, &job, wait).await? {
        Some(Ok(_)) => "complete",
        Some(Err(failure)) => return Err(failure.into_error().into()),
        None => "running",
    };
    let mut response = page(&app, &access, &user, usize::try_from(MAX).unwrap_or(usize::MAX), None).await?;
    set(&mut response, "x-sync-job", job.as_str());
    set(&mut response, "x-sync-status", status);
    Ok(response)
}

/// `GET …/{platform}/contacts?userId&platformUserId` → the contact, or `null`.
pub(crate) async fn get_third_party_contact(
    State(app): State<AppState>,
    access: Access,
    params: Params,
) -> Answer<axum::Json<Option<Person>>> {
    access.require(Scope::MessagesRead)?;
    let id = required(&params, "userId")?;
    // The seed writes its example with `&amp;` between the two.
    let address = params.text("amp;platformUserId").map_or_else(|| required(&params, "platformUserId"), Ok)?;
    if address.len() > MAX_ADDRESS {
        let text = format!("platformUserId must have at most {MAX_ADDRESS} bytes");
        return Err(Error::invalid("platformUserId", text).into());
    }
    let user = access.user(&app, id).await?;
    Ok(axum::Json(circle(&app, &access, &user).await?.find(address).await?))
}

/// `GET …/{platform}/contacts/list?userId&cursor&limit` → the contacts that are known, a page of at most 5,000;
/// `X-Next-Cursor` leads to the next.
pub(crate) async fn list_third_party_contacts(
    State(app): State<AppState>,
    access: Access,
    params: Params,
) -> Answer<Response> {
    access.require(Scope::MessagesRead)?;
    let (limit, cursor) = (params.limit(MAX, MAX)?, params.cursor("cursor")?);
    let user = access.user(&app, required(&params, "userId")?).await?;
    page(&app, &access, &user, limit, cursor).await
}

fn required<'a>(params: &'a Params, name: &'static str) -> Result<&'a str, Error> {
    params.text(name).ok_or_else(|| Error::invalid(name, format!("{name} is required")))
}

async fn circle<'a>(app: &'a App, access: &Access, user: &UserId) -> Result<Circle<'a>, Error> {
    Circle::of(app, user, access.platform, |instance| access.covers(instance)).await
}

async fn page(app: &App, access: &Access, user: &UserId, limit: usize, cursor: Option<Cursor>) -> Answer<Response> {
    let (people, next) = circle(app, access, user).await?.page(limit, cursor).await?;
    let mut response = axum::Json(people).into_response();
    if let Some(next) = next {
        set(&mut response, "x-next-cursor", &next.encode());
    }
    Ok(response)
}

fn set(response: &mut Response, name: &'static str, value: &str) {
    // Ids and cursors are ASCII.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(name), value);
    }
}
