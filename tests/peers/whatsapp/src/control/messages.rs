//! Messages, receipts, presence, calls: what phones write and what arrived at them.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use axum::Json;
use axum::extract::{Path, Query, State as Shares};
use serde::Deserialize;
use serde_json::{Value, json};
use wacore_binary::Jid;

use super::phones::{existing, existing_mut};
use super::{Refused, Reply};
use crate::content::{self, Spec};
use crate::outbound;
use crate::phone::{ReceiptSeen, Received, StateSeen};
use crate::presence::{self, Ring};
use crate::receipts::{self, Outgoing};
use crate::state::State;
use crate::world::Shared;

/// How often a waiting request looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Nothing is waited for longer than that, in seconds.
const LONGEST_WAIT: f64 = 60.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Send {
    to: String,
    message: Spec,
    id: Option<String>,
}

pub(crate) async fn post_send(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(request): Json<Send>,
) -> Reply<Json<Value>> {
    let chat = outbound::parse_chat(&request.to)?;
    let mut state = world.state();
    existing(&state, &phone)?;
    let message = content::build(&mut state, &phone, &chat, &request.message)?;
    let id = outbound::send(&mut state, &phone, &chat, message, request.id)?;
    Ok(Json(json!({ "id": id })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InboxQuery {
    /// Only entries with a higher `seq`.
    #[serde(default)]
    after: u64,
    id: Option<String>,
    kind: Option<String>,
    from: Option<String>,
    /// Waits so many seconds until there are `count` entries.
    #[serde(default)]
    wait: f64,
    #[serde(default = "one")]
    count: usize,
}

fn one() -> usize {
    1
}

impl InboxQuery {
    fn fits(&self, received: &Received) -> bool {
        received.seq > self.after
            && self.id.as_ref().is_none_or(|id| *id == received.id)
            && self.kind.as_ref().is_none_or(|kind| *kind == received.kind)
            && self.from.as_ref().is_none_or(|from| *from == received.from)
    }
}

/// Looks again and again: `look` is told how many are enough, and answers when there are as many, or when the time is over.
async fn waited(
    world: &Shared,
    seconds: f64,
    count: usize,
    look: impl Fn(&State, &dyn Fn(usize) -> bool) -> Reply<Option<Value>>,
) -> Reply<Json<Value>> {
    let deadline = Instant::now() + Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_WAIT));
    loop {
        let over = Instant::now() >= deadline;
        let found = look(&world.state(), &|found| over || found >= count)?;
        if let Some(found) = found {
            return Ok(Json(found));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

pub(crate) async fn get_inbox(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Query(query): Query<InboxQuery>,
) -> Reply<Json<Value>> {
    waited(&world, query.wait, query.count, |state, enough| {
        let inbox = existing(state, &phone)?.inbox.iter();
        let messages: Vec<&Received> = inbox.filter(|received| query.fits(received)).collect();
        Ok(enough(messages.len()).then(|| json!({ "messages": messages })))
    })
    .await
}

pub(crate) async fn delete_inbox(Shares(world): Shares<Shared>, Path(phone): Path<String>) -> Reply<Json<Value>> {
    existing_mut(&mut world.state(), &phone)?.inbox.clear();
    Ok(Json(json!({})))
}

pub(crate) async fn get_inbox_media(
    Shares(world): Shares<Shared>,
    Path((phone, id)): Path<(String, String)>,
) -> Reply<Vec<u8>> {
    let state = world.state();
    let message = content::known(existing(&state, &phone)?, &id)
        .ok_or_else(|| Refused::not_found(format!("{phone} has no message {id}")))?
        .message;
    let media =
        content::media_of(message).ok_or_else(|| Refused::not_found(format!("the message {id} has no media")))?;
    Ok(state.media.open(&media.direct_path, &media.media_key, media.kind)?)
}

pub(crate) async fn get_pending(Shares(world): Shares<Shared>, Path(phone): Path<String>) -> Reply<Json<Value>> {
    let state = world.state();
    let devices: Vec<Value> = existing(&state, &phone)?
        .devices
        .values()
        .map(|device| {
            let pending: Vec<Value> = device
                .pending
                .iter()
                .map(|pending| {
                    json!({
                        "class": pending.class,
                        "id": pending.id,
                        "from": pending.from,
                        "participant": pending.participant,
                        "deliveries": pending.deliveries,
                    })
                })
                .collect();
            json!({ "device": device.id, "pending": pending })
        })
        .collect();
    Ok(Json(json!({ "devices": devices })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receipt {
    ids: Vec<String>,
}

pub(crate) async fn post_delivered(
    world: Shares<Shared>,
    phone: Path<String>,
    receipt: Json<Receipt>,
) -> Reply<Json<Value>> {
    send_receipt(&world, &phone, "", &receipt)
}

pub(crate) async fn post_read(
    world: Shares<Shared>,
    phone: Path<String>,
    receipt: Json<Receipt>,
) -> Reply<Json<Value>> {
    send_receipt(&world, &phone, "read", &receipt)
}

pub(crate) async fn post_played(
    world: Shares<Shared>,
    phone: Path<String>,
    receipt: Json<Receipt>,
) -> Reply<Json<Value>> {
    send_receipt(&world, &phone, "played", &receipt)
}

/// Messages of the inbox are grouped by author and chat: one stanza for each.
fn send_receipt(world: &Shared, phone: &str, kind: &str, receipt: &Receipt) -> Reply<Json<Value>> {
    let mut state = world.state();
    let known = existing(&state, phone)?;
    let mut batches: Vec<(String, Jid, Vec<String>)> = Vec::new();
    for id in &receipt.ids {
        let received = known
            .inbox
            .iter()
            .rev()
            .find(|received| received.id == *id && !received.from_me)
            .ok_or_else(|| Refused::not_found(format!("no message {id} arrived at {phone}")))?;
        let chat = chat_for_author(&state, phone, received)?;
        match batches.iter_mut().find(|(author, other, _)| *author == received.from && *other == chat) {
            Some((_, _, ids)) => ids.push(id.clone()),
            None => batches.push((received.from.clone(), chat, vec![id.clone()])),
        }
    }
    for (author, chat, ids) in &batches {
        receipts::to_author(&mut state, kind, &Outgoing { reader: phone, author, chat, ids });
    }
    Ok(Json(json!({ "receipts": batches.len() })))
}

/// The chat as the author sees it: the group, or the reader.
fn chat_for_author(state: &State, phone: &str, received: &Received) -> Reply<Jid> {
    if received.chat.ends_with("@g.us") {
        return Ok(received.chat.parse().map_err(|error| anyhow!("{}: {error:?}", received.chat))?);
    }
    Ok(existing(state, phone)?.own_jid())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Receipts {
    id: Option<String>,
    kind: Option<String>,
    #[serde(default)]
    wait: f64,
    #[serde(default = "one")]
    count: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct States {
    /// The state.
    kind: Option<String>,
    #[serde(default)]
    wait: f64,
    #[serde(default = "one")]
    count: usize,
}

pub(crate) async fn get_receipts(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Query(query): Query<Receipts>,
) -> Reply<Json<Value>> {
    waited(&world, query.wait, query.count, |state, enough| {
        let fits = |seen: &&ReceiptSeen| {
            query.id.as_ref().is_none_or(|id| *id == seen.id)
                && query.kind.as_ref().is_none_or(|kind| *kind == seen.kind)
        };
        let receipts: Vec<_> = existing(state, &phone)?.receipts_seen.iter().filter(fits).collect();
        Ok(enough(receipts.len()).then(|| json!({ "receipts": receipts })))
    })
    .await
}

pub(crate) async fn get_states(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Query(query): Query<States>,
) -> Reply<Json<Value>> {
    waited(&world, query.wait, query.count, |state, enough| {
        let fits = |seen: &&StateSeen| query.kind.as_ref().is_none_or(|kind| *kind == seen.state);
        let states: Vec<_> = existing(state, &phone)?.states_seen.iter().filter(fits).collect();
        Ok(enough(states.len()).then(|| json!({ "states": states })))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Presence {
    available: bool,
}

pub(crate) async fn post_presence(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(shown): Json<Presence>,
) -> Reply<Json<Value>> {
    let mut state = world.state();
    existing(&state, &phone)?;
    let told = presence::show_presence(&mut state, &phone, shown.available)?;
    Ok(Json(json!({ "told": told })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChatState {
    to: String,
    state: String,
}

pub(crate) async fn post_chatstate(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(shown): Json<ChatState>,
) -> Reply<Json<Value>> {
    let chat = outbound::parse_chat(&shown.to)?;
    let mut state = world.state();
    existing(&state, &phone)?;
    presence::show_chat_state(&mut state, &phone, &chat, &shown.state)?;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    to: String,
    #[serde(default)]
    video: bool,
    /// With `hangup`: which call.
    call: Option<String>,
    reason: Option<String>,
}

pub(crate) async fn post_call(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(call): Json<Call>,
) -> Reply<Json<Value>> {
    let id = call.call.unwrap_or_else(|| hex::encode_upper(rand::random::<[u8; 16]>()));
    let mut state = world.state();
    existing(&state, &phone)?;
    presence::ring(&mut state, &Ring { caller: &phone, callee: &call.to, call: &id, video: call.video })?;
    Ok(Json(json!({ "call": id })))
}

pub(crate) async fn post_hangup(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(call): Json<Call>,
) -> Reply<Json<Value>> {
    let id = call.call.ok_or_else(|| anyhow!("which call?"))?;
    let mut state = world.state();
    existing(&state, &phone)?;
    presence::hang_up(
        &mut state,
        &Ring { caller: &phone, callee: &call.to, call: &id, video: call.video },
        call.reason.as_deref(),
    )?;
    Ok(Json(json!({})))
}
