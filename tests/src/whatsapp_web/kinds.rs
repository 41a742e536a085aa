//! Every kind of message, in both directions, and what else passes between people.

use super::{PNG, Stage};
use crate::harness::eventually;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_goes_out() {
    let stage = Stage::set().await;
    let text = stage.tells("/send", json!({"message": "hello"})).await;
    assert_eq!((&text["kind"], &text["text"]), (&json!("conversation"), &json!("hello")));
    let first = text["id"].as_str().expect("an id").to_owned();
    assert!(first.starts_with("3EB0"));

    let asked = stage.hears(&json!({"text": "a question"})).await["data"]["messageId"].clone();
    let answer = stage.tells("/send", json!({"message": "yes", "quotedMessageId": asked})).await;
    assert_eq!(answer["content"]["quoted"]["id"], asked);
    assert_eq!(answer["content"]["quoted"]["text"], "a question");
    assert_eq!(answer["content"]["quoted"]["participant"], stage.other.address());
    let mention = stage.tells("/send", json!({"message": "you", "mentions": [stage.other.number]})).await;
    assert_eq!(mention["content"]["mentions"], json!([stage.other.address()]));

    let image = stage.tells("/send-media", json!({"base64": PNG, "caption": "a dot", "filename": "dot.png"})).await;
    assert_eq!((&image["kind"], &image["text"]), (&json!("imageMessage"), &json!("a dot")));
    let plain = hex::encode(Sha256::digest(STANDARD.decode(PNG).expect("base64")));
    assert_eq!(image["content"]["sha256"], plain, "it was encrypted, uploaded and decrypted");
    let once = stage.tells("/send-media", json!({"base64": PNG, "viewOnce": true})).await;
    assert_eq!(once["content"]["viewOnce"], true);
    // Large enough for several parts on the way.
    let large = STANDARD.encode(vec![7_u8; 700_000]);
    let document = json!({"base64": large, "filename": "large.bin", "mimeType": "application/octet-stream"});
    let document = stage.tells("/send-media", document).await;
    assert_eq!((&document["kind"], &document["content"]["fileLength"]), (&json!("documentMessage"), &json!(700_000)));
    assert_eq!(document["content"]["fileName"], "large.bin");
    let voice = STANDARD.encode([b"OggS".as_slice(), &[0; 300]].concat());
    let voice = stage.tells("/send-media", json!({"base64": voice, "mimeType": "audio/ogg"})).await;
    assert_eq!((&voice["kind"], &voice["content"]["ptt"]), (&json!("audioMessage"), &json!(true)));

    let place = json!({"latitude": 1.5, "longitude": 2.5, "name": "a place", "address": "a street"});
    let place = stage.tells("/send-location", place).await;
    assert_eq!(place["content"]["latitude"], 1.5);
    assert_eq!(place["content"]["name"], "a place");
    let contact = json!({"name": "Carol; D", "contactPhone": "15550000003", "contact": {"name": "Carol; D", "phone": "15550000003"}});
    let contact = stage.tells("/send-contact", contact).await;
    assert!(contact["content"]["vcard"].as_str().is_some_and(|vcard| vcard.contains("waid=15550000003")));
    let poll =
        stage.tells("/send-poll", json!({"question": "tea?", "options": ["yes", "no"], "multiple": false})).await;
    assert_eq!(poll["content"]["options"], json!(["yes", "no"]));
    let vote = stage.hears(&json!({"vote": {"id": poll["id"], "options": ["no"]}})).await;
    assert_eq!(vote["data"]["detail"], json!({"pollMessageId": poll["id"], "options": ["no"]}));

    let reaction = stage.tells("/send-reaction", json!({"messageId": asked, "emoji": "👍"})).await;
    assert_eq!(reaction["content"]["emoji"], "👍");
    assert_eq!(
        (&reaction["content"]["target"]["id"], &reaction["content"]["target"]["fromMe"]),
        (&asked, &json!(false))
    );
    let edit = stage.instance.wa(&format!("/messages/{first}"));
    let edited = stage.instance.client.put(&edit, &json!({"message": "hello again"})).await.expect(200);
    let edited = stage.other.receives(edited["id"].as_str().expect("an id")).await;
    assert_eq!((&edited["content"]["type"], &edited["text"]), (&json!("edit"), &json!("hello again")));
    let revoked = stage.instance.client.delete(&edit).await.expect(200);
    let revoked = stage.other.receives(revoked["id"].as_str().expect("an id")).await;
    assert_eq!((&revoked["content"]["type"], &revoked["content"]["target"]["id"]), (&json!("revoke"), &json!(first)));

    let typed = stage.tells("/send", json!({"message": "typed", "delayMs": 300})).await;
    assert_eq!(typed["text"], "typed");
    let states = stage.other.get("/states?kind=composing").await;
    assert_eq!(states["states"].as_array().map(Vec::len), Some(1));
    let read = stage.instance.wa_post("/read", &json!({"phone": stage.other.number, "messageIds": [asked]})).await;
    read.expect(200);
    let read = stage.other.get(&format!("/receipts?kind=read&wait=10&id={}", asked.as_str().expect("an id"))).await;
    assert_eq!(read["receipts"].as_array().map(Vec::len), Some(1));
    assert_eq!(stage.whatsapp.stats().await["duplicateMessages"], 0);
}

/// A file that arrived at Bob, as it was before it was encrypted.
async fn opened(stage: &Stage, arrived: &Value) -> Vec<u8> {
    let path = format!("/inbox/{}/media", arrived["id"].as_str().expect("an id"));
    stage.other.file(&path).await.to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn videos_stickers_and_uploaded_files_go_out() {
    let stage = Stage::set().await;
    let mp4 = [b"\0\0\0\x18ftypmp42".as_slice(), &[1; 5000]].concat();
    let video = json!({"base64": STANDARD.encode(&mp4), "mimeType": "video/mp4", "caption": "waves"});
    let video = stage.tells("/send-media", video).await;
    assert_eq!((&video["kind"], &video["text"]), (&json!("videoMessage"), &json!("waves")));
    assert_eq!(video["content"]["mimetype"], "video/mp4");
    assert_eq!(opened(&stage, &video).await, mp4);
    let once = json!({"base64": STANDARD.encode(&mp4), "mimeType": "video/mp4", "viewOnce": true});
    let once = stage.tells("/send-media", once).await;
    assert_eq!((&once["kind"], &once["content"]["viewOnce"]), (&json!("videoMessage"), &json!(true)));

    let webp = [b"RIFF\x20\0\0\0WEBPVP8L".as_slice(), &[2; 32]].concat();
    let sticker = json!({
        "to": stage.other.number, "type": "sticker", "base64": STANDARD.encode(&webp), "mimeType": "image/webp",
    });
    let sent = stage.instance.post("/messages", &sticker).await.expect(201);
    let sticker = stage.other.receives(sent["messageId"].as_str().expect("an id")).await;
    assert_eq!((&sticker["kind"], &sticker["content"]["mimetype"]), (&json!("stickerMessage"), &json!("image/webp")));
    assert_eq!(opened(&stage, &sticker).await, webp);

    let path = stage.instance.wa("/send-file");
    let asked = stage.hears(&json!({"text": "the report?"})).await["data"]["messageId"].clone();
    let fields = [
        ("phone", stage.other.number.as_str()),
        ("caption", "here"),
        ("quotedMessageId", asked.as_str().expect("an id")),
    ];
    let report = [b"%PDF-1.7\n".as_slice(), &[3; 300_000]].concat();
    let file = Some(("report.pdf", "application/pdf", report.as_slice()));
    let sent = stage.instance.client.upload(&path, &fields, file).await.expect(200);
    let document = stage.other.receives(sent["id"].as_str().expect("an id")).await;
    assert_eq!((&document["kind"], &document["text"]), (&json!("documentMessage"), &json!("here")));
    assert_eq!(document["content"]["fileName"], "report.pdf");
    assert_eq!(document["content"]["quoted"]["id"], asked);
    assert_eq!(opened(&stage, &document).await, report);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_comes_in() {
    let stage = Stage::set().await;
    let event = stage.hears(&json!({"text": "plain"})).await;
    let first = event["data"]["messageId"].clone();
    assert_eq!(event["type"], "message_received");
    let shown = |event: &Value| (event["data"]["type"].clone(), event["data"]["body"].clone());
    assert_eq!(shown(&event), (json!("conversation"), json!("plain")));
    assert_eq!(event["data"]["from"], stage.other.address());
    assert_eq!(event["data"]["senderLid"], format!("{}@lid", stage.other.lid), "phone and LID");
    assert_eq!(event["data"]["pushName"], "Bob");

    let answer = json!({"text": "answer", "quoted": {"id": first}, "mentions": [stage.own.number]});
    let answer = stage.hears(&answer).await;
    assert_eq!(answer["data"]["quotedMessageId"], first);
    assert_eq!(answer["data"]["mentions"], json!([stage.own.address()]));

    for (message, name, bytes) in [
        (json!({"image": {"size": 5000, "mimetype": "image/png", "caption": "c"}}), "imageMessage", 5000),
        (json!({"video": {"size": 200_000, "caption": "c"}}), "videoMessage", 200_000),
        (json!({"audio": {"size": 900, "ptt": true}}), "audioMessage", 900),
        (
            json!({"document": {"size": 3000, "fileName": "a.pdf", "mimetype": "application/pdf"}}),
            "documentMessage",
            3000,
        ),
        (json!({"sticker": {"size": 800}}), "stickerMessage", 800),
    ] {
        let event = stage.hears(&message).await;
        assert_eq!((&event["data"]["type"], &event["data"]["media"]["size"]), (&json!(name), &json!(bytes)), "{event}");
        let url = event["data"]["media"]["url"].as_str().expect("a URL");
        let stored = stage.instance.client.get(url).await;
        assert_eq!(stored.status, 200, "{stored}");
        assert_eq!(stored.body.len(), bytes);
    }
    let once = stage.hears(&json!({"image": {"size": 500}, "viewOnce": true})).await;
    assert_eq!((&once["data"]["viewOnce"], &once["data"]["hasMedia"]), (&json!(true), &json!(true)));

    let place = stage.hears(&json!({"location": {"latitude": 1.5, "longitude": 2.5, "name": "n"}})).await;
    assert_eq!(place["data"]["location"]["latitude"], 1.5);
    let contact = stage.hears(&json!({"contact": {"name": "Carol", "phone": "15550000003"}})).await;
    assert_eq!(contact["data"]["contact"], json!({"name": "Carol", "phone": "+15550000003"}));
    let poll = stage.hears(&json!({"poll": {"name": "q", "options": ["a", "b"], "selectable": 1}})).await;
    assert_eq!(poll["data"]["poll"]["options"], json!(["a", "b"]));

    for (message, kind) in [
        (json!({"reaction": {"id": first, "emoji": "❤️"}}), "message_reaction"),
        (json!({"edit": {"id": first, "text": "edited"}}), "message_edited"),
        (json!({"revoke": {"id": first}}), "message_revoked"),
    ] {
        assert_eq!(stage.hears(&message).await["type"], kind);
    }
    // What the phone itself writes shows as sent by us.
    let own = stage.own.writes(&stage.other.number, &json!({"text": "from the phone"})).await;
    let own = stage.instance.wait_event_of(&own).await;
    assert_eq!((&own["type"], &own["data"]["to"]), (&json!("message_sent"), &json!(stage.other.address())));
    let pending = eventually("everything acknowledged", async || {
        let pending = stage.own.get("/pending").await;
        pending["devices"].as_array().is_some_and(|all| all.iter().all(|one| one["pending"] == json!([]))).then_some(())
    });
    pending.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_stay_at_whatsapp_if_so_configured() {
    let stage = Stage::set_with(&[("WHATSAPP_MEDIA", "lazy")], &json!({})).await;
    let event = stage.hears(&json!({"image": {"size": 5000, "caption": "c"}})).await;
    let data = &event["data"];
    assert_eq!((&data["type"], &data["body"], &data["hasMedia"]), (&json!("imageMessage"), &json!("c"), &json!(false)));
    assert!(data["detail"]["directPath"].is_string() && data["detail"]["mediaKey"].is_string(), "{data}");
    assert_eq!(stage.whatsapp.stats().await["mediaDownloads"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_numbers_and_receipts() {
    let stage = Stage::set().await;
    let third = stage.whatsapp.phone("Carol").await;
    let wa = |rest: &str| stage.instance.wa(rest);
    let checked = stage.instance.wa_post("/check", &json!({"phones": [stage.other.number, "15559990000"]})).await;
    let results = checked.expect(200)["results"].clone();
    assert_eq!((&results[0]["exists"], &results[0]["address"]), (&json!(true), &json!(stage.other.address())));
    assert_eq!(results[1]["exists"], false);
    let lid = stage.instance.client.get(&wa(&format!("/lid/{}", stage.other.number))).await.expect(200);
    assert_eq!(lid["lid"], format!("{}@lid", stage.other.lid));

    let body = json!({"subject": "A group", "participants": [stage.other.number, third.number]});
    let group = stage.instance.wa_post("/groups", &body).await.expect(201);
    let id = group["id"].as_str().expect("an id").to_owned();
    assert_eq!(group["size"], 3);
    let sent = stage.instance.send(&id, "to all").await;
    for phone in [&stage.other, &third] {
        assert_eq!(phone.receives(&sent).await["text"], "to all");
    }
    let written = third.writes(&id, &json!({"text": "from Carol"})).await;
    let event = stage.instance.wait_event_of(&written).await;
    assert_eq!((&event["data"]["isGroup"], &event["data"]["body"]), (&json!(true), &json!("from Carol")));
    let groups = stage.instance.client.get(&wa("/groups")).await.expect(200);
    assert_eq!(groups["groups"][0]["subject"], "A group");

    let sent = stage.tells("/send", json!({"message": "read me"})).await["id"].as_str().expect("an id").to_owned();
    stage.instance.wait_message(&stage.other.number, &sent, "delivered").await;
    stage.other.does("read", &json!({"ids": [sent]})).await;
    stage.instance.wait_message(&stage.other.number, &sent, "read").await;
    let contacts = stage.instance.client.get(&wa("/contacts")).await.expect(200);
    let names: Vec<&str> =
        contacts["contacts"].as_array().expect("a list").iter().filter_map(|c| c["name"].as_str()).collect();
    assert!(names.contains(&"A group"), "{names:?}");
}
