//! Linking a device with the simulated phone, and everything else that the phone can be played to do.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::{
    Error, Result, address,
    address::Platform,
    clock::Millis,
    connector::{Closed, Incoming, Play, Update, unsupported},
    crypto,
    domain::chat,
};

use crate::{
    later,
    line::{DEVICE, Inner, OWN},
    naming,
    network::Phone,
    people,
};

/// How long the first code is shown, and each of the others.
const FIRST_CODE: Duration = Duration::from_secs(60);
const NEXT_CODES: Duration = Duration::from_secs(20);
const CODES: usize = 6;
/// Letters of a pairing code: none that look alike.
const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTVWXYZ123456789";

/// Shows one code after the other until somebody scans or nobody did.
pub(crate) async fn show_codes(inner: &Arc<Inner>) -> Result<()> {
    for number in 0..CODES {
        inner.emit.emit(Update::Qr { code: qr_code()? }).await?;
        tokio::time::sleep(if number == 0 { FIRST_CODE } else { NEXT_CODES }).await;
        if inner.is_up() {
            return Ok(());
        }
    }
    inner.emit.emit(Update::PairingExpired).await
}

/// A reference and three keys, as WhatsApp's own codes have them.
fn qr_code() -> Result<String> {
    let part = crypto::random_text;
    Ok(format!("2@{},{},{},{}", part()?, part()?, part()?, part()?))
}

/// A linked device connects; while the line is broken it waits.
pub(crate) async fn come_up(inner: &Arc<Inner>, phone: &Phone) -> Result<()> {
    if let Some(until) = phone.down_until {
        tokio::time::sleep(inner.network.clock.now().until(until)).await;
    }
    opened(inner, phone).await
}

async fn opened(inner: &Arc<Inner>, phone: &Phone) -> Result<()> {
    let number = phone.number.clone().unwrap_or_else(|| default_number(inner));
    let address = people::at(inner.network.platform(), &number);
    let name = phone.name.clone().unwrap_or_else(|| "Sandbox".into());
    // Up before it is told: whoever hears of it may send at once.
    inner.set_up(true);
    let aliases = people::aliases(inner.network.platform(), &number);
    if let Err(error) = inner.emit.emit(Update::Opened { address, aliases, name }).await {
        inner.set_up(false);
        return Err(error);
    }
    later::resume(inner).await
}

pub(crate) async fn removed(inner: &Inner) -> Result<()> {
    inner.emit.emit(Update::Closed { reason: Closed::Logout }).await
}

/// A number that belongs to the instance: always the same, never a magic one.
fn default_number(inner: &Inner) -> String {
    let hash = inner
        .network
        .instance
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("1555{:07}", hash % 10_000_000)
}

/// A code to type into the phone instead of scanning. The linking itself is still played by a scan.
pub(crate) async fn code(inner: &Inner, phone: &str) -> Result<Value> {
    if !inner.network.capability.pairing_code {
        return Err(unsupported("pairing by code"));
    }
    if inner.is_up() {
        return Err(already());
    }
    let number = address::comparable(phone);
    *inner.code_for.lock().unwrap_or_else(PoisonError::into_inner) = Some(number);
    let letters = crypto::random()?.into_iter().take(8).map(|byte| LETTERS[usize::from(byte) % LETTERS.len()]);
    Ok(json!({ "code": letters.map(char::from).collect::<String>() }))
}

fn already() -> Error {
    Error::conflict("ALREADY_CONNECTED", "The instance is already connected")
}

/// Plays the phone.
pub(crate) async fn play(inner: &Arc<Inner>, play: Play) -> Result<Value> {
    match play {
        Play::Scan { phone, name } => scan(inner, phone, name).await,
        Play::Receive { id, from, chat, name, content, at } => {
            let is_group = chat != from && chat::is_group(inner.network.platform(), &chat);
            let id = naming::name(&inner.network, &id, &chat, &from, at).await?;
            let incoming = Incoming {
                id,
                chat,
                sender: from,
                from_me: false,
                push_name: name.unwrap_or_default(),
                is_group,
                content,
                quoted: None,
                at,
                facts: serde_json::Value::Null,
            };
            receive(inner, incoming).await
        }
        Play::Disconnect { seconds } => disconnect(inner, seconds).await,
        Play::Logout => {
            if !inner.is_up() {
                return Err(inner.not_ready());
            }
            unlink(inner).await?;
            inner.set_up(false);
            removed(inner).await?;
            Ok(json!({ "success": true }))
        }
    }
}

/// The phone scans the code: the network links a device, the session keeps its secret, the line is up.
async fn scan(inner: &Arc<Inner>, phone: Option<String>, name: Option<String>) -> Result<Value> {
    if inner.is_up() {
        return Err(already());
    }
    let asked = inner.code_for.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let before = inner.network.phone().await?;
    let number = match phone.or(asked) {
        Some(text) => number_of(&text)?,
        None => before.number.unwrap_or_else(|| default_number(inner)),
    };
    let device = crypto::random_text()?;
    let phone = Phone {
        number: Some(number.clone()),
        name: name.or(before.name),
        device: Some(device.clone()),
        ..Phone::default()
    };
    inner.network.set_phone(&phone).await?;
    let own = Own { number: phone.number.clone(), name: phone.name.clone() };
    let own = serde_json::to_vec(&own)?;
    inner.session.put(vec![(DEVICE.to_owned(), Some(device.into_bytes())), (OWN.to_owned(), Some(own))]).await?;
    // No more codes.
    inner.end_tasks();
    opened(inner, &phone).await?;
    if inner.network.capability.contact_list {
        people::sync(inner).await?;
    }
    Ok(json!({ "phone": number, "address": people::at(inner.network.platform(), &number) }))
}

fn number_of(text: &str) -> Result<String> {
    let jid = address::canonical(Platform::Whatsapp, "phone", text, true)?;
    let number = jid.strip_suffix("@s.whatsapp.net").map(str::to_owned);
    number.ok_or_else(|| Error::invalid("phone", "phone must be a phone number of 7 to 15 digits"))
}

/// Somebody writes. While the line is broken the network keeps the message.
async fn receive(inner: &Arc<Inner>, incoming: Incoming) -> Result<Value> {
    let id = incoming.id.clone();
    if inner.is_up() {
        let arrival = inner.network.arrival(&incoming);
        let told = inner.emit.emit(Update::Received(Box::new(incoming))).await;
        return match told {
            Ok(()) => Ok(json!({ "id": id })),
            Err(error) => {
                // A part of it may be durable. Like any platform's, a message that nobody acknowledged comes again.
                if error.is_temporary() {
                    later::add(inner, vec![arrival]);
                }
                Err(error)
            }
        };
    }
    if inner.network.phone().await?.device.is_none() {
        return Err(inner.not_ready());
    }
    inner.network.keep(&incoming).await?;
    if inner.is_up() {
        later::resume(inner).await?;
    }
    Ok(json!({ "id": id }))
}

async fn disconnect(inner: &Inner, seconds: u64) -> Result<Value> {
    if !inner.is_up() {
        return Err(inner.not_ready());
    }
    let until: Millis = inner.network.clock.now().plus(Duration::from_secs(seconds));
    let phone = Phone { down_until: Some(until), ..inner.network.phone().await? };
    inner.network.set_phone(&phone).await?;
    inner.set_up(false);
    inner.emit.emit(Update::Closed { reason: Closed::Unreachable }).await?;
    Ok(json!({ "success": true, "until": until.iso() }))
}

/// The network forgets the linked device; the phone stays.
pub(crate) async fn unlink(inner: &Inner) -> Result<()> {
    let before = inner.network.phone().await?;
    let phone =
        Phone { device: None, removed: before.device.clone().or(before.removed.clone()), down_until: None, ..before };
    inner.network.set_phone(&phone).await
}

/// Whose device it is, as the session knows it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Own {
    number: Option<String>,
    name: Option<String>,
}

/// A session that was brought here: the phone that it belongs to is on this network from now on.
pub(crate) async fn adopt(inner: &Inner, device: String) -> Result<Phone> {
    let own = inner.session.get(OWN).await?;
    let Own { number, name } = own.map(|own| serde_json::from_slice(&own)).transpose()?.unwrap_or_default();
    let phone = Phone { number, name, device: Some(device), ..Phone::default() };
    inner.network.set_phone(&phone).await?;
    Ok(phone)
}
