//! What the work would cost on DynamoDB and SQS, collected over a batch and handed to the meter once.

use shared::store::meter::{Meter, Used};

#[derive(Debug, Default)]
pub(crate) struct Bill(Vec<(&'static str, Used)>);

impl Bill {
    /// One write request of that many units.
    pub(crate) fn write(&mut self, operation: &'static str, write_units: u64) {
        self.add(operation, Used { requests: 1, write_units, ..Used::default() });
    }

    /// Requests to a queue.
    pub(crate) fn requests(&mut self, operation: &'static str, requests: u64) {
        self.add(operation, Used { requests, ..Used::default() });
    }

    pub(crate) fn add(&mut self, operation: &'static str, used: Used) {
        if let Some((_, sum)) = self.0.iter_mut().find(|(name, _)| *name == operation) {
            sum.requests += used.requests;
            sum.read_half_units += used.read_half_units;
            sum.write_units += used.write_units;
        } else {
            self.0.push((operation, used));
        }
    }

    pub(crate) fn settle(self, meter: &Meter) {
        for (operation, used) in self.0 {
            meter.record(operation, used);
        }
    }
}
