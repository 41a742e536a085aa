//! What an IM client needs to connect, and how the IM is doing.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use shared::{app::AppState, domain::access::Caller, edge::envelope};

use crate::Answer;

/// `GET …/config`: addresses that a client can reach; `""` where there is none.
pub(crate) async fn get_config(State(app): State<AppState>, caller: Caller) -> Answer {
    let addresses = app.im.addresses(&app);
    Ok(envelope::im_ok(json!({
        "uid": caller.id(),
        "wsUrl": addresses.ws_url,
        "tcpAddr": addresses.tcp_addr,
        "apiUrl": addresses.api_url,
        "managerUrl": addresses.manager_url,
    })))
}

/// `POST …/token`: what the caller's IM clients connect with.
pub(crate) async fn create_token(State(app): State<AppState>, caller: Caller) -> Answer {
    // It opens a socket in the user's name, so a key for a part of the account must not make one.
    caller.require_full()?;
    let token = app.im.token(&app, &caller.user).await?;
    Ok(envelope::im_ok(json!({ "uid": caller.id(), "token": token.reveal() })))
}

/// `GET …/health`: 200 healthy, 503 unhealthy. Without credentials.
pub(crate) async fn get_im_health(State(app): State<AppState>) -> Response {
    let timestamp = app.clock.now().iso();
    match app.im.health(&app).await {
        Ok(()) => envelope::im_ok(json!({ "status": "healthy", "timestamp": timestamp })).into_response(),
        Err(error) => {
            tracing::warn!(cause = ?error.source, "the IM is not healthy");
            let data = json!({ "status": "unhealthy", "timestamp": timestamp });
            let body = json!({ "success": false, "message": "The IM does not answer", "data": data });
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response()
        }
    }
}

/// `GET …/system/info`.
pub(crate) async fn get_system_info(State(app): State<AppState>, _: Caller) -> Answer {
    let info = app.im.info(&app).await?;
    Ok(envelope::im_ok(json!({
        "version": info.version,
        "uptime": info.uptime,
        "connections": info.connections,
    })))
}
