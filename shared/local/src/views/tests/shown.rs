//! What each view shows.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use shared::{
    clock::{DAY_MS, Millis},
    connector::ContactInfo,
    domain::{
        calls, chat, contact,
        content::{Content, Media, MediaKind},
        endpoint::Webhook,
        event, im,
        instance::{self, Instance},
        message::{DEADLINE_MS, Message, Status},
        stats,
        user::{self, NewUser, Role, User},
    },
    id::{InstanceId, MediaId, MessageId},
    redact::Secret,
    store::{Append, Change, Item, Unit, Write, keys, log::Writer},
    webhook::{self, Delivery},
};

use super::{ALICE, GROUP, Home, INSTANCE, NOON, NOON_ISO, delivery, delivery_item, has, message, row, rows, text};

#[tokio::test]
async fn users_are_shown_without_what_they_log_in_with() {
    let home = Home::new().await;
    home.user().await;
    let row = row(&home.look(), "users", "id", "01k0000000000001");
    has(
        &row,
        json!({
            "email": "Alice@example.com", "username": null, "first_name": "Alice", "last_name": "", "role": "admin",
            "disabled": 0, "allowed_ips": "127.0.0.0/8,10.0.0.0/8",
        }),
    );
    let at = row["created_at"].as_str().and_then(Millis::parse).expect("a time");
    assert_eq!(row["created_at"], at.iso());
}

#[tokio::test]
async fn instances_are_shown_without_what_they_connect_with() {
    let home = Home::new().await;
    let mut plain = home.instance();
    plain.id = InstanceId::new("01k0000000000003");
    plain.webhook = Webhook { url: Some("http://127.0.0.1/".into()), ..Webhook::default() };
    (plain.credentials, plain.qr, plain.paired, plain.last_seen_at) = (None, None, true, Some(Millis(NOON.0 + 7)));
    let gone = Instance { id: InstanceId::new("01k0000000000004"), deleting: true, ..home.instance() };
    for instance in [&home.instance(), &plain, &gone] {
        home.write(vec![
            Write::put(instance::item(instance).expect("an item")),
            Write::put(instance::placement(instance).expect("an item")),
        ])
        .await;
    }
    let conn = home.look();
    assert_eq!(rows(&conn, "instances").len(), 2, "what is being deleted is not there");
    has(
        &row(&conn, "instances", "id", INSTANCE),
        json!({
            "user_id": "01k0000000000001", "name": "main", "description": null, "platform": "whatsapp",
            "transport": "web", "mode": "sandbox", "status": "qr_received", "reason": null, "status_at": NOON_ISO,
            "paired": 0, "address": ALICE, "account_name": null, "has_qr": 1, "has_credentials": 1, "has_proxy": 1,
            "webhook_origin": "https://example.com:8443", "webhook_enabled": 1, "notify_received": 1, "notify_sent": 1,
            "notify_delivery": 0, "notify_read": 0, "max_retries": 3, "retry_interval": 60_000,
            "webhook_events": "message_*,logout", "webhook_disabled_reason": null, "last_seen_at": null,
            "created_at": NOON_ISO, "updated_at": NOON_ISO,
        }),
    );
    has(
        &row(&conn, "instances", "id", "01k0000000000003"),
        json!({
            "paired": 1, "has_qr": 0, "has_credentials": 0, "webhook_origin": "http://127.0.0.1", "webhook_events": null,
            "last_seen_at": "2023-01-01T12:00:00.007Z",
        }),
    );
}

#[tokio::test]
async fn messages_are_shown_whole() {
    let home = Home::new().await;
    let now = home.app.clock.now();
    let long = "长".repeat(1000);
    let media = Media {
        media_id: MediaId::new("0123456789abcdef0123456789abcdef"),
        mime: "image/png".into(),
        size: 5,
        filename: Some("a.png".into()),
        caption: Some("caption".into()),
    };
    let place = Content::Location { latitude: 59.5, longitude: 30.25, name: None, address: None };
    let card = Content::Contact { name: "Ivan".into(), phone: "79001".into() };
    let poll = Content::Poll { question: "tea?".into(), options: vec!["yes".into(), "no".into()], multiple: false };
    let received = |id: &str, content: Content| message(&home.app, id, content);
    let sent = |id: &str, at: i64| Message {
        id: MessageId::new(id),
        from_me: true,
        sender: String::new(),
        sender_hash: "me".into(),
        push_name: None,
        status: Status::Pending,
        rank: 0,
        at: Millis(at),
        ..received(id, text("hello"))
    };
    let late = now.0 - DEADLINE_MS - 60_000;
    let messages = [
        Message { quoted: Some("P0".into()), edited: true, ..received("P1", text("你好")) },
        received("P2", text(&long)),
        received("P3", Content::Media { media_kind: MediaKind::Image, media }),
        received("P4", place),
        received("P5", card),
        received("P6", poll),
        received("P7", Content::Other { name: "stickerPackMessage".into() }),
        sent("S1", now.0 - DEADLINE_MS + 60_000),
        sent("S2", late),
        Message { send_at: Some(now), ..sent("S3", late) },
        Message { platform_id: Some("PLATFORM".into()), status: Status::Read, rank: 3, ..sent("S4", late) },
        received("R1", Content::Reaction { target: "P1".into(), emoji: "👍".into() }),
        received("R2", Content::Edit { target: "P1".into(), text: "better".into() }),
        received("R3", Content::Revoke { target: "P1".into() }),
    ];
    for message in &messages {
        home.write(message.creates("x").expect("items")).await;
    }
    let alias = keys::message_alias(&InstanceId::new(INSTANCE), "PLATFORM", &messages[0].chat);
    home.write(vec![Write::put(Item::new(alias, &json!({ "ref": messages[10].sort() })).expect("an item"))]).await;

    let conn = home.look();
    assert_eq!(rows(&conn, "messages").len(), 11, "reactions, edits, revokes and aliases are no messages");
    let get = |id: &str| row(&conn, "messages", "message_id", id);
    has(
        &get("P1"),
        json!({
            "id": messages[0].id, "instance_id": INSTANCE, "chat_id": GROUP, "is_group": 1, "from_me": 0,
            "sender": ALICE, "push_name": "Alice", "type": "text", "text": "你好", "media_id": null, "latitude": null,
            "quoted_message_id": "P0", "status": "received", "reason": null, "status_at": NOON_ISO, "edited": 1,
            "revoked": 0, "send_at": null, "created_at": NOON_ISO, "updated_at": NOON_ISO,
        }),
    );
    has(&get("P2"), json!({ "type": "text", "text": long }));
    has(
        &get("P3"),
        json!({
            "type": "image", "text": "caption", "media_id": "0123456789abcdef0123456789abcdef",
            "mime_type": "image/png", "file_name": "a.png", "media_size": 5,
        }),
    );
    has(&get("P4"), json!({ "type": "location", "text": "", "latitude": 59.5, "longitude": 30.25 }));
    has(&get("P5"), json!({ "type": "contact", "text": "Ivan", "contact_phone": "79001" }));
    has(&get("P6"), json!({ "type": "poll", "text": "tea?" }));
    has(&get("P7"), json!({ "type": "other", "text": "" }));
    has(&get("S1"), json!({ "from_me": 1, "sender": null, "status": "pending", "reason": null }));
    has(&get("S2"), json!({ "status": "failed", "reason": "expired" }));
    has(&get("S3"), json!({ "status": "pending", "send_at": now.iso() }));
    has(&get("PLATFORM"), json!({ "status": "read" }));
    // What the domain says of the same rows.
    for message in messages.iter().filter(|message| message.content.is_message()) {
        let row = get(message.platform_id());
        let said = (message.content.text(), message.status_now(now).name(), message.reason_now(now));
        assert_eq!((row["text"].as_str(), row["status"].as_str()), (Some(said.0), Some(said.1)));
        assert_eq!(row["reason"].as_str(), said.2);
    }
}

#[tokio::test]
async fn contacts_and_rooms_come_from_lists_and_messages() {
    let home = Home::new().await;
    let instance = home.instance();
    let info = |address: &str, name: &str, is_group| ContactInfo {
        address: address.into(),
        name: name.into(),
        avatar: String::new(),
        is_group,
    };
    let known = [info(ALICE, "Alice", false), info(GROUP, "工作群组", true), info("2@g.us", "", true)];
    contact::store(&home.app, &instance.id, &known).await.expect("stores");
    for (address, name) in [(GROUP, "old name"), ("3@g.us", "Third"), (ALICE, "Alice")] {
        let key = chat::key_of(&home.app, &instance.id, address).await.expect("a key");
        chat::see(&home.app, &instance, &key, address, name, NOON).await.expect("sees");
    }
    let conn = home.look();
    assert_eq!(rows(&conn, "contacts").len(), 3);
    has(
        &row(&conn, "contacts", "id", ALICE),
        json!({ "instance_id": INSTANCE, "name": "Alice", "number": "79001234567", "avatar": "", "is_group": 0 }),
    );
    has(&row(&conn, "contacts", "id", GROUP), json!({ "number": "1234567890", "is_group": 1 }));
    assert_eq!(rows(&conn, "rooms").len(), 3);
    let room = |id: &str| row(&conn, "rooms", "id", id);
    has(&room(GROUP), json!({ "instance_id": INSTANCE, "name": "工作群组", "last_message_at": NOON_ISO }));
    has(&room("2@g.us"), json!({ "name": "", "avatar": "", "last_message_at": null }));
    has(&room("3@g.us"), json!({ "name": "Third", "last_message_at": NOON_ISO }));
}

#[tokio::test]
async fn deliveries_show_their_last_attempt() {
    let home = Home::new().await;
    let fresh = Delivery { attempts: Vec::new(), ..delivery(8, webhook::Status::Retrying) };
    home.write(vec![Write::put(delivery_item(&delivery(7, webhook::Status::Dead))), Write::put(delivery_item(&fresh))])
        .await;
    let conn = home.look();
    has(
        &row(&conn, "webhook_deliveries", "id", "20230101-000000000007-webhook"),
        json!({
            "instance_id": INSTANCE, "endpoint": "webhook", "event_id": "01k0000000abcdef-000000000007", "seq": 7,
            "event": "message_received", "event_at": NOON_ISO, "status": "dead", "tries": 2,
            "last_outcome": "server_error", "last_status_code": 503, "last_duration_ms": 12,
            "last_attempt_at": "2023-01-01T12:00:00.001Z", "next_attempt_at": null,
            "webhook_origin": "https://example.com", "created_at": NOON_ISO, "updated_at": NOON_ISO,
        }),
    );
    has(
        &row(&conn, "webhook_deliveries", "id", "20230101-000000000008-webhook"),
        json!({ "status": "retrying", "last_outcome": null, "last_attempt_at": null }),
    );
}

#[tokio::test]
async fn daily_stats_are_what_the_domain_counts() {
    let home = Home::new().await;
    let app = &home.app;
    let instance = home.instance();
    let day = NOON.day();
    home.write(vec![Write::put(instance::item(&instance).expect("an item"))]).await;
    let media = Media {
        media_id: MediaId::new("0123456789abcdef0123456789abcdef"),
        mime: "image/png".into(),
        size: 5,
        filename: None,
        caption: None,
    };
    let picture = Content::Media { media_kind: MediaKind::Image, media };
    let tell = async |entries| {
        let append = Append { log: INSTANCE.into(), writer: Writer::Foreign, entries, look_from: None };
        app.store.commit(Unit { append: vec![append], ..Unit::default() }).await.expect("appends");
    };
    let append = async |messages: Vec<Message>| {
        let entry = |message: &Message| {
            let mut entry = event::entry(event::Kind::MessageReceived, format!("received/{}", message.pmid), NOON);
            entry.delta = message.delta();
            entry
        };
        tell(messages.iter().map(entry).collect()).await;
    };
    // Some are folded, some wait in the log, in the same item or a later one.
    append((0..30).map(|n| message(app, &format!("A{n}"), text("hello"))).collect()).await;
    let day_before = Message { at: Millis(NOON.0 - DAY_MS), ..message(app, "B", text("hello")) };
    append(vec![day_before.clone()]).await;
    stats::fold(app, &instance.id).await.expect("folds");
    // A page of history: one entry, several days.
    let mut page = event::entry(event::Kind::HistorySynced, "history/1".into(), NOON);
    page.history = [&day_before, &message(app, "E", text("hello"))].into_iter().filter_map(Message::delta).collect();
    assert_eq!(page.history.len(), 2);
    tell(vec![page]).await;
    append(vec![message(app, "C", picture), Message { pmid: "D".into(), ..day_before }]).await;
    for _ in 0..3 {
        app.calls.hit(&instance.id, NOON);
    }
    calls::flush(app).await.expect("writes");
    home.write(vec![
        Write::put(delivery_item(&delivery(7, webhook::Status::Dead))),
        Write::put(delivery_item(&delivery(8, webhook::Status::Delivered))),
        // Two days whose records have expired, but for what is remembered of one.
        Write::put(
            Item::new(keys::delivered(&instance.id, Millis(day.0 - DAY_MS)), &json!({ "gen": 0, "count": 4 }))
                .expect("an item"),
        ),
        Write::put(
            Item::new(keys::delivered(&instance.id, Millis(day.0 - 2 * DAY_MS)), &json!({ "gen": 1 }))
                .expect("an item"),
        ),
    ])
    .await;

    let conn = home.look();
    let by_date: BTreeMap<String, Value> = rows(&conn, "daily_stats")
        .into_iter()
        .map(|row| (row["date"].as_str().unwrap_or_default().to_owned(), row.into()))
        .collect();
    has(
        &by_date["2023-01-01T00:00:00.000Z"],
        json!({
            "instance_id": INSTANCE, "messages_sent": 0, "messages_received": 32, "media_sent": 0, "media_received": 1,
            "total_media_size": 5, "api_calls": 3, "webhook_sent": 1,
        }),
    );
    has(&by_date["2022-12-31T00:00:00.000Z"], json!({ "messages_received": 3, "webhook_sent": 4 }));
    has(&by_date["2022-12-30T00:00:00.000Z"], json!({ "webhook_sent": 0 }));
    let counted = stats::total(app, &instance, day, day).await.expect("counts");
    let counts = (counted.messages_received, counted.media_received, counted.total_media_size);
    assert_eq!((counts, counted.api_calls, counted.webhook_sent), ((32, 1, 5), 3, 1));
    // A row that was written when its mark was not: nothing is counted twice.
    stats::fold(app, &instance.id).await.expect("folds");
    home.write(vec![Write::update(keys::owner(&instance.id), Change::default().set("foldedUpto", 3))]).await;
    let again = row(&home.look(), "daily_stats", "date", "2023-01-01T00:00:00.000Z");
    assert_eq!(again, by_date["2023-01-01T00:00:00.000Z"]);
}

#[tokio::test]
async fn im_messages_and_groups_are_shown() {
    let home = Home::new().await;
    let app = &home.app;
    let mut people = Vec::new();
    for name in ["ann", "bob"] {
        let new = NewUser {
            id: None,
            email: String::new(),
            username: Some(name.into()),
            password: Secret::new("a password of a test"),
            first_name: String::new(),
            last_name: String::new(),
            role: Role::User,
        };
        people.push(user::create(app, new, Vec::new()).await.expect("creates"));
    }
    let [ann, bob] = people.as_slice() else { panic!("two") };
    let post = async |from: &User, channel: &im::Channel, payload: &[u8], client_no: Option<&str>| {
        use base64::Engine as _;
        let payload = base64::engine::general_purpose::STANDARD.encode(payload);
        let new = im::NewMessage {
            from: from.id.clone(),
            client_no: client_no.map(Into::into),
            numbers: im::Numbers::OfChannel,
            payload,
            via: None,
        };
        app.im.post(app, channel, new).await.expect("posts")
    };
    let pair = im::Channel::person(&ann.id, bob.clone());
    let first = post(ann, &pair, br#"{"type":1,"content":"hello"}"#, Some("n-1")).await;
    let second = post(bob, &pair, br#"{"type":2,"url":"https://example.com/a.png"}"#, None).await;
    post(bob, &pair, b"no JSON", None).await;
    post(bob, &pair, b"\xff\xfe", None).await;
    post(bob, &pair, br#"{"type":"1","content":"x"}"#, None).await;
    post(bob, &pair, br#"{"type":1,"content":7}"#, None).await;
    let mut groups = Vec::new();
    for _ in 0..2 {
        let (group, _) = im::group::save(app, ann, "a group", Some("name"), None).await.expect("saves");
        im::group::add(app, &group, std::slice::from_ref(&bob.id)).await.expect("adds");
        post(ann, &im::Channel::of_group(group.clone()), "in the group".as_bytes(), None).await;
        im::group::delete(app, &group).await.expect("deletes");
        groups.push(group);
    }
    let (living, _) = im::group::save(app, ann, "a group", Some("third"), None).await.expect("saves");

    let conn = home.look();
    let all: Vec<Value> = rows(&conn, "im_messages").into_iter().map(Value::from).collect();
    assert_eq!(all.len(), 8);
    let get = |id: &str| row(&conn, "im_messages", "message_id", id);
    has(
        &get(&first.message_id),
        json!({
            "channel": pair.key.as_str(), "channel_type": 1, "channel_id": bob.id, "seq": 1, "from_id": ann.id,
            "client_msg_no": "n-1", "content_type": "text", "content": "hello", "image_url": null,
            "payload": r#"{"type":1,"content":"hello"}"#, "payload_base64": null, "timestamp": first.at.iso(),
        }),
    );
    has(
        &get(&second.message_id),
        json!({
            "channel_id": ann.id, "seq": 2, "client_msg_no": null, "content_type": "image", "content": "",
            "image_url": "https://example.com/a.png",
        }),
    );
    let by_seq = |seq: u64| {
        all.iter().find(|row| row["channel"] == pair.key.as_str() && row["seq"] == seq).expect("a row").clone()
    };
    has(&by_seq(3), json!({ "content_type": "custom", "content": "", "payload": "no JSON", "payload_base64": null }));
    has(&by_seq(4), json!({ "content_type": "custom", "payload": null, "payload_base64": "//4=" }));
    for seq in [5, 6] {
        has(&by_seq(seq), json!({ "content_type": "custom", "content": "" }));
    }
    // Those of groups that are gone, too, each in its channel.
    for group in &groups {
        let row = all.iter().find(|row| row["channel"] == group.key.as_str()).expect("a row");
        has(row, json!({ "channel_type": 2, "channel_id": "a group", "seq": 1, "payload": "in the group" }));
    }
    assert_eq!(rows(&conn, "groups").len(), 1, "deleted ones are not there");
    has(
        &row(&conn, "groups", "id", "a group"),
        json!({
            "channel": living.key.as_str(), "owner_id": ann.id, "name": "third", "avatar": "", "member_count": 1,
            "last_seq": 0, "last_message_at": null, "created_at": living.created_at.iso(),
        }),
    );
}
