//! The routes: what they take, refuse and answer.

use super::{Fault, Kept, Media, Number, Sent, Shared, lock, serial};
use crate::harness::instance::merge;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Multipart, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::time::Duration;

/// Bytes of an upload at the most, as for documents.
const LARGEST: usize = 100 * 1024 * 1024;

pub(super) fn router(state: Shared) -> Router {
    Router::new()
        .route("/{version}/{id}", get(object).delete(delete_media))
        .route("/{version}/{id}/whatsapp_business_profile", get(profile))
        .route("/{version}/{id}/messages", post(messages))
        .route("/{version}/{id}/media", post(upload).layer(DefaultBodyLimit::max(LARGEST)))
        .route("/content/{id}/{name}", get(content))
        .with_state(state)
}

fn error(status: u16, code: i64, message: &str, more: &Value) -> Response {
    let mut error = json!({"message": format!("(#{code}) {message}"), "type": "OAuthException", "code": code,
                           "error_data": {"messaging_product": "whatsapp", "details": message}, "fbtrace_id": "AbCdEf"});
    merge(&mut error, more);
    let status = StatusCode::from_u16(status).expect("a status");
    (status, Json(json!({"error": error}))).into_response()
}

pub(super) fn keep(state: &Shared, media: Media) -> String {
    let id = format!("94{:013}", serial());
    lock(state).media.insert(id.clone(), media);
    id
}

fn token(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// The token of a request, if some number has it.
fn authorized<'a>(kept: &Kept, headers: &'a HeaderMap) -> Result<&'a str, Box<Response>> {
    let known = token(headers).filter(|token| kept.numbers.values().any(|number| number.token == *token));
    let bad = || Box::new(error(401, 190, "Invalid OAuth access token - Cannot parse access token", &Value::Null));
    known.ok_or_else(bad)
}

/// The number, if the request may use it.
fn allowed(state: &Shared, headers: &HeaderMap, id: &str) -> Result<Number, Box<Response>> {
    let mut kept = lock(state);
    let token = authorized(&kept, headers)?;
    *kept.asked.entry(id.to_owned()).or_default() += 1;
    let number = kept.numbers.get(id).filter(|number| number.token == token).cloned();
    let unknown = json!({"error_subcode": 33, "type": "GraphMethodException"});
    let number =
        number.ok_or_else(|| Box::new(error(400, 100, "Unsupported request. Object does not exist", &unknown)))?;
    match kept.down.get(id) {
        Some((status, code)) => Err(Box::new(error(*status, *code, "As told", &Value::Null))),
        None => Ok(number),
    }
}

/// `GET /{version}/{id}`: a number, or media.
async fn object(State(state): State<Shared>, Path((_, id)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let media = lock(&state).media.get(&id).cloned();
    let Some(media) = media else {
        return match allowed(&state, &headers, &id) {
            Ok(number) => Json(json!({
                "id": number.id, "display_phone_number": format!("+{}", number.phone), "verified_name": "The Suite",
                "quality_rating": "GREEN",
            }))
            .into_response(),
            Err(refused) => *refused,
        };
    };
    if let Err(refused) = authorized(&lock(&state), &headers) {
        return *refused;
    }
    Json(json!({
        "messaging_product": "whatsapp", "id": id, "mime_type": media.mime, "file_size": media.content.len(),
        "url": format!("http://{}/content/{id}/{}", state.1, media.name),
        "sha256": hex::encode(Sha256::digest(&media.content)),
    }))
    .into_response()
}

async fn delete_media(State(state): State<Shared>, Path((_, id)): Path<(String, String)>) -> Response {
    let gone = lock(&state).media.remove(&id).is_some();
    if gone { Json(json!({"success": true})).into_response() } else { error(400, 100, "No such media", &Value::Null) }
}

async fn content(State(state): State<Shared>, Path((id, _)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let kept = lock(&state);
    if authorized(&kept, &headers).is_err() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match kept.media.get(&id) {
        Some(media) => ([(header::CONTENT_TYPE, media.mime.clone())], media.content.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn profile(State(state): State<Shared>, Path((_, id)): Path<(String, String)>, headers: HeaderMap) -> Response {
    match allowed(&state, &headers, &id) {
        Ok(_) => Json(json!({"data": [{"messaging_product": "whatsapp", "about": "We test.",
                                       "profile_picture_url": "https://pps.example.com/suite.jpg"}]}))
        .into_response(),
        Err(refused) => *refused,
    }
}

async fn upload(
    State(state): State<Shared>,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
    mut form: Multipart,
) -> Response {
    if let Err(refused) = allowed(&state, &headers, &id) {
        return *refused;
    }
    let (mut product, mut file) = (String::new(), None);
    while let Ok(Some(field)) = form.next_field().await {
        match field.name() {
            Some("messaging_product") => product = field.text().await.unwrap_or_default(),
            Some("file") => {
                let name = field.file_name().unwrap_or("file").to_owned();
                let mime = field.content_type().unwrap_or("application/octet-stream").to_owned();
                let Ok(content) = field.bytes().await else { return error(400, 100, "cut off", &Value::Null) };
                file = Some(Media { mime, content, name });
            }
            _ => {}
        }
    }
    let Some(file) = file.filter(|_| product == "whatsapp") else {
        return error(400, 100, "The parameter messaging_product and file are required.", &Value::Null);
    };
    if !TYPES.contains(&file.mime.as_str()) {
        let text = format!(
            "Param file must be a file with one of the following types: {}. Received file of type {}",
            TYPES.join(", "),
            file.mime
        );
        return error(400, 100, &text, &Value::Null);
    }
    Json(json!({"id": keep(&state, file)})).into_response()
}

/// What may be uploaded, in part.
const TYPES: &[&str] = &[
    "audio/aac",
    "audio/mp4",
    "audio/mpeg",
    "audio/amr",
    "audio/ogg",
    "application/pdf",
    "text/plain",
    "image/jpeg",
    "image/png",
    "image/webp",
    "video/mp4",
    "video/3gp",
];

async fn messages(
    State(state): State<Shared>,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err(refused) = allowed(&state, &headers, &id) {
        return *refused;
    }
    let Ok(body) = serde_json::from_slice::<Value>(&body) else {
        return error(400, 100, "The request is not JSON", &Value::Null);
    };
    if body["messaging_product"] != "whatsapp" {
        return error(400, 100, "The parameter messaging_product is required.", &Value::Null);
    }
    if body["status"] == "read" {
        if !body["message_id"].as_str().is_some_and(|id| id.starts_with("wamid.")) {
            return error(400, 100, "Invalid parameter: message_id", &Value::Null);
        }
        lock(&state).read.push((id, body));
        return Json(json!({"success": true})).into_response();
    }
    let fault = lock(&state).faults.get_mut(&id).and_then(VecDeque::pop_front);
    match &fault {
        Some(Fault::Error(status, code)) => return error(*status, *code, "As told", &Value::Null),
        Some(Fault::ErrorWith(status, code, more)) => return error(*status, *code, "As told", more),
        Some(Fault::Page(status)) => {
            return (StatusCode::from_u16(*status).expect("a status"), "<html>As told</html>").into_response();
        }
        Some(Fault::Lost | Fault::Held) | None => {}
    }
    if let Err((code, text)) = acceptable(&state, &body) {
        return error(400, code, &text, &Value::Null);
    }
    let to = ["to", "recipient"].iter().find_map(|name| body[*name].as_str()).unwrap_or_default();
    let to = to.trim_start_matches('+').to_owned();
    let sent = Sent {
        id: format!("wamid.HBgL{:012}VAgARGBI", serial()),
        to: to.clone(),
        body: body.clone(),
        at: chrono::Utc::now().timestamp(),
    };
    let answer = json!({"messaging_product": "whatsapp", "contacts": [{"input": to, "wa_id": to}], "messages": [{"id": sent.id}]});
    lock(&state).sent.push((id, sent));
    match fault {
        Some(Fault::Lost) => {
            let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("as told"))]);
            Response::new(Body::from_stream(broken))
        }
        Some(Fault::Held) => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        _ => Json(answer).into_response(),
    }
}

/// Whether a message is one.
fn acceptable(state: &Shared, body: &Value) -> Result<(), (i64, String)> {
    let wrong = |what: &str| Err((100, format!("Invalid parameter: {what}")));
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    if !text(&body["to"]) && !text(&body["recipient"]) {
        return Err((131_008, "Required parameter is missing: to".to_owned()));
    }
    if body.get("context").is_some_and(|context| !text(&context["message_id"])) {
        return wrong("context");
    }
    if body.get("biz_opaque_callback_data").is_some_and(|data| data.as_str().is_none_or(|data| data.len() > 512)) {
        return wrong("biz_opaque_callback_data");
    }
    let kind = body["type"].as_str().unwrap_or("text");
    let object = &body[kind];
    let good = match kind {
        "text" => object["body"].as_str().is_some_and(|text| (1..=4096).contains(&text.chars().count())),
        "image" | "video" | "audio" | "document" | "sticker" => {
            if let Some(id) = object["id"].as_str().filter(|id| !lock(state).media.contains_key(*id)) {
                return Err((131_053, format!("Media {id} is not there")));
            }
            let captioned = matches!(kind, "image" | "video" | "document");
            (text(&object["id"]) || text(&object["link"])) && (captioned || object.get("caption").is_none())
        }
        "location" => number(&object["latitude"]).is_some() && number(&object["longitude"]).is_some(),
        "contacts" => object.as_array().is_some_and(|cards| {
            let named = |card: &Value| {
                text(&card["name"]["formatted_name"]) && card["name"].as_object().is_some_and(|name| name.len() > 1)
            };
            !cards.is_empty() && cards.iter().all(named)
        }),
        "reaction" => text(&object["message_id"]) && object["emoji"].is_string(),
        "template" => text(&object["name"]) && text(&object["language"]["code"]),
        "interactive" => text(&object["type"]),
        _ => false,
    };
    if good { Ok(()) } else { wrong(kind) }
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}
