//! The running fake: its state behind one lock, its server keys, its addresses.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::noise::ServerIdentity;
use crate::state::State;

/// What every connection and every control request shares.
pub(crate) struct World {
    state: Mutex<State>,
    pub(crate) identity: ServerIdentity,
    /// Where media are served: the control address.
    pub(crate) media_host: SocketAddr,
}

/// Shared handle.
pub(crate) type Shared = Arc<World>;

impl World {
    pub(crate) fn new(media_host: SocketAddr) -> Shared {
        Arc::new(Self { state: Mutex::new(State::new(media_host)), identity: ServerIdentity::generate(), media_host })
    }

    /// The state. Never held across an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock fails one test; the others may still see a usable state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
