//! Every kind of message, in both directions.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use buffa::MessageField;
use serde_json::json;
use wacore::download::MediaType;
use wacore::poll::PollVoteCiphertext;
use wacore_binary::Jid;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::protocol_message;
use whatsapp_rust::RevokeType;

use crate::bed::{ALICE, BOB, alice_and_bob};
use crate::client::Device;

#[tokio::test(flavor = "multi_thread")]
async fn media_of_phones_can_be_opened() {
    let (server, device) = alice_and_bob().await;
    let file = b"the very bytes of a file".to_vec();
    let data = BASE64_STANDARD.encode(&file);
    let media = json!({"data": data, "caption": "look", "fileName": "a.pdf"});

    server.bob_sends(json!({ "image": media })).await;
    let image = device.message("an image", |message| message.image_message.is_set()).await;
    assert_eq!(image.message.image_message.caption.as_deref(), Some("look"));
    assert_eq!(opened(&device, &*image.message.image_message).await, file);

    server.bob_sends(json!({ "video": {"data": data} })).await;
    let video = device.message("a video", |message| message.video_message.is_set()).await;
    assert_eq!(opened(&device, &*video.message.video_message).await, file);

    server.bob_sends(json!({ "audio": {"data": data, "ptt": true} })).await;
    let audio = device.message("audio", |message| message.audio_message.is_set()).await;
    assert_eq!(audio.message.audio_message.ptt, Some(true));
    assert_eq!(opened(&device, &*audio.message.audio_message).await, file);

    server.bob_sends(json!({ "document": media })).await;
    let document = device.message("a document", |message| message.document_message.is_set()).await;
    assert_eq!(document.message.document_message.file_name.as_deref(), Some("a.pdf"));
    assert_eq!(opened(&device, &*document.message.document_message).await, file);

    server.bob_sends(json!({ "sticker": {"data": data} })).await;
    let sticker = device.message("a sticker", |message| message.sticker_message.is_set()).await;
    assert_eq!(opened(&device, &*sticker.message.sticker_message).await, file);

    server.bob_sends(json!({"image": {"data": data}, "viewOnce": true})).await;
    let once = device.message("view once", |message| message.view_once_message_v2.is_set()).await;
    let inner = &once.message.view_once_message_v2.message;
    assert_eq!(inner.image_message.view_once, Some(true));
}

async fn opened(device: &Device, media: &dyn wacore::download::Downloadable) -> Vec<u8> {
    device.client.download(media).await.expect("downloaded")
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_media_cannot_be_opened() {
    let (server, device) = alice_and_bob().await;
    server.bob_sends(json!({"image": {"size": 100}})).await;
    let image = device.message("an image", |message| message.image_message.is_set()).await;
    let path = image.message.image_message.direct_path.clone().expect("a path");
    let (_, gone) = server.send("DELETE", &format!("/media?path={path}"), json!({})).await;
    assert_eq!(gone["wasThere"], true);
    device.client.download(&*image.message.image_message).await.expect_err("it is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn media_of_clients_can_be_opened() {
    let (server, device) = alice_and_bob().await;
    let file: Vec<u8> = (0..200_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    let upload = device.client.upload(file.clone(), MediaType::Image, Default::default()).await.expect("uploaded");
    let message = wa::Message {
        image_message: MessageField::some(wa::message::ImageMessage {
            url: Some(upload.url),
            direct_path: Some(upload.direct_path),
            media_key: Some(upload.media_key.to_vec()),
            file_sha256: Some(upload.file_sha256.to_vec()),
            file_enc_sha256: Some(upload.file_enc_sha256.to_vec()),
            file_length: Some(upload.file_length),
            mimetype: Some("image/png".to_owned()),
            caption: Some("mine".to_owned()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let id = device.send(&Jid::pn(BOB), message).await;
    let arrived = server.arrived(BOB, "imageMessage").await;
    assert_eq!(arrived["text"], "mine");
    assert_eq!(arrived["content"]["mimetype"], "image/png", "{arrived}");
    let opened = server.get_bytes(&format!("/phones/{BOB}/inbox/{id}/media")).await;
    assert!(opened == file, "the same bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn phones_write_every_other_kind() {
    let (server, device) = alice_and_bob().await;
    let own = device.say(&Jid::pn(BOB), "mine").await;
    server.arrived(BOB, "conversation").await;

    server.bob_sends(json!({"text": "an answer", "quoted": {"id": own}, "mentions": [ALICE]})).await;
    let reply = device.message("a reply", |message| message.extended_text_message.is_set()).await;
    let context = &reply.message.extended_text_message.context_info;
    assert_eq!(context.stanza_id.as_deref(), Some(own.as_str()));
    assert_eq!(context.quoted_message.conversation.as_deref(), Some("mine"));
    assert_eq!(context.mentioned_jid, [format!("{ALICE}@s.whatsapp.net")]);

    server.bob_sends(json!({"location": {"latitude": 1.5, "longitude": -2.5, "name": "Here"}})).await;
    let location = device.message("a location", |message| message.location_message.is_set()).await;
    assert_eq!(location.message.location_message.degrees_longitude, Some(-2.5));

    server.bob_sends(json!({"contact": {"name": "Carol", "phone": "15550000003"}})).await;
    let contact = device.message("a contact", |message| message.contact_message.is_set()).await;
    assert!(contact.message.contact_message.vcard.as_deref().expect("a card").contains("waid=15550000003"));

    server.bob_sends(json!({"reaction": {"id": own, "emoji": "👍"}})).await;
    let reaction = device.message("a reaction", |message| message.reaction_message.is_set()).await;
    assert_eq!(reaction.message.reaction_message.text.as_deref(), Some("👍"));
    assert_eq!(reaction.message.reaction_message.key.id.as_deref(), Some(own.as_str()));

    let first = server.bob_sends(json!({"text": "mispelt"})).await;
    server.bob_sends(json!({"edit": {"id": first, "text": "misspelt"}})).await;
    let edit = device
        .message("an edit", |message| {
            message
                .protocol_message
                .as_option()
                .is_some_and(|protocol| protocol.r#type == Some(protocol_message::Type::MESSAGE_EDIT))
        })
        .await;
    assert_eq!(edit.message.protocol_message.edited_message.conversation.as_deref(), Some("misspelt"));

    server.bob_sends(json!({"revoke": {"id": first}})).await;
    let revoke = device
        .message("a revocation", |message| {
            message
                .protocol_message
                .as_option()
                .is_some_and(|protocol| protocol.r#type == Some(protocol_message::Type::REVOKE))
        })
        .await;
    assert_eq!(revoke.message.protocol_message.key.id.as_deref(), Some(first.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_write_every_other_kind() {
    let (server, device) = alice_and_bob().await;
    let bob = Jid::pn(BOB);
    let first = device.say(&bob, "mispelt").await;
    let edited = wa::Message { conversation: Some("misspelt".to_owned()), ..Default::default() };
    device.client.edit_message(bob.clone(), first.clone(), edited).await.expect("edited");
    let edit = server.arrived(BOB, "protocolMessage").await;
    assert_eq!(edit["content"]["type"], "edit", "{edit}");
    assert_eq!(edit["content"]["target"]["id"], first, "{edit}");
    assert_eq!(edit["text"], "misspelt", "{edit}");

    device.client.revoke_message(bob.clone(), first.clone(), RevokeType::Sender).await.expect("revoked");
    let after = edit["seq"].clone();
    let inbox = server.get(&format!("/phones/{BOB}/inbox?kind=protocolMessage&after={after}&wait=10")).await;
    assert_eq!(inbox["messages"][0]["content"]["type"], "revoke", "{inbox}");

    let theirs = server.bob_sends(json!({"text": "react to me"})).await;
    device.text("react to me").await;
    let key = wa::MessageKey {
        remote_jid: Some(bob.to_string()),
        from_me: Some(false),
        id: Some(theirs.clone()),
        ..Default::default()
    };
    device.client.send_reaction(bob.clone(), key, "🎉").await.expect("sent");
    let reaction = server.arrived(BOB, "reactionMessage").await;
    assert_eq!(reaction["content"]["emoji"], "🎉", "{reaction}");
    assert_eq!(reaction["content"]["target"]["id"], theirs, "{reaction}");

    let location = wa::Message {
        location_message: MessageField::some(wa::message::LocationMessage {
            degrees_latitude: Some(3.0),
            degrees_longitude: Some(4.0),
            ..Default::default()
        }),
        ..Default::default()
    };
    device.send(&bob, location).await;
    let location = server.arrived(BOB, "locationMessage").await;
    assert_eq!(location["content"]["latitude"], 3.0, "{location}");
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_are_voted_in_by_both_sides() {
    let (server, device) = alice_and_bob().await;
    let bob = Jid::pn(BOB);
    let options = ["tea".to_owned(), "coffee".to_owned()];
    let (sent, secret) = device.client.polls().create(bob.clone(), "Drink?", &options, 1).await.expect("created");
    let poll = server.arrived(BOB, "pollCreationMessage").await;
    assert_eq!(poll["content"]["options"], json!(["tea", "coffee"]), "{poll}");
    server.bob_sends(json!({"vote": {"id": sent.message_id, "options": ["tea"]}})).await;
    let vote = device.message("a vote", |message| message.poll_update_message.is_set()).await;
    let encrypted = &vote.message.poll_update_message.vote;
    let ciphertext = PollVoteCiphertext {
        enc_payload: encrypted.enc_payload.as_deref().expect("a payload"),
        enc_iv: encrypted.enc_iv.as_deref().expect("an iv"),
    };
    let tally = device
        .client
        .polls()
        .aggregate_votes(&options, &[(&bob, ciphertext)], &secret, &sent.message_id, &Jid::pn(ALICE))
        .await
        .expect("opened");
    assert_eq!(tally[0].voters.len(), 1, "{tally:?}");

    let theirs = server.bob_sends(json!({"poll": {"name": "Food?", "options": ["rice", "soup"]}})).await;
    let poll: Arc<wa::Message> =
        device.message("a poll", |message| message.poll_creation_message_v3.is_set()).await.message;
    let secret = poll.message_context_info.message_secret.as_deref().expect("a secret");
    device.client.polls().vote(bob.clone(), &theirs, &bob, secret, &["soup".to_owned()]).await.expect("voted");
    let vote = server.arrived(BOB, "pollUpdateMessage").await;
    assert_eq!(vote["content"]["options"], json!(["soup"]), "{vote}");
}
