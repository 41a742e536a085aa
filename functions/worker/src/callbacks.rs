//! What platforms have told over HTTP, on its way into the log: conversations at the same time, each in its order.
//!
//! Callbacks lie in the command queue in groups of their own, so that no send waits for what comes in, nor the other way
//! round. They need no line: an account that cannot send any more is still written to.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::Value;
use shared::{Error, Result, connector::Emit, store::Receipt};

use crate::{emitter::Emitter, lines, port::Port, supervisor::Supervisor, traffic::Done};

/// Pauses before a callback is shown again that could not be made durable: they grow with the receives, up to a minute.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
const AGAIN_MOST: Duration = Duration::from_secs(60);

/// One callback, or a part of one.
#[derive(Debug)]
pub(crate) struct Callback {
    pub(crate) receipt: Receipt,
    pub(crate) receives: u32,
    /// The queue's group: one after the other.
    pub(crate) group: String,
    pub(crate) parts: Vec<Value>,
}

/// The callbacks in hand.
#[derive(Default)]
pub(crate) struct Callbacks {
    /// Group → those that wait while one of the group is being told. No entry: none is.
    groups: HashMap<String, VecDeque<Callback>>,
    /// Takes what they say, whatever becomes of lines.
    emitter: Option<Arc<Emitter>>,
}

impl Callbacks {
    /// The next mark is to be told of again.
    pub(crate) fn mark_is_saved(&self) {
        if let Some(emitter) = &self.emitter {
            emitter.noted.store(false, Ordering::Release);
        }
    }
}

impl Supervisor {
    /// Lets the callbacks that came in be told.
    pub(crate) fn hear(&mut self) {
        for callback in self.commands.callbacks() {
            match self.callbacks.groups.get_mut(&callback.group) {
                Some(waiting) => waiting.push_back(callback),
                None => {
                    self.callbacks.groups.insert(callback.group.clone(), VecDeque::new());
                    self.tell(callback);
                }
            }
        }
    }

    fn tell(&mut self, callback: Callback) {
        let port = Arc::clone(&self.port);
        let emitter = self.callbacks.emitter.get_or_insert_with(|| {
            // Only facts go through it, and those are of no line.
            Arc::new(Emitter::new(Arc::clone(&port), self.sender.clone(), 0))
        });
        let emit: Arc<dyn Emit> = emitter.clone();
        self.work.push(Box::pin(async move {
            let heard = one(&port, emit, &callback).await;
            Done::Callback { callback, heard }
        }));
    }

    /// Goes on in the group, or gives back what waits in it: nothing may overtake the one that failed.
    pub(crate) async fn heard(&mut self, callback: Callback, heard: bool) {
        let Some(waiting) = self.callbacks.groups.get_mut(&callback.group) else { return };
        if heard && let Some(next) = waiting.pop_front() {
            return self.tell(next);
        }
        let rest = self.callbacks.groups.remove(&callback.group).unwrap_or_default();
        if !heard {
            // The first last: as long as it is in flight its group is closed.
            let pause = (AGAIN_AFTER * callback.receives).min(AGAIN_MOST);
            for callback in std::iter::once(callback).chain(rest).rev() {
                self.port.release(&callback.receipt, pause).await;
            }
        }
    }
}

/// Tells one, and acknowledges it. `false`: it is not durable.
async fn one(port: &Port, emit: Arc<dyn Emit>, callback: &Callback) -> bool {
    match read(port, emit, &callback.parts).await {
        Ok(()) => {
            port.acknowledge(&callback.receipt).await;
            true
        }
        Err(error) => {
            tracing::warn!(instance = %port.owner.id(), %error, receives = callback.receives, "a callback is not told yet");
            false
        }
    }
}

async fn read(port: &Port, emit: Arc<dyn Emit>, parts: &[Value]) -> Result<()> {
    if !port.lease_is_valid() {
        return Err(Error::unavailable("the lease is over"));
    }
    let instance = port.owner.instance();
    let connector = port
        .context
        .connectors
        .of(&instance)
        .ok_or_else(|| Error::unavailable(format!("{} is not connected by this deployment", instance.platform)))?;
    connector.callback(lines::account(port, &instance)?, emit, parts).await
}
