//! Sending, kind by kind.

use super::{World, file, png};
use crate::harness::graph::Sender;
use serde_json::{Value, json};

const TO: &str = "15557654321";

#[tokio::test]
async fn texts_answers_and_previews() {
    let account = World::shared().account().await;
    let sent = account.sent(&json!({"to": "+1 555-765-4321", "content": "hello\nworld"})).await;
    assert_eq!(
        (sent.to.as_str(), &sent.body["type"], &sent.body["recipient_type"]),
        (TO, &json!("text"), &json!("individual"))
    );
    assert_eq!(sent.body["text"], json!({"body": "hello\nworld", "preview_url": false}));

    let sender = Sender::new("Ada");
    let asked = account.number.message(&sender, "wamid.question", "text", &json!({"body": "well?"}));
    account.takes(&asked).await;
    account.heard("wamid.question").await;
    let reply = json!({"to": sender.phone, "content": "see https://example.com", "quotedMessageId": "wamid.question", "linkPreview": true});
    let sent = account.sent(&reply).await;
    assert_eq!(sent.body["context"], json!({"message_id": "wamid.question"}));
    assert_eq!(sent.body["text"]["preview_url"], true);
    // One's own message, by the names that it had before the platform gave it another.
    let first = account.instance.wa_post("/send", &json!({"phone": TO, "message": "remember this"})).await.expect(200);
    let (ours, public) = (first["id"].as_str().expect("an id"), first["messageId"].as_str().expect("our id"));
    let theirs = account.until(public, "sent").await["messageId"].clone();
    for name in [ours, public] {
        let sent = account.sent(&json!({"to": TO, "content": "as I said", "quotedMessageId": name})).await;
        assert_eq!(sent.body["context"], json!({"message_id": theirs}));
        let reaction = json!({"to": TO, "type": "reaction", "reaction": {"messageId": name, "emoji": "🫡"}});
        assert_eq!(account.sent(&reaction).await.body["reaction"]["message_id"], theirs);
    }
    // The routes of WhatsApp do the same.
    let answer =
        account.instance.wa_post("/send", &json!({"phone": TO, "message": "by the other door"})).await.expect(200);
    account.until(answer["messageId"].as_str().expect("our id"), "sent").await;
}

#[tokio::test]
async fn media_is_uploaded_once_and_sent_by_its_id() {
    let account = World::shared().account().await;
    let picture = png(1);
    let (_web, url) = file("image/png", &picture).await;
    let image = json!({"to": TO, "type": "image", "url": url, "caption": "look"});
    let sent = account.sent(&image).await;
    let id = sent.body["image"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(sent.body["image"], json!({"id": id, "caption": "look"}));
    assert_eq!(account.graph.content(&id).as_deref(), Some(&picture[..]));
    let again = account.sent(&image).await;
    assert_eq!(again.body["image"]["id"], id.as_str(), "a campaign uploads its picture once");

    // The platform has thrown it away: the next use but one uploads it anew.
    account.graph.forget(&id);
    let refused = account.accept(&image).await;
    let failed = account.until(&refused, "failed").await;
    assert!(failed["reason"].as_str().is_some_and(|reason| reason.starts_with("131053")), "{failed}");
    let anew = account.sent(&image).await;
    assert_ne!(anew.body["image"]["id"], id.as_str());
}

#[tokio::test]
async fn every_kind_of_media_has_its_form() {
    use base64::Engine as _;
    let account = World::shared().account().await;
    let data = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let mp4 = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom";
    let webp = b"RIFF\x24\x00\x00\x00WEBPVP8 ";
    for (kind, mime, bytes, kept) in [
        ("video", "video/mp4", &mp4[..], &["caption"][..]),
        ("audio", "audio/ogg; codecs=opus", &b"OggS\x00\x02"[..], &[]),
        ("document", "application/pdf", &b"%PDF-1.4"[..], &["caption", "filename"]),
        ("sticker", "image/webp", &webp[..], &[]),
    ] {
        let body = json!({"to": TO, "type": kind, "base64": data(bytes), "mimeType": mime, "caption": "c", "filename": "f.bin"});
        let sent = account.sent(&body).await;
        let object = sent.body[kind].as_object().expect(kind);
        let mut names: Vec<_> = object.keys().map(String::as_str).filter(|name| *name != "id").collect();
        names.sort_unstable();
        assert_eq!(names, kept, "{kind}");
        let id = object["id"].as_str().expect("an id");
        assert_eq!(account.graph.content(id).as_deref(), Some(bytes), "{kind}");
    }
    // What the platform does not take is refused with its own words, and nothing is sent.
    let svg = json!({"to": TO, "type": "image", "base64": data(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "mimeType": "image/svg+xml"});
    let before = account.graph.sent(&account.number).len();
    let id = account.accept(&svg).await;
    let failed = account.until(&id, "failed").await;
    assert!(failed["reason"].as_str().is_some_and(|reason| reason.contains("following types")), "{failed}");
    assert_eq!(account.graph.sent(&account.number).len(), before);
}

#[tokio::test]
async fn places_cards_reactions_and_templates() {
    let account = World::shared().account().await;
    let place = json!({"to": TO, "type": "location", "latitude": 59.9, "longitude": 30.3, "name": "Here"});
    let sent = account.sent(&place).await;
    assert_eq!(sent.body["location"], json!({"latitude": 59.9, "longitude": 30.3, "name": "Here"}));
    let card = json!({"to": TO, "type": "contact", "contact": {"name": "Ivan", "phone": "+7 900 765-43-21"}});
    let sent = account.sent(&card).await;
    assert_eq!(sent.body["contacts"][0]["name"]["formatted_name"], "Ivan");
    assert_eq!(sent.body["contacts"][0]["phones"][0]["wa_id"], "79007654321");

    let sender = Sender::new("Ada");
    let callback = account.number.message(&sender, "wamid.liked", "text", &json!({"body": "like me"}));
    account.takes(&callback).await;
    account.heard("wamid.liked").await;
    for emoji in ["👍", ""] {
        let answer = account
            .instance
            .wa_post("/send-reaction", &json!({"messageId": "wamid.liked", "emoji": emoji}))
            .await
            .expect(200);
        account.until(answer["messageId"].as_str().expect("our id"), "sent").await;
        let sent = account.graph.sent(&account.number);
        let last = sent.last().expect("it was sent");
        assert_eq!(last.body["reaction"], json!({"message_id": "wamid.liked", "emoji": emoji}));
        let history = account.instance.get(&format!("/chats/{}/messages", sender.phone)).await;
        let shown = if emoji.is_empty() { json!({}) } else { json!({"me": emoji}) };
        assert_eq!(history["messages"][0]["reactions"], shown);
    }

    let components = json!([{"type": "body", "parameters": [{"type": "text", "text": "Ada"}]}]);
    let template = json!({"name": "order_shipped", "language": "en_US", "components": components});
    let sent = account.sent(&json!({"to": TO, "type": "template", "template": template})).await;
    assert_eq!(
        sent.body["template"],
        json!({"name": "order_shipped", "language": {"code": "en_US"}, "components": components})
    );
    let history = account.instance.get(&format!("/chats/{TO}/messages")).await;
    assert_eq!(history["messages"][0]["template"], template);
}

#[tokio::test]
async fn what_the_platform_cannot_do_is_refused_early_or_said() {
    let account = World::shared().account().await;
    let refuse = async |body: Value| account.instance.post("/messages", &body).await;
    let poll = json!({"to": TO, "type": "poll", "poll": {"question": "q", "options": ["a", "b"]}});
    assert_eq!(refuse(poll).await.refused(400).code, "NOT_SUPPORTED");
    refuse(json!({"to": TO, "content": "x".repeat(4097)})).await.names("content");
    refuse(json!({"to": TO, "type": "template"})).await.names("template");
    refuse(json!({"to": TO, "type": "template", "template": {"name": "Bad Name", "language": "en"}}))
        .await
        .names("template.name");
    refuse(json!({"to": TO, "type": "template", "template": {"name": "good", "language": "../en"}}))
        .await
        .names("template.language");
    refuse(json!({"to": TO, "content": "x", "viewOnce": true})).await.names("viewOnce");
    assert_eq!(account.instance.get("/capabilities").await["viewOnce"], false);
    let id = account.accept(&json!({"to": "123456789-123@g.us", "content": "x"})).await;
    let failed = account.until(&id, "failed").await;
    assert!(failed["reason"].as_str().is_some_and(|reason| reason.contains("phone numbers only")), "{failed}");
    assert_eq!(account.graph.sent(&account.number).len(), 0);
    let ask = async |path: &str, body: Value| account.instance.wa_post(path, &body).await.refused(400).code;
    assert_eq!(ask("/typing", json!({"phone": TO})).await, "NOT_SUPPORTED");
    assert_eq!(ask("/check", json!({"phones": [TO]})).await, "NOT_SUPPORTED");
    assert_eq!(ask("/groups", json!({"subject": "g", "participants": [TO]})).await, "NOT_SUPPORTED");
    // Another transport has no templates.
    let web = crate::harness::Instance::paired(account.client(), &json!({})).await;
    let body = json!({"to": TO, "type": "template", "template": {"name": "good", "language": "en"}});
    assert_eq!(web.post("/messages", &body).await.refused(400).code, "NOT_SUPPORTED");
}

#[tokio::test]
async fn messages_are_marked_as_read_and_an_answer_announced() {
    let account = World::shared().account().await;
    let read = async |body: Value| account.instance.wa_post("/read", &body).await;
    read(json!({"phone": TO, "messageIds": ["wamid.1", "wamid.2"]})).await.expect(200);
    read(json!({"phone": TO, "messageIds": ["wamid.3"], "typing": true})).await.expect(200);
    let mut marked = account.graph.read(&account.number);
    marked.sort_by_key(|body| body["message_id"].to_string());
    assert_eq!(marked.len(), 3);
    assert_eq!((&marked[0]["status"], &marked[0]["typing_indicator"]), (&json!("read"), &Value::Null));
    assert_eq!(marked[2]["typing_indicator"], json!({"type": "text"}));
    read(json!({"phone": TO})).await.names("messageIds");
    assert_eq!(read(json!({"phone": TO, "messageIds": ["not one"]})).await.refused(400).code, "PLATFORM_REFUSED");

    let own =
        account.client().get(&account.instance.wa(&format!("/profile-picture?phone={}", account.number.phone))).await;
    assert_eq!(own.expect(200)["url"], "https://pps.example.com/suite.jpg");
}
