//! The four queries: pages, totals, filters, what is refused.

use super::{Device, text};
use crate::harness::{Server, Tenant};
use serde_json::{Value, json};

/// The text at `id`, of eleven people and in two rooms.
fn nth(id: u64) -> Value {
    let mut said = text(id, &format!("{}", 100 + id % 11), &format!("消息 Number {id} 你好"));
    if id.is_multiple_of(5) {
        said["roomid"] = json!(700 + id % 2);
    }
    said
}

async fn filled(server: &Server) -> Device {
    let device = Device::new(server);
    device.tell(11013, (1..=60).map(nth).collect()).await;
    device.wait_messages(60).await;
    // People and rooms are written side by side with the messages.
    device
        .wait("sync-status", "", "all people", |data| {
            (data["contacts_count"] == 11 && data["rooms_count"] == 2).then_some(())
        })
        .await;
    device
}

fn ids(messages: &[Value]) -> Vec<u64> {
    messages.iter().map(|message| message["id"].as_str().and_then(|id| id.parse().ok()).expect("a number")).collect()
}

#[tokio::test]
async fn pages_are_exact_at_any_depth() {
    let server = Server::start();
    let device = filled(&server).await;
    let mut all = Vec::new();
    for page in 1..=9 {
        let data = device.data("messages", &format!("limit=7&page={page}")).await;
        assert_eq!((&data["total"], &data["page"], &data["limit"]), (&json!(60), &json!(page), &json!(7)));
        all.extend(ids(data["messages"].as_array().expect("a list")));
    }
    assert_eq!(all, (1..=60).rev().collect::<Vec<_>>());
    let beyond = device.data("messages", "page=1000000&limit=200").await;
    assert_eq!((&beyond["messages"], &beyond["total"]), (&json!([]), &json!(60)));
    let first = device.data("messages", "").await;
    assert_eq!((first["messages"].as_array().map(Vec::len), &first["limit"]), (Some(20), &json!(20)));
    // Conversations.
    for (query, wanted) in [
        ("conversation_id=S:103", vec![58, 47, 36, 14, 3]),
        ("username=103", vec![58, 47, 36, 14, 3]),
        ("conversation_id=R:701", vec![55, 45, 35, 25, 15, 5]),
        ("conversation_id=S:nobody", vec![]),
    ] {
        let data = device.data("messages", query).await;
        assert_eq!(ids(data["messages"].as_array().expect("a list")), wanted, "{query}");
        assert_eq!(data["total"], wanted.len(), "{query}");
        let second = device.data("messages", &format!("{query}&limit=2&page=2")).await;
        assert_eq!(
            ids(second["messages"].as_array().expect("a list")),
            wanted.iter().skip(2).take(2).copied().collect::<Vec<_>>()
        );
        assert_eq!(second["total"], wanted.len(), "{query}");
    }
    let (contacts, rooms) = (device.data("contacts", "limit=200").await, device.data("rooms", "").await);
    assert_eq!((contacts["contacts"].as_array().map(Vec::len), &contacts["total"]), (Some(11), &json!(11)));
    assert_eq!((rooms["rooms"].as_array().map(Vec::len), &rooms["total"]), (Some(2), &json!(2)));
    let mut names = Vec::new();
    for page in 1..=4 {
        let data = device.data("contacts", &format!("limit=3&page={page}")).await;
        names.extend(data["contacts"].as_array().expect("a list").iter().map(|one| one["id"].clone()));
    }
    assert_eq!(names.len(), 11);
    names.sort_by_key(Value::to_string);
    names.dedup();
    assert_eq!(names.len(), 11);
}

#[tokio::test]
async fn keywords_are_found_in_any_script_and_case() {
    let server = Server::start();
    let device = filled(&server).await;
    let total = async |query: &str| device.data("messages", query).await["total"].clone();
    for (keyword, count) in [
        ("你好", 60),
        ("你", 60),
        ("好", 60),
        ("number", 60),
        ("NUMBER 4", 11),
        ("Number 59", 1),
        ("再见", 0),
        ("%", 0),
        ("\"", 0),
    ] {
        let encoded: String = keyword.bytes().map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(total(&format!("keyword={encoded}")).await, count, "{keyword}");
    }
    assert_eq!(total("keyword=number&conversation_id=S:103").await, 5);
    assert_eq!(total("keyword=number%205&conversation_id=R:701").await, 2);
    let page = device.data("messages", "keyword=number&limit=3&page=3").await;
    assert_eq!(ids(page["messages"].as_array().expect("a list")), [54, 53, 52]);
    device
        .tell(2131, json!({"user_id": "103", "name": "Zoë 张三", "remark": "产品经理", "update_time": 1_800_000_000}))
        .await;
    device.wait("contacts", "keyword=zo%C3%AB", "the new name", |data| (data["total"] == 1).then_some(())).await;
    let found = async |keyword: &str| {
        let encoded: String = keyword.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = device.data("contacts", &format!("keyword={encoded}")).await;
        data["contacts"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["id"].as_str().expect("id").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("三").await, ["103"]);
    assert_eq!(found("产品").await, ["103"]);
    assert_eq!(found("ZOË").await, ["103"]);
    assert_eq!(found("name of 104").await, ["104"]);
    assert_eq!(found("103").await, Vec::<String>::new(), "the name before is not found any more");
}

#[tokio::test]
async fn times_are_inclusive() {
    let server = Server::start();
    let device = filled(&server).await;
    let iso = |id: i64| {
        chrono::DateTime::from_timestamp(1_700_000_000 + id, 0)
            .expect("a time")
            .format("%Y-%m-%dT%H:%M:%SZ")
            .to_string()
    };
    for (from, to) in [(1, 60), (10, 20), (30, 30), (61, 70)] {
        let wanted: Vec<u64> =
            (1..=60_u64).rev().filter(|id| (from..=to).contains(&i64::try_from(*id).expect("small"))).collect();
        let span = format!("start_time={}&end_time={}", iso(from), iso(to));
        let data = device.data("messages", &format!("{span}&limit=200")).await;
        assert_eq!(ids(data["messages"].as_array().expect("a list")), wanted, "{span}");
        assert_eq!(data["total"], wanted.len());
        let found = device.data("messages", &format!("{span}&keyword=number&limit=200")).await;
        assert_eq!(found["total"], wanted.len());
        let room = device.data("messages", &format!("{span}&conversation_id=R:701")).await;
        assert_eq!(room["total"], wanted.iter().filter(|id| *id % 5 == 0 && *id % 2 == 1).count());
    }
    // Whole days, and open ends.
    for query in [
        "start_time=2023-11-14&end_time=2023-11-14",
        "start_time=2023-11-01",
        "end_time=2030-01-01",
        "end_time=2023-11-14",
        "start_time=2023-11-14T00:00:00.000Z&end_time=2023-11-14T23:59:59.999Z",
        "start_time=0001-01-01",
        "end_time=9999-12-31T00:00:00Z",
    ] {
        assert_eq!(device.data("messages", query).await["total"], 60, "{query}");
    }
    for query in ["end_time=2023-11-13", "start_time=2023-11-15", "end_time=1969-01-01"] {
        assert_eq!(device.data("messages", query).await["total"], 0, "{query}");
    }
}

#[tokio::test]
async fn bad_values_are_refused_by_name() {
    let server = Server::start();
    let device = filled(&server).await;
    let long = "x".repeat(5000);
    for what in ["contacts", "messages", "rooms"] {
        for (name, values) in
            [("page", ["0", "-1", "x", "1.5", "99999999999999999999"]), ("limit", ["0", "201", "-1", "x", "1e2"])]
        {
            for value in values {
                let refusal = device.ask(what, &format!("{name}={value}")).await.refused(400);
                assert!(refusal.error.contains(name), "{refusal:?}");
                assert_eq!(refusal.code, "INVALID_PARAMS");
            }
        }
    }
    for (name, value) in [
        ("start_time", "yesterday"),
        ("end_time", "12:00"),
        ("start_time", "2023-13-01"),
        ("keyword", "%20"),
        ("keyword", "%00%09"),
    ] {
        let refusal = device.ask("messages", &format!("{name}={value}")).await.refused(400);
        assert!(refusal.error.to_lowercase().contains(name), "{refusal:?}");
        assert_eq!(refusal.code, "INVALID_PARAMS");
    }
    let backwards = device.ask("messages", "start_time=2023-11-15&end_time=2023-11-14").await.refused(400);
    assert!(backwards.error.contains("end_time"), "{backwards:?}");
    for what in ["contacts", "messages", "rooms", "sync-status"] {
        for guid in ["", "?guid=", "?guid=%20", &format!("?guid={long}"), "?guid=a%00b"] {
            let refusal = device.client.get(&format!("/api/{what}{guid}")).await.refused_with(400, "Invalid GUID");
            assert_eq!(refusal.code, "INVALID_PARAMS");
        }
        assert_eq!(device.client.get(&format!("/api/{what}?guid=nobody")).await.refused(404).code, "GUID_NOT_FOUND");
    }
    for odd in [
        "keyword=%27%22%5C%25_*",
        &format!("keyword={long}"),
        "conversation_id=%27",
        &format!("conversation_id={long}"),
        "conversation_id=R:",
        "username=%F0%9F%98%80",
        "nonsense=1",
    ] {
        assert!(device.ask("messages", odd).await.status < 500, "{odd}");
    }
}

#[tokio::test]
async fn sync_status_counts_and_says_how_far_it_is() {
    let server = Server::start();
    let tenant = Tenant::of(&server).await;
    let device = Device { client: tenant.client.clone(), ..Device::new(&server) };
    let given = json!({"name": "phone", "platform": "wecom", "credentials": {"guid": device.guid}});
    tenant.client.post("/api/instances", &given).await.expect(201);
    let idle = device.data("sync-status", "").await;
    assert_eq!(
        (&idle["status"], &idle["last_sync_time"], &idle["messages_count"]),
        (&json!("idle"), &json!(""), &json!(0))
    );
    device.tell(11003, json!({"user_id": "788", "name": "me"})).await;
    let status = async |wanted: &'static str| {
        device.wait("sync-status", "", wanted, |data| (data["status"] == wanted).then(|| data.clone())).await
    };
    status("syncing").await;
    device.tell(11013, (1..=30).map(nth).collect()).await;
    device.tell(11009, json!({})).await;
    status("synced").await;
    device.wait_messages(30).await;
    // People and rooms are written side by side with the messages.
    let counted = device
        .wait("sync-status", "", "all people", |data| {
            (data["contacts_count"] == 11 && data["rooms_count"] == 2).then(|| data.clone())
        })
        .await;
    assert_eq!(
        (&counted["contacts_count"], &counted["messages_count"], &counted["rooms_count"]),
        (&json!(11), &json!(30), &json!(2))
    );
    let last = counted["last_sync_time"].as_str().expect("a time").to_owned();
    assert!(crate::harness::shape::is_time(&last), "{last}");
    device.tell(11004, json!({"error_code": -1, "error_message": "user logout"})).await;
    status("error").await;
    device
        .wait("sync-status", "", "a later time", |data| {
            (data["last_sync_time"].as_str() > Some(last.as_str())).then_some(())
        })
        .await;
}
