//! Sending: what is looked at before, the message itself, and what WhatsApp says to it.
//!
//! The id of a message is ours, and the same in every attempt: whoever has it already drops the repeat. So an attempt whose outcome
//! nobody knows is made again; one that WhatsApp refused is not.

mod media;
mod message;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use shared::connector::{Outgoing, Sent};
use tokio::time::timeout;
use whatsapp_rust::{Client, ClientError, IqError, Jid, SendError, SendOptions};

pub(crate) use self::{
    media::{Uploads, none as no_uploads},
    message::{jid, secret},
};
use crate::{acks::Answer, line::Inner, people, timelock};

/// How long WhatsApp may take to acknowledge what was written.
const ACK: Duration = Duration::from_secs(20);
/// Pauses for a place in the bucket up to that are waited for here.
const PLACE: Duration = Duration::from_secs(2);
/// After that many attempts that fail in themselves, a message cannot be sent.
const FAILURES: u32 = 5;

/// Why a message was refused, in words that programs can compare (`failed` with this reason).
mod reason {
    pub(super) use crate::timelock::REASON as TIME_LOCK;

    pub(super) const NOT_ON_WHATSAPP: &str = "not_on_whatsapp";
    pub(super) const CAPPED: &str = "new_chats_capped";
    pub(super) const NOT_IN_GROUP: &str = "not_in_group";
    pub(super) const UNKNOWN_TARGET: &str = "unknown_target";
    pub(super) const INVALID: &str = "invalid_address";
    pub(super) const MEDIA_GONE: &str = "media_gone";
    pub(super) const FAILED: &str = "could_not_be_sent";
}

/// Why it was not sent.
#[derive(Debug)]
enum Trouble {
    /// For good.
    Refused(String),
    /// Not yet.
    Later(Duration),
    /// Perhaps at another time.
    Failed(anyhow::Error),
    NoLine,
}

impl Trouble {
    fn refused(reason: &str) -> Self {
        Self::Refused(reason.to_owned())
    }
}

pub(crate) async fn send(inner: &Arc<Inner>, client: &Arc<Client>, outgoing: &Outgoing) -> Sent {
    let Some(to) = people::jid(&outgoing.to) else { return Sent::Rejected { reason: reason::INVALID.to_owned() } };
    if inner.account.time_lock.refuses(&outgoing.to) {
        return Sent::Rejected { reason: reason::TIME_LOCK.to_owned() };
    }
    match attempt(inner, client, &to, outgoing).await {
        Ok(Answer::Taken(at)) => Sent::Accepted { id: None, at },
        Ok(Answer::Refused(code)) => {
            if code == "463" {
                timelock::refused(inner, client, &outgoing.to);
            }
            refused(&code)
        }
        Err(Trouble::Refused(reason)) => Sent::Rejected { reason },
        Err(Trouble::Later(after)) => Sent::Later { after },
        Err(Trouble::NoLine) => Sent::NoLine,
        Err(Trouble::Failed(error)) => failed(inner, outgoing, &error),
    }
}

/// Waits for a place in the account's pace, if it is near.
async fn place(inner: &Inner) -> Result<(), Trouble> {
    let take = || inner.account.pacing.take(whatsapp_rust::wacore::time::now_secs() - inner.paired);
    match take() {
        Ok(()) => Ok(()),
        Err(after) if after > PLACE => Err(Trouble::Later(after)),
        Err(after) => {
            tokio::time::sleep(after).await;
            take().map_err(Trouble::Later)
        }
    }
}

async fn attempt(inner: &Inner, client: &Arc<Client>, to: &Jid, outgoing: &Outgoing) -> Result<Answer, Trouble> {
    let message = message::build(inner, client, outgoing).await?;
    // Behind an upload, which may take its time; before anybody is looked up: that has its price, too.
    place(inner).await?;
    reachable(client, to).await?;
    type_for(client, to, outgoing.typing_ms).await;
    let answer = inner.acks.expect(&outgoing.id);
    let options = SendOptions::default().with_message_id(outgoing.id.as_str());
    client.send_message_with_options(to, message, options).await.map_err(trouble)?;
    match timeout(ACK, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        _ => Err(Trouble::Failed(anyhow::anyhow!("WhatsApp did not acknowledge the message"))),
    }
}

/// Whether somebody lives at an address. The crate encrypts for no device and succeeds where nobody does; the device list that is
/// asked for here is the one that it uses then.
async fn reachable(client: &Arc<Client>, to: &Jid) -> Result<(), Trouble> {
    if !to.is_pn() {
        return Ok(());
    }
    match client.signal().get_user_devices(std::slice::from_ref(to)).await {
        Ok(devices) if devices.is_empty() => Err(Trouble::refused(reason::NOT_ON_WHATSAPP)),
        // What the look-up cannot say the send will.
        _ => Ok(()),
    }
}

/// Shows "typing" for a while.
async fn type_for(client: &Arc<Client>, to: &Jid, typing_ms: u64) {
    if typing_ms == 0 {
        return;
    }
    let chat = client.chatstate();
    // Whether anybody sees it is not worth a failed send.
    let shown = chat.send_composing(to).await;
    tokio::time::sleep(Duration::from_millis(typing_ms)).await;
    if let Err(error) = shown.and(chat.send_paused(to).await) {
        tracing::debug!(cause = %error, "typing was not shown");
    }
}

fn refused(code: &str) -> Sent {
    match code {
        "429" => Sent::Later { after: Duration::from_secs(60) },
        "463" => Sent::Rejected { reason: reason::TIME_LOCK.to_owned() },
        "475" => Sent::Rejected { reason: reason::CAPPED.to_owned() },
        "404" => Sent::Rejected { reason: reason::NOT_ON_WHATSAPP.to_owned() },
        // The server is not well.
        "500" | "503" => Sent::Later { after: Duration::from_secs(15) },
        code => Sent::Rejected { reason: format!("refused_{code}") },
    }
}

fn trouble(error: SendError) -> Trouble {
    match error {
        SendError::NotLoggedIn => Trouble::NoLine,
        SendError::Client(error) if error.is_transport_unavailable() => Trouble::NoLine,
        SendError::InvalidRequest(_) => Trouble::refused(reason::INVALID),
        SendError::Iq(IqError::NotConnected | IqError::Disconnected(_)) => Trouble::NoLine,
        // Of a group: the only question in a send whose refusal says something of the send.
        SendError::Iq(IqError::ServerError { code: 401 | 403 | 404, .. }) => Trouble::refused(reason::NOT_IN_GROUP),
        SendError::Iq(error) => Trouble::Failed(error.into()),
        SendError::Client(error @ (ClientError::NotConnected | ClientError::NotLoggedIn)) => {
            tracing::debug!(cause = %error, "no line any more");
            Trouble::NoLine
        }
        other => Trouble::Failed(other.into()),
    }
}

/// An attempt that failed in itself is made again, but not for ever.
fn failed(inner: &Inner, outgoing: &Outgoing, error: &anyhow::Error) -> Sent {
    let mut failures = inner.account.failures.lock().unwrap_or_else(PoisonError::into_inner);
    if !inner.is_up() {
        return Sent::NoLine;
    }
    if failures.len() > 1000 {
        failures.clear();
    }
    let count = failures.entry(outgoing.id.clone()).or_default();
    *count += 1;
    tracing::warn!(instance = %inner.instance, attempt = *count, cause = %error, "a message was not sent");
    if *count < FAILURES {
        return Sent::Unknown;
    }
    failures.remove(&outgoing.id);
    Sent::Rejected { reason: reason::FAILED.to_owned() }
}
