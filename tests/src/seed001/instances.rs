//! Instances: created with the seed's defaults, listed, changed in part, deleted.

use super::{answer_of, request_of};
use crate::harness::{Instance, Tenant, eventually, shape};
use serde_json::{Value, json};

#[tokio::test]
async fn creation_answers_as_the_seed_shows() {
    let tenant = Tenant::new().await;
    let created = tenant.client.post("/api/instances", &request_of("POST /api/instances")).await.expect(201);
    shape(answer_of("POST /api/instances"), &created);
    assert_eq!(created["name"], "主要 WhatsApp");
    assert_eq!(created["description"], "公司账户");
    assert_eq!(created["userId"], tenant.id.as_str());
    assert_eq!(created["status"], "connecting");
    assert_eq!(created["webhookUrl"], "https://example.com/webhook");
    assert_eq!(created["webhookEnabled"], true);
    assert!(created.get("webhookSecret").is_none(), "a secret that was given is not shown again: {created}");
    assert!(!created.to_string().contains("optional-secret-key"), "{created}");
}

#[tokio::test]
async fn a_name_alone_gives_the_defaults() {
    let tenant = Tenant::new().await;
    let created = tenant.client.post("/api/instances", &json!({"name": "n"})).await.expect(201);
    let got = tenant.client.get(&format!("/api/instances/{}", created["id"].as_str().unwrap())).await.expect(200);
    for answer in [&created, &got] {
        assert_eq!((&answer["description"], &answer["webhookUrl"]), (&Value::Null, &Value::Null), "{answer}");
        assert_eq!(answer["webhookEnabled"], false, "{answer}");
        assert_eq!(answer["platform"], "whatsapp", "{answer}");
        assert_eq!(answer["mode"], "live", "{answer}");
        assert_eq!(answer["transport"], "web", "{answer}");
    }
    let settings = &got["webhookSettings"];
    let defaults = json!({"notifyReceived": true, "notifySent": true, "notifyDelivery": false, "notifyRead": false,
                          "maxRetries": 3, "retryInterval": 60000});
    for (name, value) in defaults.as_object().unwrap() {
        assert_eq!(&settings[name], value, "{name} in {got}");
    }
    assert_eq!(settings["hasSecret"], true, "{got}");
}

#[tokio::test]
async fn a_secret_is_generated_once_shown_once_and_never_returned() {
    let tenant = Tenant::new().await;
    let instance = Instance::create(&tenant.client, &json!({"webhookUrl": "http://127.0.0.1:9/hook"})).await;
    let secret = instance.created["webhookSecret"].as_str().expect("a generated secret").to_owned();
    assert!(secret.len() >= 20, "a short secret");
    assert_eq!(instance.created["webhookEnabled"], true, "a URL switches it on");
    let list = tenant.client.get("/api/instances").await.expect(200);
    for answer in [instance.get("").await, list] {
        assert!(!answer.to_string().contains(&secret), "{answer}");
    }
}

#[tokio::test]
async fn the_nested_settings_of_put_are_accepted_in_post_and_the_flat_ones_in_put() {
    let tenant = Tenant::new().await;
    let nested = json!({"webhookUrl": "http://127.0.0.1:9/hook",
                        "webhookSettings": {"notifySent": false, "maxRetries": 7, "retryInterval": 1000}});
    let instance = Instance::create(&tenant.client, &nested).await;
    let settings = instance.get("").await["webhookSettings"].clone();
    assert_eq!((&settings["notifySent"], &settings["maxRetries"]), (&json!(false), &json!(7)), "{settings}");
    assert_eq!((&settings["retryInterval"], &settings["notifyReceived"]), (&json!(1000), &json!(true)), "{settings}");
    tenant.client.put(&instance.at(""), &json!({"notifyRead": true, "maxRetries": 0})).await.expect(200);
    let settings = instance.get("").await["webhookSettings"].clone();
    assert_eq!((&settings["notifyRead"], &settings["maxRetries"]), (&json!(true), &json!(0)), "{settings}");
    assert_eq!(settings["retryInterval"], 1000, "{settings}");
}

#[tokio::test]
async fn the_list_and_one_instance_answer_as_the_seed_shows() {
    let tenant = Tenant::new().await;
    let given = json!({"description": "text", "webhookUrl": "http://127.0.0.1:9/hook"});
    let instance = Instance::paired(&tenant.client, &given).await;
    let list = tenant.client.get("/api/instances").await.expect(200);
    shape(answer_of("GET /api/instances"), &list);
    assert_eq!(list["instances"].as_array().unwrap().len(), 1);
    let one = instance.get("").await;
    shape(answer_of("GET /api/instances/{instanceId}"), &one);
    for found in [&list["instances"][0], &one] {
        assert_eq!(found["id"], instance.id.as_str());
        assert_eq!(found["status"], "connected");
        let line = &found["connectionStatus"];
        assert_eq!(
            (&line["ready"], &line["status"], &line["hasQr"]),
            (&json!(true), &json!("connected"), &json!(false))
        );
        assert_eq!(found["webhookSettings"]["hasSecret"], true);
    }
    assert_eq!(Tenant::new().await.client.get("/api/instances").await.expect(200)["instances"], json!([]));
}

#[tokio::test]
async fn put_changes_what_is_given_and_nothing_else() {
    let tenant = Tenant::new().await;
    let instance = Instance::create(&tenant.client, &json!({"description": "kept"})).await;
    let before = instance.get("").await;
    let answer = tenant.client.put(&instance.at(""), &request_of("PUT /api/instances/{instanceId}")).await.expect(200);
    shape(answer_of("PUT /api/instances/{instanceId}"), &answer);
    assert_eq!(answer["name"], "新的 WhatsApp 名称");
    assert!(!answer.to_string().contains("new-secret-key"), "{answer}");
    let settings = instance.get("").await["webhookSettings"].clone();
    let wanted = json!({"notifyReceived": true, "notifySent": false, "notifyDelivery": true, "notifyRead": true,
                        "maxRetries": 5, "retryInterval": 30000});
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(&settings[name], value, "{name} in {settings}");
    }

    let only_name = tenant.client.put(&instance.at(""), &json!({"name": "third"})).await.expect(200);
    assert_eq!((&only_name["name"], &only_name["description"]), (&json!("third"), &answer["description"]));
    assert_eq!(instance.get("").await["webhookSettings"], settings);
    assert_eq!(only_name["createdAt"], before["createdAt"]);
    assert!(only_name["updatedAt"].as_str() > before["updatedAt"].as_str(), "{before} {only_name}");
    let cleared =
        tenant.client.put(&instance.at(""), &json!({"webhookUrl": null, "description": null})).await.expect(200);
    assert_eq!((&cleared["webhookUrl"], &cleared["description"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn bad_fields_are_400_and_name_the_field() {
    let tenant = Tenant::new().await;
    tenant.client.post("/api/instances", &json!({})).await.refused_with(400, "Name is required");
    let instance = Instance::create(&tenant.client, &json!({})).await;
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("x".repeat(101))),
        ("name", json!(7)),
        ("name", json!(null)),
        ("webhookUrl", json!("ftp://example.com/hook")),
        ("webhookUrl", json!("https://user:secret@example.com/hook")),
        ("webhookUrl", json!("http://10.0.0.1/hook")),
        ("webhookUrl", json!("http://169.254.169.254/latest/meta-data")),
        ("webhookUrl", json!("http://[fd00::1]/hook")),
        ("webhookUrl", json!("no url")),
        ("maxRetries", json!(-1)),
        ("maxRetries", json!(21)),
        ("maxRetries", json!(1.5)),
        ("retryInterval", json!(999)),
        ("retryInterval", json!(86_400_001)),
        ("notifyRead", json!("yes")),
        ("webhookEvents", json!("message_*")),
    ] {
        let given = json!({field: value});
        let mut body = json!({"name": "n", "mode": "sandbox"});
        crate::harness::instance::merge(&mut body, &given);
        tenant.client.post("/api/instances", &body).await.names(field);
        tenant.client.put(&instance.at(""), &given).await.names(field);
    }
    for (field, other) in [("platform", "telegram"), ("mode", "live"), ("transport", "cloud")] {
        let refusal = tenant.client.put(&instance.at(""), &json!({field: other})).await;
        refusal.names(field);
        assert_eq!(refusal.json()["code"], "IMMUTABLE", "{field}");
    }
    for (field, value) in [("platform", "carrier-pigeon"), ("mode", "dream"), ("transport", "smoke")] {
        tenant.client.post("/api/instances", &json!({"name": "n", field: value})).await.names(field);
    }
    let wecom = json!({"name": "n", "platform": "wecom", "credentials": {}});
    tenant.client.post("/api/instances", &wecom).await.names("guid");
    assert_eq!(tenant.client.get("/api/instances").await.expect(200)["instances"].as_array().unwrap().len(), 1);
    let unchanged = instance.get("").await;
    assert_eq!(unchanged["updatedAt"], instance.created["updatedAt"], "{unchanged}");
    let same = json!({"platform": "whatsapp", "mode": "sandbox", "transport": "web"});
    tenant.client.put(&instance.at(""), &same).await.expect(200);
}

#[tokio::test]
async fn every_platform_can_be_simulated() {
    let tenant = Tenant::new().await;
    for platform in ["whatsapp", "telegram", "wechat", "signal", "wecom", "im"] {
        let mut body = json!({"platform": platform});
        if platform == "wecom" {
            body["credentials"] = json!({"guid": "a-device-guid"});
        }
        let instance = Instance::paired(&tenant.client, &body).await;
        assert_eq!(instance.get("").await["platform"], platform);
        let capabilities = instance.get("/capabilities").await;
        assert_eq!(capabilities["platform"], platform, "{capabilities}");
        assert!(!capabilities.to_string().contains("a-device-guid"));
    }
}

#[tokio::test]
async fn a_deleted_instance_is_gone_at_once() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    instance.send("79001234567", "hello").await;
    let answer = tenant.client.delete(&instance.at("")).await.expect(200);
    shape(answer_of("DELETE /api/instances/{instanceId}"), &answer);
    assert_eq!(answer["message"], format!("Instance {} deleted successfully", instance.id));
    for path in
        [instance.at(""), instance.at("/qr"), instance.at("/activity"), instance.at("/events"), instance.wa("/status")]
    {
        tenant.client.get(&path).await.refused(404);
    }
    tenant.client.delete(&instance.at("")).await.refused(404);
    let send = json!({"phone": "79001234567", "message": "hello"});
    tenant.client.post(&instance.wa("/send"), &send).await.refused(404);
    assert_eq!(tenant.client.get("/api/instances").await.expect(200)["instances"], json!([]));
}

#[tokio::test]
async fn an_unknown_instance_is_404_and_another_ones_is_403() {
    let (tenant, stranger) = (Tenant::new().await, Tenant::new().await);
    let instance = Instance::create(&tenant.client, &json!({})).await;
    tenant.client.get("/api/instances/no-such-instance").await.refused_with(404, "Instance not found");
    tenant.client.get("/api/whatsapp/no-such-instance/status").await.refused_with(404, "Instance not found");
    let text = "You do not have access to this instance";
    stranger.client.get(&instance.at("")).await.refused_with(403, text);
    stranger.client.get(&instance.wa("/status")).await.refused_with(403, text);
    stranger.client.put(&instance.at(""), &json!({"name": "mine now"})).await.refused_with(403, text);
    stranger.client.delete(&instance.at("")).await.refused_with(403, text);
    crate::harness::shared().admin().get(&instance.at("")).await.expect(200);
}

#[tokio::test]
async fn logout_and_reconnect_answer_as_the_seed_shows() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let answer = tenant.client.order(&instance.at("/reconnect")).await.expect(200);
    shape(answer_of("POST /api/instances/{instanceId}/reconnect"), &answer);
    assert_eq!(answer["message"], format!("Instance {} reconnected", instance.id));
    instance.wait_status("connected").await;
    let answer = tenant.client.order(&instance.at("/logout")).await.expect(200);
    shape(answer_of("POST /api/instances/{instanceId}/logout"), &answer);
    assert_eq!(answer["message"], format!("Instance {} logged out", instance.id));
    instance.wait_status("logged_out").await;

    tenant.client.get(&instance.at("/qr")).await.refused(409);
    // A reconnect of what is logged out pairs anew; whoever asks at once is told to wait.
    tenant.client.order(&instance.at("/reconnect")).await.expect(200);
    let asked = tenant.client.get(&instance.at("/qr")).await.status;
    assert!(asked == 202 || asked == 200, "{asked}");
    eventually("a QR code again", async || (instance.get("").await["connectionStatus"]["hasQr"] == true).then_some(()))
        .await;
    instance.scan().await;
}
