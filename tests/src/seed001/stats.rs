//! Statistics: the seed's shapes, every period, and numbers that a recount confirms.

use super::answer_of;
use crate::harness::{Instance, Receiver, Server, Tenant, eventually, shape};
use serde_json::{Value, json};

/// Three texts and a file sent, two texts received, webhooks delivered.
async fn busy(tenant: &Tenant, receiver: &Receiver) -> Instance {
    let instance = Instance::paired(&tenant.client, &json!({"webhookUrl": receiver.url("/stats")})).await;
    for number in 0..3 {
        let id = instance.send("79001234567", &format!("number {number}")).await;
        instance.wait_outbox(&id).await;
    }
    let file = Some(("hello.txt", "text/plain", b"hello".as_slice()));
    instance.client.upload(&instance.wa("/send-file"), &[("phone", "79001234567")], file).await.expect(200);
    for text in ["one", "two"] {
        instance.receive("79001234567", text).await;
    }
    receiver.wait_count("/stats", 8).await;
    instance
}

fn count(usage: &Value, names: &[&str]) -> Vec<u64> {
    names.iter().map(|name| usage[name].as_u64().unwrap_or_else(|| panic!("no {name} in {usage}"))).collect()
}

#[tokio::test]
async fn an_instance_counts_what_happened() {
    let (tenant, receiver) = (Tenant::new().await, Receiver::start().await);
    let instance = busy(&tenant, &receiver).await;
    let path = format!("/api/stats/instances/{}", instance.id);
    let names = ["messagesSent", "messagesReceived", "mediaSent", "mediaReceived", "totalMediaSize"];
    let answer = eventually("the counts", async || {
        let answer = tenant.client.get(&path).await.expect(200);
        (count(&answer["usage"], &names) == [4, 2, 1, 0, 5]).then_some(answer)
    })
    .await;
    shape(answer_of("GET /api/stats/instances/{instanceId}"), &answer);
    assert!(answer["usage"]["apiCalls"].as_u64().unwrap() >= 4, "{answer}");
    eventually("the webhooks counted", async || {
        let answer = tenant.client.get(&path).await.expect(200);
        (answer["usage"]["webhookSent"] == receiver.count("/stats")).then_some(())
    })
    .await;
    for (period, days) in [("today", 1), ("week", 7), ("month", 30), ("year", 365), ("all", 1)] {
        let usage = tenant.client.get(&format!("{path}?period={period}")).await.expect(200)["usage"].clone();
        assert_eq!(count(&usage, &names), [4, 2, 1, 0, 5], "{period}");
        let daily = usage["dailyStats"].as_array().expect("dailyStats");
        assert_eq!(daily.len(), days, "{period}");
        let sum: u64 = daily.iter().map(|day| day["messagesSent"].as_u64().unwrap()).sum();
        assert_eq!(sum, 4, "{period}");
        for day in daily {
            assert!(day["date"].as_str().unwrap().ends_with("T00:00:00.000Z"), "{day}");
        }
    }
    tenant.client.get(&format!("{path}?period=decade")).await.names("period");
    tenant.client.get("/api/stats/instances/no-such-instance").await.refused(404);
    Tenant::new().await.client.get(&path).await.refused(403);
}

#[tokio::test]
async fn a_user_has_the_sum_of_his_instances() {
    let (tenant, receiver) = (Tenant::new().await, Receiver::start().await);
    busy(&tenant, &receiver).await;
    let second = Instance::paired(&tenant.client, &json!({"name": "second"})).await;
    second.send("79001234567", "hello").await;
    let answer = eventually("the counts", async || {
        let answer = tenant.client.get("/api/stats/user").await.expect(200);
        (count(&answer["total"], &["messagesSent", "messagesReceived", "instanceCount"]) == [5, 2, 2]).then_some(answer)
    })
    .await;
    shape(answer_of("GET /api/stats/user"), &answer);
    let instances = answer["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 2);
    for name in ["messagesSent", "messagesReceived", "mediaSent", "mediaReceived", "totalMediaSize", "apiCalls"] {
        let sum: u64 = instances.iter().map(|instance| instance[name].as_u64().unwrap()).sum();
        assert_eq!(answer["total"][name], sum, "{name}");
    }
    for period in ["week", "month", "year", "all"] {
        tenant.client.get(&format!("/api/stats/user?period={period}")).await.expect(200);
    }
    tenant.client.get("/api/stats/user?period=today2").await.names("period");
    tenant.anonymous().get("/api/stats/user").await.refused(401);
}

#[tokio::test]
async fn the_system_is_the_administrators_business() {
    let server = Server::start();
    let (tenant, receiver) = (Tenant::of(&server).await, Receiver::start().await);
    busy(&tenant, &receiver).await;
    Instance::create(&tenant.client, &json!({})).await;
    tenant.client.get("/api/stats/system").await.refused_with(403, "Access denied");
    server.anonymous().get("/api/stats/system").await.refused(401);
    let answer = eventually("the counts", async || {
        let answer = server.admin().get("/api/stats/system").await.expect(200);
        (count(&answer["usage"], &["messagesSent", "messagesReceived"]) == [4, 2]).then_some(answer)
    })
    .await;
    shape(answer_of("GET /api/stats/system"), &answer);
    assert_eq!((&answer["instances"]["total"], &answer["instances"]["active"]), (&json!(2), &json!(1)));
    assert_eq!((&answer["users"]["total"], &answer["users"]["active"]), (&json!(2), &json!(1)));
}
