//! A client of `/ws`: frames of seed 004 over a WebSocket that is not the server's own.

use super::wait::soon;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// Bytes of a frame at the most, as API Gateway takes them; larger messages go in several.
const MOST_FRAME: usize = 32 * 1024;

/// One connection. Dropping it breaks it off without a goodbye.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What a `closing` frame gave as the code: API Gateway closes with 1000 whatever the reason.
    closing: Option<u16>,
}

/// Something that came.
#[derive(Clone, Debug, PartialEq)]
pub enum Came {
    /// A frame `{type, data}`.
    Frame(Value),
    /// The server closed, with this code; 1006 for a connection that broke off.
    Close(u16),
}

impl Socket {
    /// Connects to `/ws` of the server at `base`, with a query (`""` for none) and headers.
    ///
    /// # Errors
    /// The status of a refused upgrade.
    ///
    /// # Panics
    /// When there is no answer at all.
    pub async fn try_open(base: &str, query: &str, headers: &[(&'static str, String)]) -> Result<Socket, u16> {
        let url = format!("{}/ws{query}", base.replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("a WebSocket address");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        // Small ones: some tests have thousands.
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(4096);
        match connect_async_with_config(request, Some(config), true).await {
            Ok((stream, _)) => Ok(Socket { stream, closing: None }),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("no upgrade: {error}"),
        }
    }

    /// Connects with a query, which must succeed.
    ///
    /// # Panics
    /// When the upgrade is refused.
    pub async fn open(base: &str, query: &str) -> Socket {
        Socket::try_open(base, query, &[]).await.expect("an upgrade")
    }

    /// Connects, shows the token in a frame with what was seen so far, and waits until it was accepted.
    ///
    /// # Panics
    /// When it is not.
    pub async fn auth(base: &str, token: &str, after: Option<&Value>) -> Socket {
        let mut socket = Socket::open(base, "").await;
        let mut data = json!({"token": token});
        if let Some(after) = after {
            data["after"] = after.clone();
        }
        socket.send("auth", &data).await;
        socket.wait("auth_success").await;
        socket
    }

    /// Sends a frame.
    pub async fn send(&mut self, kind: &str, data: &Value) {
        self.text(&json!({"type": kind, "data": data}).to_string()).await;
    }

    /// Sends any text.
    ///
    /// # Panics
    /// When the connection is broken.
    pub async fn text(&mut self, text: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        if bytes.len() <= MOST_FRAME {
            return self.raw(Message::Text(text.into())).await.expect("the server listens");
        }
        for start in (0..bytes.len()).step_by(MOST_FRAME) {
            let end = bytes.len().min(start + MOST_FRAME);
            let kind = OpCode::Data(if start == 0 { Data::Text } else { Data::Continue });
            let frame = Frame::message(bytes.slice(start..end), kind, end == bytes.len());
            self.raw(Message::Frame(frame)).await.expect("the server listens");
        }
    }

    /// Sends a frame of WebSocket's own.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn raw(&mut self, message: Message) -> Result<(), Error> {
        self.stream.send(message).await
    }

    /// Sends a text message; the frame's `data` can be added to.
    pub async fn say(&mut self, id: &str, to: &str, kind: &str, content: &str) {
        self.send("message", &json!({"id": id, "toId": to, "chatType": kind, "content": content})).await;
    }

    /// Sends a text message and waits for its `ack`: the sequence number.
    pub async fn said(&mut self, id: &str, to: &str, kind: &str, content: &str) -> Value {
        self.say(id, to, kind, content).await;
        loop {
            let ack = self.wait("ack").await;
            if ack["id"] == id {
                return ack;
            }
        }
    }

    /// What comes next, within a time.
    ///
    /// # Panics
    /// When a frame is not JSON.
    pub async fn next_within(&mut self, span: Duration) -> Option<Came> {
        let start = Instant::now();
        loop {
            let left = span.saturating_sub(start.elapsed());
            match tokio::time::timeout(left, self.stream.next()).await {
                Err(_) => return None,
                Ok(None | Some(Err(_))) => return Some(Came::Close(1006)),
                Ok(Some(Ok(Message::Text(text)))) => {
                    let frame: Value = serde_json::from_str(&text).expect("frames are JSON");
                    if frame["type"] == "closing" {
                        self.closing = frame["data"]["code"].as_u64().and_then(|code| u16::try_from(code).ok());
                        continue;
                    }
                    return Some(Came::Frame(frame));
                }
                Ok(Some(Ok(Message::Close(frame)))) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    return Some(Came::Close(self.closing.filter(|_| code == 1000).unwrap_or(code)));
                }
                Ok(Some(Ok(_))) => {}
            }
        }
    }

    /// What comes next.
    ///
    /// # Panics
    /// When nothing does.
    pub async fn next(&mut self) -> Came {
        self.next_within(soon()).await.expect("nothing came")
    }

    /// The `data` of the next frame of this type; others before it are passed over.
    ///
    /// # Panics
    /// When the connection ends, or the frame does not come.
    pub async fn wait(&mut self, kind: &str) -> Value {
        let start = Instant::now();
        loop {
            match self.next_within(soon().saturating_sub(start.elapsed())).await {
                Some(Came::Frame(frame)) if frame["type"] == kind => return frame["data"].clone(),
                Some(Came::Frame(_)) => {}
                other => panic!("no {kind}: {other:?}"),
            }
        }
    }

    /// The code that the server closes with; frames before it are passed over.
    ///
    /// # Panics
    /// When it does not close.
    pub async fn closed(&mut self) -> u16 {
        let start = Instant::now();
        loop {
            match self.next_within(soon().saturating_sub(start.elapsed())).await {
                Some(Came::Close(code)) => return code,
                Some(Came::Frame(_)) => {}
                None => panic!("the connection stays open"),
            }
        }
    }

    /// Everything that comes until nothing has come for `quiet`.
    pub async fn drain(&mut self, quiet: Duration) -> Vec<Value> {
        let mut frames = Vec::new();
        while let Some(Came::Frame(frame)) = self.next_within(quiet).await {
            frames.push(frame);
        }
        frames
    }

    /// Says goodbye and waits for the answer.
    pub async fn close(mut self) {
        // The server may have been faster.
        drop(self.stream.close(None).await);
        while let Some(Ok(_)) = self.stream.next().await {}
    }
}
