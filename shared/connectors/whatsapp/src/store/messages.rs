//! What is kept of single messages: those that were sent, for whoever could not read them; secrets, for votes, reactions and edits
//! that refer to them; options of polls.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use shared::clock::Millis;
use whatsapp_rust::traits::{MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry, merge_msg_secret_message_ts};

use super::{Failure, Group, Store, codec, now};

/// For how long a sent message is kept for retries.
pub(crate) const RETRY_SECONDS: i64 = 2 * 3600;
/// For how long the options of a poll are kept.
const POLL_SECONDS: i64 = 90 * 86_400;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Secret {
    s: Bytes,
    /// Expires at; 0: never.
    e: i64,
    /// The message's own time, 0 if unknown.
    t: i64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sent {
    p: Bytes,
    t: i64,
}

/// What is kept of the messages of one id: of one message, but for rare cases. The chat is no part of the row's name, since the
/// crate calls the same chat by the number for one purpose and by the LID for another, and the row would be two.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// By chat.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    sent: BTreeMap<String, Sent>,
    /// By chat and sender.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<String, Secret>,
}

impl Group for Kept {
    fn is_void(&self) -> bool {
        self.sent.is_empty() && self.secrets.is_empty()
    }

    fn until(&self) -> Option<Millis> {
        let mut last = self.sent.values().map(|sent| sent.t + RETRY_SECONDS).max().unwrap_or(0);
        for secret in self.secrets.values() {
            if secret.e == 0 {
                return None;
            }
            last = last.max(secret.e);
        }
        Some(Millis(last.saturating_mul(1000)))
    }
}

/// The options of a poll as they were sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Poll {
    pub(crate) question: String,
    pub(crate) options: Vec<String>,
}

impl Store {
    fn message(&self, id: &str) -> String {
        format!("m/{}", self.names.of(&["message", id]))
    }

    pub(super) async fn store_sent(&self, chat: &str, id: &str, payload: &[u8]) -> Result<(), Failure> {
        let sent = Sent { p: Bytes::copy_from_slice(payload), t: now() };
        self.change(self.message(id), None, |kept: &mut Kept| {
            kept.sent.insert(chat.to_owned(), sent);
            (true, ())
        })
        .await
    }

    /// Hands out a sent message and forgets it.
    pub(super) async fn take_sent(&self, chat: &str, id: &str) -> Result<Option<Vec<u8>>, Failure> {
        let taken = self
            .change(self.message(id), None, |kept: &mut Kept| {
                let sent = kept.sent.remove(chat);
                (sent.is_some(), sent)
            })
            .await?;
        Ok(taken.filter(|sent| sent.t + RETRY_SECONDS > now()).map(|sent| sent.p.to_vec()))
    }

    fn poll_key(&self, id: &str) -> String {
        format!("o/{}", self.names.of(&["poll", id]))
    }

    /// Keeps the options of a poll, since votes only name them by hash.
    pub(crate) fn keep_poll(&self, id: &str, poll: &Poll) {
        let until = Millis((now() + POLL_SECONDS) * 1000);
        self.journal.set(self.poll_key(id), Some(codec::encode(poll)), Some(until));
    }

    pub(crate) async fn poll(&self, id: &str) -> Result<Option<Poll>, Failure> {
        self.bytes(&self.poll_key(id)).await?.map(|bytes| codec::decode(&bytes)).transpose()
    }
}

fn place(chat: &str, sender: &str) -> String {
    format!("{chat} {sender}")
}

#[async_trait]
impl MsgSecretStore for Store {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize, Failure> {
        let count = entries.len();
        let mut messages: BTreeMap<Arc<str>, Vec<MsgSecretEntry>> = BTreeMap::new();
        for entry in entries {
            messages.entry(Arc::clone(&entry.msg_id)).or_default().push(entry);
        }
        for (id, entries) in messages {
            self.change(self.message(&id), None, |kept: &mut Kept| {
                let mut changed = false;
                for entry in entries {
                    let place = place(&entry.chat, &entry.sender);
                    let old = kept.secrets.get(&place);
                    let secret = Secret {
                        s: Bytes::copy_from_slice(&entry.secret),
                        e: old.map_or(entry.expires_at, |old| merge_msg_secret_expiry(old.e, entry.expires_at)),
                        t: old.map_or(entry.message_ts, |old| merge_msg_secret_message_ts(old.t, entry.message_ts)),
                    };
                    changed |= old != Some(&secret);
                    kept.secrets.insert(place, secret);
                }
                (changed, ())
            })
            .await?;
        }
        Ok(count)
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<Vec<u8>>, Failure> {
        Ok(self.get_msg_secret_with_ts(chat, sender, msg_id).await?.map(|(secret, _)| secret))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> Result<Option<(Vec<u8>, i64)>, Failure> {
        let mut kept: Kept = self.look(&self.message(msg_id)).await?;
        let secret = kept.secrets.remove(&place(chat, sender)).filter(|secret| secret.e == 0 || secret.e > now());
        Ok(secret.map(|secret| (secret.s.to_vec(), secret.t)))
    }

    /// They expire by themselves.
    async fn delete_expired_msg_secrets(&self, _cutoff_timestamp: i64) -> Result<u32, Failure> {
        Ok(0)
    }
}
