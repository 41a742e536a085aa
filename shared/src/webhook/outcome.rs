//! How an attempt ended: typed from the socket up to the retry decision, a text only on the wire.

use serde::{Deserialize, Serialize};

use crate::guard::Failure;

/// How an attempt, or a delivery without one, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// 2xx, complete, in time.
    Delivered,
    /// 1xx or 3xx: redirects are not followed.
    Redirect,
    /// 4xx but 410.
    ClientError,
    /// 410: the receiver wants no more.
    Gone,
    /// 5xx, or a status that HTTP does not know.
    ServerError,
    /// No complete answer within ten seconds.
    Timeout,
    Dns,
    Connect,
    Tls,
    /// The connection was closed before the answer was complete.
    Cut,
    /// The answer was not HTTP, beyond all bounds, or not what the endpoint's vendor promises.
    Protocol,
    /// A 2xx whose body says that the robot will never take this (its key is unknown, the text is not allowed).
    Rejected,
    /// A 2xx whose body says that it may be taken later (too many messages, busy).
    Throttled,
    /// The address is not one that webhooks may reach.
    Forbidden,
    InvalidUrl,
    /// The event has left the log before it could be delivered.
    Expired,
    /// The webhook was switched off meanwhile.
    Disabled,
    /// The settings no longer ask for this event.
    Unwanted,
}

/// What follows from an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    /// May work later.
    Retry,
    /// Never works for this delivery.
    Dead,
    /// The receiver asked us to stop altogether.
    Disable,
}

impl Outcome {
    pub fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Delivered,
            100..=199 | 300..=399 => Self::Redirect,
            410 => Self::Gone,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }

    /// `None`: the fault is ours, and nothing is charged to the receiver.
    pub fn of_failure(failure: &Failure) -> Option<Self> {
        Some(match failure {
            Failure::InvalidUrl(_) => Self::InvalidUrl,
            Failure::Forbidden(_) => Self::Forbidden,
            Failure::Dns(_) => Self::Dns,
            Failure::Connect(_) => Self::Connect,
            Failure::Tls(_) => Self::Tls,
            Failure::Timeout => Self::Timeout,
            Failure::Cut(_) => Self::Cut,
            Failure::Protocol(_) | Failure::TooLarge { .. } => Self::Protocol,
            Failure::Status(status) => Self::of_status(*status),
            Failure::Local(_) => return None,
        })
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Redirect => "redirect",
            Self::ClientError => "client_error",
            Self::Gone => "gone",
            Self::ServerError => "server_error",
            Self::Timeout => "timeout",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Cut => "cut",
            Self::Protocol => "protocol",
            Self::Rejected => "rejected",
            Self::Throttled => "throttled",
            Self::Forbidden => "forbidden",
            Self::InvalidUrl => "invalid_url",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
            Self::Unwanted => "unwanted",
        }
    }

    pub(crate) fn verdict(self) -> Verdict {
        match self {
            Self::Delivered => Verdict::Delivered,
            Self::Redirect
            | Self::ClientError
            | Self::ServerError
            | Self::Timeout
            | Self::Dns
            | Self::Connect
            | Self::Tls
            | Self::Cut
            | Self::Protocol
            | Self::Throttled => Verdict::Retry,
            Self::Rejected | Self::Forbidden | Self::InvalidUrl | Self::Expired | Self::Disabled | Self::Unwanted => {
                Verdict::Dead
            }
            Self::Gone => Verdict::Disable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_their_verdicts() {
        for (status, verdict) in [
            (200, Verdict::Delivered),
            (204, Verdict::Delivered),
            (302, Verdict::Retry),
            (404, Verdict::Retry),
            (410, Verdict::Disable),
            (429, Verdict::Retry),
            (503, Verdict::Retry),
            (999, Verdict::Retry),
        ] {
            assert_eq!(Outcome::of_status(status).verdict(), verdict, "{status}");
        }
    }

    #[test]
    fn our_own_faults_are_nobodys_outcome() {
        assert_eq!(Outcome::of_failure(&Failure::Local("no descriptors".into())), None);
        assert_eq!(Outcome::of_failure(&Failure::Timeout), Some(Outcome::Timeout));
    }

    #[test]
    fn names_are_those_of_the_wire() {
        for outcome in [Outcome::ClientError, Outcome::InvalidUrl, Outcome::Delivered] {
            assert_eq!(serde_json::to_value(outcome).expect("a text"), outcome.name());
        }
    }
}
