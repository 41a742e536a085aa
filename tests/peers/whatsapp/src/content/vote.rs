//! Poll votes: encrypted with the secret of the poll, under the addresses of creator and voter.

use serde_json::{Value, json};
use wacore::poll::{PollVoteCiphertext, compute_option_hash, decrypt_poll_vote_with_secret};
use waproto::whatsapp as wa;

use super::{known, poll_of, secret_of};
use crate::state::State;

/// Adds to a vote's description which options were chosen, if the phone knows the poll.
pub(crate) fn open_vote(state: &State, pn: &str, voter: &str, message: &wa::Message, content: &mut Value) {
    let Some(chosen) = chosen_options(state, pn, voter, message) else {
        return;
    };
    if let Value::Object(fields) = content {
        fields.insert("options".to_owned(), json!(chosen));
    }
}

fn chosen_options(state: &State, pn: &str, voter: &str, message: &wa::Message) -> Option<Vec<String>> {
    let update = message.poll_update_message.as_option()?;
    let id = update.poll_creation_message_key.as_option()?.id.as_deref()?;
    let vote = update.vote.as_option()?;
    let ciphertext = PollVoteCiphertext { enc_payload: vote.enc_payload.as_deref()?, enc_iv: vote.enc_iv.as_deref()? };
    let poll = known(state.phones.get(pn)?, id)?;
    let secret = secret_of(poll.message)?;
    let (creator, voter) = (state.phones.get(poll.author)?, state.phones.get(voter)?);
    // Both under the phone number or both under the LID: the client decides.
    let hashes = [false, true].into_iter().find_map(|by_lid| {
        decrypt_poll_vote_with_secret(
            ciphertext,
            secret,
            id,
            &creator.jid_in(by_lid).to_string(),
            &voter.jid_in(by_lid).to_string(),
        )
        .ok()
    })?;
    let names = poll_of(poll.message)?
        .options
        .iter()
        .filter_map(|option| option.option_name.clone())
        .filter(|name| hashes.iter().any(|hash| *hash == compute_option_hash(name)))
        .collect();
    Some(names)
}
