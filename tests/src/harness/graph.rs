//! A Graph API of our own: the part of it that WhatsApp's Cloud API is, on loopback, in a thread of its own. It keeps numbers, media
//! and messages, refuses what the platform refuses, misbehaves as told, and makes the callbacks that the platform would send.
//! `cloud::foreign` lets clients of other people use it, so that what it does is not only our idea of the platform.

use super::client::{Answer, Client, Credential};
use super::tenant::fresh_phone;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Multipart, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes of an upload at the most, as for documents.
const LARGEST: usize = 100 * 1024 * 1024;

/// One number of a business account.
#[derive(Clone, Debug)]
pub struct Number {
    /// What paths name it by.
    pub id: String,
    /// The number itself, digits only.
    pub phone: String,
    /// What requests carry.
    pub token: String,
    /// What callbacks are signed with.
    pub app_secret: String,
    /// What the receiver of callbacks shows it knows.
    pub verify_token: String,
}

impl Number {
    /// As an instance's `credentials`.
    #[must_use]
    pub fn credentials(&self) -> Value {
        json!({"accessToken": self.token, "phoneNumberId": self.id, "appSecret": self.app_secret,
               "verifyToken": self.verify_token})
    }

    /// `sha256=…` of a body.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn signature(&self, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.app_secret.as_bytes()).expect("a key of any length");
        mac.update(body);
        format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
    }

    /// A whole callback with these contacts, messages, statuses.
    #[must_use]
    pub fn callback(&self, value: &Value) -> Value {
        let mut whole = json!({
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": self.phone, "phone_number_id": self.id},
        });
        super::instance::merge(&mut whole, value);
        json!({"object": "whatsapp_business_account",
               "entry": [{"id": "102290129340398", "changes": [{"value": whole, "field": "messages"}]}]})
    }

    /// The callback of a message: `content` holds what is under its type.
    #[must_use]
    pub fn message(&self, from: &Sender, id: &str, kind: &str, content: &Value) -> Value {
        let message = json!({"from": from.phone, "from_user_id": from.user_id(), "id": id, "timestamp": from.at.to_string(), "type": kind, kind: content});
        self.callback(&json!({"contacts": [from.contact()], "messages": [message]}))
    }

    /// The callback of a status of a message that was sent.
    #[must_use]
    pub fn status(&self, sent: &Sent, status: &str, more: &Value) -> Value {
        let mut body =
            json!({"id": sent.id, "status": status, "timestamp": (sent.at + 1).to_string(), "recipient_id": sent.to});
        if let Some(ours) = sent.body.get("biz_opaque_callback_data") {
            body["biz_opaque_callback_data"] = ours.clone();
        }
        body["recipient_user_id"] = json!(user_id(&sent.to));
        super::instance::merge(&mut body, more);
        let contact = json!({"wa_id": sent.to, "user_id": user_id(&sent.to)});
        self.callback(&json!({"contacts": [contact], "statuses": [body]}))
    }

    /// Posts a callback as the platform does.
    pub async fn post(&self, server: &Client, instance: &str, callback: &Value) -> Answer {
        let body = serde_json::to_vec(callback).expect("JSON");
        let signature = self.signature(&body);
        self.post_raw(server, instance, body, Some(&signature)).await
    }

    /// Posts any body with any signature.
    pub async fn post_raw(&self, server: &Client, instance: &str, body: Vec<u8>, signature: Option<&str>) -> Answer {
        let server = server.with(Credential::None);
        let mut request = server.request(http::Method::POST, &format!("/inbound/whatsapp/{instance}"));
        request = request.header("content-type", "application/json").body(body);
        if let Some(signature) = signature {
            request = request.header("x-hub-signature-256", signature);
        }
        server.send(request).await
    }
}

/// Somebody who writes to a number.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Digits only.
    pub phone: String,
    /// The profile's name.
    pub name: String,
    /// Seconds since 1970 of what is written.
    pub at: i64,
}

impl Sender {
    /// Somebody whom nobody has met in this run, writing now.
    #[must_use]
    pub fn new(name: &str) -> Sender {
        Sender { phone: fresh_phone(), name: name.to_owned(), at: chrono::Utc::now().timestamp() }
    }

    /// The id under which the business knows him, whether it sees the number or not.
    #[must_use]
    pub fn user_id(&self) -> String {
        user_id(&self.phone)
    }

    /// As callbacks describe him.
    #[must_use]
    pub fn contact(&self) -> Value {
        json!({"profile": {"name": self.name}, "wa_id": self.phone, "user_id": self.user_id()})
    }
}

fn user_id(phone: &str) -> String {
    format!("US.{phone}77")
}

/// A message that was taken.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The platform's id.
    pub id: String,
    /// Digits, or the id of somebody whose number is hidden.
    pub to: String,
    /// What was posted.
    pub body: Value,
    /// Seconds since 1970.
    pub at: i64,
}

/// What the next request for a message meets.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, with an error of the API with this code.
    Error(u16, i64),
    /// The same, with more in `error`.
    ErrorWith(u16, i64, Value),
    /// This status, and a page of HTML.
    Page(u16),
    /// The message is taken, and the answer lost.
    Lost,
    /// The message is taken, and the answer never comes.
    Held,
}

#[derive(Clone, Debug)]
struct Media {
    mime: String,
    content: Bytes,
    name: String,
}

#[derive(Default)]
struct Kept {
    numbers: HashMap<String, Number>,
    media: HashMap<String, Media>,
    sent: Vec<(String, Sent)>,
    read: Vec<(String, Value)>,
    /// By number: one after the other.
    faults: HashMap<String, VecDeque<Fault>>,
    /// Errors of every request of a number, until told otherwise.
    down: HashMap<String, (u16, i64)>,
    /// How often a number was asked anything.
    asked: HashMap<String, usize>,
}

type Shared = Arc<(Mutex<Kept>, SocketAddr)>;

/// The fake. It ends with the test process.
pub struct Graph(Shared);

impl Graph {
    /// Listens on a free loopback port, in a thread of its own.
    ///
    /// # Panics
    /// When no port or thread can be had.
    #[must_use]
    pub fn start() -> Graph {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new((Mutex::new(Kept::default()), address));
        let state = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                drop(axum::serve(listener, router(state)).await);
            });
        });
        Graph(shared)
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.0.1)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new number with a token of its own.
    #[must_use]
    pub fn number(&self) -> Number {
        let serial = serial();
        let number = Number {
            id: format!("10654{serial:010}"),
            phone: format!("1555{serial:07}"),
            token: format!("EAAJB{serial}ZD"),
            app_secret: format!("app-secret-{serial}"),
            verify_token: format!("verify-{serial}"),
        };
        self.kept().numbers.insert(number.id.clone(), number.clone());
        number
    }

    /// From now on the number has this token, and no other.
    pub fn change_token(&self, number: &Number, token: &str) {
        if let Some(known) = self.kept().numbers.get_mut(&number.id) {
            known.token = token.to_owned();
        }
    }

    /// The next messages of the number meet these, one after the other.
    pub fn script(&self, number: &Number, faults: impl IntoIterator<Item = Fault>) {
        self.kept().faults.insert(number.id.clone(), faults.into_iter().collect());
    }

    /// Every request of the number is answered with this status and error code; `None`: no more.
    pub fn break_down(&self, number: &Number, error: Option<(u16, i64)>) {
        let mut kept = self.kept();
        match error {
            Some(error) => kept.down.insert(number.id.clone(), error),
            None => kept.down.remove(&number.id),
        };
    }

    /// Media that somebody else has put there; its id, and what a callback says of it.
    #[must_use]
    pub fn media(&self, mime: &str, content: &[u8]) -> Value {
        let (id, sha256) = (self.keep(mime, Bytes::copy_from_slice(content), "file"), Sha256::digest(content));
        use base64::Engine as _;
        json!({"id": id, "mime_type": mime, "sha256": base64::engine::general_purpose::STANDARD.encode(sha256)})
    }

    fn keep(&self, mime: &str, content: Bytes, name: &str) -> String {
        keep(&self.0, Media { mime: mime.to_owned(), content, name: name.to_owned() })
    }

    /// The content of media, by its id.
    #[must_use]
    pub fn content(&self, id: &str) -> Option<Bytes> {
        self.kept().media.get(id).map(|media| media.content.clone())
    }

    /// Media is no longer there.
    pub fn forget(&self, id: &str) {
        self.kept().media.remove(id);
    }

    /// Uploads that it holds.
    #[must_use]
    pub fn uploads(&self) -> usize {
        self.kept().media.len()
    }

    /// What was taken from a number, oldest first.
    #[must_use]
    pub fn sent(&self, number: &Number) -> Vec<Sent> {
        self.kept().sent.iter().filter(|(id, _)| *id == number.id).map(|(_, sent)| sent.clone()).collect()
    }

    /// What a number has marked as read.
    #[must_use]
    pub fn read(&self, number: &Number) -> Vec<Value> {
        self.kept().read.iter().filter(|(id, _)| *id == number.id).map(|(_, body)| body.clone()).collect()
    }

    /// How often a number was asked anything.
    #[must_use]
    pub fn asked(&self, number: &Number) -> usize {
        self.kept().asked.get(&number.id).copied().unwrap_or_default()
    }
}

fn serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn router(state: Shared) -> Router {
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
    super::instance::merge(&mut error, more);
    let status = StatusCode::from_u16(status).expect("a status");
    (status, Json(json!({"error": error}))).into_response()
}

fn lock(state: &Shared) -> MutexGuard<'_, Kept> {
    state.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(state: &Shared, media: Media) -> String {
    let id = format!("94{:013}", serial());
    lock(state).media.insert(id.clone(), media);
    id
}

fn token(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// The number, if the request may use it.
#[expect(clippy::result_large_err, reason = "one a request, and answered at once")]
fn allowed(state: &Shared, headers: &HeaderMap, id: &str) -> Result<Number, Response> {
    let bad = || error(401, 190, "Invalid OAuth access token - Cannot parse access token", &Value::Null);
    let token = token(headers).ok_or_else(bad)?;
    let mut kept = lock(state);
    if !kept.numbers.values().any(|number| number.token == token) {
        return Err(bad());
    }
    *kept.asked.entry(id.to_owned()).or_default() += 1;
    let number = kept.numbers.get(id).filter(|number| number.token == token).cloned();
    let unknown = json!({"error_subcode": 33, "type": "GraphMethodException"});
    let number = number.ok_or_else(|| error(400, 100, "Unsupported request. Object does not exist", &unknown))?;
    match kept.down.get(id) {
        Some((status, code)) => Err(error(*status, *code, "As told", &Value::Null)),
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
            Err(refused) => refused,
        };
    };
    if !lock(&state).numbers.values().any(|number| Some(number.token.as_str()) == token(&headers)) {
        return error(401, 190, "Invalid OAuth access token", &Value::Null);
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
    if !kept.numbers.values().any(|number| Some(number.token.as_str()) == token(&headers)) {
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
        Err(refused) => refused,
    }
}

async fn upload(
    State(state): State<Shared>,
    Path((_, id)): Path<(String, String)>,
    headers: HeaderMap,
    mut form: Multipart,
) -> Response {
    if let Err(refused) = allowed(&state, &headers, &id) {
        return refused;
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
        return refused;
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
