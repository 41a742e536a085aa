//! What happens on a line, told to the worker in its order.

use std::sync::Arc;

use shared::{
    Error, Result,
    clock::Millis,
    connector::{Closed, ContactInfo, Receipt, Update},
};
use tokio::sync::mpsc;
use whatsapp_rust::{
    Client, Jid,
    wacore::{
        stanza::groups::GroupNotificationAction,
        time::now_millis,
        types::{
            events::{self, ConnectFailureReason, Event},
            presence::ReceiptType,
        },
    },
};

use crate::{
    happenings, history,
    hook::tell,
    incoming,
    line::Inner,
    people::{self, Who},
    timelock,
    told::Told,
    watched,
};

/// Tells, one after the other, until the line is over.
pub(crate) async fn narrate(inner: Arc<Inner>, client: Arc<Client>, mut hears: mpsc::UnboundedReceiver<Told>) {
    while let Some(told) = hears.recv().await {
        let result = match told {
            Told::Lost => inner.over(Closed::Unreachable).await,
            Told::Event(event) => happened(&inner, &client, &event).await,
        };
        if let Err(error) = result {
            tracing::warn!(instance = %inner.instance, %error, "something that happened was not told");
        }
    }
}

async fn happened(inner: &Arc<Inner>, client: &Arc<Client>, event: &Event) -> Result<()> {
    match event {
        Event::PairingQrCode(qr) => {
            inner.settled.notify_one();
            tell(inner, Update::Qr { code: qr.code.clone() }).await
        }
        Event::PairingQrCodesExhausted(_) => tell(inner, Update::PairingExpired).await,
        Event::PairPasskeyRequest(_) => {
            // A passkey lives in a phone or a browser, and answers to web.whatsapp.com only: there is none here to ask.
            tell(inner, Update::PairingRefused { reason: "passkey_required" }).await
        }
        Event::PairPasskeyError(_) => tell(inner, Update::PairingRefused { reason: "passkey_failed" }).await,
        Event::QrScannedWithoutMultidevice(_) => {
            tell(inner, Update::PairingRefused { reason: "phone_without_linked_devices" }).await
        }
        Event::PairError(_) => inner.over(Closed::Error).await,
        Event::PairSuccess(_) => {
            inner.store.paired();
            inner.account.forget();
            Ok(())
        }
        Event::Connected(_) => opened(inner, client).await,
        Event::Disconnected(_) => inner.over(Closed::Unreachable).await,
        Event::StreamReplaced(_) => inner.over(Closed::Replaced).await,
        Event::TemporaryBan(ban) => {
            tracing::warn!(instance = %inner.instance, code = ban.code.code(), "the account is banned for a while");
            let until = timelock::within_reason(now_millis(), ban.expire.num_milliseconds());
            insist(inner, Update::Restricted { reason: Closed::Banned.name(), until }).await;
            inner.over(Closed::Banned).await
        }
        Event::LoggedOut(out) => inner.over(logged_out(out.reason)).await,
        Event::ClientOutdated(_) => {
            tracing::error!(instance = %inner.instance, "WhatsApp calls our version outdated: set WHATSAPP_VERSION");
            inner.over(Closed::Error).await
        }
        Event::ConnectFailure(failure) => {
            tracing::warn!(instance = %inner.instance, reason = failure.reason.code(), "WhatsApp refused the login");
            inner.over(refused(failure.reason)).await
        }
        Event::Messages(batch) => {
            // Of channels, and recovered ones: nobody delivers them again.
            for message in batch {
                for update in incoming::read(inner, client, message).await {
                    insist(inner, update).await;
                }
            }
            Ok(())
        }
        Event::UndecryptableMessage(lost) => {
            for update in incoming::unreadable(inner, client, lost).await {
                insist(inner, update).await;
            }
            Ok(())
        }
        Event::Receipt(receipt) => {
            if let Some(update) = receipts(client, receipt).await {
                insist(inner, update).await;
            }
            Ok(())
        }
        Event::PushNameUpdate(update) => {
            let who = people::who(client, &update.jid, None).await;
            named(inner, who, &update.new_push_name).await;
            Ok(())
        }
        Event::ContactUpdate(update) => {
            let name = update.action.full_name.as_ref().or(update.action.first_name.as_ref());
            let lid = update.action.lid_jid.as_deref().and_then(|text| text.parse::<Jid>().ok());
            let who = people::who(client, &update.jid, lid.as_ref()).await;
            named(inner, who, name.map_or("", String::as_str)).await;
            Ok(())
        }
        Event::ContactNumberChanged(change) => {
            let who = people::who(client, &change.new_jid, change.new_lid.as_ref()).await;
            named(inner, who, "").await;
            Ok(())
        }
        Event::GroupUpdate(update) => {
            if let GroupNotificationAction::Subject { subject, .. } = &update.action {
                let who = people::who(client, &update.group_jid, None).await;
                named(inner, who, subject).await;
            }
            happened_beside(inner, happenings::group(client, update).await).await
        }
        Event::IncomingCall(call) => happened_beside(inner, happenings::call(client, call).await).await,
        Event::MissedCall(call) => {
            let at = call.timestamp.timestamp();
            let ended = happenings::ended(client, &call.from, &call.call_id, happenings::MISSED, at).await;
            happened_beside(inner, ended).await
        }
        Event::CallEndedElsewhere(call) => {
            let (at, outcome) = (call.timestamp.timestamp(), happenings::elsewhere(call.outcome));
            happened_beside(inner, happenings::ended(client, &call.from, &call.call_id, outcome, at).await).await
        }
        Event::Presence(update) => happened_beside(inner, happenings::presence(inner, client, update).await).await,
        Event::ChatPresence(update) => happened_beside(inner, happenings::typing(inner, client, update).await).await,
        Event::HistorySync(history) => history::keep(inner, history).await,
        _ => Ok(()),
    }
}

async fn opened(inner: &Arc<Inner>, client: &Arc<Client>) -> Result<()> {
    let Some(own) = client.pn().as_ref().and_then(people::address) else {
        return Err(Error::internal("connected without a number"));
    };
    let aliases = client.lid().as_ref().and_then(people::address).into_iter().collect();
    // Up before it is told: whoever hears of it may send at once.
    inner.set_up();
    inner.pieces.notify_one();
    tell(inner, Update::Opened { address: own, aliases, name: client.push_name() }).await?;
    watched::again(inner, client).await;
    Ok(())
}

/// Makes a fact durable that nobody delivers again.
async fn insist(inner: &Inner, update: Update) {
    if let Err(error) = tell(inner, update).await {
        tracing::warn!(instance = %inner.instance, %error, "something that came in was not stored");
    }
}

async fn happened_beside(inner: &Inner, update: Option<Update>) -> Result<()> {
    if let Some(update) = update {
        insist(inner, update).await;
    }
    Ok(())
}

async fn named(inner: &Inner, who: Option<Who>, name: &str) {
    let Some(who) = who else { return };
    if let Some(news) = inner.pairs.news(&who) {
        insist(inner, news).await;
    }
    if !name.is_empty() {
        let is_group = who.address.ends_with("@g.us");
        let info = ContactInfo { address: who.address, name: name.to_owned(), avatar: String::new(), is_group };
        insist(inner, Update::Contacts(vec![info])).await;
    }
}

async fn receipts(client: &Client, receipt: &events::Receipt) -> Option<Update> {
    let kind = kind(&receipt.r#type)?;
    let source = &receipt.source;
    let direct = source.chat.is_pn() || source.chat.is_lid();
    let chat = people::who(client, &source.chat, source.sender_alt.as_ref().filter(|_| direct)).await?;
    Some(Update::Receipt {
        messages: receipt.message_ids.clone(),
        chat: chat.address,
        receipt: kind,
        at: Millis(receipt.timestamp.timestamp_millis()),
    })
}

/// What a receipt says of our messages. One of our own devices says nothing of whom they are for.
fn kind(kind: &ReceiptType) -> Option<Receipt> {
    match kind {
        ReceiptType::Delivered => Some(Receipt::Delivered),
        ReceiptType::Read | ReceiptType::Played => Some(Receipt::Read),
        _ => None,
    }
}

fn logged_out(reason: ConnectFailureReason) -> Closed {
    match reason {
        ConnectFailureReason::AccountLocked => Closed::Banned,
        _ => Closed::Logout,
    }
}

fn refused(reason: ConnectFailureReason) -> Closed {
    match reason {
        ConnectFailureReason::TempBanned => Closed::Banned,
        ConnectFailureReason::InternalServerError
        | ConnectFailureReason::ServiceUnavailable
        | ConnectFailureReason::Experimental => Closed::Unreachable,
        ConnectFailureReason::CatExpired
        | ConnectFailureReason::CatInvalid
        | ConnectFailureReason::NotFound
        | ConnectFailureReason::ClientUnknown
        | ConnectFailureReason::ClientOutdated
        | ConnectFailureReason::BadUserAgent
        | ConnectFailureReason::Generic
        | ConnectFailureReason::Unknown(_) => Closed::Error,
        ConnectFailureReason::LoggedOut | ConnectFailureReason::AccountLocked | ConnectFailureReason::UnknownLogout => {
            logged_out(reason)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_account_is_banned_and_a_removed_device_is_logged_out() {
        assert_eq!(logged_out(ConnectFailureReason::AccountLocked), Closed::Banned);
        assert_eq!(logged_out(ConnectFailureReason::LoggedOut), Closed::Logout);
        assert_eq!(refused(ConnectFailureReason::ServiceUnavailable), Closed::Unreachable);
        assert_eq!(refused(ConnectFailureReason::Unknown(499)), Closed::Error);
    }

    #[test]
    fn receipts_of_own_devices_say_nothing() {
        assert_eq!(kind(&ReceiptType::Delivered), Some(Receipt::Delivered));
        assert_eq!(kind(&ReceiptType::Played), Some(Receipt::Read));
        assert_eq!(kind(&ReceiptType::ReadSelf), None);
        assert_eq!(kind(&ReceiptType::Retry), None);
    }
}
