//! What the service reports of a connection becomes the status of the instance, and its events.

use super::{Device, text};
use crate::harness::{Server, Tenant};
use serde_json::{Value, json};

struct World {
    server: Server,
    tenant: Tenant,
    device: Device,
    id: String,
}

async fn world() -> World {
    let server = Server::start();
    let tenant = Tenant::of(&server).await;
    let device = Device { client: tenant.client.clone(), ..Device::new(&server) };
    let given = json!({"name": "phone", "platform": "wecom", "credentials": {"guid": device.guid}});
    let id = tenant.client.post("/api/instances", &given).await.expect(201)["id"].as_str().expect("id").to_owned();
    World { server, tenant, device, id }
}

impl World {
    async fn wait_status(&self, wanted: &str) -> Value {
        crate::harness::eventually(wanted, async || {
            let instance = self.tenant.client.get(&format!("/api/instances/{}", self.id)).await.expect(200);
            (instance["status"] == wanted).then_some(instance)
        })
        .await
    }

    async fn told(&self) -> Vec<(String, Value)> {
        let events = self.tenant.client.get(&format!("/api/instances/{}/events?limit=500", self.id)).await.expect(200);
        let line = |kind: &str| kind.starts_with("connection_") || kind == "qr_received";
        events["events"]
            .as_array()
            .expect("events")
            .iter()
            .map(|event| (event["type"].as_str().expect("type").to_owned(), event["data"].clone()))
            .filter(|(kind, _)| line(kind))
            .collect()
    }
}

#[tokio::test]
async fn every_report_has_its_status() {
    let world = world().await;
    let login = json!({"user_id": "788", "name": "me", "real_name": "Me", "corp_id": "1", "avatar": ""});
    for (kind, data, status, reason) in [
        (11001, json!({}), "connecting", Value::Null),
        (11002, json!({"status": 0, "vid": "", "nickname": "", "avatar": ""}), "qr_received", Value::Null),
        (11003, login.clone(), "connected", Value::Null),
        (11006, json!({}), "disconnected", json!("unreachable")),
        (11005, json!({}), "connected", Value::Null),
        (11007, json!({}), "auth_expired", json!("session_timeout")),
        (11008, json!({}), "error", json!("login_failed")),
        (11003, login.clone(), "connected", Value::Null),
        (11012, json!({}), "auth_expired", json!("verification")),
        (11003, login.clone(), "connected", Value::Null),
        (11011, json!({}), "disconnected", json!("replaced")),
        (11003, login, "connected", Value::Null),
        (11004, json!({"error_code": -1, "error_message": "user logout"}), "logged_out", json!("logout")),
    ] {
        world.device.tell(kind, data).await;
        let instance = world.wait_status(status).await;
        assert_eq!(instance["connectionStatus"]["reason"], reason, "{kind}");
        assert_eq!(instance["connectionStatus"]["ready"], status == "connected", "{kind}");
        if status == "connected" {
            assert_eq!(instance["address"], "788");
        }
    }
    let told = world.told().await;
    let kinds: Vec<&str> = told.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "qr_received",
            "connection_opened",
            "connection_closed",
            "connection_opened",
            "connection_closed",
            "connection_closed",
            "connection_opened",
            "connection_closed",
            "connection_opened",
            "connection_closed",
            "connection_opened",
            "connection_closed"
        ]
    );
    let reasons: Vec<&Value> =
        told.iter().filter(|(kind, _)| kind == "connection_closed").map(|(_, data)| &data["reason"]).collect();
    assert_eq!(reasons, ["unreachable", "error", "error", "error", "replaced", "logout"]);
    assert_eq!(told[2].1["willReconnect"], true);
    let activity = world
        .tenant
        .client
        .get(&format!("/api/instances/{}/activity?actions=connection_opened", world.id))
        .await
        .expect(200);
    assert_eq!(activity["pagination"]["total"], 5, "{activity}");
}

#[tokio::test]
async fn what_is_reported_twice_is_told_once() {
    let world = world().await;
    for _ in 0..3 {
        world.device.tell(11003, json!({"user_id": "788", "name": "me"})).await;
    }
    for _ in 0..3 {
        world.device.tell(11004, json!({})).await;
    }
    world.wait_status("logged_out").await;
    world.device.tell(11003, json!({"user_id": "788", "name": "other name"})).await;
    assert_eq!(world.wait_status("connected").await["address"], "788");
    let kinds: Vec<String> = world.told().await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["connection_opened", "connection_closed", "connection_opened"]);
}

#[tokio::test]
async fn messages_show_that_the_line_is_up() {
    let world = world().await;
    world.device.tell(11010, text(1, "5", "hello")).await;
    world.wait_status("connected").await;
    world.device.tell(11006, json!({})).await;
    world.wait_status("disconnected").await;
    world.device.tell(11010, text(2, "5", "hello")).await;
    world.wait_status("connected").await;
    world.device.tell(11004, json!({})).await;
    world.wait_status("logged_out").await;
    world.device.tell(11010, text(3, "5", "late")).await;
    world.device.wait_messages(3).await;
    world.wait_status("logged_out").await;
}

#[tokio::test]
async fn a_worker_leaves_the_status_of_a_device_alone() {
    let mut world = world().await;
    world.device.tell(11003, json!({"user_id": "788", "name": "me"})).await;
    world.wait_status("connected").await;
    world.server.kill();
    world.server.restart();
    let path = format!("/api/instances/{}", world.id);
    world.tenant.client.order(&format!("{path}/reconnect")).await.expect(200);
    world.device.tell(11010, text(1, "5", "hello")).await;
    world.device.wait_messages(1).await;
    crate::harness::stays(std::time::Duration::from_secs(1), "connected", async || {
        world.tenant.client.get(&path).await.expect(200)["status"] == "connected"
    })
    .await;
    let kinds = async || world.told().await.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    crate::harness::eventually("the opening is told", async || (!kinds().await.is_empty()).then_some(())).await;
    assert_eq!(kinds().await, ["connection_opened"]);
    world.tenant.client.order(&format!("{path}/logout")).await.expect(200);
    world.wait_status("logged_out").await;
}
