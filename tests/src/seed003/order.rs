//! The order of arrival decides nothing: what happens to a message may come before it, whose account it is after it.

use super::{Device, text};
use crate::harness::Server;
use serde_json::{Value, json};

/// Everything that the queries tell, in an order of its own.
async fn state(device: &Device) -> Value {
    let list = async |what: &str| {
        let mut rows = device.data(what, "limit=200").await[what].as_array().expect("a list").clone();
        rows.sort_by_key(Value::to_string);
        rows
    };
    json!({"messages": device.messages("limit=200").await, "contacts": list("contacts").await, "rooms": list("rooms").await})
}

fn steps() -> Vec<(u32, Value)> {
    let own = |id: u64, to: &str, words: &str| {
        let mut said = text(id, "788", words);
        said["receiver"] = json!(to);
        said["sender_name"] = json!("me");
        said
    };
    let mut roomed = own(3, "0", "mine in a room");
    roomed["roomid"] = json!("70");
    let mut revoke = text(6, "5", "");
    revoke["msg_type"] = json!(1);
    revoke["referid"] = json!("1");
    let mut read = text(7, "6", "");
    read["msg_type"] = json!(1012);
    read["referid"] = json!("2");
    let mut read_room = read.clone();
    read_room["id"] = json!("8");
    read_room["appinfo"] = json!("app-8");
    read_room["referid"] = json!("3");
    read_room["roomid"] = json!("70");
    vec![
        (11003, json!({"user_id": "788", "name": "me", "corp_id": "1"})),
        (11010, text(1, "5", "taken back")),
        (11010, own(2, "6", "to six")),
        (11010, roomed),
        (11010, text(4, "5", "stays")),
        (11010, revoke),
        (11010, read),
        (11010, read_room),
        (1001, json!({"roomid": "70", "room_name": "old", "sendtime": 10})),
        (1001, json!({"roomid": "70", "room_name": "new", "sendtime": 20})),
        (2118, json!({"roomid": "70", "member_count": 10, "owner_vid": "5", "sendtime": 15})),
        (1002, json!({"roomid": "70", "user_list": ["8", "9"], "sendtime": 16})),
        (1003, json!({"roomid": "70", "user_list": ["9"], "sendtime": 17})),
        (1005, json!({"roomid": "70", "sender": "5", "sendtime": 18})),
        (2131, json!({"user_id": "5", "name": "five", "remark": "old", "corp_id": "1", "update_time": 1_800_000_000})),
        (2131, json!({"user_id": "5", "remark": "new", "update_time": 1_800_000_001})),
    ]
}

#[tokio::test]
async fn every_order_ends_the_same() {
    let server = Server::start();
    let steps = steps();
    let mut first = None;
    let mut told = Vec::new();
    for round in 0..6_usize {
        let mut order: Vec<&(u32, Value)> = steps.iter().collect();
        match round {
            0 => {}
            1 => order.reverse(),
            _ => order.sort_by_key(|(_, data)| {
                data.to_string()
                    .bytes()
                    .fold(round as u64, |hash, byte| hash.wrapping_mul(1_099_511_628_211) ^ u64::from(byte))
            }),
        }
        let device = Device::new(&server);
        for (kind, data) in order.iter().chain(order.iter().rev()) {
            device.tell(*kind, data.clone()).await;
        }
        told.push(device.clone());
        device.wait_messages(4).await;
        let settled = crate::harness::eventually("the same state in every order", async || {
            let now = state(&device).await;
            match &first {
                None => (now["messages"][0]["revoked"] == false
                    && now["messages"][3]["revoked"] == true
                    && now["messages"][2]["read"] == true
                    && now["messages"][1]["read"] == true)
                    .then_some(now),
                Some(first) => (now == *first).then_some(now),
            }
        })
        .await;
        first.get_or_insert(settled);
    }
    let state = first.expect("a state");
    let conversations: Vec<&Value> =
        state["messages"].as_array().expect("a list").iter().map(|one| &one["conversation_id"]).collect();
    assert_eq!(conversations, ["S:5", "R:70", "S:6", "S:5"]);
    let room = &state["rooms"][0];
    assert_eq!(
        (&room["name"], &room["member_count"], &room["owner"]),
        (&json!("new"), &json!(10), &json!("5")),
        "10 + 8 − 5"
    );
    let five = state["contacts"].as_array().expect("a list").iter().find(|one| one["id"] == "5").expect("five").clone();
    assert_eq!((&five["name"], &five["remark"], &five["type"]), (&json!("five"), &json!("new"), &json!("internal")));
    let ids: Vec<&Value> = state["contacts"].as_array().expect("a list").iter().map(|one| &one["id"]).collect();
    assert!(!ids.contains(&&json!("788")), "the account is no contact of its own: {ids:?}");
    // Each message is told of once as what it is in the end.
    for device in told {
        let admin = server.admin();
        let id = device.instance(&admin).await["id"].as_str().expect("id").to_owned();
        let events = admin.get(&format!("/api/instances/{id}/events?limit=500")).await.expect(200);
        let count = |kind: &str, message: &str| {
            events["events"]
                .as_array()
                .expect("a list")
                .iter()
                .filter(|event| event["type"] == kind && event["data"]["messageId"] == message)
                .count()
        };
        assert_eq!((count("message_received", "1"), count("message_received", "4")), (1, 1), "{events}");
        assert_eq!((count("message_sent", "2"), count("message_sent", "3")), (1, 1), "{events}");
        assert_eq!(device.data("sync-status", "").await["messages_count"], 4);
        let chats = admin.get(&format!("/api/instances/{id}/chats")).await.expect(200);
        let mut chats: Vec<String> = chats["chats"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|chat| chat["id"].as_str().expect("id").to_owned())
            .collect();
        chats.sort_unstable();
        assert_eq!(chats, ["R:70", "S:5", "S:6"]);
    }
}
