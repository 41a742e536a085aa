//! Whose presence somebody wants to know. WhatsApp tells it only to those who asked for it, and who are shown as online themselves;
//! so it is asked for by contact and for a while, in memory: whoever still wants it after a restart asks again.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use shared::{Error, Result};
use whatsapp_rust::Client;

use crate::{line::Inner, outgoing::jid};

/// For how long one request counts.
const LASTS: Duration = Duration::from_secs(3600);
/// Contacts that are watched at the same time.
const MOST: usize = 200;

#[derive(Default)]
pub(crate) struct Watched {
    until: Mutex<HashMap<String, Instant>>,
    told: AtomicU64,
}

impl Watched {
    fn until(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        until.retain(|_, until| *until > now);
        until
    }

    pub(crate) fn is(&self, address: &str) -> bool {
        self.until().contains_key(address)
    }

    /// A name for something that is told of once, and never again.
    pub(crate) fn number(&self) -> String {
        format!("{}/{}", whatsapp_rust::wacore::time::now_millis(), self.told.fetch_add(1, Ordering::Relaxed))
    }

    /// Whether there is room for it.
    fn add(&self, address: &str) -> bool {
        let mut until = self.until();
        let room = until.len() < MOST || until.contains_key(address);
        if room {
            until.insert(address.to_owned(), Instant::now() + LASTS);
        }
        room
    }
}

/// Watches somebody, or who writes in a group. The account is shown as online as long as anybody is watched.
pub(crate) async fn ask(inner: &Arc<Inner>, client: &Arc<Client>, address: &str) -> Result<Value> {
    let jid = jid("phone", address)?;
    if !inner.watched.add(address) {
        return Err(Error::conflict(
            "TOO_MANY_WATCHED",
            format!("At most {MOST} contacts are watched at the same time"),
        ));
    }
    let presence = client.presence();
    presence.set_available().await.map_err(Error::unavailable)?;
    if !address.ends_with("@g.us") {
        presence.subscribe(&jid).await.map_err(Error::unavailable)?;
    }
    let (inner, client) = (Arc::downgrade(inner), Arc::downgrade(client));
    tokio::spawn(async move {
        tokio::time::sleep(LASTS + Duration::from_secs(1)).await;
        let (Some(inner), Some(client)) = (inner.upgrade(), client.upgrade()) else { return };
        if inner.is_up()
            && inner.watched.until().is_empty()
            && let Err(error) = client.presence().set_unavailable().await
        {
            tracing::debug!(instance = %inner.instance, %error, "the account is still shown as online");
        }
    });
    Ok(json!({ "success": true, "seconds": LASTS.as_secs() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_bound() {
        let watched = Watched::default();
        for number in 0..MOST {
            assert!(watched.add(&number.to_string()));
        }
        assert!(watched.add("7"), "again");
        assert!(!watched.add("one more"));
        assert!(watched.is("7") && !watched.is("one more"));
    }
}
