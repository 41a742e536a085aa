//! Callbacks of WhatsApp's Cloud API for accounts of transport `cloud`.

use axum::{
    extract::{Path, Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use shared::{
    Error,
    app::{App, AppState},
    domain::{
        cloud::{self, Credentials},
        instance::{self, Instance, Status},
    },
    edge::{Reject, body, query::Params},
    id::InstanceId,
};

/// Bytes of a callback at the most: the platform says 3 MB.
const LARGEST: usize = 4 * 1024 * 1024;
/// Characters of a challenge at the most.
const LONGEST_CHALLENGE: usize = 256;
const SIGNATURE: &str = "x-hub-signature-256";

/// An account of the Cloud API, and what its callbacks are checked with.
///
/// Errors: 404 for anything else, whether it is there or not.
async fn account(app: &App, id: String) -> Result<(Instance, Credentials), Error> {
    let found = instance::find(app, &InstanceId::new(id)).await?;
    let is_cloud = |found: &Instance| cloud::is_cloud(found.platform, found.transport, found.mode);
    let instance = found.filter(is_cloud).ok_or_else(instance::unknown)?;
    let credentials = Credentials::of(app, &instance)?;
    Ok((instance, credentials))
}

/// `GET /inbound/whatsapp/{instanceId}?hub.mode=subscribe&hub.verify_token=…&hub.challenge=…` → the challenge, as a text: the
/// platform asks whether the URL that was entered there is ours.
pub(crate) async fn verify_whatsapp(
    State(app): State<AppState>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, Reject> {
    let (_, credentials) = account(&app, id).await?;
    let asked = params.text("hub.mode") == Some("subscribe");
    if !asked || !credentials.verifies(params.text("hub.verify_token").unwrap_or_default()) {
        return Err(Error::forbidden("The verify token is another").code("VERIFY_TOKEN_MISMATCH").into());
    }
    let challenge = params.text("hub.challenge").filter(|text| text.chars().count() <= LONGEST_CHALLENGE);
    let challenge = challenge.ok_or_else(|| Error::invalid("hub.challenge", "hub.challenge is required"))?.to_owned();
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    Ok((headers, challenge).into_response())
}

/// `POST /inbound/whatsapp/{instanceId}`, signed with the app's secret → 200 once what it holds is durable. What it means is
/// found out later, by the instance's owner.
pub(crate) async fn receive_whatsapp(
    State(app): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    request: Request,
) -> Result<axum::Json<Value>, Reject> {
    let (instance, credentials) = account(&app, id).await?;
    let body = body::read(request.into_body(), LARGEST).await?;
    let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !credentials.signed(&body, signature) {
        return Err(Error::unauthenticated("The signature does not fit the body").code("INVALID_SIGNATURE").into());
    }
    if instance.status == Status::LoggedOut {
        // The platform asks again for days: who connects the account again gets what was said meanwhile.
        return Err(Error::conflict("INSTANCE_NOT_READY", "The instance is logged out").into());
    }
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| Error::new(shared::Kind::Invalid, "BAD_REQUEST", "The body is not JSON").source(error))?;
    let taken = cloud::accept(&app, &instance, &credentials, &body).await?;
    Ok(axum::Json(json!({ "success": true, "taken": taken })))
}
