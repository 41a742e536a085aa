//! Names into addresses, refusing those that must not be reached. The HTTP client connects to what this resolver answers
//! and to nothing else, so there is no moment between check and use in which a name could change.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::{
    failure::{Failure, Refused},
    net::Class,
    policy::Policy,
};

/// Resolves a name; may block.
pub type Lookup = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// Look-ups at a time. The system's resolver blocks a thread and cannot be cancelled; names that hang must not use up
/// the threads that files and databases wait for.
const LOOKUPS: usize = 32;

/// The system's resolver.
pub(super) fn system() -> Lookup {
    Arc::new(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
}

#[derive(Clone)]
pub(super) struct Resolver {
    policy: Arc<Policy>,
    lookup: Lookup,
    slots: Arc<Semaphore>,
}

impl Resolver {
    pub(super) fn new(policy: Arc<Policy>, lookup: Lookup) -> Self {
        Self { policy, lookup, slots: Arc::new(Semaphore::new(LOOKUPS)) }
    }

    /// The allowed addresses of a name, never an empty list. A forbidden address among them is left out; if all are
    /// forbidden, the class of the first is told.
    pub(super) async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|e| Failure::Local(e.into()))?;
        let (lookup, owned) = (Arc::clone(&self.lookup), name.to_owned());
        let found = tokio::task::spawn_blocking(move || {
            // Held until the thread is free again, also when nobody waits for the answer any more.
            let _slot = slot;
            lookup(&owned)
        })
        .await
        .map_err(|e| Failure::Local(e.into()))?
        .map_err(|e| Failure::Dns(e.into()))?;

        let mut refused: Option<Class> = None;
        let mut allowed = Vec::with_capacity(found.len());
        for address in found {
            match self.policy.permits(Some(name), address) {
                Ok(()) => allowed.push(address),
                Err(class) => refused = refused.or(Some(class)),
            }
        }
        match (allowed.is_empty(), refused) {
            (false, _) => Ok(allowed),
            (true, Some(class)) => Err(Failure::Forbidden(class)),
            (true, None) => Err(Failure::Dns("the name has no address".into())),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            match resolver.addresses(name.as_str()).await {
                // Port 0: the client puts in the URL's.
                Ok(found) => Ok(Box::new(found.into_iter().map(|ip| SocketAddr::new(ip, 0))) as Addrs),
                Err(Failure::Forbidden(class)) => Err(Refused(class).into()),
                Err(Failure::Dns(source)) => Err(source),
                Err(other) => Err(other.into()),
            }
        })
    }
}
