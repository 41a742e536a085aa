//! Usage limits per instance, and the rate limit of the whole server.

use crate::harness::{Instance, Receiver, Server, Tenant};
use serde_json::json;

#[tokio::test]
async fn over_a_limit_a_send_is_429_and_the_owner_is_told() {
    let (tenant, receiver) = (Tenant::new().await, Receiver::start().await);
    let instance = Instance::paired(&tenant.client, &json!({"webhookUrl": receiver.url("/hook")})).await;
    let limits = json!({"limits": {"maxMessagesSent": 3, "timeWindowHours": 24}});
    tenant.client.put(&instance.at(""), &limits).await.expect(200);
    let got = instance.get("").await["limits"].clone();
    assert_eq!((&got["maxMessagesSent"], &got["timeWindowHours"]), (&json!(3), &json!(24)), "{got}");
    for number in 0..3 {
        instance.send("79001234567", &format!("number {number}")).await;
    }
    let refused = instance.wa_post("/send", &json!({"phone": "79001234567", "message": "one more"})).await;
    refused.refused(429);
    let event = instance.wait_event("limit_exceeded", |event| event["type"] == "limit_exceeded").await;
    assert_eq!(event["data"]["exceededLimits"], json!(["maxMessagesSent"]), "{event}");
    receiver.wait_for("/hook", "limit_exceeded").await;
    assert_eq!(instance.get("/activity?actions=limit_exceeded").await["pagination"]["total"], 1);
    assert_eq!(instance.get("/chats/79001234567/messages").await["pagination"]["total"], 3);
    for (field, body) in
        [("maxMessagesSent", json!({"maxMessagesSent": -1})), ("maxApiCalls", json!({"maxApiCalls": "x"}))]
    {
        tenant.client.put(&instance.at(""), &json!({"limits": body})).await.names(field);
    }
}

#[tokio::test]
async fn the_rate_limit_is_per_credential_and_says_when_to_come_back() {
    let server = Server::start_with(&[("RATE_LIMIT", "5/60")]);
    let (tenant, other) = (Tenant::of(&server).await, Tenant::of(&server).await);
    let mut statuses = Vec::new();
    for _ in 0..10 {
        let answer = tenant.client.get("/api/auth/me").await;
        statuses.push(answer.status);
        if answer.status == 429 {
            answer.envelope();
            let seconds: u64 = answer.header("retry-after").parse().expect("Retry-After in seconds");
            assert!((1..=60).contains(&seconds), "{seconds}");
        }
    }
    assert_eq!(statuses.iter().filter(|&&status| status == 200).count(), 5, "{statuses:?}");
    other.client.get("/api/auth/me").await.expect(200);
}
