//! The worker's metrics.

use shared::domain::instance::Status;

/// How a send ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendOutcome {
    Sent,
    Failed,
    Parked,
    Later,
}

impl SendOutcome {
    fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::Parked => "parked",
            Self::Later => "later",
        }
    }
}

pub(crate) fn send(outcome: SendOutcome) {
    metrics::counter!("trunkline_sends_total", "outcome" => outcome.name()).increment(1);
}

pub(crate) fn received() {
    metrics::counter!("trunkline_received_total").increment(1);
}

pub(crate) fn reconnect() {
    metrics::counter!("trunkline_reconnects_total").increment(1);
}

/// One supervised instance in the gauge `trunkline_instances{status}`.
#[derive(Debug)]
pub(crate) struct Counted(Status);

impl Counted {
    pub(crate) fn new(status: Status) -> Self {
        gauge(status).increment(1.0);
        Self(status)
    }

    pub(crate) fn change(&mut self, status: Status) {
        if self.0 != status {
            gauge(self.0).decrement(1.0);
            gauge(status).increment(1.0);
            self.0 = status;
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        gauge(self.0).decrement(1.0);
    }
}

fn gauge(status: Status) -> metrics::Gauge {
    metrics::gauge!("trunkline_instances", "status" => status.name())
}
