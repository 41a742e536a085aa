//! The app state of an account: collections of encrypted, chained patches. The phone writes into it, linked devices read it
//! and write patches of their own.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, anyhow};
use buffa::{Message as _, MessageField};
use wacore_appstate::encode::encode_record;
use wacore_appstate::hash::{HashState, generate_patch_mac};
use wacore_appstate::keys::{ExpandedAppStateKeys, expand_app_state_keys};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::{AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId};
use waproto::whatsapp::syncd_mutation::SyncdOperation;

use crate::clock::{now_millis, now_secs};
use crate::stanza::{attr, bytes, children};

/// The collections that exist.
const COLLECTIONS: [&str; 5] = ["critical_block", "critical_unblock_low", "regular_high", "regular_low", "regular"];

/// One change of the phone's: which collection, under which index, with which schema version.
pub(crate) struct Change {
    pub(crate) collection: &'static str,
    pub(crate) index: Vec<String>,
    pub(crate) version: i32,
    pub(crate) value: wa::SyncActionValue,
}

impl Change {
    /// The name that the account shows to others.
    pub(crate) fn push_name(name: &str) -> Self {
        Self {
            collection: "critical_block",
            index: vec!["setting_pushName".to_owned()],
            version: 1,
            value: wa::SyncActionValue {
                timestamp: Some(now_millis().cast_signed()),
                push_name_setting: MessageField::some(wa::sync_action_value::PushNameSetting {
                    name: Some(name.to_owned()),
                }),
                ..Default::default()
            },
        }
    }

    /// An entry of the phone's address book. `pn` and `lid` are user parts.
    pub(crate) fn contact(pn: &str, lid: Option<&str>, full_name: &str) -> Self {
        let first = full_name.split_whitespace().next().unwrap_or(full_name);
        Self {
            collection: "critical_unblock_low",
            index: vec!["contact".to_owned(), format!("{pn}@s.whatsapp.net")],
            version: 2,
            value: wa::SyncActionValue {
                timestamp: Some(now_millis().cast_signed()),
                contact_action: MessageField::some(wa::sync_action_value::ContactAction {
                    full_name: Some(full_name.to_owned()),
                    first_name: Some(first.to_owned()),
                    lid_jid: lid.map(|lid| format!("{lid}@lid")),
                    pn_jid: Some(format!("{pn}@s.whatsapp.net")),
                    save_on_primary_addressbook: Some(true),
                    ..Default::default()
                }),
                ..Default::default()
            },
        }
    }
}

#[derive(Default)]
struct Collection {
    hash: HashState,
    /// Encoded patches; the first has version 1.
    patches: Vec<Vec<u8>>,
    /// Index MAC → value MAC of what is set at present.
    values: HashMap<Vec<u8>, Vec<u8>>,
}

/// Collections and key of one account.
pub(crate) struct AppState {
    key_id: [u8; 6],
    key_data: [u8; 32],
    keys: ExpandedAppStateKeys,
    since: u64,
    collections: BTreeMap<&'static str, Collection>,
}

impl AppState {
    /// An account's state with nothing but its name.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let key_data: [u8; 32] = rand::random();
        let mut state = Self {
            key_id: rand::random(),
            keys: expand_app_state_keys(&key_data),
            key_data,
            since: now_millis(),
            collections: COLLECTIONS.into_iter().map(|name| (name, Collection::default())).collect(),
        };
        state.apply(vec![Change::push_name(name)])?;
        Ok(state)
    }

    /// The key as it is shared with a linked device.
    pub(crate) fn key(&self) -> AppStateSyncKey {
        AppStateSyncKey {
            key_id: MessageField::some(AppStateSyncKeyId { key_id: Some(self.key_id.to_vec()) }),
            key_data: MessageField::some(AppStateSyncKeyData {
                key_data: Some(self.key_data.to_vec()),
                fingerprint: MessageField::some(AppStateSyncKeyFingerprint {
                    raw_id: Some(1),
                    current_index: Some(0),
                    device_indexes: vec![0],
                }),
                timestamp: Some(self.since.cast_signed()),
            }),
        }
    }

    /// Writes changes of the phone, one patch for each collection. Returns the collections that changed.
    pub(crate) fn apply(&mut self, changes: Vec<Change>) -> Result<Vec<&'static str>> {
        let mut by_collection: BTreeMap<&'static str, Vec<Change>> = BTreeMap::new();
        for change in changes {
            by_collection.entry(change.collection).or_default().push(change);
        }
        let mut changed = Vec::new();
        for (name, changes) in by_collection {
            self.append(name, &changes)?;
            changed.push(name);
        }
        Ok(changed)
    }

    fn append(&mut self, name: &'static str, changes: &[Change]) -> Result<()> {
        let mut mutations = Vec::with_capacity(changes.len());
        for change in changes {
            let index = serde_json::to_vec(&change.index)?;
            let (mutation, _) = encode_record(
                SyncdOperation::SET,
                &index,
                &change.value,
                &self.keys,
                &self.key_id,
                &rand::random(),
                change.version,
            );
            mutations.push(mutation);
        }
        let collection = self.collections.get_mut(name).ok_or_else(|| anyhow!("no collection {name}"))?;
        collection.absorb(&mutations)?;
        let version = collection.hash.version;
        let mut patch = wa::SyncdPatch {
            version: MessageField::some(wa::SyncdVersion { version: Some(version) }),
            mutations,
            snapshot_mac: Some(collection.hash.generate_snapshot_mac(name, &self.keys.snapshot_mac)),
            key_id: MessageField::some(wa::KeyId { id: Some(self.key_id.to_vec()) }),
            ..Default::default()
        };
        patch.patch_mac = Some(generate_patch_mac(&patch, name, &self.keys.patch_mac, version));
        collection.patches.push(patch.encode_to_vec());
        Ok(())
    }

    /// Answers the `<sync>` of a client, patches of its own included. Returns the answer and the collections that it changed.
    pub(crate) fn sync(&mut self, request: &Node) -> (Node, Vec<&'static str>) {
        let mut answers = Vec::new();
        let mut changed = Vec::new();
        for wanted in children(request) {
            let Some(name) = attr(wanted, "name") else {
                continue;
            };
            let Some((name, collection)) = self.collections.iter_mut().find(|(known, _)| **known == name) else {
                answers.push(refused(&name, 404, "item-not-found"));
                continue;
            };
            let theirs = attr(wanted, "version").and_then(|version| version.parse::<usize>().ok()).unwrap_or(0);
            let patches: Vec<&[u8]> = children(wanted).iter().filter_map(bytes).collect();
            if patches.is_empty() {
                answers.push(collection.since(name, theirs));
            } else if theirs == collection.patches.len() {
                match patches.iter().try_for_each(|patch| collection.accept(patch)) {
                    Ok(()) => {
                        changed.push(*name);
                        answers.push(collection.head(name).build());
                    }
                    Err(_) => answers.push(refused(name, 400, "bad-request")),
                }
            } else {
                answers.push(collection.conflict(name, theirs));
            }
        }
        let node = NodeBuilder::new("sync").children(answers).build();
        (node, changed)
    }
}

impl Collection {
    /// Counts mutations into the hash; the version goes up by one.
    fn absorb(&mut self, mutations: &[wa::SyncdMutation]) -> Result<()> {
        let values = &self.values;
        let (_, outcome) = self.hash.update_hash(mutations, |index, _| Ok(values.get(index).cloned()));
        outcome.context("the hash of a patch")?;
        self.hash.version += 1;
        for mutation in mutations {
            let Some(index) = mutation.record.index.blob.clone() else {
                continue;
            };
            let removes = mutation.operation.is_some_and(|operation| operation == SyncdOperation::REMOVE);
            match mutation.record.value.blob.as_deref() {
                Some(value) if !removes && value.len() >= 32 => {
                    self.values.insert(index, value[value.len() - 32..].to_vec());
                }
                _ => {
                    self.values.remove(&index);
                }
            }
        }
        Ok(())
    }

    /// Takes a patch of a client over as it is: its MACs are for the other devices to check.
    fn accept(&mut self, encoded: &[u8]) -> Result<()> {
        let mut patch = waproto::codec::syncd_patch_decode(encoded)?;
        self.absorb(&patch.mutations)?;
        patch.version = MessageField::some(wa::SyncdVersion { version: Some(self.hash.version) });
        self.patches.push(patch.encode_to_vec());
        Ok(())
    }

    fn head(&self, name: &str) -> NodeBuilder {
        NodeBuilder::new("collection").attr("name", name).attr("version", self.hash.version)
    }

    fn patches_after(&self, version: usize) -> Node {
        NodeBuilder::new("patches")
            .children(
                self.patches.iter().skip(version).map(|patch| NodeBuilder::new("patch").bytes(patch.clone()).build()),
            )
            .build()
    }

    fn since(&self, name: &str, version: usize) -> Node {
        let head = self.head(name).attr("has_more_patches", "false");
        if version < self.patches.len() { head.children([self.patches_after(version)]).build() } else { head.build() }
    }

    /// The client built on an old version: it gets what it missed, and tries again.
    fn conflict(&self, name: &str, version: usize) -> Node {
        self.head(name)
            .attr("type", "error")
            .attr("has_more_patches", "false")
            .children([
                NodeBuilder::new("error").attr("code", "409").attr("text", "conflict").build(),
                self.patches_after(version),
            ])
            .build()
    }
}

fn refused(name: &str, code: u16, text: &str) -> Node {
    NodeBuilder::new("collection")
        .attr("name", name)
        .attr("type", "error")
        .children([NodeBuilder::new("error").attr("code", code).attr("text", text).build()])
        .build()
}

/// `<notification type="server_sync">`: tells a device that collections changed.
pub(crate) fn changed_notification(id: &str, from: wacore_binary::Jid, changed: &[&str]) -> Node {
    NodeBuilder::new("notification")
        .attr("from", from)
        .attr("type", "server_sync")
        .attr("id", id)
        .attr("t", now_secs())
        .children(changed.iter().map(|name| NodeBuilder::new("collection").attr("name", *name).build()))
        .build()
}
