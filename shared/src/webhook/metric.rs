//! What is counted of deliveries. On AWS the same numbers go out in the log (EMF).

use std::time::Duration;

use super::{Outcome, Status};

/// Names of the metrics of this module.
#[derive(Debug, Clone, Copy)]
enum Name {
    /// POSTs, by `outcome`.
    Attempts,
    /// Deliveries that have ended, by `status`.
    Deliveries,
    /// Seconds from the event to its delivery.
    Latency,
    /// Endpoints taken out of service until a probe succeeds.
    BreakerOpened,
    /// Webhooks switched off by us.
    Disabled,
}

impl Name {
    const fn text(self) -> &'static str {
        match self {
            Self::Attempts => "webhook_attempts_total",
            Self::Deliveries => "webhook_deliveries_total",
            Self::Latency => "webhook_delivery_latency_seconds",
            Self::BreakerOpened => "webhook_breaker_opened_total",
            Self::Disabled => "webhook_disabled_total",
        }
    }
}

pub(super) fn attempt(outcome: Outcome) {
    metrics::counter!(Name::Attempts.text(), "outcome" => outcome.name()).increment(1);
}

pub(super) fn ended(status: Status) {
    metrics::counter!(Name::Deliveries.text(), "status" => status.name()).increment(1);
}

pub(super) fn latency(since_event: Duration) {
    metrics::histogram!(Name::Latency.text()).record(since_event.as_secs_f64());
}

pub(super) fn breaker_opened() {
    metrics::counter!(Name::BreakerOpened.text()).increment(1);
}

pub(super) fn disabled() {
    metrics::counter!(Name::Disabled.text()).increment(1);
}
