//! Content becomes the messages that others read the same content from, and refusals their reasons.

use std::time::Duration;

use shared::{
    connector::{About, Outgoing, Sent},
    domain::content::Content,
};
use whatsapp_rust::proto_helpers::MessageExt as _;

use super::{
    Trouble,
    message::{in_context, plain},
    refused,
};

fn outgoing(content: Content) -> Outgoing {
    Outgoing {
        id: "3EB0".into(),
        to: "15550000002@s.whatsapp.net".into(),
        content,
        quoted: None,
        mentions: Vec::new(),
        typing_ms: 0,
        link_preview: None,
        view_once: false,
        about: None,
    }
}

fn about(from_me: bool) -> About {
    About { id: "A".into(), from_me, sender: "15550000003@s.whatsapp.net".into(), text: "before".into() }
}

#[test]
fn a_reaction_needs_to_know_whose_message_it_is() {
    let mut reaction = outgoing(Content::Reaction { target: "A".into(), emoji: "👍".into() });
    assert!(
        matches!(plain(&reaction.content, &reaction, "me"), Err(Trouble::Refused(reason)) if reason == "unknown_target")
    );
    reaction.about = Some(about(false));
    reaction.to = "120363000000000001@g.us".into();
    let message = plain(&reaction.content, &reaction, "15550000001@s.whatsapp.net").expect("a message");
    let key = message.reaction_message.as_option().and_then(|m| m.key.as_option()).expect("a key");
    assert_eq!((key.from_me, key.participant.as_deref()), (Some(false), Some("15550000003@s.whatsapp.net")));
    reaction.about = Some(about(true));
    let message = plain(&reaction.content, &reaction, "15550000001@s.whatsapp.net").expect("a message");
    let key = message.reaction_message.as_option().and_then(|m| m.key.as_option()).expect("a key");
    assert_eq!(key.participant.as_deref(), Some("15550000001@s.whatsapp.net"));
}

#[test]
fn text_with_context_is_extended_text() {
    let text = outgoing(Content::Text { text: "yes".into() });
    let message = plain(&text.content, &text, "me").expect("a message");
    assert_eq!(message.conversation.as_deref(), Some("yes"));
    let message = in_context(message, Some(whatsapp_rust::waproto::whatsapp::ContextInfo::default()));
    assert!(message.conversation.is_none());
    assert_eq!(message.text_content(), Some("yes"));
}

#[test]
fn a_card_survives_names_with_anything_in_them() {
    let contact = outgoing(Content::Contact { name: "A; B,\nC".into(), phone: "+1 555 000 0003".into() });
    let message = plain(&contact.content, &contact, "me").expect("a message");
    let card = message.contact_message.as_option().and_then(|m| m.vcard.clone()).expect("a card");
    assert!(card.contains("FN:A\\; B\\, C\n") && card.contains("waid=15550000003:+15550000003"), "{card}");
}

#[test]
fn refusals_have_reasons_and_only_some_come_again() {
    let rejected = |code: &str| match refused(code) {
        Sent::Rejected { reason } => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(rejected("463"), "reachout_timelock");
    assert_eq!(rejected("475"), "new_chats_capped");
    assert_eq!(rejected("479"), "refused_479");
    assert_eq!(refused("429"), Sent::Later { after: Duration::from_secs(60) });
}
