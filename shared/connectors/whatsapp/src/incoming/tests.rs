//! What messages of the protocol say.

use shared::domain::content::{Content, MediaKind};
use whatsapp_rust::{
    buffa::MessageField,
    waproto::whatsapp::{self as wa, message::protocol_message::Type},
};

use super::said::{Said, context, facts, said};
use crate::incoming::left_where_it_is as content;

fn key(id: &str) -> MessageField<wa::MessageKey> {
    MessageField::some(wa::MessageKey { id: Some(id.to_owned()), ..Default::default() })
}

fn protocol(message: wa::message::ProtocolMessage) -> wa::Message {
    wa::Message { protocol_message: MessageField::some(message), ..Default::default() }
}

fn wrapped(message: wa::Message) -> MessageField<wa::message::FutureProofMessage> {
    MessageField::some(wa::message::FutureProofMessage { message: MessageField::some(message) })
}

#[test]
fn what_devices_say_to_each_other_is_nothing() {
    for r#type in
        [Type::APP_STATE_SYNC_KEY_SHARE, Type::HISTORY_SYNC_NOTIFICATION, Type::PEER_DATA_OPERATION_REQUEST_MESSAGE]
    {
        let message =
            protocol(wa::message::ProtocolMessage { r#type: Some(r#type), key: key("X"), ..Default::default() });
        assert!(matches!(said(&message), Said::Nothing), "{type:?}");
    }
    assert!(matches!(said(&wa::Message::default()), Said::Nothing));
    let keys = wa::message::SenderKeyDistributionMessage::default();
    let keys = wa::Message { sender_key_distribution_message: MessageField::some(keys), ..Default::default() };
    assert!(matches!(said(&keys), Said::Nothing));
}

#[test]
fn edits_and_revocations_name_their_target() {
    let text = wa::Message { conversation: Some("new".into()), ..Default::default() };
    let edit = protocol(wa::message::ProtocolMessage {
        r#type: Some(Type::MESSAGE_EDIT),
        key: key("A"),
        edited_message: MessageField::some(text),
        ..Default::default()
    });
    assert_eq!(content(&edit), Some(Content::Edit { target: "A".into(), text: "new".into() }));
    let inside = wa::Message { edited_message: wrapped(edit), ..Default::default() };
    assert_eq!(content(&inside), Some(Content::Edit { target: "A".into(), text: "new".into() }));
    let revoke =
        protocol(wa::message::ProtocolMessage { r#type: Some(Type::REVOKE), key: key("A"), ..Default::default() });
    assert_eq!(content(&revoke), Some(Content::Revoke { target: "A".into() }));
}

#[test]
fn media_that_stay_say_where_they_are() {
    let image = wa::message::ImageMessage {
        mimetype: Some("image/png".into()),
        caption: Some("a dot".into()),
        direct_path: Some("/v/1".into()),
        media_key: Some(vec![1; 32]),
        file_sha256: Some(vec![2; 32]),
        file_enc_sha256: Some(vec![3; 32]),
        file_length: Some(77),
        view_once: Some(true),
        ..Default::default()
    };
    let image = wa::Message { image_message: MessageField::some(image), ..Default::default() };
    let once = wa::Message { view_once_message_v2: wrapped(image.clone()), ..Default::default() };
    for message in [&image, &once] {
        let Some(Content::Foreign { name, text, detail: Some(detail) }) = content(message) else { panic!("media") };
        assert_eq!((name.as_str(), text.as_str()), ("imageMessage", "a dot"));
        assert_eq!((&detail["size"], &detail["directPath"]), (&77.into(), &"/v/1".into()));
    }
    assert_eq!(facts(&once, &[]).get("viewOnce"), Some(&true.into()));
    let Said::Media(part) = said(&once) else { panic!("media") };
    assert!(part.kind == MediaKind::Image && part.at.is_some());
    // A path that would make another host of the URL is none.
    for path in ["@10.0.0.1/x", ".example.com/x", ""] {
        let mut elsewhere = image.clone();
        elsewhere.image_message.get_or_insert_default().direct_path = Some(path.to_owned());
        let Said::Media(part) = said(&elsewhere) else { panic!("media") };
        assert!(part.at.is_none(), "{path}");
    }
    // Without the key there is nothing to fetch.
    let bare = wa::message::AudioMessage { mimetype: Some("audio/ogg".into()), ptt: Some(true), ..Default::default() };
    let bare = wa::Message { audio_message: MessageField::some(bare), ..Default::default() };
    let Said::Media(part) = said(&bare) else { panic!("media") };
    assert!(part.at.is_none());
    assert_eq!(facts(&bare, &["1555@s.whatsapp.net".into()]).len(), 2);
}

#[test]
fn a_number_of_a_card_is_the_one_that_whatsapp_knows() {
    let contact = |vcard: &str| {
        let contact = wa::message::ContactMessage {
            display_name: Some("Carol".into()),
            vcard: Some(vcard.into()),
            ..Default::default()
        };
        content(&wa::Message { contact_message: MessageField::some(contact), ..Default::default() })
    };
    let phone = |vcard: &str| match contact(vcard) {
        Some(Content::Contact { phone, .. }) => phone,
        other => panic!("{other:?}"),
    };
    assert_eq!(phone("BEGIN:VCARD\nTEL;type=CELL;waid=15550000003:+1 555 000 0003\nEND:VCARD"), "+15550000003");
    assert_eq!(phone("BEGIN:VCARD\r\nitem1.TEL:+1 555\r\nEND:VCARD"), "+1 555");
    assert_eq!(phone("no card at all"), "");
}

#[test]
fn kinds_without_a_place_keep_their_name() {
    let reply =
        wa::message::TemplateButtonReplyMessage { selected_display_text: Some("Yes".into()), ..Default::default() };
    let reply = wa::Message { template_button_reply_message: MessageField::some(reply), ..Default::default() };
    let wanted = Content::Foreign { name: "templateButtonReplyMessage".into(), text: "Yes".into(), detail: None };
    assert_eq!(content(&reply), Some(wanted));
    let order = wa::Message { order_message: MessageField::some(Default::default()), ..Default::default() };
    assert_eq!(content(&order), Some(Content::Other { name: "orderMessage".into() }));
}

#[test]
fn an_answer_says_what_it_answers() {
    let quoting = wa::ContextInfo { stanza_id: Some("A".into()), is_forwarded: Some(true), ..Default::default() };
    let text = wa::message::ExtendedTextMessage {
        text: Some("yes".into()),
        context_info: MessageField::some(quoting),
        ..Default::default()
    };
    let text = wa::Message { extended_text_message: MessageField::some(text), ..Default::default() };
    let text = wa::Message { ephemeral_message: wrapped(text), ..Default::default() };
    assert_eq!(content(&text), Some(Content::Text { text: "yes".into() }));
    assert_eq!(context(&text).and_then(|context| context.stanza_id.as_deref()), Some("A"));
    assert_eq!(facts(&text, &[]).get("forwarded"), Some(&true.into()));
}
