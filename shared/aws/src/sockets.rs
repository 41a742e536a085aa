//! The sockets that API Gateway holds: posting to them, and closing them. Only functions that read the sockets' mailboxes link
//! this.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_config::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_apigatewaymanagement::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
};
use shared::{
    Error, Result,
    id::SocketId,
    realtime::{Posted, Poster},
};

use crate::sdk;

/// One try.
const ATTEMPT: Duration = Duration::from_secs(3);

/// API Gateway's management of the connections of one stage.
pub struct Management(Client);

impl Management {
    /// The stage at this URL (`WEBSOCKET_MANAGEMENT_URL`).
    pub async fn connect(url: &str) -> Arc<Self> {
        let shared = sdk::environment().await;
        let config = aws_sdk_apigatewaymanagement::config::Builder::from(&shared)
            .endpoint_url(url)
            // A frame that may have gone out is not sent again here: whoever asked decides.
            .retry_config(RetryConfig::disabled())
            .timeout_config(
                TimeoutConfig::builder()
                    .connect_timeout(Duration::from_millis(1500))
                    .operation_timeout(ATTEMPT)
                    .build(),
            )
            .build();
        Arc::new(Self(Client::from_conf(config)))
    }
}

/// What an error's code and status mean; `None`: a fault, on one side or the other.
fn classify(code: &str, status: u16) -> Option<Posted> {
    match (code, status) {
        ("GoneException", _) | (_, 410) => Some(Posted::Gone),
        ("LimitExceededException" | "TooManyRequestsException" | "ThrottlingException", _) | (_, 429) => {
            Some(Posted::Busy)
        }
        ("PayloadTooLargeException", _) | (_, 413) => Some(Posted::TooLarge),
        _ => None,
    }
}

fn outcome<E>(operation: &str, failed: &SdkError<E>) -> Result<Posted>
where
    E: ProvideErrorMetadata,
{
    let code = match failed {
        SdkError::ServiceError(service) => service.err().code().unwrap_or("Unknown"),
        // The client, or what is before it, does not take the frame.
        SdkError::TimeoutError(_) => return Ok(Posted::Busy),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => return Ok(Posted::Busy),
        SdkError::DispatchFailure(_) => "NoConnection",
        SdkError::ResponseError(_) => "BadResponse",
        _ => "Unknown",
    };
    let status = failed.raw_response().map_or(0, |response| response.status().as_u16());
    classify(code, status).ok_or_else(|| Error::unavailable(format!("{operation}: {code} ({status})")))
}

#[async_trait]
impl Poster for Management {
    async fn post(&self, socket: &SocketId, text: &str) -> Result<Posted> {
        let posted = self.0.post_to_connection().connection_id(socket.as_str()).data(Blob::new(text)).send().await;
        match posted {
            Ok(_) => Ok(Posted::Done),
            Err(failed) => outcome("PostToConnection", &failed),
        }
    }

    async fn close(&self, socket: &SocketId) -> Result<()> {
        match self.0.delete_connection().connection_id(socket.as_str()).send().await {
            Ok(_) => Ok(()),
            Err(failed) => match outcome("DeleteConnection", &failed)? {
                Posted::Gone => Ok(()),
                _ => Err(Error::unavailable("DeleteConnection: API Gateway is asked too often")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_decide_and_statuses_help() {
        assert_eq!(classify("GoneException", 410), Some(Posted::Gone));
        assert_eq!(classify("Unknown", 410), Some(Posted::Gone));
        assert_eq!(classify("LimitExceededException", 429), Some(Posted::Busy));
        assert_eq!(classify("PayloadTooLargeException", 413), Some(Posted::TooLarge));
        assert_eq!(classify("ForbiddenException", 403), None);
        assert_eq!(classify("NoConnection", 0), None);
    }
}
