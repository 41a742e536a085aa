//! The socket: frames of WhatsApp Web in WebSocket messages.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use shared::connector::Emit;
use tokio::{
    sync::{Mutex, mpsc},
    task::AbortHandle,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::WebSocketConfig},
};
use url::Url;
use whatsapp_rust::transport::{DisconnectReason, Transport, TransportEvent, TransportFactory};

use super::{Road, Stream};
use crate::told::Told;

type Socket = WebSocketStream<Box<dyn Stream>>;

/// What the server checks that browsers send.
const ORIGIN: &str = "https://web.whatsapp.com";
/// A frame of the protocol has a length of three bytes.
const MAX_MESSAGE: usize = 17 << 20;
/// Frames that wait for the client.
const WAITING: usize = 64;

/// Opens sockets for one line.
pub(crate) struct Sockets {
    pub(crate) road: Road,
    pub(crate) url: Url,
    pub(crate) emit: Arc<dyn Emit>,
    /// Hears that there is no way.
    pub(crate) told: mpsc::UnboundedSender<Told>,
    /// The line was up: a socket that is asked for after that is a reconnect, which is the supervisor's to decide.
    pub(crate) was_up: Arc<AtomicBool>,
}

impl Sockets {
    async fn open(&self) -> Result<Socket> {
        let host = self.url.host_str().context("the URL has no host")?.trim_start_matches('[').trim_end_matches(']');
        let encrypted = self.url.scheme() == "wss";
        let port = self.url.port_or_known_default().context("the URL has no port")?;
        let stream = self.road.connect(host, port, encrypted).await?;
        let mut request = self.url.as_str().into_client_request()?;
        request.headers_mut().insert("origin", ::http::HeaderValue::from_static(ORIGIN));
        let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await?;
        Ok(socket)
    }
}

#[async_trait]
impl TransportFactory for Sockets {
    async fn create_transport(&self) -> Result<(Arc<dyn Transport>, async_channel::Receiver<TransportEvent>)> {
        if self.was_up.load(Ordering::Acquire) {
            drop(self.told.send(Told::Lost));
            anyhow::bail!("the line is opened anew");
        }
        let socket = match self.open().await {
            Ok(socket) => socket,
            Err(error) => {
                tracing::debug!(cause = %error, "WhatsApp was not reached");
                drop(self.told.send(Told::Lost));
                return Err(error);
            }
        };
        let (sink, stream) = socket.split();
        let (sender, events) = async_channel::bounded(WAITING);
        sender.send(TransportEvent::Connected).await?;
        let emit = Arc::clone(&self.emit);
        let reader = tokio::spawn(async move {
            let reason = read(stream, &sender, emit.as_ref()).await;
            // Nobody listens any more if the client has let go of the connection.
            drop(sender.send(TransportEvent::Disconnected(reason)).await);
        });
        Ok((Arc::new(Open { sink: Mutex::new(sink), reader: reader.abort_handle() }), events))
    }
}

async fn read(
    mut stream: SplitStream<Socket>,
    sender: &async_channel::Sender<TransportEvent>,
    emit: &dyn Emit,
) -> DisconnectReason {
    loop {
        match stream.next().await {
            Some(Ok(Message::Binary(data))) => {
                emit.frame();
                if sender.send(TransportEvent::DataReceived(data)).await.is_err() {
                    return DisconnectReason::Unknown;
                }
            }
            Some(Ok(Message::Close(frame))) => {
                let (code, reason) =
                    frame.map_or((None, String::new()), |frame| (Some(frame.code.into()), frame.reason.to_string()));
                return DisconnectReason::ServerClose { code, reason };
            }
            Some(Ok(_)) => emit.frame(),
            Some(Err(error)) => return DisconnectReason::ReadError(error.to_string()),
            None => return DisconnectReason::StreamEnded,
        }
    }
}

/// An open socket. Dropping it closes it.
struct Open {
    sink: Mutex<SplitSink<Socket, Message>>,
    reader: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[async_trait]
impl Transport for Open {
    async fn send(&self, data: Bytes) -> Result<()> {
        Ok(self.sink.lock().await.send(Message::Binary(data)).await?)
    }

    async fn disconnect(&self) {
        if let Err(error) = self.sink.lock().await.close().await {
            tracing::trace!(cause = %error, "a socket was closed already");
        }
    }
}
