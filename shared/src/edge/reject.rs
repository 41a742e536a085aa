//! How a handler says no: a domain error on its way to the caller.

use std::sync::Arc;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use super::envelope;
use crate::error::{Error, Kind};

/// A domain error with its HTTP status. Handlers return `Result<_, Reject>`, and `?` makes one from any [`Error`].
///
/// It has no body of its own: [`envelope::render`] writes it, in the envelope of the path's group.
#[derive(Debug)]
pub struct Reject {
    pub status: StatusCode,
    pub error: Error,
}

/// Rides in the response's extensions from the handler to [`envelope::render`].
#[derive(Debug, Clone)]
pub(crate) struct Failure(pub(crate) Arc<Reject>);

impl Reject {
    /// A path that exists, asked with a method that it does not have.
    pub fn method_not_allowed() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            error: Error::new(Kind::Invalid, "METHOD_NOT_ALLOWED", "Method not allowed"),
        }
    }
}

impl From<Error> for Reject {
    fn from(error: Error) -> Self {
        Self { status: envelope::status(error.kind), error }
    }
}

impl IntoResponse for Reject {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let wait = match self.error.kind {
            Kind::RateLimited | Kind::Unavailable => Some(self.error.retry_after.unwrap_or_default()),
            _ => self.error.retry_after,
        };
        if let Some(wait) = wait {
            // Whole seconds, rounded up: who waits that long must not come too early.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        response.extensions_mut().insert(Failure(Arc::new(self)));
        response
    }
}
