//! The protocol of one connection, without sockets, store or clock: what a client says and what time it is go in, what is to be
//! done comes out. Every home's shell does it its own way.

use std::time::Duration;

use shared::{Error, Kind, clock::Millis, id::UserId, redact::Secret};

use crate::frame::{self, After, Bad, MAX_FRAME, Request, Said};

/// How long a connection may stay without showing a credential.
pub(crate) const AUTH_WITHIN: Duration = Duration::from_secs(10);
/// How often a client is pinged.
const PING_EVERY: Duration = Duration::from_secs(30);
/// A client that says nothing for that long, not even a pong, is gone.
const DEAD_AFTER: Duration = Duration::from_secs(75);
/// How often it is looked at whether the credential still holds.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Frames that are taken in a second; more wait in the client's socket.
const FRAMES_PER_SECOND: f64 = 100.0;
/// Frames that are taken at once after a while of silence.
const BURST: f64 = 200.0;
/// Frames that may be wrong at once; one more is forgiven every [`FORGIVEN_EVERY`].
const ERRORS: f64 = 30.0;
pub(crate) const FORGIVEN_EVERY: Duration = Duration::from_secs(2);
/// The same as a time: errors that take longer to be forgiven are too many.
pub(crate) const FORBEARANCE: Duration = Duration::from_secs(60);

/// Why we close, and with which code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goodbye {
    /// The server stops.
    Stopping,
    /// Not a WebSocket's frames.
    Protocol,
    /// The client does what it must not, over and over.
    TooManyErrors,
    TooBig,
    /// The client does not read, or a dependency fails: come back, and catch up.
    TryAgain,
    /// No credential, or none that (still) holds.
    Unauthenticated,
    /// A credential that allows nothing here.
    Forbidden,
    /// The client says nothing any more.
    Silent,
    TooManyConnections,
}

impl Goodbye {
    /// 1000–1015 as RFC 6455 has them, 4000 + the HTTP status for what is ours.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Stopping => 1001,
            Self::Protocol => 1002,
            Self::TooManyErrors => 1008,
            Self::TooBig => 1009,
            Self::TryAgain => 1013,
            Self::Unauthenticated => 4401,
            Self::Forbidden => 4403,
            Self::Silent => 4408,
            Self::TooManyConnections => 4429,
        }
    }

    /// For people, and for the metric.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Stopping => "going away",
            Self::Protocol => "protocol error",
            Self::TooManyErrors => "too many errors",
            Self::TooBig => "frame too large",
            Self::TryAgain => "try again later",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Silent => "silent",
            Self::TooManyConnections => "too many connections",
        }
    }
}

/// What the shell is to do.
#[derive(Debug)]
pub(crate) enum Act {
    Nothing,
    /// Find out whose the token is, and say so with [`Session::authenticated`].
    Authenticate {
        token: Secret,
        after: Option<After>,
    },
    /// Do it; errors go through [`Session::failed`].
    Do(Request),
    Send(String),
    /// A ping of WebSocket's own.
    Ping,
    /// Look whether the credential still holds.
    Look,
    /// Send the frame, if there is one, and close.
    Close(Option<String>, Goodbye),
}

/// What a look at a credential found.
#[derive(Debug)]
pub(crate) enum Found {
    User(UserId),
    /// Nobody, or nobody who is let in.
    Nobody,
    /// The store did not answer.
    Unknown,
}

/// Something that is used up, and comes back with time.
#[derive(Debug)]
struct Budget {
    left: f64,
    most: f64,
    per_second: f64,
    at: Duration,
}

impl Budget {
    fn new(most: f64, per_second: f64, now: Duration) -> Self {
        Self { left: most, most, per_second, at: now }
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        (self.left, self.at) = (passed.mul_add(self.per_second, self.left).min(self.most), now);
    }

    /// Takes one; `false` if there is none.
    fn take(&mut self, now: Duration) -> bool {
        self.refill(now);
        let there = self.left >= 1.0;
        if there {
            self.left -= 1.0;
        }
        there
    }

    /// How long until there is one.
    fn wait(&self) -> Duration {
        Duration::from_secs_f64(((1.0 - self.left) / self.per_second).max(0.0))
    }
}

#[derive(Debug)]
pub(crate) struct Session {
    /// Who it is; `None` before a credential was accepted.
    user: Option<UserId>,
    /// Until when a credential has to be shown.
    auth_by: Duration,
    heard: Duration,
    ping_at: Duration,
    look_at: Duration,
    frames: Budget,
    errors: Budget,
    /// Whether an error was the client's.
    erred: bool,
}

/// Times are monotonic.
impl Session {
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            user: None,
            auth_by: now + AUTH_WITHIN,
            heard: now,
            ping_at: now + PING_EVERY,
            look_at: now + LOOK_EVERY,
            frames: Budget::new(BURST, FRAMES_PER_SECOND, now),
            errors: Budget::new(ERRORS, 1.0 / FORGIVEN_EVERY.as_secs_f64(), now),
            erred: false,
        }
    }

    /// A session that another process goes on with. `erred`: for how long its errors are not forgiven yet.
    pub(crate) fn resumed(now: Duration, user: Option<UserId>, erred: Duration) -> Self {
        let mut session = Self { user, ..Self::new(now) };
        session.errors.left -= erred.as_secs_f64() / FORGIVEN_EVERY.as_secs_f64();
        session
    }

    /// Whether the client made an error since it was [`Session::resumed`].
    pub(crate) fn has_erred(&self) -> bool {
        self.erred
    }

    /// Whether a frame is taken now; else not before [`Session::wake_at`].
    pub(crate) fn takes_frames(&mut self, now: Duration) -> bool {
        self.frames.refill(now);
        self.frames.left >= 1.0
    }

    /// When [`Session::wake`] wants to be called at the latest.
    pub(crate) fn wake_at(&self) -> Duration {
        let mut at = self.ping_at.min(self.heard + DEAD_AFTER);
        at = at.min(if self.user.is_some() { self.look_at } else { self.auth_by });
        if self.frames.left < 1.0 {
            at = at.min(self.frames.at + self.frames.wait());
        }
        at
    }

    /// Time has passed.
    pub(crate) fn wake(&mut self, now: Duration) -> Act {
        if self.user.is_none() && now >= self.auth_by {
            return Act::Close(Some(frame::auth_error()), Goodbye::Unauthenticated);
        }
        if now >= self.heard + DEAD_AFTER {
            return Act::Close(None, Goodbye::Silent);
        }
        if self.user.is_some() && now >= self.look_at {
            self.look_at = now + LOOK_EVERY;
            return Act::Look;
        }
        if now >= self.ping_at {
            self.ping_at = now + PING_EVERY;
            return Act::Ping;
        }
        Act::Nothing
    }

    /// A ping or pong of WebSocket's own came: it was answered below us.
    pub(crate) fn heard(&mut self, now: Duration) -> Act {
        self.heard = now;
        self.frames.take(now);
        Act::Nothing
    }

    /// A text frame came. `wall`: the time of day.
    pub(crate) fn text(&mut self, now: Duration, wall: Millis, text: &str) -> Act {
        self.heard(now);
        if text.len() > MAX_FRAME {
            return Act::Close(None, Goodbye::TooBig);
        }
        match frame::parse(text) {
            Ok(Said::Auth { token, after }) => Act::Authenticate { token, after },
            Ok(Said::Ping) => Act::Send(frame::pong(wall)),
            Ok(Said::Ask(request)) if self.user.is_some() => Act::Do(request),
            Ok(Said::Ask(request)) => {
                let error = Error::unauthenticated("Send an auth frame first");
                self.failed(now, &error, request.id())
            }
            Err(Bad { error, id }) => self.failed(now, &error, id.as_deref()),
        }
    }

    /// A binary frame came: the protocol has none.
    pub(crate) fn binary(&mut self, now: Duration) -> Act {
        self.heard(now);
        let error = Error::new(Kind::Invalid, "BAD_FRAME", "Frames are text");
        self.failed(now, &error, None)
    }

    /// What the look at a token found. A connection stays with its first user; that user may show another token.
    pub(crate) fn authenticated(&mut self, now: Duration, found: Found) -> Act {
        match (found, &self.user) {
            (Found::User(user), Some(before)) if user != *before => self.refused(),
            (Found::User(user), _) => {
                let success = frame::auth_success(&user);
                self.user = Some(user);
                self.look_at = now + LOOK_EVERY;
                Act::Send(success)
            }
            (Found::Nobody, _) => self.refused(),
            (Found::Unknown, _) => Act::Close(None, Goodbye::TryAgain),
        }
    }

    /// The credential holds no longer.
    pub(crate) fn refused(&mut self) -> Act {
        Act::Close(Some(frame::auth_error()), Goodbye::Unauthenticated)
    }

    /// Something that the client asked for was refused. Faults of ours are not the client's errors.
    pub(crate) fn failed(&mut self, now: Duration, error: &Error, id: Option<&str>) -> Act {
        let text = frame::error(error, id);
        let ours = matches!(error.kind, Kind::Unavailable | Kind::Internal);
        self.erred |= !ours;
        if ours || self.errors.take(now) { Act::Send(text) } else { Act::Close(Some(text), Goodbye::TooManyErrors) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Millis = Millis(1_700_000_000_000);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn open() -> Session {
        let mut session = Session::new(at(0));
        let act = session.authenticated(at(0), Found::User(UserId::new("u")));
        assert!(matches!(act, Act::Send(text) if text.contains("auth_success") && text.contains("\"u\"")));
        session
    }

    #[test]
    fn who_shows_nothing_is_sent_away() {
        let mut session = Session::new(at(0));
        assert_eq!(session.wake_at(), AUTH_WITHIN);
        assert!(matches!(session.wake(at(9)), Act::Nothing));
        let Act::Close(Some(text), Goodbye::Unauthenticated) = session.wake(at(10)) else { panic!("stays") };
        assert!(text.contains("令牌无效或已过期"));
    }

    #[test]
    fn before_auth_only_ping_and_auth_are_answered() {
        let mut session = Session::new(at(0));
        assert!(matches!(session.text(at(0), WALL, "ping"), Act::Send(text) if text.contains("pong")));
        let read = r#"{"type":"read","data":{"chatId":"b"}}"#;
        assert!(matches!(session.text(at(0), WALL, read), Act::Send(text) if text.contains("UNAUTHORIZED")));
        let auth = r#"{"type":"auth","data":{"token":"t"}}"#;
        assert!(matches!(session.text(at(0), WALL, auth), Act::Authenticate { .. }));
        assert!(matches!(session.authenticated(at(1), Found::Unknown), Act::Close(None, Goodbye::TryAgain)));
        assert!(matches!(session.authenticated(at(1), Found::Nobody), Act::Close(Some(_), Goodbye::Unauthenticated)));
    }

    #[test]
    fn another_token_of_the_same_user_is_fine() {
        let mut session = open();
        assert!(matches!(session.text(at(1), WALL, r#"{"type":"read","data":{"chatId":"b"}}"#), Act::Do(_)));
        assert!(matches!(session.authenticated(at(1), Found::User(UserId::new("u"))), Act::Send(_)));
        let other = session.authenticated(at(1), Found::User(UserId::new("v")));
        assert!(matches!(other, Act::Close(Some(_), Goodbye::Unauthenticated)));
    }

    #[test]
    fn pings_looks_and_silence() {
        let mut session = open();
        assert_eq!(session.wake_at(), at(30));
        assert!(matches!(session.wake(at(30)), Act::Ping));
        assert!(matches!(session.wake(at(30)), Act::Nothing));
        assert!(matches!(session.wake(at(60)), Act::Look));
        assert!(matches!(session.wake(at(60)), Act::Ping));
        assert_eq!(session.wake_at(), at(75));
        session.heard(at(70));
        assert!(matches!(session.wake(at(90)), Act::Ping));
        assert!(matches!(session.wake(at(145)), Act::Close(None, Goodbye::Silent)));
    }

    #[test]
    fn too_many_errors_end_it() {
        let mut session = open();
        let mut sent = 0;
        while matches!(session.text(at(1), WALL, "nonsense"), Act::Send(_)) {
            sent += 1;
        }
        assert_eq!(sent, 30);
        assert!(matches!(session.text(at(1), WALL, "nonsense"), Act::Close(Some(_), Goodbye::TooManyErrors)));
        assert!(matches!(session.text(at(10), WALL, "nonsense"), Act::Send(_)), "forgiven with time");
        let ours = Error::unavailable("the disk");
        for _ in 0..100 {
            assert!(matches!(session.failed(at(1), &ours, None), Act::Send(_)), "our faults are not the client's");
        }
    }

    #[test]
    fn frames_have_a_size_and_a_rate() {
        let mut session = open();
        assert!(matches!(session.text(at(0), WALL, &" ".repeat(MAX_FRAME + 1)), Act::Close(None, Goodbye::TooBig)));
        assert!(matches!(session.binary(at(0)), Act::Send(_)));
        let mut taken = 0;
        while session.takes_frames(at(1)) {
            session.heard(at(1));
            taken += 1;
        }
        assert!((198..=200).contains(&taken), "{taken}");
        let wait = session.wake_at() - at(1);
        assert!(wait <= Duration::from_millis(11), "{wait:?}");
        assert!(session.takes_frames(at(1) + wait + Duration::from_millis(1)));
    }
}
