//! What a process used of DynamoDB and SQS, told with its other metrics: at the end of an invocation, or once a minute.

use std::{collections::BTreeMap, io::Write as _, sync::Arc};

use shared::{
    Result,
    app::App,
    store::meter::{Meter, Used},
};

use crate::emf::Emf;

/// Operations on queues begin so; all others are the store's.
const QUEUES: &str = "sqs.";

/// The metrics of a process, and the meter behind some of them.
#[derive(Clone)]
pub struct Report {
    emf: Emf,
    meter: Arc<Meter>,
}

impl Report {
    /// For a function: installs the recorder.
    ///
    /// Errors: there is one already.
    pub fn of(app: &App) -> Result<Self> {
        Ok(Self::with(app, Emf::install(&app.config.table)?))
    }

    /// For a process that has installed the recorder by itself.
    pub fn with(app: &App, emf: Emf) -> Self {
        Self { emf, meter: Arc::clone(&app.meter) }
    }

    /// At the end of an invocation, since the process may be frozen from then on: what was counted since the last time.
    pub fn invocation(&self) {
        self.count_used();
        print(&self.emf.take_counted());
    }

    /// For a process that lives on: the same, and how the gauges stand.
    pub fn write(&self) {
        self.count_used();
        print(&self.emf.take());
    }

    /// `RUST_LOG=shared_aws::report=debug` shows every operation.
    fn count_used(&self) {
        let all = self.meter.take();
        for (operation, used) in &all {
            let Used { requests, read_half_units, write_units } = *used;
            tracing::debug!(operation, requests, read_half_units, write_units, "used");
        }
        let (queues, store) = sums(&all);
        // A metric that nothing was counted of is not reported.
        let counts = [
            ("trunkline_read_half_units_total", store.read_half_units),
            ("trunkline_write_units_total", store.write_units),
            ("trunkline_store_requests_total", store.requests),
            ("trunkline_queue_requests_total", queues.requests),
        ];
        for (name, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            metrics::counter!(name).increment(count);
        }
    }
}

/// Of the queues, and of the store.
fn sums(all: &BTreeMap<&'static str, Used>) -> (Used, Used) {
    let (mut queues, mut store) = (Used::default(), Used::default());
    for (operation, used) in all {
        let sum = if operation.starts_with(QUEUES) { &mut queues } else { &mut store };
        sum.requests += used.requests;
        sum.read_half_units += used.read_half_units;
        sum.write_units += used.write_units;
    }
    (queues, store)
}

/// To standard output, where the log takes it from.
fn print(lines: &str) {
    if let Err(error) = std::io::stdout().write_all(lines.as_bytes()) {
        tracing::warn!(%error, "metrics were not written");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let meter = Meter::default();
        meter.record("get", Used { requests: 1, read_half_units: 2, write_units: 0 });
        meter.record("commit.put", Used { requests: 1, read_half_units: 0, write_units: 2 });
        meter.record("sqs.send", Used { requests: 3, ..Used::default() });
        let (queues, store) = sums(&meter.take());
        assert_eq!((queues.requests, store.requests, store.read_half_units, store.write_units), (3, 2, 2, 2));
        assert_eq!(sums(&meter.take()), (Used::default(), Used::default()), "taken is taken");
    }
}
