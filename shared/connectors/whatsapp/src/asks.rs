//! What only WhatsApp can answer, or do at once.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use shared::{
    Error, Kind, Result,
    connector::{ContactInfo, Request, Update, unsupported},
};
use tokio::time::Instant;
use whatsapp_rust::{
    Client, ContactError, IqError, Jid,
    pair_code::{PairCodeOptions, PairError},
    wacore_binary::JidExt as _,
};

use crate::{groups, line::Inner, outgoing::jid, people, watched};

/// How long pairing by code waits for the socket.
const SOCKET: Duration = Duration::from_secs(10);
/// Numbers that are looked up in one question, and the pause between an account's questions, whoever asks them: a list that is asked
/// for at once looks like what it is.
const CHECKED: usize = 10;
const CHECK_PAUSE: Duration = Duration::from_millis(700);
/// When to ask again, where WhatsApp does not say.
const RATE_LIMITED: Duration = Duration::from_secs(60);

pub(crate) async fn ask(inner: &Arc<Inner>, client: &Arc<Client>, request: Request) -> Result<Value> {
    if let Request::PairingCode { phone } = &request {
        return code(inner, client, phone).await;
    }
    if !inner.is_up() {
        return Err(inner.not_ready());
    }
    match request {
        Request::Check { phones } => check(inner, client, &phones).await,
        Request::ProfilePicture { address } => picture(client, &address).await,
        Request::SyncContacts => contacts(inner, client).await,
        Request::MarkRead { chat, messages, typing: shown } => {
            let read = read(inner, client, &chat, &messages).await?;
            if shown {
                typing(client, &chat, true).await?;
            }
            Ok(read)
        }
        Request::Typing { chat, on } => typing(client, &chat, on).await,
        Request::WatchPresence { address } => watched::ask(inner, client, &address).await,
        Request::Lid { address } => lid(client, &address).await,
        Request::Groups
        | Request::GroupCreate { .. }
        | Request::GroupParticipants { .. }
        | Request::GroupSubject { .. }
        | Request::GroupInvite { .. }
        | Request::GroupLeave { .. } => groups::ask(inner, client, request).await,
        Request::Sandbox { .. } => Err(unsupported("playing the phone")),
        Request::PairingCode { .. } => Err(Error::internal("answered above")),
    }
}

/// What the platform refuses, as an error for whoever asked.
pub(crate) fn refusal(error: IqError) -> Error {
    match error {
        IqError::ServerError { code: 404 | 410, .. } => Error::not_found("WhatsApp does not know it"),
        IqError::ServerError { code: 401 | 403, .. } => Error::forbidden("WhatsApp does not allow it"),
        IqError::ServerError { code: 429, backoff, .. } => {
            let pause = backoff.map_or(RATE_LIMITED, |seconds| Duration::from_secs(seconds.into()));
            Error::new(Kind::RateLimited, "PLATFORM_RATE_LIMITED", "WhatsApp is asked too often").after(pause)
        }
        other => Error::unavailable(other),
    }
}

/// The same of a question about people.
fn no_contact(error: ContactError) -> Error {
    match error {
        ContactError::Iq(error) => refusal(error),
        ContactError::InvalidJid(text) => Error::invalid("phone", text),
        other => Error::unavailable(other),
    }
}

async fn code(inner: &Inner, client: &Arc<Client>, phone: &str) -> Result<Value> {
    if inner.is_up() {
        return Err(Error::conflict("ALREADY_CONNECTED", "The instance is already connected"));
    }
    client.wait_for_socket(SOCKET).await.map_err(Error::unavailable)?;
    // The newest request counts: whoever asks again has lost the code before.
    client.cancel_pair_code().await;
    let options = PairCodeOptions { phone_number: phone.to_owned(), ..PairCodeOptions::default() };
    match client.pair_with_code(options).await {
        Ok(code) => Ok(json!({ "code": code })),
        Err(PairError::PairCode(error)) => Err(Error::invalid("phone", error.to_string())),
        Err(PairError::RequestFailed(error)) => Err(refusal(error)),
        Err(other) => Err(Error::unavailable(other)),
    }
}

/// Which of these numbers have an account, a few at a time.
async fn check(inner: &Inner, client: &Client, phones: &[String]) -> Result<Value> {
    let mut results = Vec::with_capacity(phones.len());
    for some in phones.chunks(CHECKED) {
        let mut next = inner.account.next_check.lock().await;
        if let Some(at) = *next {
            tokio::time::sleep_until(at).await;
        }
        *next = Some(Instant::now() + CHECK_PAUSE);
        drop(next);
        let jids: Vec<(&String, Option<Jid>)> = some.iter().map(|phone| (phone, jid("phones", phone).ok())).collect();
        let asked: Vec<Jid> = jids.iter().filter_map(|(_, jid)| jid.clone()).collect();
        let found = client.contacts().is_on_whatsapp(&asked).await.map_err(no_contact)?;
        for (phone, jid) in jids {
            let answer = jid.and_then(|jid| {
                found.iter().find(|one| one.jid.is_same_user_as(&jid) || one.pn_jid.as_ref() == Some(&jid))
            });
            let exists = answer.is_some_and(|answer| answer.is_registered);
            let answer = answer.filter(|_| exists);
            let address = answer.and_then(|answer| people::address(answer.pn_jid.as_ref().unwrap_or(&answer.jid)));
            let lid = answer.and_then(|answer| answer.lid.as_ref()).and_then(people::address);
            results.push(json!({ "phone": phone, "exists": exists, "address": address, "lid": lid }));
        }
    }
    Ok(json!({ "results": results }))
}

async fn picture(client: &Client, address: &str) -> Result<Value> {
    let jid = jid("address", address)?;
    let found = client.contacts().get_profile_picture(&jid, false).await.map_err(no_contact)?;
    Ok(json!({ "url": found.map(|picture| picture.url) }))
}

/// WhatsApp pushes contacts as they change; what can be asked for is the list of groups.
async fn contacts(inner: &Inner, client: &Client) -> Result<Value> {
    let groups = client.groups().get_participating().await.map_err(groups::refusal)?;
    let contacts: Vec<ContactInfo> = groups
        .into_values()
        .filter_map(|group| {
            let address = people::address(&group.id)?;
            Some(ContactInfo { address, name: group.subject, avatar: String::new(), is_group: true })
        })
        .collect();
    let count = contacts.len();
    inner.emit.emit(Update::Contacts(contacts)).await?;
    Ok(json!({ "count": count }))
}

async fn read(inner: &Inner, client: &Client, chat: &str, messages: &[String]) -> Result<Value> {
    for unread in inner.recent.take(chat, messages, &jid("chat", chat)?) {
        let ids: Vec<&str> = unread.ids.iter().map(String::as_str).collect();
        let marked = client.mark_as_read(&unread.chat, unread.sender.as_ref(), &ids).await;
        marked.map_err(Error::unavailable)?;
    }
    Ok(json!({ "success": true }))
}

async fn typing(client: &Client, chat: &str, on: bool) -> Result<Value> {
    let jid = jid("chat", chat)?;
    let state = client.chatstate();
    let sent = if on { state.send_composing(&jid).await } else { state.send_paused(&jid).await };
    sent.map_err(Error::unavailable)?;
    Ok(json!({ "success": true }))
}

/// The two addresses of a person: from memory, else asked for.
async fn lid(client: &Client, address: &str) -> Result<Value> {
    let jid = jid("id", address)?;
    if !jid.is_pn() && !jid.is_lid() {
        return Err(Error::invalid("id", "id must be a phone number or a LID"));
    }
    let mut other = people::other(client, &jid).await;
    if other.is_none() {
        let found = client.contacts().is_on_whatsapp(std::slice::from_ref(&jid)).await.map_err(no_contact)?;
        let found = found.into_iter().find(|one| one.is_registered);
        other = found.and_then(|one| if jid.is_lid() { one.pn_jid } else { one.lid });
    }
    let other = other.ok_or_else(|| Error::not_found("WhatsApp does not tell of it"))?;
    let (phone, lid) = if jid.is_lid() { (other, jid) } else { (jid, other) };
    Ok(json!({ "phone": people::address(&phone), "lid": people::address(&lid) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16, backoff: Option<u32>) -> Error {
        let text = "refused".to_owned();
        no_contact(ContactError::Iq(IqError::ServerError { code, text, error_type: None, backoff }))
    }

    #[test]
    fn what_the_platform_refuses_is_told_by_its_kind() {
        let limited = refused(429, Some(90));
        assert_eq!((limited.kind, limited.retry_after), (Kind::RateLimited, Some(Duration::from_secs(90))));
        assert_eq!(refused(429, None).retry_after, Some(RATE_LIMITED));
        for (code, kind) in
            [(404, Kind::NotFound), (401, Kind::Forbidden), (403, Kind::Forbidden), (500, Kind::Unavailable)]
        {
            assert_eq!(refused(code, None).kind, kind, "{code}");
        }
        assert_eq!(no_contact(ContactError::Iq(IqError::Timeout)).kind, Kind::Unavailable);
        assert_eq!(no_contact(ContactError::InvalidJid("x".into())).kind, Kind::Invalid);
    }
}
