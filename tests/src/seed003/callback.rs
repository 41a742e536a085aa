//! `POST /callback`: what is taken, what is refused, that what is taken is not lost.

use super::{Device, raw, text};
use crate::harness::Server;
use serde_json::{Value, json};

#[tokio::test]
async fn only_a_guid_is_demanded() {
    let server = Server::start();
    let client = server.anonymous();
    for body in [
        json!({}),
        json!([]),
        json!([{"guid": "a"}]),
        json!("x"),
        json!(7),
        json!(null),
        json!({"guid": ""}),
        json!({"guid": "  "}),
        json!({"guid": 7}),
        json!({"guid": null}),
        json!({"guid": ["a"]}),
        json!({"guid": "x".repeat(201)}),
        json!({"guid": "a\u{0}b"}),
    ] {
        let refusal = client.post("/callback", &body).await.refused_with(400, "Invalid GUID");
        assert_eq!(refusal.code, "INVALID_PARAMS", "{body}");
    }
    for body in [&b""[..], b"{", b"guid=5", b"{\"guid\": \"\xff\"}", b"{\"guid\": \"a\"} x"] {
        assert_eq!(raw(&client, body).await.refused_with(400, "Invalid GUID").code, "INVALID_PARAMS");
    }
    let server_knows = server.admin().get("/api/instances").await.expect(200);
    assert_eq!(server_knows["instances"], json!([]), "a refused callback registers nothing");
}

#[tokio::test]
async fn what_nobody_understands_is_kept_and_never_refused() {
    let server = Server::start();
    let device = Device::new(&server);
    let odd: Vec<Value> = vec![
        json!({"notify_type": 99_999, "data": {"a": 9_007_199_254_740_993_u64}}),
        json!({"notify_type": "what", "data": [1, 2]}),
        json!({"notify_type": 11010}),
        json!({"notify_type": 11010, "data": null}),
        json!({"notify_type": 11010, "data": "not JSON"}),
        json!({"notify_type": 11010, "data": {"sender": "1", "content": "without an id"}}),
        json!({"notify_type": 11010, "data": {"id": {"x": 1}, "sender": "1", "receiver": "2"}}),
        json!({"notify_type": 11010, "data": {"id": "1", "sender": "1", "receiver": "2", "msg_type": 1, "referid": "0"}}),
        json!({"notify_type": 11013, "data": [null, 5, "x", {}]}),
        json!({"notify_type": 2166, "data": {"type": 1, "msgid": "5", "inviteMsg": {"roomid": "7"}}}),
        json!({"notify_type": 1001, "data": {"name": "no room"}}),
        json!({"notify_type": 2131, "data": {"name": "nobody"}}),
        json!({"data": {}}),
        json!({}),
    ];
    for mut body in odd {
        body["guid"] = device.guid.clone().into();
        device.post(&body).await.expect(200);
    }
    device.wait("sync-status", "", "a callback", |data| (data["last_sync_time"] != "").then_some(())).await;
    device.tell(11010, text(1, "5", "at last")).await;
    device.wait_messages(1).await;
    let instance = device.data("sync-status", "").await["instance_id"].as_str().expect("an id").to_owned();
    let kept = crate::harness::eventually("everything odd in its view", async || {
        let rows = server.unknown_notifications(&instance);
        // 14 callbacks, of which one holds four notifications and one two.
        (rows.len() == 18).then_some(rows)
    })
    .await;
    assert!(kept.iter().any(|(kind, data)| *kind == Some(99_999) && data == "{\"a\":9007199254740993}"), "{kept:?}");
}

#[tokio::test]
async fn ids_are_texts_or_numbers_and_lists_come_for_every_type() {
    let server = Server::start();
    let device = Device::new(&server);
    let big = 9_007_199_254_740_993_u64;
    let mut one = text(1, "7881303217905494", "a");
    one["id"] = json!(big);
    one["sender"] = json!(7_881_303_217_905_494_u64);
    one["roomid"] = json!(0);
    device.tell(11010, one.clone()).await;
    one["id"] = json!(big.to_string());
    one["sender"] = json!("7881303217905494");
    device.tell(11010, json!([one])).await;
    let mut room = text(2, "5", "in a room");
    room["roomid"] = json!(10_957_014_854_528_966_u64);
    device.tell(11013, json!([room, text(3, "6", "b"), text(3, "6", "b")])).await;
    device
        .tell(
            1001,
            json!([{"roomid": "10957014854528966", "room_name": "n", "sendtime": 5}, {"room_id": 6, "name": "m"}]),
        )
        .await;
    let messages = device.wait_messages(3).await;
    assert_eq!(messages[2]["id"], big.to_string());
    assert_eq!(messages[2]["conversation_id"], "S:7881303217905494");
    assert_eq!(messages[1]["conversation_id"], "R:10957014854528966");
    device.wait("rooms", "", "two rooms", |data| (data["total"] == 2).then_some(())).await;
}

#[tokio::test]
async fn the_same_message_is_one_message() {
    let server = Server::start();
    let device = Device::new(&server);
    // The same appinfo is the same message, whatever its id; without appinfo the id decides.
    let mut twin = text(1, "5", "first");
    twin["id"] = json!("77");
    let mut bare = text(9, "5", "bare");
    bare["appinfo"] = json!("");
    let mut other = text(10, "5", "other");
    other["id"] = json!("1");
    for said in [text(1, "5", "first"), twin.clone(), text(1, "5", "first"), bare.clone(), bare, other] {
        device.tell(11010, said).await;
    }
    let messages = device.wait_messages(3).await;
    let texts: Vec<&str> = messages.iter().filter_map(|message| message["content"].as_str()).collect();
    assert_eq!(texts, ["other", "bare", "first"]);
    // Another device has messages of its own.
    let second = Device::new(&server);
    second.tell(11010, text(1, "5", "first")).await;
    second.wait_messages(1).await;
    assert_eq!(device.messages("").await.len(), 3);
    let events = server
        .admin()
        .get(&format!(
            "/api/instances/{}/events?limit=500",
            device.instance(&server.admin()).await["id"].as_str().expect("id")
        ))
        .await
        .expect(200);
    let told =
        events["events"].as_array().expect("events").iter().filter(|event| event["type"] == "message_received").count();
    assert_eq!(told, 3, "{events}");
}

#[tokio::test]
async fn personal_wechat_tells_in_its_own_form() {
    let server = Server::start();
    let device = Device::new(&server);
    let said = |id: u64, from: &str, to: &str, content: &str| {
        json!({"from_username": from, "to_username": to, "msg_id": id, "msg_type": 1, "chatroom": "", "content": content,
               "create_time": 1_700_000_000 + id, "desc": "", "source": ""})
    };
    device.tell(11003, json!({"username": "wxid_me", "nickname": "me"})).await;
    device.tell(1010, said(1, "wxid_a", "wxid_me", "hi")).await;
    device.tell(1011, said(2, "wxid_me", "wxid_a", "hello")).await;
    device.tell(11010, said(3, "1@chatroom", "wxid_me", "wxid_b:\nin the room")).await;
    device.tell(11010, said(4, "wxid_me", "1@chatroom", "mine in the room")).await;
    let xml = "<sysmsg type=\"revokemsg\"><revokemsg><msgid>9</msgid><newmsgid>1</newmsgid></revokemsg></sysmsg>";
    let mut revoke = said(5, "wxid_a", "wxid_me", xml);
    revoke["msg_type"] = json!(10002);
    device.tell(11010, revoke).await;
    let mut bare = said(6, "wxid_c", "wxid_me", "bare");
    bare["guid"] = json!(device.guid);
    bare["notify_type"] = json!(1010);
    device.post(&bare).await.expect(200);
    device.wait_messages(5).await;
    for query in ["conversation_id=S:wxid_a", "username=wxid_a"] {
        let messages = device.messages(query).await;
        let seen: Vec<(&str, bool)> =
            messages.iter().map(|one| (one["from"].as_str().expect("from"), one["from_me"] == true)).collect();
        assert_eq!(seen, [("wxid_me", true), ("wxid_a", false)], "{query}");
    }
    let revoked = device.wait("messages", "username=wxid_a", "the revocation", |data| {
        (data["messages"][1]["revoked"] == true).then(|| data["messages"][1].clone())
    });
    assert_eq!(revoked.await["content"], "");
    let room = device.messages("username=1@chatroom").await;
    assert_eq!((room[1]["from"].as_str(), room[1]["content"].as_str()), (Some("wxid_b"), Some("in the room")));
    assert_eq!(room[0]["conversation_id"], "R:1@chatroom");
}

#[tokio::test]
async fn a_notification_has_a_size_and_a_batch_another() {
    let server = Server::start();
    let device = Device::new(&server);
    let long = "张".repeat(40_000);
    let many: Vec<Value> = (1..8).map(|id| text(id, "5", &long)).collect();
    device.tell(11013, json!(many)).await;
    let messages = device.wait_messages(7).await;
    assert_eq!(messages[0]["content"].as_str().expect("content").chars().count(), 40_000);
    let huge = json!({"guid": device.guid, "notify_type": 11010, "data": text(9, "5", &"x".repeat(200_000))});
    device.post(&huge).await.refused(413);
    let beyond = json!({"guid": device.guid, "notify_type": 11010, "data": text(9, "5", &"x".repeat(1 << 20))});
    device.post(&beyond).await.refused(413);
}
