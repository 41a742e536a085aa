//! The one error type of the domain. It knows neither HTTP nor any store: it carries a kind, a retry class, what a user may
//! read, and apart from that what only a log may hold. The edge turns it into a status and a body, in one place.

use std::{borrow::Cow, fmt, time::Duration};

/// What went wrong, seen from the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The input is wrong; `field` names the culprit where there is one.
    Invalid,
    /// No credentials, or bad ones.
    Unauthenticated,
    /// Valid credentials that do not reach this far.
    Forbidden,
    NotFound,
    /// The state does not allow it now, or somebody else was faster.
    Conflict,
    /// It was there, and has expired.
    Gone,
    TooLarge,
    UnsupportedMediaType,
    /// Same idempotency key, other body.
    Unprocessable,
    RateLimited,
    /// A dependency failed or was too slow; trying again may help.
    Unavailable,
    /// A bug of ours.
    Internal,
}

/// Whether trying the same again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Never: the same input fails the same way.
    Permanent,
    /// Soon: a throttle, a time-out, a lost race.
    Temporary,
    /// Not until somebody mends something (a full disk, a wrong credential).
    Persistent,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A domain error. `message` and `field` are shown to users; `source` is only logged.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    pub kind: Kind,
    pub retry: Retry,
    /// `UPPER_SNAKE`, stable, for programs.
    pub code: Cow<'static, str>,
    /// One sentence for a person. Never contains secrets or message contents.
    pub message: Cow<'static, str>,
    /// The input field that is wrong, as the caller spelled it.
    pub field: Option<Cow<'static, str>>,
    /// When to try again, if known.
    pub retry_after: Option<Duration>,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Error {
    pub fn new(kind: Kind, code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        let retry = match kind {
            Kind::Unavailable | Kind::RateLimited => Retry::Temporary,
            Kind::Internal => Retry::Persistent,
            _ => Retry::Permanent,
        };
        Self { kind, retry, code: code.into(), message: message.into(), field: None, retry_after: None, source: None }
    }

    /// Wrong input. Names the field; the message says what is wanted.
    pub fn invalid(field: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::new(Kind::Invalid, "VALIDATION_ERROR", message);
        error.field = Some(field.into());
        error
    }

    pub fn unauthenticated(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Unauthenticated, "UNAUTHORIZED", message)
    }

    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Forbidden, "FORBIDDEN", message)
    }

    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::NotFound, "NOT_FOUND", message)
    }

    pub fn conflict(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Conflict, code, message)
    }

    pub fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::TooLarge, "PAYLOAD_TOO_LARGE", message)
    }

    /// A dependency failed. Users read "temporarily unavailable"; the source is logged.
    pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let mut error = Self::new(Kind::Unavailable, "UNAVAILABLE", "Temporarily unavailable, please try again");
        error.source = Some(source.into());
        error
    }

    /// A broken invariant of ours.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let mut error = Self::new(Kind::Internal, "INTERNAL_ERROR", "Internal server error");
        error.source = Some(source.into());
        error
    }

    #[must_use]
    pub fn field(mut self, field: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(field.into());
        self
    }

    #[must_use]
    pub fn code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.code = code.into();
        self
    }

    #[must_use]
    pub fn retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub fn is_temporary(&self) -> bool {
        self.retry == Retry::Temporary
    }
}

impl From<serde_json::Error> for Error {
    /// A document of ours that does not decode: never the user's fault (the edge decodes user input itself).
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}
