//! Session export and import: an account moves to another instance, or another home, without a new QR code.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;
use shared::{
    Error,
    app::AppState,
    domain::{
        access::Scope,
        job::Answer,
        moving::{self, Exported},
    },
    edge::{Json, Owned, Reject, body},
    id::JobId,
    redact::Secret,
};

/// Carries the passphrase of an import: the body is the file.
const PASSPHRASE: &str = "X-Session-Passphrase";

#[derive(Debug, Deserialize)]
pub(crate) struct Export {
    passphrase: Secret,
}

/// `POST /api/instances/{instanceId}/session/export {passphrase}` → the encrypted file. The instance is closed and stays so.
pub(crate) async fn export_session(
    State(app): State<AppState>,
    owned: Owned,
    Json(body): Json<Export>,
) -> Result<Response, Reject> {
    let Owned { instance, .. } = owned.with(Scope::InstancesManage)?;
    let passphrase = moving::passphrase("passphrase", Some(body.passphrase.reveal()))?;
    let file = match moving::export(&app, &instance, passphrase).await? {
        Exported::File(file) => file,
        Exported::Later(job) => return Ok(later(&job)),
    };
    let day: String = app.clock.now().iso().chars().take(10).collect();
    let name = format!("{}-{}-{day}.session", instance.platform, instance.id);
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, file).into_response())
}

/// `POST /api/instances/{instanceId}/session/import`, the file as body: the instance connects with the session in it.
pub(crate) async fn import_session(
    State(app): State<AppState>,
    owned: Owned,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Reject> {
    let Owned { instance, .. } = owned.with(Scope::InstancesManage)?;
    let given = headers.get(PASSPHRASE).map(|value| std::str::from_utf8(value.as_bytes()).unwrap_or_default());
    let passphrase = moving::passphrase(PASSPHRASE, given)?;
    let file = body::read(request.into_body(), moving::max_file(&app.config)).await?;
    if file.is_empty() {
        return Err(Error::invalid("file", "file is required: the body is the session file").into());
    }
    Ok(match moving::import(&app, &instance, file, passphrase).await? {
        Answer::Done(answer) => axum::Json(answer).into_response(),
        Answer::Later(job) => later(&job),
    })
}

fn later(job: &JobId) -> Response {
    (StatusCode::ACCEPTED, axum::Json(json!({ "jobId": job }))).into_response()
}
