//! App state: its keys, the version of each collection, and the MACs of what is in it.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use bytes::Bytes;
use whatsapp_rust::{
    traits::{AppStateSyncKey, AppSyncStore},
    wacore::appstate::{hash::HashState, processor::AppStateMutationMAC},
};

use super::{Failure, Store, codec};

/// Buckets of a collection's MACs. A contact has one, of about 70 bytes; at 32 buckets an item of the store holds them for more than
/// 100,000 contacts.
const BUCKETS: u8 = 32;

/// MACs by index MAC.
type Macs = BTreeMap<Bytes, Bytes>;

const LAST_KEY: &str = "y-last";

fn sync_key(id: &[u8]) -> String {
    format!("y/{}", hex::encode(id))
}

fn version(collection: &str) -> String {
    format!("v/{collection}")
}

/// Index MACs are uniformly distributed.
fn bucket(collection: &str, index_mac: &[u8]) -> String {
    format!("x/{collection}/{:02x}", index_mac.first().unwrap_or(&0) % BUCKETS)
}

#[async_trait]
impl AppSyncStore for Store {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>, Failure> {
        self.bytes(&sync_key(key_id)).await?.map(|bytes| codec::decode(&bytes)).transpose()
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> Result<(), Failure> {
        self.journal.set(sync_key(key_id), Some(codec::encode(&key)), None);
        self.journal.set(LAST_KEY.to_owned(), Some(Bytes::copy_from_slice(key_id)), None);
        self.durable().await
    }

    async fn get_version(&self, name: &str) -> Result<HashState, Failure> {
        match self.bytes(&version(name)).await? {
            Some(bytes) => codec::decode(&bytes),
            None => Ok(HashState::default()),
        }
    }

    /// With the MACs that were set before: a version without them could never be continued.
    async fn set_version(&self, name: &str, state: HashState) -> Result<(), Failure> {
        self.journal.set(version(name), Some(codec::encode(&state)), None);
        self.durable().await
    }

    async fn put_mutation_macs(
        &self,
        name: &str,
        _version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> Result<(), Failure> {
        let mut buckets: BTreeMap<String, Macs> = BTreeMap::new();
        for mutation in mutations {
            let macs = buckets.entry(bucket(name, &mutation.index_mac)).or_default();
            macs.insert(Bytes::copy_from_slice(&mutation.index_mac), Bytes::copy_from_slice(&mutation.value_mac));
        }
        for (key, new) in buckets {
            self.change(key, None, |macs: &mut Macs| {
                macs.extend(new);
                (true, ())
            })
            .await?;
        }
        Ok(())
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>, Failure> {
        let macs: Macs = self.look(&bucket(name, index_mac)).await?;
        Ok(macs.get(index_mac).map(|mac| mac.to_vec()))
    }

    async fn get_mutation_macs(
        &self,
        name: &str,
        index_macs: &[[u8; 32]],
    ) -> Result<HashMap<[u8; 32], Vec<u8>>, Failure> {
        let mut wanted: BTreeMap<String, Vec<&[u8; 32]>> = BTreeMap::new();
        for index_mac in index_macs {
            wanted.entry(bucket(name, index_mac)).or_default().push(index_mac);
        }
        let mut found = HashMap::with_capacity(index_macs.len());
        for (key, index_macs) in wanted {
            let macs: Macs = self.look(&key).await?;
            for index_mac in index_macs {
                if let Some(mac) = macs.get(index_mac.as_slice()) {
                    found.insert(*index_mac, mac.to_vec());
                }
            }
        }
        Ok(found)
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<(), Failure> {
        let mut buckets: BTreeMap<String, Vec<&Vec<u8>>> = BTreeMap::new();
        for index_mac in index_macs {
            buckets.entry(bucket(name, index_mac)).or_default().push(index_mac);
        }
        for (key, index_macs) in buckets {
            self.change(key, None, |macs: &mut Macs| {
                let before = macs.len();
                macs.retain(|index_mac, _| !index_macs.iter().any(|doomed| doomed[..] == index_mac[..]));
                (macs.len() < before, ())
            })
            .await?;
        }
        Ok(())
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<(), Failure> {
        self.remove_all(&format!("x/{name}/")).await
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.bytes(LAST_KEY).await?.map(|bytes| bytes.to_vec()))
    }
}
