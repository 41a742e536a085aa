//! Whose presence somebody wants to know. WhatsApp tells it only to those who asked for it, and who are shown as online themselves;
//! so it is asked for by contact and for a while, and again with each login. It is in memory: whoever still wants it after a
//! restart of the process asks again.

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

    /// All of them, and when the last of these is over.
    fn all(&self) -> (Vec<String>, Option<Instant>) {
        let until = self.until();
        (until.keys().cloned().collect(), until.values().max().copied())
    }

    pub(crate) fn forget(&self) {
        self.until().clear();
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
    if !inner.account.watched.add(address) {
        return Err(Error::conflict(
            "TOO_MANY_WATCHED",
            format!("At most {MOST} contacts are watched at the same time"),
        ));
    }
    until_nobody(inner, client);
    let presence = client.presence();
    presence.set_available().await.map_err(Error::unavailable)?;
    if !address.ends_with("@g.us") {
        presence.subscribe(&jid).await.map_err(Error::unavailable)?;
    }
    Ok(json!({ "success": true, "seconds": LASTS.as_secs() }))
}

/// After a login: asks for everybody again who is still watched.
pub(crate) async fn again(inner: &Arc<Inner>, client: &Arc<Client>) {
    let (watched, _) = inner.account.watched.all();
    if watched.is_empty() {
        return;
    }
    let presence = client.presence();
    let mut asked = presence.set_available().await.is_ok();
    for address in watched.iter().filter(|address| !address.ends_with("@g.us")) {
        let Ok(jid) = jid("phone", address) else { continue };
        asked &= presence.subscribe(&jid).await.is_ok();
    }
    if !asked {
        tracing::debug!(instance = %inner.instance, "not everybody who is watched was asked for again");
    }
    until_nobody(inner, client);
}

/// Shows the account as online no longer once nobody is watched, as long as this line lives.
fn until_nobody(inner: &Arc<Inner>, client: &Arc<Client>) {
    if inner.watching.swap(true, Ordering::AcqRel) {
        return;
    }
    let (inner, client) = (Arc::downgrade(inner), Arc::downgrade(client));
    tokio::spawn(async move {
        while let (Some(inner), Some(client)) = (inner.upgrade(), client.upgrade())
            && !inner.ended.is_cancelled()
        {
            let Some(last) = inner.account.watched.all().1 else {
                if let Err(error) = client.presence().set_unavailable().await {
                    tracing::debug!(instance = %inner.instance, %error, "the account is still shown as online");
                }
                inner.watching.store(false, Ordering::Release);
                // Somebody may have been added meanwhile, and have seen to nothing, since this was still at it.
                if inner.account.watched.all().1.is_none() || inner.watching.swap(true, Ordering::AcqRel) {
                    return;
                }
                drop(client.presence().set_available().await);
                continue;
            };
            let ended = inner.ended.clone();
            drop((inner, client));
            tokio::select! {
                () = tokio::time::sleep_until((last + Duration::from_secs(1)).into()) => {}
                () = ended.cancelled() => return,
            }
        }
    });
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
