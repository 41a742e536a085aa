//! API Gateway's WebSocket API on this machine: clients on one side, events for a function and `@connections` on the other.
//!
//! With what AWS documents of it: a connection exists once `$connect` has been answered well, and whoever posts to it before or
//! after gets 410; frames of one client are handed over side by side, in no order; 128 kB a message, 32 kB a frame of a client;
//! a client that does not take what waits for it makes posts fail with 429; whoever closes, the code is 1000.

use axum::Router;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Bytes of a message at the most, both ways.
const MOST: usize = 128 * 1024;
/// Bytes of a client's frame at the most.
const MOST_FRAME: usize = 32 * 1024;
/// Frames that wait for a client, before posts are refused.
const BUFFER: usize = 64;

/// Hands an event to a function; its answer, or why there is none.
pub type Invoke = Arc<dyn Fn(&'static str, Value) -> BoxFuture<'static, Result<Value, String>> + Send + Sync + 'static>;

/// All connections of one stage.
pub struct Sockets {
    invoke: Invoke,
    /// How long a connection lasts on which nothing happens.
    idle: Duration,
    next: AtomicU64,
    open: Mutex<HashMap<String, mpsc::Sender<Out>>>,
}

enum Out {
    Text(String),
    /// With this code.
    Close(u16),
}

impl Sockets {
    /// A stage without connections.
    #[must_use]
    pub fn new(invoke: Invoke) -> Arc<Sockets> {
        Sockets::with_idle(invoke, Duration::from_secs(600))
    }

    /// The same with a time-out of its own.
    #[must_use]
    pub fn with_idle(invoke: Invoke, idle: Duration) -> Arc<Sockets> {
        Arc::new(Sockets { invoke, idle, next: AtomicU64::new(1), open: Mutex::default() })
    }

    /// `/ws` for clients, `/ws/@connections/{id}` for functions.
    pub fn routes(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/ws", get(connect))
            .route("/ws/@connections/{id}", post(posted).delete(deleted).get(asked))
            .layer(axum::extract::DefaultBodyLimit::max(1 << 20))
            .with_state(Arc::clone(self))
    }

    /// How many clients are connected.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open().len()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Out>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self, id: &str) -> Option<mpsc::Sender<Out>> {
        self.open().get(id).cloned()
    }

    async fn invoke(&self, event: Value) -> Result<Value, String> {
        (self.invoke)("realtime", event).await
    }

    /// One client, until it is gone.
    async fn serve(self: Arc<Self>, socket: WebSocket, id: String, mut waiting: mpsc::Receiver<Out>) {
        let (mut sink, mut stream) = socket.split();
        let alive = Arc::new(tokio::sync::Notify::new());
        let touch = Arc::clone(&alive);
        let writing = async move {
            let mut code = 1000;
            while let Some(out) = waiting.recv().await {
                match out {
                    Out::Text(text) => {
                        touch.notify_one();
                        if sink.send(Message::Text(text.into())).await.is_err() {
                            return;
                        }
                    }
                    Out::Close(why) => {
                        code = why;
                        break;
                    }
                }
            }
            drop(sink.send(Message::Close(Some(CloseFrame { code, reason: "".into() }))).await);
        };
        let reading = async {
            loop {
                let message = tokio::select! {
                    message = stream.next() => message,
                    () = alive.notified() => continue,
                    () = tokio::time::sleep(self.idle) => return 1001,
                };
                let (text, binary) = match message {
                    Some(Ok(Message::Text(text))) => (text.to_string(), false),
                    Some(Ok(Message::Binary(bytes))) => (STANDARD.encode(bytes), true),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(frame))) => return frame.map_or(1005, |frame| frame.code),
                    Some(Err(_)) => return 1009,
                    None => return 1006,
                };
                let mut event = event("MESSAGE", "$default", &id);
                event["body"] = text.into();
                event["isBase64Encoded"] = binary.into();
                let all = Arc::clone(&self);
                let id = id.clone();
                tokio::spawn(async move {
                    if all.invoke(event).await.is_err()
                        && let Some(client) = all.client(&id)
                    {
                        let sorry =
                            json!({"message": "Internal server error", "connectionId": id, "requestId": "suite"});
                        drop(client.try_send(Out::Text(sorry.to_string())));
                    }
                });
            }
        };
        let mut writing = std::pin::pin!(writing);
        let code = tokio::select! {
            code = reading => code,
            () = &mut writing => 1000,
        };
        let client = self.open().remove(&id);
        if let (1001 | 1009, Some(client)) = (code, client) {
            // Ours to say, if the client takes it.
            let goodbye = async { tokio::join!(client.send(Out::Close(code)), writing) };
            drop(tokio::time::timeout(Duration::from_secs(2), goodbye).await);
        }
        let mut event = event("DISCONNECT", "$disconnect", &id);
        event["requestContext"]["disconnectStatusCode"] = code.into();
        event["requestContext"]["disconnectReason"] = "".into();
        // Best effort, as there.
        drop(self.invoke(event).await);
    }
}

fn event(kind: &str, route: &str, id: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let now = u64::try_from(now).unwrap_or(0);
    json!({
        "requestContext": {
            "routeKey": route,
            "eventType": kind,
            "extendedRequestId": "suite",
            "requestTime": "01/Jan/2026:00:00:00 +0000",
            "messageDirection": "IN",
            "stage": "ws",
            "connectedAt": now,
            "requestTimeEpoch": now,
            "identity": { "sourceIp": "127.0.0.1" },
            "requestId": "suite",
            "domainName": "suite.execute-api.eu-west-1.amazonaws.com",
            "connectionId": id,
            "apiId": "suite",
        },
        "isBase64Encoded": false,
    })
}

async fn connect(
    State(all): State<Arc<Sockets>>,
    headers: HeaderMap,
    uri: Uri,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else { return StatusCode::UPGRADE_REQUIRED.into_response() };
    // In the shape of theirs: sixteen characters that end with `=`.
    let id = format!("{:015x}=", all.next.fetch_add(1, Ordering::Relaxed));
    let mut event = event("CONNECT", "$connect", &id);
    let plain: Map<String, Value> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    event["multiValueHeaders"] = plain.iter().map(|(name, value)| (name.clone(), json!([value]))).collect();
    event["headers"] = plain.into();
    let query: Map<String, Value> = reqwest::Url::parse(&format!("http://suite{uri}"))
        .map(|url| url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect())
        .unwrap_or_default();
    if !query.is_empty() {
        event["multiValueQueryStringParameters"] =
            query.iter().map(|(name, value)| (name.clone(), json!([value]))).collect();
        event["queryStringParameters"] = query.into();
    }
    let status = match all.invoke(event).await {
        Ok(answer) => answer["statusCode"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500),
        Err(_) => 500,
    };
    if !(200..300).contains(&status) {
        return StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY).into_response();
    }
    upgrade.max_message_size(MOST).max_frame_size(MOST_FRAME).on_upgrade(async move |socket| {
        let (sender, waiting) = mpsc::channel(BUFFER);
        all.open().insert(id.clone(), sender);
        all.serve(socket, id, waiting).await;
    })
}

fn refused(status: StatusCode, kind: &'static str) -> Response {
    (status, [("x-amzn-errortype", kind)], axum::Json(json!({ "message": kind }))).into_response()
}

async fn posted(State(all): State<Arc<Sockets>>, Path(id): Path<String>, body: Bytes) -> Response {
    let Some(client) = all.client(&id) else { return refused(StatusCode::GONE, "GoneException") };
    if body.len() > MOST {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "PayloadTooLargeException");
    }
    match client.try_send(Out::Text(String::from_utf8_lossy(&body).into_owned())) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(mpsc::error::TrySendError::Full(_)) => refused(StatusCode::TOO_MANY_REQUESTS, "LimitExceededException"),
        Err(mpsc::error::TrySendError::Closed(_)) => refused(StatusCode::GONE, "GoneException"),
    }
}

async fn deleted(State(all): State<Arc<Sockets>>, Path(id): Path<String>) -> Response {
    // From here on it is gone; what waits for the client goes out before the close, if the client takes it.
    let Some(client) = all.open().remove(&id) else { return refused(StatusCode::GONE, "GoneException") };
    tokio::spawn(async move { tokio::time::timeout(Duration::from_secs(2), client.send(Out::Close(1000))).await });
    StatusCode::NO_CONTENT.into_response()
}

async fn asked(State(all): State<Arc<Sockets>>, Path(id): Path<String>) -> Response {
    match all.client(&id) {
        Some(_) => axum::Json(json!({ "identity": { "sourceIp": "127.0.0.1" } })).into_response(),
        None => refused(StatusCode::GONE, "GoneException"),
    }
}
