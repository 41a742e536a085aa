//! What WhatsApp Web keeps beside the cryptography: who has our sender keys, LIDs, device lists, tokens, messages on their way.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use whatsapp_rust::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore, TcTokenEntry,
};

use super::{Failure, Store, failure, now, pending::BUNDLES};

const DEVICE_BUCKETS: u8 = 32;
const TOKEN_BUCKETS: u8 = 16;
/// Base keys that are remembered.
const BASE_KEYS: usize = 512;

/// Devices of a group, and whether each has our sender key.
type SenderKeyDevices = BTreeMap<String, bool>;
type DeviceLists = BTreeMap<String, DeviceListRecord>;
type Tokens = BTreeMap<String, TcTokenEntry>;

impl Store {
    fn distribution(&self, group: &str) -> String {
        format!("g/{}", self.names.of(&["group", group]))
    }

    fn group_metadata(&self, group: &str) -> String {
        format!("h/{}", self.names.of(&["group", group]))
    }

    fn devices(&self, user: &str) -> String {
        format!("d/{}", self.names.bucket(user, DEVICE_BUCKETS))
    }

    fn tokens(&self, jid: &str) -> String {
        format!("t/{}", self.names.bucket(jid, TOKEN_BUCKETS))
    }

    async fn token<R>(&self, jid: &str, change: impl FnOnce(&mut Tokens) -> (bool, R)) -> Result<R, Failure> {
        self.change(self.tokens(jid), None, change).await
    }

    fn base_keys(&self) -> MutexGuard<'_, HashMap<(String, String), Vec<u8>>> {
        self.base_keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an earlier process left is taken in before the first look.
    async fn pending_loaded(&self) -> Result<(), Failure> {
        let load = || async {
            let left = self.journal.list(BUNDLES).await.map_err(failure)?;
            self.journal.pending(|pending| pending.load(&left));
            Ok::<_, Failure>(())
        };
        self.pending.get_or_try_init(load).await.copied()
    }
}

#[async_trait]
impl ProtocolStore for Store {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>, Failure> {
        let devices: SenderKeyDevices = self.look(&self.distribution(group_jid)).await?;
        Ok(devices.into_iter().collect())
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> Result<(), Failure> {
        self.change(self.distribution(group_jid), None, |devices: &mut SenderKeyDevices| {
            let mut changed = false;
            for (device, has_key) in entries {
                changed |= devices.insert((*device).to_owned(), *has_key) != Some(*has_key);
            }
            (changed, ())
        })
        .await
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<(), Failure> {
        self.journal.set(self.distribution(group_jid), None, None);
        Ok(())
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<(), Failure> {
        if device_jids.is_empty() {
            return Ok(());
        }
        for (key, _) in self.journal.list("g/").await.map_err(failure)? {
            self.change(key, None, |devices: &mut SenderKeyDevices| {
                let before = devices.len();
                devices.retain(|device, _| !device_jids.contains(&device.as_str()));
                (devices.len() < before, ())
            })
            .await?;
        }
        Ok(())
    }

    async fn clear_all_sender_key_devices(&self) -> Result<(), Failure> {
        self.remove_all("g/").await
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>, Failure> {
        self.lid(lid).await
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>, Failure> {
        self.lid_of(phone).await
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<(), Failure> {
        self.put_lids(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<(), Failure> {
        self.put_lids(entries).await
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>, Failure> {
        self.all_lids().await
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<(), Failure> {
        let mut keys = self.base_keys();
        if keys.len() >= BASE_KEYS {
            keys.clear();
        }
        keys.insert((address.to_owned(), message_id.to_owned()), base_key.to_vec());
        Ok(())
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        current_base_key: &[u8],
    ) -> Result<bool, Failure> {
        let key = (address.to_owned(), message_id.to_owned());
        Ok(self.base_keys().get(&key).is_some_and(|saved| saved == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<(), Failure> {
        self.base_keys().remove(&(address.to_owned(), message_id.to_owned()));
        Ok(())
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<(), Failure> {
        self.update_device_lists(vec![record]).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<(), Failure> {
        let mut buckets: BTreeMap<String, Vec<DeviceListRecord>> = BTreeMap::new();
        for record in records {
            buckets.entry(self.devices(&record.user)).or_default().push(record);
        }
        for (key, records) in buckets {
            self.change(key, None, |lists: &mut DeviceLists| {
                lists.extend(records.into_iter().map(|record| (record.user.clone(), record)));
                (true, ())
            })
            .await?;
        }
        Ok(())
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>, Failure> {
        let mut lists: DeviceLists = self.look(&self.devices(user)).await?;
        Ok(lists.remove(user))
    }

    async fn delete_devices(&self, user: &str) -> Result<(), Failure> {
        let remove = |lists: &mut DeviceLists| (lists.remove(user).is_some(), ());
        self.change(self.devices(user), None, remove).await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.bytes(&self.group_metadata(group_jid)).await?.map(|bytes| bytes.to_vec()))
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> Result<(), Failure> {
        self.journal.set(self.group_metadata(group_jid), Some(Bytes::copy_from_slice(blob)), None);
        Ok(())
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> Result<(), Failure> {
        self.journal.set(self.group_metadata(group_jid), None, None);
        Ok(())
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>, Failure> {
        let mut tokens: Tokens = self.look(&self.tokens(jid)).await?;
        Ok(tokens.remove(jid))
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<(), Failure> {
        self.token(jid, |tokens| {
            tokens.insert(jid.to_owned(), entry.clone());
            (true, ())
        })
        .await
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<(), Failure> {
        self.token(jid, |tokens| (tokens.remove(jid).is_some(), ())).await
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>, Failure> {
        Ok(self.members::<String, TcTokenEntry>("t/").await?.into_iter().map(|(jid, _)| jid).collect())
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32, Failure> {
        let mut deleted = 0;
        for (key, _) in self.journal.list("t/").await.map_err(failure)? {
            deleted += self
                .change(key, None, |tokens: &mut Tokens| {
                    let before = tokens.len();
                    tokens.retain(|_, entry| {
                        let received = !entry.token.is_empty() && entry.token_timestamp >= token_cutoff;
                        received || entry.sender_timestamp.is_some_and(|at| at >= sender_cutoff)
                    });
                    let gone = before - tokens.len();
                    (gone > 0, u32::try_from(gone).unwrap_or(u32::MAX))
                })
                .await?;
        }
        Ok(deleted)
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, sender_timestamp: i64) -> Result<(), Failure> {
        self.token(jid, |tokens| {
            let entry = tokens.entry(jid.to_owned()).or_insert_with(|| TcTokenEntry {
                token: Vec::new(),
                token_timestamp: sender_timestamp,
                sender_timestamp: None,
            });
            let newer = entry.sender_timestamp.is_none_or(|before| before < sender_timestamp);
            if newer {
                entry.sender_timestamp = Some(sender_timestamp);
            }
            (newer, ())
        })
        .await
    }

    async fn store_received_tc_token(&self, jid: &str, token: &[u8], token_timestamp: i64) -> Result<(), Failure> {
        self.token(jid, |tokens| {
            let entry = tokens.entry(jid.to_owned()).or_insert_with(|| TcTokenEntry {
                token: Vec::new(),
                token_timestamp,
                sender_timestamp: None,
            });
            // A late one does not replace a newer one; an empty one was no token.
            let newer = entry.token.is_empty() || token_timestamp >= entry.token_timestamp;
            if newer {
                entry.token = token.to_vec();
                entry.token_timestamp = token_timestamp;
            }
            (newer, ())
        })
        .await
    }

    async fn store_sent_message(&self, chat_jid: &str, message_id: &str, payload: &[u8]) -> Result<(), Failure> {
        self.store_sent(chat_jid, message_id, payload).await
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.take_sent(chat_jid, message_id).await
    }

    /// They expire by themselves.
    async fn delete_expired_sent_messages(&self, _cutoff_timestamp: i64) -> Result<u32, Failure> {
        Ok(0)
    }

    async fn store_pending_inbound(&self, chat: &str, sender: &str, id: &str, message: &[u8]) -> Result<(), Failure> {
        self.store_pending_inbound_batch(&[PendingInboundRow { chat, sender, id, message }]).await
    }

    async fn get_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.pending_loaded().await?;
        let place = (chat.to_owned(), sender.to_owned(), id.to_owned());
        Ok(self.journal.pending(|pending| pending.get(&place)).map(|message| message.to_vec()))
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<(), Failure> {
        self.delete_pending_inbound_batch(&[PendingInboundKey { chat, sender, id }]).await
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> Result<u32, Failure> {
        let expired = self.journal.pending(|pending| pending.expire(cutoff_timestamp));
        Ok(u32::try_from(expired).unwrap_or(u32::MAX))
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<(), Failure> {
        self.pending_loaded().await?;
        let at = now();
        self.journal.pending(|pending| {
            for row in rows {
                let place = (row.chat.to_owned(), row.sender.to_owned(), row.id.to_owned());
                pending.store(place, Bytes::copy_from_slice(row.message), at);
            }
        });
        Ok(())
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<(), Failure> {
        self.pending_loaded().await?;
        self.journal.pending(|pending| {
            for key in keys {
                pending.settle(&(key.chat.to_owned(), key.sender.to_owned(), key.id.to_owned()));
            }
        });
        Ok(())
    }
}
