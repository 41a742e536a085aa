//! API calls that are not sends: counted in memory and added to the day's row every second or so. The one count that a crash
//! or a retry may put off by a little (spec/http.md, "stats").

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    app::App,
    clock::Millis,
    error::Result,
    id::InstanceId,
    store::{Change, Write, keys},
};

#[derive(Debug, Default)]
pub struct Calls(Mutex<HashMap<(InstanceId, Millis), i64>>);

impl Calls {
    pub fn hit(&self, instance: &InstanceId, now: Millis) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((instance.clone(), now.day())).or_default() += 1;
    }

    /// Drops what was counted for an instance that is being deleted.
    pub fn forget(&self, instance: &InstanceId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(of, _), _| of != instance);
    }

    fn take(&self) -> Vec<((InstanceId, Millis), i64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).drain().collect()
    }
}

/// Writes down what was counted since the last time. What cannot be written is counted again at the next try.
pub async fn flush(app: &App) -> Result<()> {
    let counts = app.calls.take();
    if counts.is_empty() {
        return Ok(());
    }
    let writes = counts
        .iter()
        .map(|((instance, day), count)| {
            Write::update(keys::calls_day(instance, *day), Change::default().add("calls", *count))
        })
        .collect();
    if let Err(error) = app.store.write_many(writes).await {
        let mut now = app.calls.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, count) in counts {
            *now.entry(key).or_default() += count;
        }
        return Err(error);
    }
    Ok(())
}
