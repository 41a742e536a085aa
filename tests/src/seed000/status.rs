//! `GET …/messages/{id}/status`: a JSON string, and as far as each platform tells.

use super::{PREFIXES, account, alone, answer_of, status, text};
use crate::harness::{Tenant, eventually, shape, stays};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn messages_are_read_where_the_platform_says_so() {
    let tenant = Tenant::new().await;
    for platform in ["whatsapp", "signal"] {
        let instance = account(&tenant, platform).await;
        let sent = text(&tenant.client, platform, &instance.id, "+79001234567", "hello").await;
        eventually("read", async || (status(&tenant.client, platform, &sent).await == "read").then_some(())).await;
        let unread = text(&tenant.client, platform, &instance.id, "+99900060000", "hello").await;
        eventually("delivered", async || {
            (status(&tenant.client, platform, &unread).await == "delivered").then_some(())
        })
        .await;
        for prefix in PREFIXES {
            let path = format!("{prefix}/{platform}/messages/{}/status", unread["id"].as_str().unwrap());
            let answer = tenant.client.get(&path).await;
            shape(answer_of("GET /third-party/{platform}/messages/{messageId}/status"), &answer.expect(200));
            assert_eq!(answer.body.as_ref(), b"\"delivered\"");
        }
    }
}

#[tokio::test]
async fn telegram_and_wechat_never_go_past_sent() {
    let tenant = Tenant::new().await;
    for platform in ["telegram", "wechat"] {
        let instance = account(&tenant, platform).await;
        let sent = text(&tenant.client, platform, &instance.id, "79001234567", "hello").await;
        assert_eq!(sent["status"], "sent");
        stays(Duration::from_secs(1), "sent", async || status(&tenant.client, platform, &sent).await == "sent").await;
        let failed = text(&tenant.client, platform, &instance.id, "+99900010000", "hello").await;
        assert_eq!(status(&tenant.client, platform, &failed).await, "failed");
    }
}

#[tokio::test]
async fn unknown_messages_and_other_peoples_are_kept_apart() {
    let (server, tenant) = alone().await;
    let other = Tenant::of(&server).await;
    let instance = account(&tenant, "telegram").await;
    let sent = text(&tenant.client, "telegram", &instance.id, "79001234567", "hello").await;
    let id = sent["id"].as_str().unwrap();
    let path = |id: &str| format!("/third-party/telegram/messages/{id}/status");
    other.client.get(&path(id)).await.refused(403);
    server.admin().get(&path(id)).await.expect(200);
    server.anonymous().get(&path(id)).await.expect(200);
    let received = instance.receive_with(&json!({"from": "79001234567", "text": "hi"})).await;
    let received = received["id"].as_str().unwrap().to_owned();
    let row = instance.history("79001234567").await.into_iter().find(|message| message["fromMe"] == false).unwrap();
    let mut unknown = vec!["msg-001".to_owned(), "x".repeat(2000), received, row["id"].as_str().unwrap().to_owned()];
    unknown.push(format!("{}x", &id[..id.len() - 1]));
    unknown.push(format!("0{}", &id[1..26]) + &id[26..42].chars().rev().collect::<String>());
    for id in unknown {
        assert_eq!(tenant.client.get(&path(&id)).await.refused(404).code, "MESSAGE_NOT_FOUND");
    }
    // A message of another platform.
    let path = format!("/third-party/whatsapp/messages/{id}/status");
    tenant.client.get(&path).await.refused(404);
}
