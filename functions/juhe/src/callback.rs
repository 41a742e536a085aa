//! `POST /callback`: stored first, then answered.

use axum::extract::{Request, State};
use serde_json::json;
use shared::{
    Error,
    app::AppState,
    crypto,
    domain::juhe::{
        Callback,
        device::{self, Found},
        intake,
    },
    edge::{BODY_LIMIT, OpenMode, Reject, body, query::Params},
};

/// `POST /callback` → 200 `{success, message}` once what it holds is durable.
pub(crate) async fn receive_callback(
    State(app): State<AppState>,
    OpenMode(open): OpenMode,
    params: Params,
    request: Request,
) -> Result<axum::Json<serde_json::Value>, Reject> {
    if let Some(token) = &app.config.juhe_callback_token {
        let shown = params.text("token").unwrap_or_default();
        if !crypto::same(crypto::sha256_hex(token.reveal()), crypto::sha256_hex(shown)) {
            return Err(Error::unauthenticated("Invalid token").into());
        }
    }
    let body = body::read(request.into_body(), BODY_LIMIT).await?;
    let callback = Callback::read(&body)?;
    let device = match device::find(&app, &callback.guid).await? {
        Found::Device(device) => *device,
        // Somebody else may be registering it at this moment.
        Found::Nobody | Found::Between if app.config.juhe_auto_register.unwrap_or(open) => {
            device::register(&app, &callback.guid).await?
        }
        Found::Nobody | Found::Between => return Err(device::unknown().into()),
    };
    intake::accept(&app, &device, callback).await?;
    Ok(axum::Json(json!({ "success": true, "message": "Callback processed" })))
}
