//! The AWS home's shell: API Gateway holds the sockets, and this is told of what happens to them. Nothing of a connection is in
//! memory between two events; rows have it ([`row`]).
//!
//! What a client says is answered at once, by the function that API Gateway calls. Everything else that concerns a connection
//! goes through its mailbox, a group of the job queue ([`shared::realtime::mailbox`]): credentials, what is pushed to it, what
//! it catches up with. So only one process at a time moves its positions, nothing is posted before the connection is
//! open, live messages do not overtake missed ones, and a slow client keeps nobody waiting but itself.
//!
//! A connection that nothing happens to costs nothing: nobody polls, and whether a credential still holds is looked at when
//! something is to be sent.

mod aws;
mod notes;
mod presence;
mod reading;
mod row;
mod send;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, sync::Arc};

use shared::{
    Error, Kind, Result,
    app::AppState,
    domain::{
        access::Caller,
        job::Work,
        timer::{self, Timer},
        watch,
    },
    id::SocketId,
    realtime::{
        Poster,
        mailbox::{self, After, Note},
        remote,
    },
    store::{CommitError, Unit, Write, keys},
};

pub use self::aws::handle;
use self::row::Row;
use crate::{
    credential::Credential,
    frame::{self, Request},
    requests,
    session::{self, AUTH_WITHIN, Act, Goodbye, Session},
};

/// Receives of a note after which its connection is let go rather than tried again.
const PATIENCE: u32 = 4;

/// Serves the connections that a gateway holds.
pub struct Gateway {
    app: AppState,
    poster: Arc<dyn Poster>,
}

/// Why something for a connection is not done any further.
#[derive(Debug)]
enum Stop {
    /// The client is gone.
    Gone,
    /// We close it.
    Ours(Goodbye),
    /// The store or the gateway does not answer.
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// What a client said.
enum Heard<'a> {
    Text(&'a str),
    Binary,
}

/// How a connection was asked for.
pub struct Opening {
    pub(crate) socket: SocketId,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) shown: Option<Credential>,
    pub(crate) after: Option<After>,
}

impl Gateway {
    pub fn new(app: AppState, poster: Arc<dyn Poster>) -> Self {
        Self { app, poster }
    }

    /// A client connects. Nothing can be posted to it before this has returned, so a credential waits in the mailbox; without
    /// one, a timer does.
    pub(crate) async fn connected(&self, opening: Opening) -> Result<()> {
        let Opening { socket, peer, shown, after } = opening;
        let now = self.app.clock.now();
        let row = Row::new(socket.clone(), peer, now, shown.is_some());
        row.create(&self.app).await?;
        match shown {
            Some(credential) => self.show(&row, &credential, after).await,
            None => {
                let work = mailbox::work(&socket, Note::Deadline);
                self.later(now.plus(AUTH_WITHIN), mailbox::group(&socket), work).await
            }
        }
    }

    /// A client is gone, or the gateway has closed it.
    pub(crate) async fn disconnected(&self, socket: &SocketId) -> Result<()> {
        match Row::load(&self.app, socket).await? {
            Some(row) => self.forget(&row).await,
            None => Ok(()),
        }
    }

    /// A client said something.
    async fn said(&self, socket: &SocketId, heard: Heard<'_>) -> Result<()> {
        let Some(mut row) = Row::load(&self.app, socket).await? else {
            // Closed by us, or its rows have expired.
            return self.poster.close(socket).await;
        };
        if row.pending
            && let Heard::Text(text) = heard
            && text.len() <= frame::MAX_FRAME
        {
            // Behind its credential, so that it can follow that at once.
            let dedup = format!("{socket}/{}", self.app.ids.ulid());
            let note = mailbox::message(socket, dedup, Note::Said { text: text.to_owned() })?;
            return self.app.queues.send(vec![note]).await;
        }
        match self.hear(&mut row, heard).await {
            Ok(()) => Ok(()),
            Err(Stop::Failed(error)) => Err(error),
            Err(stop) => self.stop(&row, stop).await,
        }
    }

    async fn hear(&self, row: &mut Row, heard: Heard<'_>) -> Result<(), Stop> {
        let (now, wall) = (self.app.clock.monotonic(), self.app.clock.now());
        let mut session = Session::resumed(now, row.user.clone(), row.erred(wall));
        let mut act = match heard {
            Heard::Text(text) => session.text(now, wall, text),
            Heard::Binary => session.binary(now),
        };
        if let Act::Do(request) = act {
            let id = request.id().map(str::to_owned);
            let answered = match self.caller(row).await {
                Ok(Some(caller)) => self.ask(row, &caller, request).await,
                Ok(None) => return self.refuse(row).await,
                Err(error) => Err(error),
            };
            act = match answered {
                Ok(frames) => return self.send_all(&row.id, &frames).await,
                Err(error) => {
                    if matches!(error.kind, Kind::Unavailable | Kind::Internal) {
                        tracing::warn!(socket = %row.id, %error, "a frame was not answered");
                    }
                    session.failed(now, &error, id.as_deref())
                }
            };
        }
        // Frames of one client are heard by many processes: together they decide when it is enough.
        if session.has_erred()
            && row.note_error(&self.app).await? > session::FORBEARANCE
            && let Act::Send(text) = act
        {
            act = Act::Close(Some(text), Goodbye::TooManyErrors);
        }
        self.act(row, act).await
    }

    async fn act(&self, row: &Row, act: Act) -> Result<(), Stop> {
        match act {
            Act::Send(text) => self.send(&row.id, &text).await,
            Act::Close(text, goodbye) => {
                if let Some(text) = text {
                    self.send(&row.id, &text).await?;
                }
                Err(Stop::Ours(goodbye))
            }
            Act::Authenticate { token, after } => {
                row.set_pending(&self.app).await?;
                Ok(self.show(row, &Credential::token(token, row.peer), after).await?)
            }
            // The gateway pings nobody, and looks when there is something to send; requests are done by who asked.
            Act::Nothing | Act::Ping | Act::Look | Act::Do(_) => Ok(()),
        }
    }

    async fn ask(&self, row: &Row, caller: &Caller, request: Request) -> Result<Vec<String>> {
        let app = &self.app;
        let answer = match request {
            Request::Message(draft) => {
                row.sends(app, &draft.id).await?;
                requests::message(app, caller, *draft).await?
            }
            Request::Read(asked) => requests::read(app, caller, asked, Some(&row.id)).await?,
            Request::Presence { users } => requests::presence(app, caller, users).await?,
            Request::Sync(after) => {
                let dedup = format!("{}/{}", row.id, app.ids.ulid());
                app.queues.send(vec![mailbox::message(&row.id, dedup, Note::Resume { after })?]).await?;
                return Ok(Vec::new());
            }
        };
        Ok(answer.frames)
    }

    /// Whoever has signed on, if the credential still holds.
    async fn caller(&self, row: &Row) -> Result<Option<Caller>> {
        let Some(sealed) = &row.credential else { return Ok(None) };
        let caller = Credential::open(&self.app, &row.id, sealed, row.peer)?.caller(&self.app).await?;
        Ok(caller.filter(|caller| Some(caller.id()) == row.user.as_ref()))
    }

    /// Puts a credential into the mailbox.
    async fn show(&self, row: &Row, credential: &Credential, after: Option<After>) -> Result<()> {
        let note = Note::Auth { credential: credential.seal(&self.app, &row.id)?, after };
        let dedup = format!("{}/{}", row.id, self.app.ids.ulid());
        self.app.queues.send(vec![mailbox::message(&row.id, dedup, note)?]).await
    }

    /// Says that the credential is none, or none any more.
    async fn refuse(&self, row: &Row) -> Result<(), Stop> {
        self.send(&row.id, &frame::auth_error()).await?;
        Err(Stop::Ours(Goodbye::Unauthenticated))
    }

    /// Ends a connection.
    async fn stop(&self, row: &Row, stop: Stop) -> Result<()> {
        match stop {
            Stop::Gone => {}
            Stop::Ours(goodbye) => self.close(&row.id, goodbye).await?,
            Stop::Failed(error) => return Err(error),
        }
        self.forget(row).await
    }

    /// Removes what says that the connection is there. What is beside it expires, which costs nothing.
    async fn forget(&self, row: &Row) -> Result<()> {
        if let Some(user) = &row.user {
            remote::sign_off(&self.app, user, &row.id).await?;
            let now = self.app.clock.now();
            if remote::open(&self.app.store, now, user).await?.is_empty() {
                let work = Work::SocketsGone { user: user.clone() };
                self.later(now.plus(presence::GRACE), format!("ws-gone/{user}"), work).await?;
            }
        }
        let delete = Write::delete(keys::socket(&row.id));
        self.app.store.commit(Unit::write(delete)).await.map(drop).map_err(CommitError::into)
    }

    async fn later(&self, due: shared::clock::Millis, group: String, work: Work) -> Result<()> {
        let mut unit = Unit::default();
        timer::schedule(&self.app, &mut unit, due, Timer::Work { group, work: Box::new(work) })?;
        self.app.store.commit(unit).await.map(drop).map_err(CommitError::into)
    }

    /// Does work of the job queue that is for sockets; `receives`: 1 at first.
    ///
    /// Errors: try again later.
    pub async fn work(&self, work: Work, receives: u32) -> Result<()> {
        match work {
            Work::Socket { socket, note } => self.notes(&socket, vec![*note], receives).await,
            Work::SocketEvents { instance, .. } => watch::relay(&self.app, &instance).await,
            Work::SocketsGone { user } => presence::gone(&self.app, &user).await,
            other => Err(Error::internal(format!("{other:?} is not for sockets"))),
        }
    }
}
