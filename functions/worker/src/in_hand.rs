//! Commands that were received and not yet settled: they are kept invisible to others for as long as the work takes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use shared::{
    app::App,
    store::{Queue, Receipt},
};

/// Extended well before the visibility ends, so that one failed try does not lose the message.
pub(crate) const EXTEND_EVERY: Duration = Duration::from_secs(7);

#[derive(Debug, Default)]
pub(crate) struct InHand(Mutex<HashMap<String, Receipt>>);

impl InHand {
    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Receipt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn take(&self, receipt: &Receipt) {
        self.all().insert(receipt.handle.clone(), receipt.clone());
    }

    pub(crate) fn settled(&self, receipt: &Receipt) {
        self.all().remove(&receipt.handle);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    pub(crate) async fn extend(&self, app: &App) {
        let receipts: Vec<Receipt> = self.all().values().cloned().collect();
        for receipt in receipts {
            let visibility = Queue::visibility(receipt.queue);
            if let Err(error) = app.queues.extend(&receipt, visibility).await {
                tracing::debug!(%error, "a command was not extended");
            }
        }
    }

    /// Gives everything back at once, for another to do.
    pub(crate) async fn give_back(&self, app: &App) {
        let receipts: Vec<Receipt> = self.all().drain().map(|(_, receipt)| receipt).collect();
        for receipt in receipts {
            if let Err(error) = app.queues.release(&receipt, Duration::ZERO).await {
                tracing::debug!(%error, "a command was not given back");
            }
        }
    }
}
