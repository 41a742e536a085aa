//! QR codes and pairing codes.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Deserialize;
use serde_json::json;
use shared::{
    Error,
    app::AppState,
    connector::Request,
    domain::{access::Scope, compose, instance::Mode, job},
    edge::{Json, Owned, Reject, query::Params},
    qr,
};

#[derive(Debug, Clone, Copy)]
enum Format {
    Png,
    Svg,
    Json,
}

/// `GET /api/instances/{instanceId}/qr`: the string, or a picture of it; 202 while there is none yet, 409 when there is
/// nothing to scan any more.
pub(crate) async fn get_qr(headers: HeaderMap, params: Params, owned: Owned) -> Result<Response, Reject> {
    let Owned { instance, .. } = owned.with(Scope::InstancesManage)?;
    if instance.ready() {
        return Err(Error::conflict("ALREADY_CONNECTED", "The instance is already connected").into());
    }
    if instance.mode == Mode::Live && !instance.capability()?.qr_pairing {
        return Err(Error::invalid("instanceId", "This account is not paired by a QR code")
            .code("NOT_SUPPORTED")
            .into());
    }
    if instance.qr.is_none() && !instance.will_show_code() {
        let text = "No QR code is being made: reconnect the instance to start pairing";
        return Err(Error::conflict("NOT_PAIRING", text).into());
    }
    let Some(code) = instance.qr.map(|qr| qr.code) else {
        let body = json!({
            "message": "QR code generation in progress. Please try again in a few seconds.",
            "status": "generating",
        });
        return Ok((StatusCode::ACCEPTED, [(header::RETRY_AFTER, "1")], axum::Json(body)).into_response());
    };
    let accepts = |kind: &str| {
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|text| text.contains(kind))
    };
    let accepted = match () {
        () if accepts("image/png") => Format::Png,
        () if accepts("image/svg+xml") => Format::Svg,
        () => Format::Json,
    };
    let formats = [("png", Format::Png), ("svg", Format::Svg), ("json", Format::Json)];
    let format = params.one_of("format", &formats, accepted)?;
    let fresh = (header::CACHE_CONTROL, "no-store");
    Ok(match format {
        Format::Png => ([(header::CONTENT_TYPE, "image/png"), fresh], qr::png(&code)?).into_response(),
        Format::Svg => ([(header::CONTENT_TYPE, "image/svg+xml"), fresh], qr::svg(&code)?).into_response(),
        Format::Json => ([fresh], axum::Json(json!({ "qrCode": code }))).into_response(),
    })
}

#[derive(Debug, Deserialize)]
pub(crate) struct Phone {
    phone: String,
}

/// `POST /api/instances/{instanceId}/pairing-code {phone}` → `{code}`, or 202 with a job.
pub(crate) async fn create_pairing_code(
    State(app): State<AppState>,
    owned: Owned,
    Json(body): Json<Phone>,
) -> Result<Response, Reject> {
    let Owned { instance, .. } = owned.with(Scope::InstancesManage)?;
    if !instance.capability()?.pairing_code {
        return Err(Error::invalid("instanceId", "This platform has no pairing codes").code("NOT_SUPPORTED").into());
    }
    if instance.ready() {
        return Err(Error::conflict("ALREADY_CONNECTED", "The instance is already connected").into());
    }
    let phone = compose::recipient(&instance, "phone", &body.phone)?;
    let phone = phone.split('@').next().unwrap_or_default().to_owned();
    Ok(match job::ask(&app, &instance, "pairing_code", Request::PairingCode { phone }, job::WAIT).await? {
        job::Answer::Done(value) => axum::Json(value).into_response(),
        job::Answer::Later(id) => (StatusCode::ACCEPTED, axum::Json(json!({ "jobId": id }))).into_response(),
    })
}
