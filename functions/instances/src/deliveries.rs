//! The delivery log of webhooks: list, replay, test.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::{
    Error,
    app::AppState,
    clock::Millis,
    domain::{
        access::Scope,
        endpoint::{Endpoint, WEBHOOK},
        job::{self, Work},
    },
    edge::{Json, Owned, Reject, query::Params},
    webhook::{self, Delivery, Status},
};

use crate::Answer;

fn status(text: &str) -> Result<Status, Error> {
    Status::parse(text).ok_or_else(|| Error::invalid("status", "status must be delivered, retrying, dead or skipped"))
}

/// `GET …/webhook-deliveries?status=&cursor=&limit=`: newest first, with every attempt.
pub(crate) async fn list_deliveries(State(app): State<AppState>, params: Params, owned: Owned) -> Answer {
    let instance = owned.with(Scope::MessagesRead)?.instance;
    let wanted = params.text("status").map(status).transpose()?;
    let limit = params.limit(200, 50)?;
    let page = webhook::list(&app, &instance, wanted, params.text("cursor"), limit).await?;
    let deliveries: Vec<_> = page.deliveries.iter().map(webhook::Delivery::view).collect();
    Ok(axum::Json(json!({ "deliveries": deliveries, "nextCursor": page.next })))
}

/// `POST …/webhook-deliveries/{deliveryId}/replay` → 202: delivers this event once more.
pub(crate) async fn replay_delivery(
    State(app): State<AppState>,
    Path((_, id)): Path<(String, String)>,
    owned: Owned,
) -> Result<(StatusCode, axum::Json<Value>), Reject> {
    let instance = owned.with(Scope::InstancesManage)?.instance;
    let delivery = webhook::replay(&app, &instance, &id).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(delivery.view())))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Span {
    since: String,
    until: Option<String>,
    status: Option<String>,
    endpoint: Option<String>,
}

/// `POST …/webhook-deliveries/replay {since, until?, status?, endpoint?}` → 202 `{jobId}`: delivers all events between two
/// moments once more to the webhook, or to the forwarder with this endpoint; or those whose delivery is in the given status.
pub(crate) async fn replay_deliveries(
    State(app): State<AppState>,
    owned: Owned,
    Json(body): Json<Span>,
) -> Result<(StatusCode, axum::Json<Value>), Reject> {
    let Owned { instance, caller } = owned.with(Scope::InstancesManage)?;
    let time = |field: &'static str, text: &str| {
        Millis::parse(text).ok_or_else(|| Error::invalid(field, format!("{field} must be a time in ISO 8601")))
    };
    let since = time("since", &body.since)?;
    let until = body.until.as_deref().map_or(Ok(app.clock.now()), |text| time("until", text))?;
    if since > until {
        return Err(Error::invalid("since", "since must not be after until").into());
    }
    if let Some(text) = &body.status {
        status(text)?;
    }
    let endpoint = body.endpoint.unwrap_or_else(|| WEBHOOK.into());
    let known = Endpoint::find(&app, &instance, &endpoint);
    let known = known.ok_or_else(|| Error::invalid("endpoint", "endpoint must be webhook, or that of a forwarder"))?;
    if !known.is_on() {
        let error = match known {
            Endpoint::Webhook(_) => Error::conflict("WEBHOOK_DISABLED", "The webhook of this instance is not enabled"),
            Endpoint::Forwarder(_) | Endpoint::Robot(_) => {
                Error::conflict("FORWARDER_DISABLED", "This forwarder is not enabled")
            }
        };
        return Err(error.into());
    }
    let work = Work::ReplayDeliveries { instance: instance.id.clone(), endpoint, since, until, status: body.status };
    let job = job::start(&app, "replay_deliveries", caller.id(), &instance.id, work).await?;
    Ok((StatusCode::ACCEPTED, axum::Json(json!({ "jobId": job }))))
}

/// `POST …/webhook/test`: posts a `webhook_test` at once, and tells how it went: the delivery, with the attempt's outcome,
/// `statusCode`, `durationMs` and `answer` at its top.
pub(crate) async fn test_webhook(State(app): State<AppState>, owned: Owned) -> Answer {
    let instance = owned.with(Scope::InstancesManage)?.instance;
    Ok(axum::Json(tested(&webhook::test(&app, &instance, WEBHOOK).await?)))
}

/// A test call: the delivery, with its one attempt at the top.
pub(crate) fn tested(delivery: &Delivery) -> Value {
    let mut view = delivery.view();
    if let (Some(Value::Object(attempt)), Some(top)) = (view["attempts"].get(0).cloned(), view.as_object_mut()) {
        top.extend(attempt);
    }
    view
}
