//! A device is an instance like any other.

use super::{Device, text};
use crate::harness::{Behaviour, Instance, Receiver, Server, Tenant, eventually};
use serde_json::json;

#[tokio::test]
async fn a_guid_belongs_to_one_instance() {
    let server = Server::start();
    let (tenant, other) = (Tenant::of(&server).await, Tenant::of(&server).await);
    let device = Device::new(&server);
    let given = json!({"name": "phone", "platform": "wecom", "credentials": {"guid": device.guid}});
    let instance = tenant.client.post("/api/instances", &given).await.expect(201);
    for client in [&tenant.client, &other.client] {
        assert_eq!(client.post("/api/instances", &given).await.refused(409).code, "GUID_TAKEN");
    }
    for credentials in [json!({}), json!({"guid": ""}), json!({"guid": 5}), json!({"guid": "x".repeat(300)})] {
        let given = json!({"name": "phone", "platform": "wecom", "credentials": credentials});
        tenant.client.post("/api/instances", &given).await.names("guid");
    }
    device.tell(11010, text(1, "5", "hello")).await;
    let mine = Device { client: tenant.client.clone(), ..device.clone() };
    mine.wait_messages(1).await;
    assert_eq!(mine.data("sync-status", "").await["instance_id"], instance["id"]);
    Device { client: other.client.clone(), ..device.clone() }.ask("messages", "").await.refused(404);
    // Another GUID would make it another device.
    let path = format!("/api/instances/{}", instance["id"].as_str().expect("id"));
    tenant.client.put(&path, &json!({"credentials": {"guid": "another"}})).await.names("guid");
    tenant.client.put(&path, &json!({"credentials": null})).await.names("guid");
    tenant.client.put(&path, &json!({"name": "renamed", "credentials": {"guid": device.guid}})).await.expect(200);
}

#[tokio::test]
async fn many_first_callbacks_make_one_instance() {
    let server = Server::start();
    let device = Device::new(&server);
    let tells = (1..=16).map(|id| device.tell(11010, text(id, "5", "hello")));
    futures_util::future::join_all(tells.collect::<Vec<_>>()).await;
    device.wait_messages(16).await;
    let all = server.admin().get("/api/instances").await.expect(200);
    assert_eq!(all["instances"].as_array().expect("a list").len(), 1);
}

#[tokio::test]
async fn history_events_webhooks_and_statistics_know_its_messages() {
    let server = Server::start();
    let receiver = Receiver::start().await;
    receiver.behave("/hook", Behaviour::Ok);
    let tenant = Tenant::of(&server).await;
    let device = Device { client: tenant.client.clone(), ..Device::new(&server) };
    let given = json!({"name": "phone", "platform": "wecom", "credentials": {"guid": device.guid}, "webhookUrl": receiver.url("/hook")});
    let created = tenant.client.post("/api/instances", &given).await.expect(201);
    let instance = Instance {
        id: created["id"].as_str().expect("id").into(),
        client: tenant.client.clone(),
        created: created.clone(),
        phone: String::new(),
    };
    device.tell(11003, json!({"user_id": "788", "name": "me"})).await;
    // What comes before it is known whose account it is would be told of as somebody else's first.
    instance.wait_status("connected").await;
    let now = chrono::Utc::now().timestamp();
    for id in 1..=3 {
        let mut said = text(id, "5", &format!("number {id}"));
        said["sendtime"] = json!(now);
        device.tell(11010, said).await;
    }
    let mut own = text(4, "788", "mine");
    own["receiver"] = json!("5");
    own["sendtime"] = json!(now);
    device.tell(11010, own).await;
    device.wait_messages(4).await;
    let history = tenant.client.get(&instance.at("/chats/S:5/messages")).await.expect(200);
    assert_eq!(history["pagination"]["total"], 4);
    assert_eq!(history["messages"][0]["content"], "mine");
    assert_eq!(history["messages"][0]["fromMe"], true);
    let chats = tenant.client.get(&instance.at("/chats")).await.expect(200);
    assert_eq!((&chats["chats"][0]["id"], &chats["chats"][0]["name"]), (&json!("S:5"), &json!("name of 5")));
    // By the platform's id, too.
    let one = tenant.client.get(&instance.at("/messages/2")).await.expect(200);
    assert_eq!(one["content"], "number 2");
    eventually("three webhooks and a connection", async || {
        let bodies: Vec<_> = receiver.hits("/hook").iter().map(|hit| hit.event()).collect();
        let count = |event: &str| bodies.iter().filter(|one| *one == event).count();
        (count("message_received") == 3 && count("message_sent") == 1 && count("connection_opened") == 1).then_some(())
    })
    .await;
    let stats = tenant.client.get(&format!("/api/stats/instances/{}?period=today", instance.id)).await.expect(200);
    let text = stats.to_string();
    assert!(text.contains("\"messagesReceived\":3") && text.contains("\"messagesSent\":1"), "{stats}");
}

#[tokio::test]
async fn a_deleted_device_is_gone_and_its_guid_free() {
    let server = Server::start_with(&[("JUHE_AUTO_REGISTER", "off")]);
    let tenant = Tenant::of(&server).await;
    let device = Device { client: tenant.client.clone(), ..Device::new(&server) };
    let given = json!({"name": "phone", "platform": "wecom", "credentials": {"guid": device.guid}});
    let id = tenant.client.post("/api/instances", &given).await.expect(201)["id"].as_str().expect("id").to_owned();
    device.tell(11010, text(1, "5", "hello")).await;
    device.tell(555, json!({"x": 1})).await;
    device.wait_messages(1).await;
    tenant.client.delete(&format!("/api/instances/{id}")).await.expect(200);
    device.ask("messages", "").await.refused(404);
    let again = eventually("the GUID is free", async || {
        let answer = tenant.client.post("/api/instances", &given).await;
        (answer.status == 201).then(|| answer.json())
    })
    .await;
    assert_ne!(again["id"], id.as_str());
    assert_eq!(device.data("messages", "").await["total"], 0, "nothing of the first is left");
    assert_eq!(device.data("sync-status", "").await["status"], "idle");
}
