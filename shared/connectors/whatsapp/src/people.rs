//! Addresses: phone numbers and LIDs, and which belong together.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, PoisonError},
};

use shared::{address, connector::Update};
use whatsapp_rust::{Client, Jid};

/// Pairs that are remembered as told.
const PAIRS: usize = 10_000;

/// Somebody, or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Who {
    /// The address that stands for them: the phone number where it is known.
    pub(crate) address: String,
    /// The other one of a person.
    pub(crate) also: Option<String>,
}

/// The address of a JID as it is stored; `None` for what cannot be written to (broadcasts, bots).
pub(crate) fn address(jid: &Jid) -> Option<String> {
    address::Jid::parse("jid", &jid.to_non_ad_string()).ok().map(|jid| jid.to_string())
}

/// Our address as the crate's.
pub(crate) fn jid(address: &str) -> Option<Jid> {
    address.parse().ok()
}

/// Who this is. `alt` is what the platform said beside the JID.
pub(crate) async fn who(client: &Client, jid: &Jid, alt: Option<&Jid>) -> Option<Who> {
    let jid = jid.to_non_ad();
    if !jid.is_lid() && !jid.is_pn() {
        return Some(Who { address: address(&jid)?, also: None });
    }
    let alt = match alt.filter(|alt| alt.is_lid() != jid.is_lid() && (alt.is_lid() || alt.is_pn())) {
        Some(alt) => Some(alt.to_non_ad()),
        None => other(client, &jid).await,
    };
    Some(match alt {
        Some(phone) if jid.is_lid() => Who { address: address(&phone)?, also: address(&jid) },
        Some(lid) => Who { address: address(&jid)?, also: address(&lid) },
        None => Who { address: address(&jid)?, also: None },
    })
}

/// The other address of a person, if it was learned.
pub(crate) async fn other(client: &Client, jid: &Jid) -> Option<Jid> {
    let entry = client.get_lid_pn_entry(jid).await.ok().flatten()?;
    Some(if jid.is_lid() { Jid::pn(&*entry.phone_number) } else { Jid::lid(&*entry.lid) })
}

/// Which pairs the worker was told of in this process.
#[derive(Default)]
pub(crate) struct Pairs {
    told: Mutex<HashSet<u64>>,
}

impl Pairs {
    /// What to tell of the two addresses of somebody, if that was not told yet.
    pub(crate) fn news(&self, who: &Who) -> Option<Update> {
        let also = who.also.clone()?;
        let mut hasher = DefaultHasher::new();
        (&who.address, &also).hash(&mut hasher);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= PAIRS {
            told.clear();
        }
        told.insert(hasher.finish()).then(|| Update::SameChat { address: who.address.clone(), also })
    }
}
