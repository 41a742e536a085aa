//! The seed's own lines and examples.

use super::{Device, text};
use crate::harness::tools::{seed_file, stdout};
use crate::harness::{Server, shape};
use serde_json::{Value, json};
use std::process::Command;

/// A device that has told what the seed's examples show.
async fn furnished(server: &Server) -> Device {
    let device = Device { guid: "xxx".into(), ..Device::new(server) };
    device.tell(11003, json!({"user_id": "788", "name": "me", "corp_id": "1"})).await;
    let said = json!({"id": "msg_456", "appinfo": "a", "sender": "user_123", "receiver": "788", "roomid": "0",
                      "sendtime": 1_705_314_600, "sender_name": "张三", "content": "你好", "msg_type": 2});
    device.tell(11010, said).await;
    device
        .tell(2131, json!({"user_id": "user_123", "remark": "产品经理", "avatar": "https://a", "corp_id": "2"}))
        .await;
    let room = json!({"roomid": "room_789", "room_name": "产品讨论群", "owner_vid": "user_456", "member_count": 128,
                      "roomurl": "https://b"});
    device.tell(2118, room).await;
    device.wait("sync-status", "", "everything", |data| (data["rooms_count"] == 1).then_some(())).await;
    device.wait("contacts", "", "the remark", |data| (data["contacts"][0]["remark"] == "产品经理").then_some(())).await;
    device.wait_messages(1).await;
    device
}

fn example(route: &str, what: &str) -> Value {
    let examples: Value = serde_json::from_str(&seed_file("003/examples.json")).expect("JSON");
    let mut example = examples[route][what].clone();
    assert!(!example.is_null(), "{route} has no {what}");
    // Our times have milliseconds (spec/http.md).
    for pointer in ["/data/messages/0/timestamp", "/data/last_sync_time"] {
        if let Some(time) = example.pointer_mut(pointer) {
            *time = "2024-01-15T10:30:00.000Z".into();
        }
    }
    example
}

#[tokio::test]
async fn the_curl_lines_run_as_they_stand() {
    let server = Server::start();
    furnished(&server).await;
    let lines = seed_file("003/curl.sh");
    for line in lines.lines() {
        let line = line.replace("http://localhost:8070", &server.url());
        let output = tokio::task::spawn_blocking(move || {
            Command::new("bash").args(["-c", &format!("{line} --silent --noproxy '*'")]).output().expect("bash runs")
        })
        .await
        .expect("no panic");
        let answer: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
        let data = answer["data"].as_object().expect("data");
        let route = if data.contains_key("guid") {
            "sync-status"
        } else {
            ["contacts", "messages", "rooms"].into_iter().find(|name| data.contains_key(*name)).expect("a list")
        };
        shape(&example(&format!("GET /api/{route}"), "answer"), &answer);
    }
}

#[tokio::test]
async fn every_field_of_the_examples_is_what_was_told() {
    let server = Server::start();
    let device = furnished(&server).await;
    let contacts = device.data("contacts", "page=1&limit=10").await;
    let contact =
        json!({"id": "user_123", "name": "张三", "remark": "产品经理", "avatar": "https://a", "type": "external"});
    assert_eq!(contacts, json!({"contacts": [contact], "total": 1, "page": 1, "limit": 10}));
    let messages = device.data("messages", "conversation_id=S:user_123&page=1&limit=10").await;
    let message = &messages["messages"][0];
    for (name, value) in [
        ("id", "msg_456"),
        ("conversation_id", "S:user_123"),
        ("from", "user_123"),
        ("content", "你好"),
        ("timestamp", "2024-01-15T10:30:00.000Z"),
        ("type", "text"),
    ] {
        assert_eq!(message[name], value, "{message}");
    }
    assert_eq!((&messages["total"], &messages["page"], &messages["limit"]), (&json!(1), &json!(1), &json!(10)));
    let room = device.data("rooms", "").await["rooms"][0].clone();
    for (name, value) in [
        ("id", json!("R:room_789")),
        ("name", json!("产品讨论群")),
        ("owner", json!("user_456")),
        ("member_count", json!(128)),
        ("avatar", json!("https://b")),
    ] {
        assert_eq!(room[name], value, "{room}");
    }
    let sync = device.data("sync-status", "").await;
    assert_eq!((&sync["guid"], &sync["status"]), (&json!("xxx"), &json!("syncing")));
    assert_eq!(
        (&sync["contacts_count"], &sync["messages_count"], &sync["rooms_count"]),
        (&json!(1), &json!(1), &json!(1))
    );
    let refused = device.client.get("/api/contacts").await.refused(400);
    let wanted = example("GET /api/contacts", "error");
    assert_eq!((json!(refused.error), json!(refused.code)), (wanted["error"].clone(), wanted["code"].clone()));
}

#[tokio::test]
async fn the_service_may_tell_a_device_of_its_own_types() {
    let server = Server::start();
    let device = Device::new(&server);
    for (id, (kind, shown)) in [
        (2, "text"),
        (3, "location"),
        (4, "link"),
        (5, "image"),
        (6, "voice"),
        (7, "video"),
        (8, "file"),
        (9, "other"),
        (10, "other"),
        (11, "other"),
        (12, "other"),
        (13, "other"),
        (14, "other"),
        (15, "other"),
        (16, "other"),
        (1011, "other"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut said = text(id as u64 + 1, "5", shown);
        said["msg_type"] = json!(kind);
        said["longitude"] = json!("120.2");
        said["latitude"] = json!(30.1);
        device.tell(11010, said).await;
    }
    for message in device.wait_messages(16).await {
        // Each says in its text what it must be.
        assert_eq!(message["type"], message["content"], "{message}");
    }
}
