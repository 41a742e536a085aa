//! The worker's metrics.

use std::time::Duration;

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

/// Shards that this worker owns, and workers that it sees.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
pub(crate) fn fleet(shards: usize, workers: usize) {
    metrics::gauge!("trunkline_owned_shards").set(shards as f64);
    metrics::gauge!("trunkline_workers").set(workers as f64);
}

/// So that a worker without instances reports none, which scaling looks at.
pub(crate) fn begin() {
    metrics::gauge!("trunkline_owned_instances").increment(0.0);
}

/// All shards were lost at once.
pub(crate) fn lease_lost() {
    metrics::counter!("trunkline_leases_lost_total").increment(1);
}

/// A shard was taken that long after the last sign of life of its owner before.
pub(crate) fn lease_gap(gap: Duration) {
    metrics::histogram!("trunkline_lease_gap_seconds").record(gap.as_secs_f64());
}

/// One supervised instance in the gauges `trunkline_owned_instances` and `trunkline_instances{status}`.
#[derive(Debug)]
pub(crate) struct Counted(Status);

impl Counted {
    pub(crate) fn new(status: Status) -> Self {
        gauge(status).increment(1.0);
        metrics::gauge!("trunkline_owned_instances").increment(1.0);
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
        metrics::gauge!("trunkline_owned_instances").decrement(1.0);
    }
}

fn gauge(status: Status) -> metrics::Gauge {
    metrics::gauge!("trunkline_instances", "status" => status.name())
}
