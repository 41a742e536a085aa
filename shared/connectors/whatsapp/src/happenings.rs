//! What happens beside messages, as updates: calls, changes of groups, and presence of those that somebody watches.

use serde_json::{Map, Value, json};
use shared::connector::{Happening, Update, What};
use whatsapp_rust::{
    Client, Jid,
    wacore::{
        stanza::groups::{GroupNotificationAction as Action, GroupParticipantInfo},
        types::{
            call::{CallAction, ElsewhereOutcome, IncomingCall},
            events::{ChatPresenceUpdate, GroupUpdate, PresenceUpdate},
            presence::{ChatPresence, ChatPresenceMedia},
        },
    },
};

use crate::{
    line::Inner,
    people::{self, Who},
};

/// What became of a call, as its event says it.
pub(crate) const MISSED: &str = "missed";

/// Of the many steps of a call those that users are told of: that it came, and that it is over.
pub(crate) async fn call(client: &Client, call: &IncomingCall) -> Option<Update> {
    let at = call.timestamp.timestamp();
    match &call.action {
        CallAction::Offer { call_id, call_creator, caller_pn, is_video, group_jid, .. } => {
            let from = people::who(client, call_creator, caller_pn.as_ref()).await?;
            let group = group_jid.as_ref().and_then(people::address);
            Some(came(call_id, &from, group, *is_video, at))
        }
        CallAction::OfferNotice { call_id, call_creator, is_video, is_group } => {
            let from = people::who(client, call_creator, None).await?;
            let group =
                if *is_group { people::address(&call.from).filter(|chat| chat.ends_with("@g.us")) } else { None };
            Some(came(call_id, &from, group, *is_video, at))
        }
        CallAction::Terminate { call_id, call_creator, reason, duration, .. } => {
            let from = people::who(client, call_creator, None).await?;
            Some(over(call_id, &from, outcome(reason.as_deref(), *duration), *duration, at))
        }
        _ => None,
    }
}

/// A call that ended without ringing here, or elsewhere.
pub(crate) async fn ended(client: &Client, from: &Jid, call: &str, outcome: &str, at: i64) -> Option<Update> {
    let from = people::who(client, from, None).await?;
    Some(over(call, &from, outcome, None, at))
}

pub(crate) fn elsewhere(outcome: ElsewhereOutcome) -> &'static str {
    match outcome {
        ElsewhereOutcome::Accepted => "answered_elsewhere",
        ElsewhereOutcome::Rejected => "rejected_elsewhere",
        _ => "ended",
    }
}

fn outcome(reason: Option<&str>, duration: Option<u32>) -> &'static str {
    match reason {
        Some("accepted_elsewhere") => elsewhere(ElsewhereOutcome::Accepted),
        Some("rejected_elsewhere") => elsewhere(ElsewhereOutcome::Rejected),
        _ if duration.is_some_and(|seconds| seconds > 0) => "ended",
        _ => MISSED,
    }
}

fn came(call: &str, from: &Who, group: Option<String>, is_video: bool, at: i64) -> Update {
    let data = json!({
        "callId": call,
        "from": from.address,
        "fromLid": from.also,
        "isGroup": group.is_some(),
        "isVideo": is_video,
        "timestamp": at,
    });
    let chat = group.unwrap_or_else(|| from.address.clone());
    happened(What::CallReceived, call.to_owned(), chat, data)
}

fn over(call: &str, from: &Who, outcome: &str, seconds: Option<u32>, at: i64) -> Update {
    let data = json!({
        "callId": call,
        "from": from.address,
        "fromLid": from.also,
        "outcome": outcome,
        "durationSeconds": seconds,
        "timestamp": at,
    });
    happened(What::CallEnded, call.to_owned(), from.address.clone(), data)
}

fn happened(what: What, id: String, chat: String, data: Value) -> Update {
    Update::Happened(Box::new(Happening { what, id, chat, data }))
}

/// A change of a group; `None` for what concerns communities and requests to join.
pub(crate) async fn group(client: &Client, update: &GroupUpdate) -> Option<Update> {
    let chat = people::address(&update.group_jid)?;
    let mut data = Map::new();
    let (action, people) = said(&update.action, &mut data)?;
    data.insert("action".into(), action.into());
    if !people.is_empty() {
        let mut members = Vec::with_capacity(people.len());
        for one in people {
            let other = one.phone_number.as_ref().or(one.lid.as_ref());
            members.extend(people::who(client, &one.jid, other).await);
        }
        let own: Vec<Jid> = [client.pn(), client.lid()].into_iter().flatten().map(|jid| jid.to_non_ad()).collect();
        let own: Vec<String> = own.iter().filter_map(people::address).collect();
        let me = members.iter().any(|who| own.contains(&who.address));
        let shown = |who: &Who| json!({ "id": who.address, "lid": who.also });
        data.insert("participants".into(), members.iter().map(shown).collect());
        data.insert("me".into(), me.into());
    }
    if let Some(by) = &update.participant {
        made(people::who(client, by, update.participant_pn.as_ref()).await, &mut data);
    }
    data.insert("timestamp".into(), update.timestamp.timestamp().into());
    // A notification may hold several changes. One without an id is known by its moment.
    let named = update.notification_id.clone().unwrap_or_else(|| update.timestamp.timestamp_millis().to_string());
    let id = format!("{chat}/{named}/{}", update.action_index);
    Some(happened(What::GroupUpdated, id, chat, data.into()))
}

/// Who made a change, under both addresses where both are known.
fn made(by: Option<Who>, data: &mut Map<String, Value>) {
    let (address, lid) = by.map_or((None, None), |who| (Some(who.address), who.also));
    data.insert("by".into(), address.into());
    data.insert("byLid".into(), lid.into());
}

/// The word for a change, and whom it is about; the rest goes into `data`.
fn said<'a>(action: &'a Action, data: &mut Map<String, Value>) -> Option<(&'static str, &'a [GroupParticipantInfo])> {
    let mut set = |name: &str, value: Value| drop(data.insert(name.to_owned(), value));
    Some(match action {
        Action::Add { participants, .. } => ("add", participants),
        Action::Remove { participants, .. } => ("remove", participants),
        Action::Promote { participants } => ("promote", participants),
        Action::Demote { participants } => ("demote", participants),
        Action::Subject { subject, .. } => {
            set("subject", subject.as_str().into());
            ("subject", &[])
        }
        Action::Description { description, .. } => {
            set("description", description.clone().into());
            ("description", &[])
        }
        Action::Locked { .. } | Action::Unlocked => {
            set("on", matches!(action, Action::Locked { .. }).into());
            ("locked", &[])
        }
        Action::Announce | Action::NotAnnounce => {
            set("on", matches!(action, Action::Announce).into());
            ("announce", &[])
        }
        Action::Ephemeral { expiration, .. } => {
            set("seconds", (*expiration).into());
            ("ephemeral", &[])
        }
        Action::RevokeInvite => ("invite_revoked", &[]),
        Action::Create { .. } => ("create", &[]),
        Action::Delete { .. } => ("delete", &[]),
        _ => return None,
    })
}

/// Somebody came or went.
pub(crate) async fn presence(inner: &Inner, client: &Client, update: &PresenceUpdate) -> Option<Update> {
    let who = people::who(client, &update.from, None).await?;
    let state = if update.unavailable { "unavailable" } else { "available" };
    let last = update.last_seen.map(|at| at.timestamp());
    seen(inner, &who, who.address.clone(), state, last)
}

/// Somebody writes, records, or stopped.
pub(crate) async fn typing(inner: &Inner, client: &Client, update: &ChatPresenceUpdate) -> Option<Update> {
    let source = &update.source;
    let who = people::who(client, &source.sender, source.sender_alt.as_ref()).await?;
    let chat = if source.is_group { people::address(&source.chat)? } else { who.address.clone() };
    let state = match (update.state, update.media) {
        (ChatPresence::Paused, _) => "paused",
        (ChatPresence::Composing, ChatPresenceMedia::Audio) => "recording",
        (ChatPresence::Composing, ChatPresenceMedia::Text) => "composing",
    };
    seen(inner, &who, chat, state, None)
}

/// Only of those that somebody watches: nobody pays for the rest.
fn seen(inner: &Inner, who: &Who, chat: String, state: &str, last: Option<i64>) -> Option<Update> {
    let watched = inner.account.watched.is(&who.address) || inner.account.watched.is(&chat);
    let number = watched.then(|| inner.account.watched.number())?;
    let data = json!({ "from": who.address, "fromLid": who.also, "state": state, "lastSeen": last });
    Some(happened(What::PresenceUpdated, number, chat, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(update: Update) -> (What, String, Value) {
        match update {
            Update::Happened(happening) => (happening.what, happening.chat, happening.data),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_call_comes_and_ends() {
        let who = Who { address: "1555@s.whatsapp.net".into(), also: Some("77@lid".into()) };
        let (what, chat, shown) = data(came("C1", &who, Some("120@g.us".into()), true, 5));
        assert_eq!((what, chat.as_str()), (What::CallReceived, "120@g.us"));
        assert_eq!(
            (&shown["isGroup"], &shown["isVideo"], &shown["fromLid"]),
            (&true.into(), &true.into(), &"77@lid".into())
        );
        for (reason, duration, says) in [
            (None, None, "missed"),
            (Some("timeout"), Some(0), "missed"),
            (None, Some(7), "ended"),
            (Some("accepted_elsewhere"), None, "answered_elsewhere"),
            (Some("rejected_elsewhere"), Some(3), "rejected_elsewhere"),
        ] {
            assert_eq!(outcome(reason, duration), says);
        }
    }

    #[test]
    fn who_changed_a_group_has_two_addresses() {
        let shown = |by: Option<Who>| {
            let mut data = Map::new();
            made(by, &mut data);
            Value::Object(data)
        };
        let who = Who { address: "1555@s.whatsapp.net".into(), also: Some("77@lid".into()) };
        assert_eq!(shown(Some(who)), json!({ "by": "1555@s.whatsapp.net", "byLid": "77@lid" }));
        assert_eq!(shown(None), json!({ "by": null, "byLid": null }));
    }

    #[test]
    fn settings_of_a_group_say_which_way() {
        let shown = |action: Action| {
            let mut data = Map::new();
            said(&action, &mut data).map(|(word, people)| (word, people.len(), Value::Object(data)))
        };
        assert_eq!(shown(Action::NotAnnounce), Some(("announce", 0, json!({ "on": false }))));
        assert_eq!(shown(Action::Locked { threshold: None }), Some(("locked", 0, json!({ "on": true }))));
        assert_eq!(
            shown(Action::Description { id: "1".into(), description: None }),
            Some(("description", 0, json!({ "description": null })))
        );
        assert_eq!(shown(Action::GrowthUnlocked), None);
    }
}
