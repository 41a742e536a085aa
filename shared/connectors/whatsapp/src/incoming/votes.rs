//! Votes on polls: encrypted with a secret of the poll, and naming options by hash.

use serde_json::json;
use shared::domain::content::Content;
use whatsapp_rust::{
    Client, Jid, PollVoteCiphertext,
    traits::MsgSecretStore as _,
    wacore::{poll::compute_option_hash, types::message::MessageInfo},
};

use super::said::Vote;
use crate::{line::Inner, people};

/// What a vote says: the chosen options, or that it cannot be read here (the poll is older than the link).
pub(super) async fn content(inner: &Inner, client: &Client, info: &MessageInfo, vote: Vote) -> Content {
    let name = "pollUpdateMessage".to_owned();
    match read(inner, client, info, &vote).await {
        Some(chosen) => Content::Foreign {
            name,
            text: chosen.join(", "),
            detail: Some(json!({ "pollMessageId": vote.poll, "options": chosen })),
        },
        None => Content::Foreign { name, text: String::new(), detail: Some(json!({ "pollMessageId": vote.poll })) },
    }
}

async fn read(inner: &Inner, client: &Client, info: &MessageInfo, vote: &Vote) -> Option<Vec<String>> {
    let creator = creator(client, info, vote)?;
    let secret = secret(inner, client, &info.source.chat, &creator, &vote.poll).await?;
    let ciphertext = PollVoteCiphertext { enc_payload: &vote.payload, enc_iv: &vote.iv };
    let polls = client.polls();
    let mut hashes = None;
    // Both are named in one of two ways, and the vote does not say which.
    for creator in both(client, &creator).await {
        for voter in both(client, &info.source.sender).await {
            if hashes.is_none() {
                hashes = polls.decrypt_vote(ciphertext, &secret, &vote.poll, &creator, &voter).await.ok();
            }
        }
    }
    let options = inner.store.poll(&vote.poll).await.ok().flatten()?.options;
    let chosen = hashes?
        .into_iter()
        .filter_map(|hash| options.iter().find(|option| compute_option_hash(option)[..] == hash[..]).cloned());
    Some(chosen.collect())
}

/// Who made the poll.
fn creator(client: &Client, info: &MessageInfo, vote: &Vote) -> Option<Jid> {
    if let Some(creator) = vote.creator.as_deref().and_then(|text| text.parse().ok()) {
        return Some(creator);
    }
    if vote.of_voter {
        return Some(info.source.sender.to_non_ad());
    }
    // Between two people: the other one of them.
    if info.source.is_from_me { Some(info.source.chat.to_non_ad()) } else { client.pn().map(|jid| jid.to_non_ad()) }
}

async fn both(client: &Client, jid: &Jid) -> Vec<Jid> {
    let jid = jid.to_non_ad();
    let own = [client.pn(), client.lid()].map(|own| own.map(|own| own.to_non_ad()));
    let other = match &own {
        [Some(pn), Some(lid)] if *pn == jid => Some(lid.clone()),
        [Some(pn), Some(lid)] if *lid == jid => Some(pn.clone()),
        _ => people::other(client, &jid).await,
    };
    std::iter::once(jid).chain(other).collect()
}

/// The secret of a message, under whichever names it was kept.
async fn secret(inner: &Inner, client: &Client, chat: &Jid, sender: &Jid, id: &str) -> Option<Vec<u8>> {
    for chat in both(client, chat).await {
        for sender in both(client, sender).await {
            let found = inner.store.get_msg_secret(&chat.to_string(), &sender.to_string(), id).await;
            if let Ok(Some(secret)) = found {
                return Some(secret);
            }
        }
    }
    None
}
