//! Counters over the life of the process, for `GET /stats`.

use std::collections::BTreeMap;

use serde::Serialize;

/// What happened so far.
#[derive(Default, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stats {
    /// Handshakes finished.
    pub(crate) handshakes: u64,
    /// Of these, resumed with IK.
    pub(crate) resumed: u64,
    pub(crate) pairings: u64,
    pub(crate) logins: u64,
    pub(crate) refused_logins: u64,
    /// Messages that clients sent, repetitions included.
    pub(crate) messages_from_clients: u64,
    /// Of these, with an id that the same sender had used for the same chat before.
    pub(crate) duplicate_messages: u64,
    /// Messages answered with an error on request.
    pub(crate) refused_messages: u64,
    /// Messages that a simulated phone could not decrypt.
    pub(crate) undecryptable: u64,
    /// Message stanzas queued for clients.
    pub(crate) messages_to_clients: u64,
    /// Acknowledgements that removed something from a queue, by kind.
    pub(crate) acknowledged: BTreeMap<&'static str, u64>,
    /// Acknowledgements of what was not (or no longer) outstanding.
    pub(crate) needless_acks: u64,
    /// Receipts of clients that ask for a message again.
    pub(crate) retry_receipts: u64,
    /// Acks of clients that carry an error, by its code.
    pub(crate) nacks: BTreeMap<String, u64>,
    pub(crate) prekey_uploads: u64,
    pub(crate) prekeys_uploaded: u64,
    pub(crate) media_uploads: u64,
    pub(crate) media_downloads: u64,
    /// Iqs by `xmlns/child`.
    pub(crate) iqs: BTreeMap<String, u64>,
    /// Iqs that the fake does not know, likewise; answered with 501.
    pub(crate) unknown_iqs: BTreeMap<String, u64>,
}
