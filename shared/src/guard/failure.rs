//! How a guarded request can fail. The outcome stays typed up to the retry decision; nothing here decides about retries.

use std::{error::Error as StdError, io};

use super::net::Class;
use crate::error::Error;

type Source = Box<dyn StdError + Send + Sync>;

/// Why a guarded request has no answer. `Display` is fit for users: it never shows the URL, and never repeats its source.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Not a URL that may be asked for at all.
    #[error("the URL {0}")]
    InvalidUrl(&'static str),
    /// The address is not one that user-given URLs may reach; `OUTBOUND_ALLOW` can open it.
    #[error("the address is forbidden: it is {0}")]
    Forbidden(Class),
    #[error("the host name cannot be resolved")]
    Dns(#[source] Source),
    #[error("no connection could be made")]
    Connect(#[source] Source),
    #[error("the TLS handshake failed")]
    Tls(#[source] Source),
    /// The deadline covers everything from resolving to the last byte.
    #[error("no complete answer within the time allowed")]
    Timeout,
    #[error("the answer is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    /// The peer closed before the answer was complete.
    #[error("the connection was closed before the answer was complete")]
    Cut(#[source] Source),
    /// What came back is not HTTP as we know it.
    #[error("the answer is not valid HTTP")]
    Protocol(#[source] Source),
    /// Only from `fetch`: there is no content under this status.
    #[error("the answer has status {0}")]
    Status(u16),
    /// Our own fault (no file descriptors, no network of ours): not to be charged to the receiver.
    #[error("the request could not be made")]
    Local(#[source] Source),
}

impl Failure {
    /// A stable name for delivery records and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InvalidUrl(_) => "invalid_url",
            Self::Forbidden(_) => "forbidden_address",
            Self::Dns(_) => "dns",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout => "timeout",
            Self::TooLarge { .. } => "too_large",
            Self::Cut(_) => "cut",
            Self::Protocol(_) => "protocol",
            Self::Status(_) => "status",
            Self::Local(_) => "local",
        }
    }

    /// Whether the fault is on our side.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Local(_))
    }

    /// As the answer to the user who gave the URL in `field`: wrong input, unless the fault is ours.
    pub fn into_error(self, field: &'static str) -> Error {
        if let Self::Local(source) = self {
            return Error::unavailable(source);
        }
        Error::invalid(field, format!("{field}: {self}")).source(self)
    }

    /// Sorts what the HTTP client reports by the types in its chain of causes, never by its texts.
    pub(super) fn from_client(error: reqwest::Error) -> Self {
        // The URL may hold secrets, and errors are logged.
        let error = error.without_url();
        let refused = causes(&error).find_map(|cause| cause.downcast_ref::<Refused>()).map(|refused| refused.0);
        if let Some(class) = refused {
            return Self::Forbidden(class);
        }
        if causes(&error).any(|cause| cause.downcast_ref::<io::Error>().is_some_and(is_local)) {
            return Self::Local(error.into());
        }
        if causes(&error).any(|cause| cause.is::<rustls::Error>()) {
            return Self::Tls(error.into());
        }
        if error.is_builder() {
            return Self::InvalidUrl("cannot be requested");
        }
        if error.is_timeout() {
            return Self::Timeout;
        }
        if error.is_dns() {
            return Self::Dns(error.into());
        }
        if error.is_connect() {
            return Self::Connect(error.into());
        }
        let closed = causes(&error).any(|cause| {
            cause.downcast_ref::<hyper::Error>().is_some_and(|e| e.is_incomplete_message() || e.is_canceled())
                || cause.downcast_ref::<io::Error>().is_some_and(|e| is_closed(e.kind()))
        });
        if closed { Self::Cut(error.into()) } else { Self::Protocol(error.into()) }
    }
}

/// What the resolver reports when none of a name's addresses may be connected to.
#[derive(Debug, thiserror::Error)]
#[error("refused: {0} address")]
pub(super) struct Refused(pub(super) Class);

/// The chain of causes, also through `io::Error`, whose `source` skips the error that it wraps.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&cause| match cause.downcast_ref::<io::Error>() {
        Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => cause.source(),
    })
}

fn is_closed(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(kind, K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof | K::NotConnected)
}

/// Out of file descriptors (of the process, of the system) or memory, or without a network: ours, whoever is asked.
fn is_local(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    use io::ErrorKind as K;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE)) || matches!(error.kind(), K::OutOfMemory | K::NetworkDown)
}
