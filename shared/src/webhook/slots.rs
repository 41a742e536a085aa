//! How many POSTs are under way at once: in all, and per endpoint, so that a slow receiver takes its own slots and no more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// POSTs at once, over all endpoints. Each is one socket and one task.
pub const POSTS: usize = 256;
/// POSTs at once to one endpoint.
pub const PER_ENDPOINT: usize = 8;
/// Those that may wait for an endpoint's slots. Beyond that its chats are parked in lanes, and no longer held in memory.
const WAITING: usize = 64;

#[derive(Debug)]
struct Endpoint {
    slots: Arc<Semaphore>,
    /// Posting or waiting.
    users: usize,
}

/// The slots of a process.
#[derive(Debug)]
pub struct Slots {
    all: Arc<Semaphore>,
    endpoints: Arc<Mutex<HashMap<String, Endpoint>>>,
}

impl Default for Slots {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(POSTS)), endpoints: Arc::default() }
    }
}

/// A place among an endpoint's users; given back when it is dropped.
#[derive(Debug)]
struct Place {
    endpoints: Arc<Mutex<HashMap<String, Endpoint>>>,
    name: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get_mut(&self.name) {
            endpoint.users -= 1;
            if endpoint.users == 0 {
                endpoints.remove(&self.name);
            }
        }
    }
}

/// The right to POST.
#[derive(Debug)]
pub(crate) struct Slot {
    _of_all: OwnedSemaphorePermit,
    _of_endpoint: OwnedSemaphorePermit,
    _place: Place,
}

impl Slots {
    /// Waits for a slot of the endpoint, then for one of all: who waits for a slow endpoint holds nothing that others need.
    /// `None`: too many are waiting for this endpoint already.
    pub(crate) async fn acquire(&self, endpoint: &str) -> Option<Slot> {
        let (slots, place) = {
            let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = endpoints
                .entry(endpoint.to_owned())
                .or_insert_with(|| Endpoint { slots: Arc::new(Semaphore::new(PER_ENDPOINT)), users: 0 });
            if entry.users >= PER_ENDPOINT + WAITING {
                return None;
            }
            entry.users += 1;
            let place = Place { endpoints: Arc::clone(&self.endpoints), name: endpoint.to_owned() };
            (Arc::clone(&entry.slots), place)
        };
        // Neither semaphore is ever closed.
        let of_endpoint = slots.acquire_owned().await.ok()?;
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Slot { _of_all: of_all, _of_endpoint: of_endpoint, _place: place })
    }

    /// Whether somebody waits for the endpoint's slots.
    pub(crate) fn is_busy(&self, endpoint: &str) -> bool {
        let endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        endpoints.get(endpoint).is_some_and(|endpoint| endpoint.users > PER_ENDPOINT)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_full_endpoint_waits_then_refuses_and_harms_nobody() {
        let slots = Arc::new(Slots::default());
        let mut held = Vec::new();
        for _ in 0..PER_ENDPOINT {
            held.push(slots.acquire("slow").await.expect("free"));
        }
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let slots = Arc::clone(&slots);
                tokio::spawn(async move { slots.acquire("slow").await.is_some() })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(slots.is_busy("slow"));
        assert!(slots.acquire("slow").await.is_none(), "too many wait");
        assert!(slots.acquire("other").await.is_some());
        held.clear();
        for task in waiting {
            assert!(task.await.expect("runs"));
        }
        assert!(slots.endpoints.lock().expect("free").is_empty(), "nothing is kept of idle endpoints");
    }
}
