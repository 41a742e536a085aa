//! Handing frames to the gateway.

use std::time::Duration;

use shared::{Error, Kind, Result, id::SocketId, realtime::Posted};

use super::{Gateway, Stop};
use crate::{frame, session::Goodbye};

/// API Gateway's limit of a frame, in bytes.
const MAX_FRAME: usize = 128 * 1024;
/// Pauses before a frame is offered again to a client that does not take what it has.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(400),
    Duration::from_millis(900),
    Duration::from_millis(1500),
];

impl Gateway {
    /// Hands over a frame. A client that does not take it within some seconds is let go: it comes back and catches up.
    pub(super) async fn send(&self, socket: &SocketId, text: &str) -> Result<(), Stop> {
        let mut pauses = PAUSES.iter();
        let mut text = text;
        let instead;
        if text.len() > MAX_FRAME {
            instead = too_large();
            text = &instead;
        }
        loop {
            match self.poster.post(socket, text).await? {
                Posted::Done => return Ok(()),
                Posted::Gone => return Err(Stop::Gone),
                Posted::TooLarge => {
                    tracing::warn!(%socket, bytes = text.len(), "the gateway does not carry a frame of this size");
                    return Ok(());
                }
                Posted::Busy => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(Stop::Ours(Goodbye::TryAgain)),
                },
            }
        }
    }

    pub(super) async fn send_all<T: AsRef<str>>(&self, socket: &SocketId, texts: &[T]) -> Result<(), Stop> {
        for text in texts {
            self.send(socket, text.as_ref()).await?;
        }
        Ok(())
    }

    /// Says goodbye. The gateway gives all closes the same code, so ours goes before it, as a frame.
    pub(super) async fn close(&self, socket: &SocketId, goodbye: Goodbye) -> Result<()> {
        // Who does not take it is closed all the same.
        if let Err(error) = self.poster.post(socket, &frame::closing(goodbye.code(), goodbye.reason())).await {
            tracing::debug!(%socket, %error, "a connection was not told why it ends");
        }
        self.poster.close(socket).await
    }
}

/// Stands for a frame that is larger than the gateway carries: the client reads it over HTTP.
fn too_large() -> String {
    let error = Error::new(Kind::TooLarge, "FRAME_TOO_LARGE", "This frame is too large here: read it over HTTP");
    frame::error(&error, None)
}
