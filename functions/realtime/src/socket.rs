//! The local home's shell: one task per connection, which waits for the client, for pushes, for the logs it follows, and for
//! time to pass, and does what the session says.

use std::{net::IpAddr, pin::pin, sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures_util::SinkExt as _;
use shared::{
    Error, Kind, Result,
    app::{App, AppState},
    domain::access::{Caller, Scope},
    id::UserId,
    realtime::{Frame, Subscription},
};

use crate::{
    credential::Credential,
    feed::Feed,
    frame::{self, After, Request},
    presence::Presence,
    requests::{self, Answer},
    session::{Act, Found, Goodbye, Session},
};

/// Sockets that one user may have open.
const PER_USER: usize = 20;
/// Pushed frames that are written in one go.
const AT_ONCE: usize = 64;
/// How long a write waits for a client that does not read.
const WRITE: Duration = Duration::from_secs(15);
/// How long a client has to answer a close.
const LINGER: Duration = Duration::from_secs(2);
/// Gauge: open sockets.
const CONNECTIONS: &str = "websocket_connections";
/// Counter: closed sockets, by reason.
const CLOSED: &str = "websocket_closed_total";

/// What the upgrade brought.
pub(crate) struct Opening {
    pub(crate) app: AppState,
    pub(crate) presence: Arc<Presence>,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) shown: Option<Credential>,
    pub(crate) after: Option<After>,
}

/// Why a connection ends.
enum End {
    /// The client closed, or is gone.
    Theirs,
    Ours(Goodbye),
}

/// Serves one connection to its end.
pub(crate) async fn run(socket: WebSocket, opening: Opening) {
    metrics::gauge!(CONNECTIONS).increment(1.0);
    let Opening { app, presence, peer, shown, after } = opening;
    let session = Session::new(app.clock.monotonic());
    let mut connection = Connection { app, presence, peer, socket, session, open: None };
    let end = match connection.serve(shown, after).await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    if let Some(open) = connection.open.take() {
        let user = open.caller.user.id.clone();
        // Signs off.
        drop(open);
        connection.presence.left(&connection.app, &user);
    }
    let reason = match &end {
        End::Theirs => "client",
        End::Ours(goodbye) => goodbye.reason(),
    };
    metrics::gauge!(CONNECTIONS).decrement(1.0);
    metrics::counter!(CLOSED, "reason" => reason).increment(1);
    if tokio::time::timeout(LINGER, close(&mut connection.socket, end)).await.is_err() {
        tracing::debug!("a client did not answer the close");
    }
}

/// Says goodbye and waits for the client's answer: data that is thrown away with a socket would take the goodbye with it.
async fn close(socket: &mut WebSocket, end: End) {
    if let End::Ours(goodbye) = end {
        let close = CloseFrame { code: goodbye.code(), reason: goodbye.reason().into() };
        if socket.send(Message::Close(Some(close))).await.is_err() {
            return;
        }
    } else if socket.flush().await.is_err() {
        return;
    }
    while let Some(Ok(_)) = socket.recv().await {}
}

struct Connection {
    app: AppState,
    presence: Arc<Presence>,
    peer: Option<IpAddr>,
    socket: WebSocket,
    session: Session,
    open: Option<Box<Open>>,
}

/// What a connection has once its credential was accepted.
struct Open {
    credential: Credential,
    caller: Caller,
    subscription: Subscription,
    feed: Feed,
}

/// What the loop woke for.
enum Woken {
    Time,
    Client(Option<Result<Message, axum::Error>>),
    Pushed,
    Feed,
    Look,
    Over(Goodbye),
}

impl Connection {
    async fn serve(
        &mut self,
        shown: Option<Credential>,
        after: Option<After>,
    ) -> Result<std::convert::Infallible, End> {
        if let Some(credential) = shown {
            Box::pin(self.authenticate(credential, after)).await?;
        }
        let app = AppState::clone(&self.app);
        let mut closing = pin!(app.closing.cancelled());
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        let mut frames = Vec::new();
        loop {
            let now = self.app.clock.monotonic();
            let takes_frames = self.session.takes_frames(now);
            let wake = tokio::time::Instant::now() + self.session.wake_at().saturating_sub(now);
            // Waking too early does no harm: the timer is only moved when it would be late, or has rung.
            if timer.is_elapsed() || wake < timer.deadline() {
                timer.as_mut().reset(wake);
            }
            let woken = tokio::select! {
                () = &mut closing => Woken::Over(Goodbye::Stopping),
                () = &mut timer => Woken::Time,
                message = self.socket.recv(), if takes_frames => Woken::Client(message),
                woken = opened(&mut self.open, &mut frames) => woken,
            };
            match woken {
                Woken::Over(goodbye) => return Err(End::Ours(goodbye)),
                Woken::Time => {
                    let act = self.session.wake(self.app.clock.monotonic());
                    self.act(act).await?;
                }
                Woken::Look => self.act(Act::Look).await?,
                Woken::Client(message) => self.client(message).await?,
                Woken::Pushed => self.pushed(&mut frames).await?,
                Woken::Feed => Box::pin(self.page()).await?,
            }
        }
    }

    async fn client(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        let now = self.app.clock.monotonic();
        let act = match message {
            None | Some(Ok(Message::Close(_))) => return Err(End::Theirs),
            Some(Err(error)) => return Err(broken(error)),
            Some(Ok(Message::Text(text))) => self.session.text(now, self.app.clock.now(), &text),
            Some(Ok(Message::Binary(_))) => self.session.binary(now),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => self.session.heard(now),
        };
        self.act(act).await
    }

    async fn act(&mut self, act: Act) -> Result<(), End> {
        match act {
            Act::Nothing => Ok(()),
            Act::Send(text) => self.write(vec![text.into()]).await,
            Act::Ping => {
                let ping = self.socket.send(Message::Ping(Bytes::new()));
                match tokio::time::timeout(WRITE, ping).await {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err(End::Theirs),
                    Err(_) => Err(End::Ours(Goodbye::TryAgain)),
                }
            }
            Act::Close(text, goodbye) => {
                if let Some(text) = text {
                    self.write(vec![text.into()]).await?;
                }
                Err(End::Ours(goodbye))
            }
            // The rarer and larger ones live on the heap, and only while they run: an idle connection is small.
            Act::Authenticate { token, after } => {
                Box::pin(self.authenticate(Credential::token(token, self.peer), after)).await
            }
            Act::Look => Box::pin(self.look()).await,
            Act::Do(request) => Box::pin(self.ask(request)).await,
        }
    }

    /// A credential was shown: the first one opens the connection.
    async fn authenticate(&mut self, credential: Credential, after: Option<After>) -> Result<(), End> {
        let caller = match admitted(&self.app, &credential).await {
            Ok(Some(caller)) => caller,
            Ok(None) => return self.found(Found::Nobody).await,
            Err(error) => return self.unknown(&error).await,
        };
        if caller.require(Scope::MessagesRead).is_err()
            && let Err(error) = caller.require(Scope::MessagesSend)
        {
            self.write(vec![frame::error(&error, None).into()]).await?;
            return Err(End::Ours(Goodbye::Forbidden));
        }
        let user = caller.user.id.clone();
        match &mut self.open {
            None => Box::pin(self.sign_on(credential, caller)).await?,
            // The session sends another user away.
            Some(open) if *open.caller.id() != user => return self.found(Found::User(user)).await,
            Some(open) => (open.credential, open.caller) = (credential, caller),
        }
        // What is pushed from here on waits until the client knows who it is, and where it goes on.
        self.follow().await?;
        self.found(Found::User(user.clone())).await?;
        if let Some(after) = after {
            self.resume(after).await?;
        }
        if let Err(error) = self.presence.came(&self.app, &user).await {
            tracing::warn!(%user, %error, "nobody was told that a user has come");
        }
        Ok(())
    }

    async fn sign_on(&mut self, credential: Credential, caller: Caller) -> Result<(), End> {
        let subscription = self.app.hub.subscribe(caller.id());
        if subscription.count > PER_USER {
            let error =
                Error::new(Kind::RateLimited, "TOO_MANY_CONNECTIONS", "This user has too many connections open");
            self.write(vec![frame::error(&error, None).into()]).await?;
            return Err(End::Ours(Goodbye::TooManyConnections));
        }
        // Once more, now that a revocation would ring: one in between is not overlooked.
        let holds = credential.caller(&self.app).await;
        self.open = Some(Box::new(Open { credential, caller, subscription, feed: Feed::default() }));
        match holds {
            Ok(Some(_)) => Ok(()),
            Ok(None) => self.found(Found::Nobody).await,
            Err(error) => self.unknown(&error).await,
        }
    }

    async fn found(&mut self, found: Found) -> Result<(), End> {
        let act = self.session.authenticated(self.app.clock.monotonic(), found);
        match act {
            Act::Send(text) => self.write(vec![text.into()]).await,
            act => Box::pin(self.act(act)).await,
        }
    }

    /// Whether the credential is one was not to be found out.
    async fn unknown(&mut self, error: &Error) -> Result<(), End> {
        if error.kind == Kind::RateLimited {
            self.write(vec![frame::error(error, None).into()]).await?;
        } else {
            tracing::warn!(%error, "a connection's credential could not be looked at");
        }
        self.found(Found::Unknown).await
    }

    /// Finds out which instances the caller may read.
    async fn follow(&mut self) -> Result<(), End> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let events = !open.credential.is_of_im_client();
        open.feed.follow(&self.app, &open.caller, events).await.map_err(|error| failed(&error, open.caller.id()))
    }

    async fn resume(&mut self, after: After) -> Result<(), End> {
        let Some(open) = &mut self.open else { return Ok(()) };
        match open.feed.resume(&self.app, &open.caller, after).await {
            Ok(wrong) => {
                let frames = wrong.iter().map(|error| frame::error(error, None).into()).collect();
                self.write(frames).await
            }
            Err(error) if matches!(error.kind, Kind::Unavailable | Kind::Internal) => {
                Err(failed(&error, open.caller.id()))
            }
            Err(error) => {
                let act = self.session.failed(self.app.clock.monotonic(), &error, None);
                Box::pin(self.act(act)).await
            }
        }
    }

    /// Looks whether the credential still holds, and which instances there are now.
    async fn look(&mut self) -> Result<(), End> {
        let Some(open) = &mut self.open else { return Ok(()) };
        match open.credential.caller(&self.app).await {
            Ok(Some(caller)) => open.caller = caller,
            Ok(None) => {
                let act = self.session.refused();
                return Box::pin(self.act(act)).await;
            }
            // A store that does not answer revokes nothing; it is asked again.
            Err(error) => {
                tracing::warn!(%error, "a connection's credential could not be looked at");
                return Ok(());
            }
        }
        self.follow().await
    }

    async fn ask(&mut self, request: Request) -> Result<(), End> {
        let id = request.id().map(str::to_owned);
        let Some(open) = &mut self.open else { return Ok(()) };
        let (app, caller) = (&self.app, &open.caller);
        let answered = match request {
            Request::Message(draft) => requests::message(app, caller, *draft).await,
            Request::Read(asked) => requests::read(app, caller, asked, Some(&open.subscription.id)).await,
            Request::Presence { users } => requests::presence(app, caller, users).await,
            Request::Sync(after) => return self.resume(after).await,
        };
        match answered {
            Ok(Answer { frames, own }) => {
                if let Some(place) = own {
                    open.feed.posted(place);
                }
                self.write(frames.into_iter().map(Bytes::from).collect()).await
            }
            Err(error) => {
                if matches!(error.kind, Kind::Unavailable | Kind::Internal) {
                    tracing::warn!(user = %caller.id(), %error, "a frame was not answered");
                }
                let act = self.session.failed(self.app.clock.monotonic(), &error, id.as_deref());
                Box::pin(self.act(act)).await
            }
        }
    }

    async fn pushed(&mut self, frames: &mut Vec<Frame>) -> Result<(), End> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let texts: Vec<Bytes> = frames.drain(..).filter_map(|frame| open.feed.pushed(frame)).collect();
        self.write(texts).await
    }

    async fn page(&mut self) -> Result<(), End> {
        let Some(open) = &mut self.open else { return Ok(()) };
        match open.feed.page(&self.app, &open.caller).await {
            Ok(texts) => self.write(texts).await,
            Err(error) => Err(failed(&error, open.caller.id())),
        }
    }

    /// Writes frames. A client that does not take them in time, or is too far behind, is let go.
    async fn write(&mut self, texts: Vec<Bytes>) -> Result<(), End> {
        if texts.is_empty() {
            return Ok(());
        }
        let slow = self.open.as_ref().map(|open| open.subscription.slow.clone());
        let writing = async {
            for text in texts {
                match Utf8Bytes::try_from(text) {
                    Ok(text) => self.socket.feed(Message::Text(text)).await?,
                    // All of them are made from text.
                    Err(error) => return Err(axum::Error::new(error)),
                }
            }
            self.socket.flush().await
        };
        let slow = async {
            match &slow {
                Some(slow) => slow.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            written = tokio::time::timeout(WRITE, writing) => match written {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(End::Theirs),
                Err(_) => Err(End::Ours(Goodbye::TryAgain)),
            },
            () = slow => Err(End::Ours(Goodbye::TryAgain)),
            () = self.app.closing.cancelled() => Err(End::Ours(Goodbye::Stopping)),
        }
    }
}

/// Whose credential it is, if it is let in now.
async fn admitted(app: &App, credential: &Credential) -> Result<Option<Caller>> {
    let caller = credential.caller(app).await?;
    if let Some(caller) = &caller {
        app.rate.take(&caller.credential, app.clock.monotonic())?;
    }
    Ok(caller)
}

/// Waits for what only an open connection has.
async fn opened(open: &mut Option<Box<Open>>, frames: &mut Vec<Frame>) -> Woken {
    let Some(open) = open else { return std::future::pending().await };
    let Open { subscription, feed, .. } = &mut **open;
    tokio::select! {
        () = subscription.slow.cancelled() => Woken::Over(Goodbye::TryAgain),
        () = subscription.look.notified() => Woken::Look,
        _ = subscription.frames.recv_many(frames, AT_ONCE) => Woken::Pushed,
        () = feed.ready() => Woken::Feed,
    }
}

/// The store does not answer: the client comes back and goes on where it was.
fn failed(error: &Error, user: &UserId) -> End {
    tracing::warn!(%user, %error, "a connection could not be served any further");
    End::Ours(Goodbye::TryAgain)
}

/// What a failed read of the socket means.
fn broken(error: axum::Error) -> End {
    match error.into_inner().downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(_)) => End::Ours(Goodbye::TooBig),
        Some(tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_)) => End::Ours(Goodbye::Protocol),
        _ => End::Theirs,
    }
}
