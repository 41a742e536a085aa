//! Phones: making them, scanning, and everything that happens to an account.

use std::time::Duration;

use anyhow::{Result, anyhow};
use axum::Json;
use axum::extract::{Path, State as Shares};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use wacore::pair_code::PairCodeUtils;
use wacore_libsignal::protocol::KeyPair;

use super::{Refused, Reply};
use crate::app_state::Change;
use crate::clock::now_secs;
use crate::device::Stage;
use crate::history::{self, Portion};
use crate::phone::{Addressing, AutoReceipts, Ban, Phone};
use crate::state::{Out, State};
use crate::world::Shared;
use crate::{iq, login, pairing, unlink};

/// A client must answer `pair-success` by then.
const SCAN_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPhone {
    phone: String,
    name: Option<String>,
    lid: Option<String>,
    #[serde(default)]
    addressing: Addressing,
    #[serde(default)]
    receipts: AutoReceipts,
    platform: Option<String>,
    #[serde(default)]
    passkey: bool,
}

pub(crate) async fn post_phones(
    Shares(world): Shares<Shared>,
    Json(new): Json<NewPhone>,
) -> Reply<(StatusCode, Json<Value>)> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(&new.phone) {
        return Err(anyhow!("a phone number consists of digits: {:?}", new.phone).into());
    }
    // Keys take a while to make: outside of the lock.
    let lid = new.lid.unwrap_or_else(|| format!("1{:014}", rand::random::<u64>() % 100_000_000_000_000));
    if !digits(&lid) {
        return Err(anyhow!("a LID consists of digits: {lid:?}").into());
    }
    let name = new.name.unwrap_or_else(|| format!("Phone {}", new.phone));
    let mut phone = Phone::new(new.phone.clone(), lid.clone(), name)?;
    phone.addressing = new.addressing;
    phone.receipts = new.receipts;
    phone.passkey = new.passkey;
    if let Some(platform) = new.platform {
        phone.platform = platform;
    }
    let mut state = world.state();
    if state.phones.contains_key(&new.phone) {
        return Err(Refused(StatusCode::CONFLICT, format!("there is a phone {} already", new.phone)));
    }
    if state.lids.contains_key(&lid) {
        return Err(Refused(StatusCode::CONFLICT, format!("the LID {lid} is taken")));
    }
    state.lids.insert(lid, new.phone.clone());
    let shown = show(&phone);
    state.phones.insert(new.phone, phone);
    Ok((StatusCode::CREATED, Json(shown)))
}

pub(crate) async fn get_phones(Shares(world): Shares<Shared>) -> Json<Value> {
    let state = world.state();
    let phones: Vec<Value> = state.phones.values().map(show).collect();
    Json(json!({ "phones": phones }))
}

pub(crate) async fn get_phone(Shares(world): Shares<Shared>, Path(phone): Path<String>) -> Reply<Json<Value>> {
    let state = world.state();
    Ok(Json(show(existing(&state, &phone)?)))
}

pub(super) fn existing<'a>(state: &'a State, phone: &str) -> Reply<&'a Phone> {
    state.phones.get(phone).ok_or_else(|| Refused::not_found(format!("there is no phone {phone}")))
}

pub(super) fn existing_mut<'a>(state: &'a mut State, phone: &str) -> Reply<&'a mut Phone> {
    state.phones.get_mut(phone).ok_or_else(|| Refused::not_found(format!("there is no phone {phone}")))
}

fn show(phone: &Phone) -> Value {
    let devices: Vec<Value> = phone
        .devices
        .values()
        .map(|device| {
            json!({
                "id": device.id,
                "connected": device.link.is_some(),
                "active": device.link.as_ref().is_some_and(|link| matches!(link.stage, Stage::Live)),
                "available": device.available,
                "logins": device.logins,
                "pending": device.pending.len(),
                "prekeys": device.prekeys.len(),
                "prekeysUploaded": device.prekeys_uploaded,
            })
        })
        .collect();
    json!({
        "phone": phone.pn,
        "lid": phone.lid,
        "name": phone.name,
        "about": phone.about,
        "addressing": phone.addressing,
        "receipts": phone.receipts,
        "passkey": phone.passkey,
        "ban": phone.ban,
        "blocked": phone.blocked.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "devices": devices,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PhoneChange {
    name: Option<String>,
    about: Option<String>,
    addressing: Option<Addressing>,
    receipts: Option<AutoReceipts>,
    passkey: Option<bool>,
}

pub(crate) async fn patch_phone(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(change): Json<PhoneChange>,
) -> Reply<Json<Value>> {
    let mut state = world.state();
    let known = existing_mut(&mut state, &phone)?;
    let mut changed = Vec::new();
    if let Some(name) = change.name {
        changed = known.app_state.apply(vec![Change::push_name(&name)])?;
        known.name = name;
    }
    if let Some(about) = change.about {
        known.about = about;
    }
    known.addressing = change.addressing.unwrap_or(known.addressing);
    known.receipts = change.receipts.unwrap_or(known.receipts);
    known.passkey = change.passkey.unwrap_or(known.passkey);
    let shown = show(known);
    iq::tell_of_changes(&mut state, &phone, None, &changed);
    Ok(Json(shown))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scan {
    qr: Option<String>,
    code: Option<String>,
}

pub(crate) async fn post_scan(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(scan): Json<Scan>,
) -> Reply<Json<Value>> {
    existing(&world.state(), &phone)?;
    let outcome = match (scan.qr, scan.code) {
        (Some(qr), None) => pairing::scan(&mut world.state(), &phone, &qr)?,
        (None, Some(code)) => enter_code(&world, &phone, &code).await?,
        _ => return Err(anyhow!("either qr or code").into()),
    };
    let device = tokio::time::timeout(SCAN_TIMEOUT, outcome)
        .await
        .map_err(|_| anyhow!("the client did not answer pair-success in time"))?
        .map_err(|_| anyhow!("the client went away"))??;
    Ok(Json(json!({ "device": device })))
}

/// The phone's user types a code. Deriving the keys takes long, so it is done on another thread and without the lock.
async fn enter_code(world: &Shared, phone: &str, code: &str) -> Result<tokio::sync::oneshot::Receiver<Result<u16>>> {
    let wrapped = world
        .state()
        .codes
        .get(phone)
        .map(|pairing| pairing.wrapped_ephemeral.clone())
        .ok_or_else(|| anyhow!("no client waits for a code for {phone}"))?;
    let code = code.replace('-', "").to_uppercase();
    let (unwrapped, ephemeral, rewrapped) = tokio::task::spawn_blocking(move || {
        let unwrapped = PairCodeUtils::decrypt_primary_ephemeral_pub(&wrapped, &code)
            .map_err(|error| anyhow!("the client's key: {error}"))?;
        let ephemeral = KeyPair::generate(&mut rand::rng());
        let public: [u8; 32] = ephemeral.public_key.public_key_bytes().try_into()?;
        let rewrapped = PairCodeUtils::encrypt_ephemeral_pub(&public, &code);
        anyhow::Ok((unwrapped, ephemeral, rewrapped))
    })
    .await??;
    pairing::primary_hello(&mut world.state(), phone, unwrapped, ephemeral, &rewrapped)
}

/// Which device: one by number, or the only one.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct OfDevice {
    device: Option<u16>,
}

fn chosen(state: &State, phone: &str, of: &OfDevice) -> Reply<u16> {
    let devices = &existing(state, phone)?.devices;
    match of.device {
        Some(device) if devices.contains_key(&device) => Ok(device),
        Some(device) => Err(Refused::not_found(format!("{phone} has no device {device}"))),
        None => devices
            .keys()
            .next_back()
            .copied()
            .ok_or_else(|| Refused::not_found(format!("{phone} has no linked device"))),
    }
}

pub(crate) async fn post_unlink(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    body: Option<Json<OfDevice>>,
) -> Reply<Json<Value>> {
    let mut state = world.state();
    let device = chosen(&state, &phone, &body.unwrap_or_default())?;
    unlink::unlink(&mut state, &phone, device)?;
    Ok(Json(json!({ "device": device })))
}

pub(crate) async fn post_replace(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    body: Option<Json<OfDevice>>,
) -> Reply<Json<Value>> {
    let mut state = world.state();
    let device = chosen(&state, &phone, &body.unwrap_or_default())?;
    let was_connected = login::replace(&mut state, &phone, device);
    Ok(Json(json!({ "device": device, "wasConnected": was_connected })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamError {
    code: u16,
    device: Option<u16>,
}

pub(crate) async fn post_stream_error(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(error): Json<StreamError>,
) -> Reply<Json<Value>> {
    let mut state = world.state();
    let of = OfDevice { device: error.device };
    let device = chosen(&state, &phone, &of)?;
    let was_connected = login::end(&mut state, &phone, device, login::stream_error(error.code));
    Ok(Json(json!({ "device": device, "wasConnected": was_connected })))
}

pub(crate) async fn post_ban(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(ban): Json<Ban>,
) -> Reply<Json<Value>> {
    let mut state = world.state();
    let known = existing_mut(&mut state, &phone)?;
    known.ban = Some(ban);
    for device in known.devices.values_mut() {
        if let Some(link) = device.link.take() {
            // The next login says why; a closed receiver means that it is going down already.
            link.outbox.send(Out::Close).ok();
        }
    }
    Ok(Json(json!({})))
}

pub(crate) async fn delete_ban(Shares(world): Shares<Shared>, Path(phone): Path<String>) -> Reply<Json<Value>> {
    existing_mut(&mut world.state(), &phone)?.ban = None;
    Ok(Json(json!({})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Refuse {
    error: u16,
    #[serde(default = "once")]
    count: usize,
}

fn once() -> usize {
    1
}

pub(crate) async fn post_refuse(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(refuse): Json<Refuse>,
) -> Reply<Json<Value>> {
    let mut state = world.state();
    let refusals = &mut existing_mut(&mut state, &phone)?.refusals;
    if refuse.count == 0 {
        refusals.clear();
    }
    refusals.extend(std::iter::repeat_n(refuse.error, refuse.count));
    Ok(Json(json!({ "left": refusals.len() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TimeLock {
    seconds: u64,
}

pub(crate) async fn post_time_lock(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(lock): Json<TimeLock>,
) -> Reply<Json<Value>> {
    let until = (lock.seconds > 0).then(|| now_secs() + lock.seconds);
    existing_mut(&mut world.state(), &phone)?.time_lock = until;
    Ok(Json(json!({ "until": until })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contacts {
    contacts: Vec<Contact>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contact {
    phone: String,
    name: String,
}

pub(crate) async fn post_contacts(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(body): Json<Contacts>,
) -> Reply<Json<Value>> {
    let mut state = world.state();
    existing(&state, &phone)?;
    let changes = body
        .contacts
        .iter()
        .map(|contact| {
            let lid = state.phones.get(&contact.phone).map(|known| known.lid.as_str());
            Change::contact(&contact.phone, lid, &contact.name)
        })
        .collect();
    let changed = existing_mut(&mut state, &phone)?.app_state.apply(changes)?;
    iq::tell_of_changes(&mut state, &phone, None, &changed);
    Ok(Json(json!({ "changed": changed })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Picture {
    /// The picture in base64; absent removes it.
    data: Option<String>,
}

pub(crate) async fn post_picture(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(picture): Json<Picture>,
) -> Reply<Json<Value>> {
    let data = picture
        .data
        .map(|data| BASE64_STANDARD.decode(data))
        .transpose()
        .map_err(|error| anyhow!("data in base64: {error}"))?;
    let mut state = world.state();
    existing(&state, &phone)?;
    let number = state.next_number();
    let kept = data.map(|data| state.media.keep(data.into()).0);
    let known = existing_mut(&mut state, &phone)?;
    known.picture = kept.map(|url| (number, url));
    Ok(Json(json!({ "picture": known.picture })))
}

pub(crate) async fn post_history(
    Shares(world): Shares<Shared>,
    Path(phone): Path<String>,
    Json(portion): Json<Portion>,
) -> Reply<Json<Value>> {
    let mut state = world.state();
    let of = OfDevice { device: portion.device };
    let device = chosen(&state, &phone, &of)?;
    let (id, messages) = history::send(&mut state, &phone, device, portion)?;
    Ok(Json(json!({ "id": id, "messages": messages })))
}
