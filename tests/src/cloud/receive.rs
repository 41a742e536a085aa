//! What comes in, kind by kind, as the same events that every transport has.

use super::{World, png};
use crate::harness::graph::Sender;
use crate::harness::{Receiver, eventually};
use serde_json::{Value, json};

#[tokio::test]
async fn a_text_is_told_like_everybodys() {
    let receiver = Receiver::start().await;
    let account = World::shared().account_with(&json!({"webhookUrl": receiver.url("/hook")})).await;
    let sender = Sender::new("Ада 🌞");
    let message = json!({"from": sender.phone, "id": "wamid.t1", "timestamp": sender.at.to_string(), "type": "text",
                         "text": {"body": "привет"}, "context": {"from": account.number.phone, "id": "wamid.before"}});
    let contact = json!({"profile": {"name": sender.name}, "wa_id": sender.phone});
    let callback = account.number.callback(&json!({"contacts": [contact], "messages": [message]}));
    assert_eq!(account.tell(&callback).await.expect(200)["taken"], 1);
    let hook = receiver.wait_for("/hook", "message_received").await.json();
    let data = &hook["data"];
    assert_eq!(data["from"], format!("{}@s.whatsapp.net", sender.phone));
    for (name, value) in [
        ("messageId", json!("wamid.t1")),
        ("body", json!("привет")),
        ("type", json!("conversation")),
        ("contentType", json!("text")),
        ("pushName", json!("Ада 🌞")),
        ("timestamp", json!(sender.at)),
        ("isGroup", json!(false)),
        ("hasMedia", json!(false)),
        ("quotedMessageId", json!("wamid.before")),
    ] {
        assert_eq!(data[name], value, "{name} of {hook}");
    }
    let history = account.instance.get(&format!("/chats/{}/messages", sender.phone)).await;
    assert_eq!((&history["pagination"]["total"], &history["messages"][0]["content"]), (&json!(1), &json!("привет")));
    let contact = eventually("the contact", async || {
        let contacts = account.client().get(&account.instance.wa("/contacts")).await.expect(200);
        contacts["contacts"]
            .as_array()
            .expect("contacts")
            .iter()
            .find(|one| one["number"] == sender.phone.as_str())
            .cloned()
    })
    .await;
    assert_eq!(contact["name"], sender.name);
}

#[tokio::test]
async fn media_is_brought_into_our_storage() {
    let account = World::shared().account().await;
    let sender = Sender::new("Ada");
    for (serial, (kind, mime, shown)) in [
        ("image", "image/png", "imageMessage"),
        ("video", "video/mp4", "videoMessage"),
        ("audio", "audio/ogg; codecs=opus", "audioMessage"),
        ("document", "application/pdf", "documentMessage"),
        ("sticker", "image/webp", "stickerMessage"),
    ]
    .into_iter()
    .enumerate()
    {
        let bytes = if kind == "image" { png(9) } else { format!("the bytes of a {kind}").into_bytes() };
        let mut object = account.graph.media(mime, &bytes);
        if kind == "document" {
            object["filename"] = json!("report.pdf");
        }
        object["caption"] = json!("see");
        let id = format!("wamid.m{serial}");
        let data = account.gets(&sender, &id, kind, &object).await["data"].clone();
        assert_eq!(
            (&data["type"], &data["contentType"], &data["hasMedia"]),
            (&json!(shown), &json!(kind), &json!(true))
        );
        assert_eq!((&data["body"], &data["media"]["mimetype"]), (&json!("see"), &json!(mime)), "{data}");
        let url = data["media"]["url"].as_str().expect("a URL");
        let content = account.client().get(url).await;
        assert_eq!((content.status, &content.body[..]), (200, &bytes[..]), "{kind}");
        if kind == "document" {
            assert_eq!(data["media"]["filename"], "report.pdf");
        }
    }
}

#[tokio::test]
async fn media_that_cannot_be_had_is_told_with_where_it_is() {
    let account = World::shared().account().await;
    let sender = Sender::new("Ada");
    let mut object = account.graph.media("image/png", &png(3));
    object["caption"] = json!("gone");
    let media = object["id"].as_str().expect("an id").to_owned();
    account.graph.forget(&media);
    let data = account.gets(&sender, "wamid.gone", "image", &object).await["data"].clone();
    assert_eq!(
        (&json!(["imageMessage", "image"]), &json!("gone"), &json!(false)),
        (&json!([data["type"], data["contentType"]]), &data["body"], &data["hasMedia"])
    );
    assert_eq!((&data["detail"]["mediaId"], &data["detail"]["mimeType"]), (&json!(media), &json!("image/png")));
}

#[tokio::test]
async fn media_stays_where_it_is_if_that_is_wanted() {
    let world = World::start_with(&[("WHATSAPP_MEDIA", "lazy")]);
    let account = world.account().await;
    let object = account.graph.media("audio/ogg", b"never fetched");
    let callback = account.number.message(&Sender::new("Ada"), "wamid.lazy", "audio", &object);
    let before = account.graph.asked(&account.number);
    account.takes(&callback).await;
    let data = account.heard("wamid.lazy").await;
    assert_eq!((&data["type"], &data["hasMedia"]), (&json!("audioMessage"), &json!(false)));
    assert_eq!(data["detail"]["mediaId"], object["id"]);
    assert_eq!(account.graph.asked(&account.number), before);
}

#[tokio::test]
async fn every_other_kind_is_told() {
    let account = World::shared().account().await;
    let sender = Sender::new("Ada");
    let tell =
        async |id: &str, kind: &str, object: Value| account.gets(&sender, id, kind, &object).await["data"].clone();
    let place = tell(
        "wamid.k1",
        "location",
        json!({"latitude": 59.9, "longitude": 30.3, "name": "Here", "address": "There 1"}),
    )
    .await;
    assert_eq!(place["location"], json!({"latitude": 59.9, "longitude": 30.3, "name": "Here", "address": "There 1"}));
    let card = json!([{"name": {"formatted_name": "Ivan", "first_name": "Ivan"}, "phones": [{"phone": "+7 900", "wa_id": "7900"}]}]);
    let card = tell("wamid.k2", "contacts", card).await;
    assert_eq!(
        (&card["contact"], &card["type"]),
        (&json!({"name": "Ivan", "phone": "+7 900"}), &json!("contactMessage"))
    );
    let button = tell("wamid.k3", "button", json!({"payload": "YES-1", "text": "Yes"})).await;
    assert_eq!((&button["body"], &button["detail"]["payload"]), (&json!("Yes"), &json!("YES-1")));
    let reply = json!({"type": "button_reply", "button_reply": {"id": "b1", "title": "First"}});
    let reply = tell("wamid.k4", "interactive", reply).await;
    assert_eq!((&reply["body"], &reply["detail"]["button_reply"]["id"]), (&json!("First"), &json!("b1")));
    let order = tell("wamid.k5", "order", json!({"catalog_id": "1", "text": "two, please", "product_items": []})).await;
    assert_eq!((&order["contentType"], &order["body"]), (&json!("orderMessage"), &json!("two, please")));
    let system = tell("wamid.k6", "system", json!({"body": "changed number", "type": "user_changed_number"})).await;
    assert_eq!((&system["contentType"], &system["body"]), (&json!("system"), &json!("changed number")));
    let future = tell("wamid.k7", "hologram", json!({"id": "1"})).await;
    assert_eq!(future["type"], "hologram", "what is not known yet is not lost");

    let unsupported = json!({"from": sender.phone, "id": "wamid.k8", "timestamp": sender.at.to_string(), "type": "unsupported",
                             "errors": [{"code": 131_051, "title": "Message type unknown"}]});
    account.takes(&account.number.callback(&json!({"messages": [unsupported]}))).await;
    assert_eq!(account.heard("wamid.k8").await["detail"]["errors"][0]["code"], 131_051);
}

#[tokio::test]
async fn reactions_change_what_they_are_about() {
    let account = World::shared().account().await;
    let sent = account.sent(&json!({"to": "15557654321", "content": "like me"})).await;
    let sender = Sender { phone: sent.to.clone(), ..Sender::new("Ada") };
    for (id, emoji) in [("wamid.r1", Some("❤️")), ("wamid.r2", None)] {
        let mut object = json!({"message_id": sent.id});
        if let Some(emoji) = emoji {
            object["emoji"] = json!(emoji);
        }
        let told = account.gets(&sender, id, "reaction", &object).await;
        assert_eq!(
            (&told["type"], &told["data"]["reaction"]["messageId"]),
            (&json!("message_reaction"), &json!(sent.id))
        );
        let history = account.instance.get(&format!("/chats/{}/messages", sent.to)).await;
        let shown: Vec<_> =
            history["messages"][0]["reactions"].as_object().expect("reactions").values().cloned().collect();
        assert_eq!(shown, emoji.map(|emoji| json!(emoji)).into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_person_whose_number_is_hidden_can_be_talked_to() {
    let account = World::shared().account().await;
    let sender = Sender::new("Ada");
    account.gets(&sender, "wamid.h1", "text", &json!({"body": "with a number"})).await;
    // From now on without it: the same chat.
    let hidden = json!({"profile": {"name": "Ada", "username": "ada"}, "user_id": sender.user_id()});
    let second = json!({"from_user_id": sender.user_id(), "id": "wamid.h2",
                        "timestamp": sender.at.to_string(), "type": "text", "text": {"body": "without one"}});
    account.takes(&account.number.callback(&json!({"contacts": [hidden], "messages": [second]}))).await;
    let heard = account.heard("wamid.h2").await;
    let address = format!("{}@bsuid", sender.user_id());
    assert_eq!(heard["from"], address);
    let history = account.instance.history(&sender.phone).await;
    assert_eq!(history.len(), 2, "one chat: {history:?}");
    let sent = account.sent(&json!({"to": address, "content": "hello"})).await;
    assert_eq!((&sent.body["recipient"], sent.body.get("to")), (&json!(sender.user_id()), None));
}

#[tokio::test]
async fn edits_revocations_and_what_the_phone_wrote() {
    let account = World::shared().account().await;
    let sender = Sender::new("Ada");
    let tell = async |id: &str, kind: &str, object: Value| account.gets(&sender, id, kind, &object).await;
    tell("wamid.e1", "text", json!({"body": "frist"})).await;
    tell("wamid.e2", "text", json!({"body": "oops"})).await;
    let new = json!({"original_message_id": "wamid.e1", "message": {"type": "text", "text": {"body": "first"}}});
    assert_eq!(tell("wamid.e3", "edit", new).await["type"], "message_edited");
    assert_eq!(tell("wamid.e4", "revoke", json!({"original_message_id": "wamid.e2"})).await["type"], "message_revoked");

    let echo = json!({"from": account.number.phone, "to": sender.phone, "id": "wamid.e5", "timestamp": sender.at.to_string(),
                      "type": "text", "text": {"body": "from the phone"}});
    let mut callback = account.number.callback(&json!({"message_echoes": [echo]}));
    callback["entry"][0]["changes"][0]["field"] = json!("smb_message_echoes");
    assert_eq!(account.tell(&callback).await.expect(200)["taken"], 1);
    let sent = account.instance.wait_event_of("wamid.e5").await;
    assert_eq!((&sent["type"], &sent["data"]["body"]), (&json!("message_sent"), &json!("from the phone")));
    let history = account.instance.history(&sender.phone).await;
    let shown: Vec<Value> = history
        .iter()
        .map(|message| {
            json!([message["messageId"], message["content"], message["edited"], message["revoked"], message["fromMe"]])
        })
        .collect();
    for wanted in [
        json!(["wamid.e1", "first", true, false, false]),
        json!(["wamid.e2", "", false, true, false]),
        json!(["wamid.e5", "from the phone", false, false, true]),
    ] {
        assert!(shown.contains(&wanted), "{wanted} in {shown:?}");
    }
}
