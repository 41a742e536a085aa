//! The history of a chat: order, paging both ways, dates, exact totals.

use super::answer_of;
use crate::harness::{Instance, Tenant, shape};
use serde_json::{Value, json};

fn texts(page: &Value) -> Vec<&str> {
    page["messages"].as_array().expect("messages").iter().map(|row| row["content"].as_str().expect("a text")).collect()
}

#[tokio::test]
async fn a_sent_message_shows_as_the_seed_has_it() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let id = instance.send("79001234567", "你好！最近怎么样？").await;
    instance.wait_message("79001234567", &id, "read").await;
    let history = instance.get("/chats/79001234567/messages").await;
    shape(answer_of("GET /api/instances/{instanceId}/chats/{chatId}/messages"), &history);
    let row = &history["messages"][0];
    assert_eq!((&row["messageId"], &row["instanceId"]), (&json!(id), &json!(instance.id)));
    assert_eq!((&row["remoteJid"], &row["fromMe"]), (&json!("79001234567@s.whatsapp.net"), &json!(true)));
    assert_eq!((&row["messageType"], &row["content"]), (&json!("text"), &json!("你好！最近怎么样？")));
    assert_eq!((&row["hasMedia"], &history["pagination"]["total"]), (&json!(false), &json!(1)));
    assert_eq!(history["pagination"], {
        let mut wanted = history["pagination"].clone();
        crate::harness::instance::merge(&mut wanted, &json!({"total": 1, "limit": 50, "skip": 0, "hasMore": false}));
        wanted
    });
    assert_eq!(instance.get("/chats/79001234567@s.whatsapp.net/messages").await["messages"], history["messages"]);
    assert_eq!(instance.get("/chats/79990000000/messages").await["messages"], json!([]));
}

#[tokio::test]
async fn a_received_message_shows_with_its_type_and_sender() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    instance.receive_with(&json!({"from": "79005556677", "name": "伊万", "text": "hello there"})).await;
    instance.wait_event("message_received", |event| event["type"] == "message_received").await;
    let row = instance.get("/chats/79005556677/messages").await["messages"][0].clone();
    assert_eq!((&row["fromMe"], &row["messageType"]), (&json!(false), &json!("conversation")), "{row}");
    assert_eq!((&row["content"], &row["status"]), (&json!("hello there"), &json!("received")), "{row}");
}

#[tokio::test]
async fn pages_by_skip_and_by_cursor_are_the_same_and_the_total_is_exact() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let mut wanted = Vec::new();
    for number in 0..25 {
        let id = instance.send("79001234567", &format!("number {number}")).await;
        instance.wait_outbox(&id).await;
        wanted.insert(0, format!("number {number}"));
    }
    let mut skipped = Vec::new();
    for skip in [0, 10, 20] {
        let page = instance.get(&format!("/chats/79001234567/messages?limit=10&skip={skip}")).await;
        let pagination = &page["pagination"];
        assert_eq!((&pagination["total"], &pagination["limit"]), (&json!(25), &json!(10)), "{pagination}");
        assert_eq!((&pagination["skip"], &pagination["hasMore"]), (&json!(skip), &json!(skip < 20)), "{pagination}");
        skipped.extend(texts(&page).into_iter().map(str::to_owned));
    }
    assert_eq!(skipped, wanted);

    let mut by_cursor = Vec::new();
    let mut query = "limit=10".to_owned();
    for _ in 0..3 {
        let page = instance.get(&format!("/chats/79001234567/messages?{query}")).await;
        by_cursor.extend(texts(&page).into_iter().map(str::to_owned));
        if let Some(cursor) = page["pagination"]["nextCursor"].as_str() {
            query = format!("limit=10&cursor={cursor}");
        }
    }
    assert_eq!(by_cursor, wanted);
    let beyond = instance.get("/chats/79001234567/messages?skip=1000").await;
    assert_eq!((&beyond["messages"], &beyond["pagination"]["total"]), (&json!([]), &json!(25)));
    assert_eq!(beyond["pagination"]["hasMore"], false);
}

#[tokio::test]
async fn dates_are_inclusive_and_counted() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    for number in 0..5 {
        let id = instance.send("79001234567", &format!("number {number}")).await;
        instance.wait_outbox(&id).await;
    }
    let all = instance.get("/chats/79001234567/messages").await;
    let at = |index: usize| all["messages"][index]["createdAt"].as_str().expect("a time").to_owned();
    let middle = instance.get(&format!("/chats/79001234567/messages?startDate={}&endDate={}", at(3), at(1))).await;
    // Receipts may come between the two reads, so rows are compared by id.
    let ids = |rows: Vec<&Value>| rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>();
    let rows = |page: &'_ Value| page["messages"].as_array().expect("messages").clone();
    let everything = rows(&all);
    let expected: Vec<&Value> = everything
        .iter()
        .filter(|row| row["createdAt"].as_str() >= Some(&at(3)) && row["createdAt"].as_str() <= Some(&at(1)))
        .collect();
    assert!(expected.len() >= 3);
    assert_eq!(ids(rows(&middle).iter().collect()), ids(expected.clone()));
    assert_eq!(middle["pagination"]["total"], expected.len());
    let none = instance.get("/chats/79001234567/messages?endDate=2001-01-01T00:00:00Z").await;
    assert_eq!((&none["messages"], &none["pagination"]["total"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn bad_query_values_are_400() {
    let tenant = Tenant::new().await;
    let instance = Instance::create(&tenant.client, &json!({})).await;
    for (field, query) in [
        ("limit", "limit=0"),
        ("limit", "limit=201"),
        ("limit", "limit=ten"),
        ("skip", "skip=-1"),
        ("startDate", "startDate=yesterday"),
        ("endDate", "endDate=2023-13-01"),
        ("cursor", "cursor=nonsense"),
    ] {
        tenant.client.get(&instance.at(&format!("/chats/79001234567/messages?{query}"))).await.names(field);
    }
}
