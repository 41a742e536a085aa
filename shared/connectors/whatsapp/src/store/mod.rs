//! Session state of one account: the crate's storage traits over our `SessionStore`.
//!
//! | key | value | groups |
//! |---|---|---|
//! | `meta` | version of this layout, and the key that names are hashed with | |
//! | `dev` | the device: its own keys, its account, counters | |
//! | `s/{user}{address}`, `i/{user}{address}` | session and identity of a device of somebody | |
//! | `k/{address}` | sender key of a group | |
//! | `p/{group}`, `q/{id}` | one-time prekeys; signed prekeys | 32 ids |
//! | `y/{id}`, `y-last`, `v/{collection}`, `x/{collection}/{bucket}` | app state: keys, versions, MACs | 32 buckets |
//! | `l/{bucket}` | LIDs with their phone numbers | 64 buckets |
//! | `d/{bucket}` | device lists | 32 buckets |
//! | `g/{group}`, `h/{group}` | who has our sender key; what is known of a group | |
//! | `t/{bucket}` | privacy tokens | 16 buckets |
//! | `m/{id}` | a sent message, for retries, and message secrets | a message |
//! | `o/{id}` | the options of a poll | |
//! | `hp/{id}`, `hc/{id}/{part}` | a piece of history that is not stored yet; what is in it ([`history`]) | 200 KB |
//! | `in/{number}` | messages that came in and are not settled ([`pending`]) | a put |
//!
//! Texts of users are never in keys: addresses, numbers and ids are hashed with a secret of the account ([`names`]).
//!
//! *Cost.* Small values lie together, so that pairing, which makes a thousand of them, is a handful of puts. What nobody needs to
//! wait for waits for the next put ([`journal`]): a message that was sent or received is usually one put. Values with an end carry
//! it, and the store removes them.
//!
//! *What must be durable before it is used* is flushed at once: sessions and sender keys (before ciphertext leaves: the crate
//! reserves counters ahead and asks for the put before the first of them is used), prekeys (before they are published), the device, app
//! state with its keys. Everything else is learned again if a crash loses its last two seconds.

mod app_state;
mod codec;
mod device;
mod history;
mod journal;
mod lids;
mod messages;
mod names;
mod pending;
mod protocol;
mod signal;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use shared::{Error, Result, clock::Millis, connector::SessionStore, crypto};
use tokio::sync::OnceCell;
use whatsapp_rust::wacore::store::error::StoreError;

use self::{journal::Journal, lids::Lids, names::Names};

pub(crate) use self::{history::Piece, messages::Poll};

/// The crate's storage error.
pub(crate) type Failure = StoreError;

/// Version of the layout.
const LAYOUT: u32 = 1;
const META: &str = "meta";

#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    v: u32,
    names: [u8; 32],
}

/// All storage traits of the crate, for one account.
pub(crate) struct Store {
    journal: Arc<Journal>,
    names: Names,
    /// Held from reading a value that others change, too, until its change is set.
    changing: tokio::sync::Mutex<()>,
    lids: OnceCell<Mutex<Lids>>,
    /// Whether what an earlier process left of [`pending`] is in memory.
    pending: OnceCell<()>,
    /// Base keys of sessions whose message was retried. Of use for seconds, so in memory only.
    base_keys: Mutex<HashMap<(String, String), Vec<u8>>>,
}

impl Store {
    /// Opens the state of an account, or begins it.
    ///
    /// Errors: the store does not answer; the state was written by a newer version.
    pub(crate) async fn open(session: Arc<dyn SessionStore>) -> Result<Arc<Self>> {
        let meta = match session.get(META).await? {
            Some(bytes) => codec::decode::<Meta>(&bytes).map_err(Error::internal)?,
            None => {
                let meta = Meta { v: LAYOUT, names: crypto::random()? };
                session.put(vec![(META.to_owned(), Some(codec::encode(&meta).to_vec()))]).await?;
                meta
            }
        };
        if meta.v > LAYOUT {
            return Err(Error::internal("the session was written by a newer version"));
        }
        Ok(Arc::new(Self {
            journal: Journal::new(session),
            names: Names::new(meta.names),
            changing: tokio::sync::Mutex::new(()),
            lids: OnceCell::new(),
            pending: OnceCell::new(),
            base_keys: Mutex::default(),
        }))
    }

    /// Everything that was set is durable when it returns.
    pub(crate) async fn flush(&self) -> Result<()> {
        self.journal.flush().await
    }

    /// A secret for a message of ours, the same whenever it is asked for.
    pub(crate) fn secret_of(&self, id: &str) -> Vec<u8> {
        crate::outgoing::secret(self.names.key(), id)
    }

    async fn durable(&self) -> Result<(), Failure> {
        self.journal.flush().await.map_err(failure)
    }

    async fn bytes(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        self.journal.get(key, false).await.map_err(failure)
    }

    /// A value that is kept in memory for a while.
    async fn read<T: DeserializeOwned + Default>(&self, key: &str) -> Result<T, Failure> {
        match self.journal.get(key, true).await.map_err(failure)? {
            Some(bytes) => codec::decode(&bytes),
            None => Ok(T::default()),
        }
    }

    /// [`Store::read`], while nobody changes it.
    async fn look<T: DeserializeOwned + Default>(&self, key: &str) -> Result<T, Failure> {
        let _changing = self.changing.lock().await;
        self.read(key).await
    }

    /// Changes a value, or makes it. `change` says whether it did anything; a value that becomes empty is removed.
    async fn change<T, R>(
        &self,
        key: String,
        until: Option<Millis>,
        change: impl FnOnce(&mut T) -> (bool, R),
    ) -> Result<R, Failure>
    where
        T: Group,
    {
        let _changing = self.changing.lock().await;
        let mut value: T = self.read(&key).await?;
        let (changed, result) = change(&mut value);
        if changed {
            let encoded = (!value.is_void()).then(|| codec::encode(&value));
            self.journal.set(key, encoded, until.or_else(|| value.until()));
        }
        Ok(result)
    }

    /// Removes everything under a prefix.
    async fn remove_all(&self, prefix: &str) -> Result<(), Failure> {
        for (key, _) in self.journal.list(prefix).await.map_err(failure)? {
            self.journal.set(key, None, None);
        }
        Ok(())
    }

    /// All members of all groups under a prefix.
    async fn members<K, V>(&self, prefix: &str) -> Result<Vec<(K, V)>, Failure>
    where
        BTreeMap<K, V>: DeserializeOwned,
    {
        let mut all = Vec::new();
        for (_, value) in self.journal.list(prefix).await.map_err(failure)? {
            all.extend(codec::decode::<BTreeMap<K, V>>(&value)?);
        }
        Ok(all)
    }
}

/// Values that lie together under one key.
trait Group: Default + Serialize + DeserializeOwned {
    /// Nothing is left of it.
    fn is_void(&self) -> bool;

    /// From when on nothing of it is needed any more.
    fn until(&self) -> Option<Millis> {
        None
    }
}

impl<K, V> Group for BTreeMap<K, V>
where
    Self: Default + Serialize + DeserializeOwned,
{
    fn is_void(&self) -> bool {
        self.is_empty()
    }
}

/// Our error as the crate's.
fn failure(error: Error) -> Failure {
    Failure::Database(Box::new(error))
}

/// Seconds since 1970, by the crate's clock.
fn now() -> i64 {
    whatsapp_rust::wacore::time::now_secs()
}
