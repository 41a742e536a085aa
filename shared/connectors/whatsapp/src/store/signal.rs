//! Identities, sessions, prekeys and sender keys.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use whatsapp_rust::traits::SignalStore;

use super::{Failure, Store, codec, failure};

/// One-time prekeys that lie together. The first message of a person rewrites one group, of about 3 KB.
const PREKEYS: u32 = 32;

/// Prekeys of one group, by id.
type Prekeys = BTreeMap<u32, Bytes>;

fn group(id: u32) -> String {
    format!("p/{:08}", id / PREKEYS)
}

fn signed(id: u32) -> String {
    format!("q/{id:08}")
}

impl Store {
    fn session_key(&self, address: &str) -> String {
        format!("s/{}", self.names.address(address))
    }

    fn identity_key(&self, address: &str) -> String {
        format!("i/{}", self.names.address(address))
    }

    fn sender_key(&self, address: &str) -> String {
        format!("k/{}", self.names.of(&["sender", address]))
    }
}

#[async_trait]
impl SignalStore for Store {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<(), Failure> {
        self.journal.set(self.identity_key(address), Some(Bytes::copy_from_slice(&key)), None);
        Ok(())
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<(), Failure> {
        for (address, key) in identities {
            self.put_identity(address, *key).await?;
        }
        Ok(())
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>, Failure> {
        let found = self.bytes(&self.identity_key(address)).await?;
        let key = found.map(|bytes| bytes.as_ref().try_into());
        key.transpose().map_err(|_| Failure::Validation("an identity is not 32 bytes".to_owned()))
    }

    async fn delete_identity(&self, address: &str) -> Result<(), Failure> {
        self.journal.set(self.identity_key(address), None, None);
        Ok(())
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>, Failure> {
        self.bytes(&self.session_key(address)).await
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<(), Failure> {
        self.journal.set(self.session_key(address), Some(Bytes::copy_from_slice(session)), None);
        self.durable().await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<(), Failure> {
        for (address, session) in sessions {
            self.journal.set(self.session_key(address), Some(session.clone()), None);
        }
        self.durable().await
    }

    async fn delete_session(&self, address: &str) -> Result<(), Failure> {
        self.journal.set(self.session_key(address), None, None);
        self.durable().await
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool, Failure> {
        let user = self.names.user(user);
        Ok(self.journal.any(&format!("s/{user}")).await.map_err(failure)?
            || self.journal.any(&format!("i/{user}")).await.map_err(failure)?)
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> Result<(), Failure> {
        self.store_prekeys_batch(&[(id, Bytes::copy_from_slice(record))], uploaded).await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], _uploaded: bool) -> Result<(), Failure> {
        let mut groups: BTreeMap<String, Prekeys> = BTreeMap::new();
        for (id, record) in keys {
            groups.entry(group(*id)).or_default().insert(*id, record.clone());
        }
        for (key, new) in groups {
            self.change(key, None, |prekeys: &mut Prekeys| {
                prekeys.extend(new);
                (true, ())
            })
            .await?;
        }
        self.durable().await
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>, Failure> {
        let mut prekeys: Prekeys = self.look(&group(id)).await?;
        Ok(prekeys.remove(&id))
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> Result<Vec<(u32, Bytes)>, Failure> {
        let mut wanted: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for id in ids {
            wanted.entry(group(*id)).or_default().push(*id);
        }
        let mut found = Vec::with_capacity(ids.len());
        for (key, ids) in wanted {
            let prekeys: Prekeys = self.look(&key).await?;
            found.extend(ids.into_iter().filter_map(|id| prekeys.get(&id).map(|record| (id, record.clone()))));
        }
        Ok(found)
    }

    /// Nothing asks which ones are, so that is not kept; and what is not written cannot bring back a key that was used meanwhile.
    async fn mark_prekeys_uploaded(&self, _ids: &[u32]) -> Result<(), Failure> {
        Ok(())
    }

    async fn remove_prekey(&self, id: u32) -> Result<(), Failure> {
        let remove = |prekeys: &mut Prekeys| (prekeys.remove(&id).is_some(), ());
        self.change(group(id), None, remove).await
    }

    async fn get_max_prekey_id(&self) -> Result<u32, Failure> {
        let all = self.members::<u32, Bytes>("p/").await?;
        Ok(all.into_iter().map(|(id, _)| id).max().unwrap_or(0))
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<(), Failure> {
        self.journal.set(signed(id), Some(codec::encode(&(id, Bytes::copy_from_slice(record)))), None);
        self.durable().await
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>, Failure> {
        let found = self.bytes(&signed(id)).await?;
        found.map(|bytes| codec::decode::<(u32, Bytes)>(&bytes).map(|(_, record)| record.to_vec())).transpose()
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>, Failure> {
        let all = self.journal.list("q/").await.map_err(failure)?;
        all.iter()
            .map(|(_, bytes)| codec::decode::<(u32, Bytes)>(bytes).map(|(id, record)| (id, record.to_vec())))
            .collect()
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<(), Failure> {
        self.journal.set(signed(id), None, None);
        Ok(())
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<(), Failure> {
        self.journal.set(self.sender_key(address), Some(Bytes::copy_from_slice(record)), None);
        self.durable().await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> Result<(), Failure> {
        for (address, record) in sender_keys {
            self.journal.set(self.sender_key(address), Some(record.clone()), None);
        }
        self.durable().await
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.bytes(&self.sender_key(address)).await?.map(|bytes| bytes.to_vec()))
    }

    async fn delete_sender_key(&self, address: &str) -> Result<(), Failure> {
        self.journal.set(self.sender_key(address), None, None);
        self.durable().await
    }
}
