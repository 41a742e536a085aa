//! Route group `realtime`: `GET /ws`, the WebSocket of seed 004 (frames: spec/http.md "chat and admin").
//!
//! The protocol is in parts that know no socket, so that the AWS home's WebSocket API can be a second thin shell around them:
//! [`frame`] reads and writes frames, [`session`] decides what a frame or the passing of time leads to, [`tracker`] knows what
//! was sent, [`requests`] asks the domain, [`feed`] brings what is new or was missed. [`socket`] is the local home's shell,
//! [`gateway`] the AWS home's.
//!
//! Credentials come in the query (`?token=`, with `after` beside it), in the headers of the upgrade, or in an `auth` frame.
//! Never in cookies: so a web page of a foreign origin gets nowhere without a token of its own, and origins are not looked at.

mod credential;
mod feed;
mod frame;
pub mod gateway;
mod presence;
mod requests;
mod session;
mod socket;
mod tracker;

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::HeaderMap,
    response::Response,
    routing::get,
};
use shared::{
    Error, Kind,
    app::AppState,
    edge::{Reject, auth, query::Params},
    redact::Secret,
};

use self::{credential::Credential, presence::Presence, socket::Opening};

/// Bytes that are kept ready for reading and writing, per connection.
const BUFFER: usize = 4 * 1024;
/// Bytes that wait for a client that does not read, before writes wait for it: several of the largest frames.
const MOST_WAITING: usize = 512 * 1024;
/// How long to stay away when there are too many connections.
const COME_BACK: Duration = Duration::from_secs(5);

/// All routes of the group.
pub fn router() -> Router<AppState> {
    Router::new().route("/ws", get(open_socket)).layer(Extension(Arc::new(Presence::default())))
}

/// Waits until every socket has been closed: they close when the app does.
pub async fn closed(app: &AppState) {
    app.hub.sockets.close();
    app.hub.sockets.wait().await;
}

/// `GET /ws?token=&after=`.
async fn open_socket(
    State(app): State<AppState>,
    Extension(presence): Extension<Arc<Presence>>,
    auth::Peer(peer): auth::Peer,
    headers: HeaderMap,
    params: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Reject> {
    let upgrade = upgrade.map_err(|_| {
        Error::new(
            Kind::Invalid,
            "UPGRADE_REQUIRED",
            "This address speaks WebSocket: connect to it with ws:// or wss://",
        )
    })?;
    if app.hub.sockets.len() >= app.config.ws_max_connections || app.closing.is_cancelled() {
        return Err(Error::new(Kind::Unavailable, "TOO_MANY_CONNECTIONS", "Too many connections, please try again")
            .after(COME_BACK)
            .into());
    }
    let query = || params.text("token").map(|token| Credential::token(Secret::new(token), peer));
    let shown = auth::presented(&headers)?.map(|shown| Credential::new(shown, peer)).or_else(query);
    let after = params.text("after").map(frame::parse_after).transpose()?.flatten();
    let token = app.hub.sockets.token();
    let opening = Opening { app, presence, peer, shown, after };
    let upgrade = upgrade
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(MOST_WAITING)
        // One byte more than a frame may have tells the session that it is too large; beyond, the codec does.
        .max_message_size(frame::MAX_FRAME + 1)
        .max_frame_size(frame::MAX_FRAME + 1);
    Ok(upgrade.on_upgrade(async move |socket| {
        socket::run(socket, opening).await;
        drop(token);
    }))
}
