//! Names of messages, in the manner of each platform: where the platform gives them, the network does.
//!
//! | platform | id |
//! |---|---|
//! | WhatsApp | the sender's; `wamid.…` on the Cloud API |
//! | Telegram | a number, counted in each chat |
//! | Signal | the moment of sending in milliseconds, different within a chat and sender |
//! | WeChat, WeCom, IM | a decimal number of 64 bits |
//!
//! A message that is given to the network twice is named once: `given` is what it is recognised by.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use shared::{
    Error, Result,
    address::Platform,
    capability::Transport,
    clock::Millis,
    crypto,
    store::{CommitError, Item, Key, Query, Read, Write, keys},
};

use crate::network::Network;

/// Tries to find a free number: somebody else may be counting in the same chat.
const TRIES: usize = 20;

/// What the network remembers of a name.
#[derive(Debug, Serialize, Deserialize)]
struct Named {
    number: u64,
}

/// The platform's id of a message from `sender` (`me` for the account itself) in `chat`, written at `at`.
pub(crate) async fn name(network: &Network, given: &str, chat: &str, sender: &str, at: Millis) -> Result<String> {
    let hash = || crypto::sha256_hex(format!("{}/{given}", network.instance));
    Ok(match (network.platform(), network.capability.transport) {
        (Platform::Whatsapp, Transport::Cloud) => format!("wamid.{}", URL_SAFE_NO_PAD.encode(&hash()[..30])),
        (Platform::Whatsapp, _) => given.to_owned(),
        (Platform::Telegram, _) => number(network, given, chat, 1).await?.to_string(),
        (Platform::Signal, _) => {
            let moment = u64::try_from(at.0).unwrap_or(0);
            number(network, given, &format!("{chat}/{sender}"), moment).await?.to_string()
        }
        (Platform::Wechat | Platform::Wecom | Platform::Im, _) => {
            // 60 bits: positive for whoever reads it as a signed number, too.
            u64::from_str_radix(&hash()[..15], 16).map_err(Error::internal)?.to_string()
        }
    })
}

/// The next number within `scope`, not lower than `least`; for what was named before, the same again.
async fn number(network: &Network, given: &str, scope: &str, least: u64) -> Result<u64> {
    let partition = keys::sandbox(&network.instance, "state");
    let named = Key::new(partition.as_str(), format!("named#{}", short(given)));
    let counter = format!("number#{}#", short(scope));
    for _ in 0..TRIES {
        let query = Query::table(partition.as_str()).prefix(counter.as_str()).newest_first().limit(1);
        let newest = network.store.query(query).await?.items.first().and_then(|item| item.u64("number"));
        let row = Named { number: newest.map_or(least, |newest| least.max(newest + 1)) };
        let place = Key::new(partition.as_str(), format!("{counter}{:016}", row.number));
        let writes = vec![Write::create(Item::new(named.clone(), &row)?), Write::create(Item::new(place, &row)?)];
        match network.store.transact(writes).await {
            Ok(()) => return Ok(row.number),
            Err(CommitError::Conflict { which: 0, .. }) => {
                let old = network.store.get(&named, Read::Strong).await?;
                return Ok(old.ok_or_else(|| Error::unavailable("a lost race"))?.into::<Named>()?.number);
            }
            Err(CommitError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::unavailable("no free number in the chat"))
}

/// Addresses do not appear in keys.
fn short(text: &str) -> String {
    crypto::sha256_hex(text).chars().take(24).collect()
}
