//! Forwarders: what they take, what they show, and what reaches the robots.

use crate::harness::tools::{python, stdout};
use crate::harness::{Behaviour, Instance, Receiver, Tenant, eventually, stays};
use serde_json::{Value, json};
use std::time::Duration;

const OK: &str = r#"{"errcode":0,"errmsg":"ok","code":0,"msg":"success"}"#;

async fn make(instance: &Instance, given: &Value) -> Value {
    instance.post("/forwarders", given).await.expect(201)
}

fn path_of(forwarder: &Value) -> String {
    format!("/forwarders/{}", forwarder["id"].as_str().expect("an id"))
}

#[tokio::test]
async fn each_form_reaches_its_robot() {
    let receiver = Receiver::start().await;
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({"name": "Support"})).await;
    make(&instance, &json!({"type": "wecom", "url": receiver.url("/wecom"), "key": "k"})).await;
    make(&instance, &json!({"type": "dingtalk", "url": receiver.url("/ding"), "key": "t", "secret": "SEC1"})).await;
    make(&instance, &json!({"type": "feishu", "url": receiver.url("/feishu"), "secret": "demo"})).await;
    make(&instance, &json!({"type": "slack", "url": receiver.url("/slack")})).await;
    let template =
        r#"{"who": "{{fromName}}", "what": "{{data.body}}", "where": "{{instanceName}}", "all": {{json data}}}"#;
    make(&instance, &json!({"type": "template", "url": receiver.url("/own"), "template": template, "secret": "s"}))
        .await;
    for path in ["/wecom?key=k", "/feishu"] {
        receiver.behave(path, Behaviour::Body(OK.into()));
    }
    instance.receive_with(&json!({"from": "79001234567", "name": "伊万", "text": "a < b & \"c\""})).await;
    let line = "[IM消息] 伊万: a < b & \"c\"";
    let hit = receiver.wait("/wecom?key=k", "wecom", |_| true).await;
    assert_eq!(hit.json(), json!({"msgtype": "text", "text": {"content": line}}));
    let hit = receiver.wait("/slack", "slack", |_| true).await;
    assert_eq!(hit.json(), json!({"text": "[IM消息] 伊万: a &lt; b &amp; \"c\""}));
    let hit = receiver.wait("/own", "template", |_| true).await;
    let body = hit.json();
    assert_eq!((&body["who"], &body["where"]), (&json!("伊万"), &json!("Support")));
    assert_eq!((&body["what"], &body["all"]["body"]), (&json!("a < b & \"c\""), &json!("a < b & \"c\"")));
    assert!(!hit.header("x-webhook-signature").is_empty() && !hit.header("webhook-signature").is_empty());

    // Python's opinion on the signatures.
    let hit = eventually("dingtalk", async || {
        receiver.all().into_iter().find(|hit| hit.path.starts_with("/ding?access_token=t&timestamp="))
    })
    .await;
    assert_eq!(hit.json(), json!({"msgtype": "text", "text": {"content": line}}));
    let check = "import sys,hmac,base64,urllib.parse as u\n\
                 q=dict(u.parse_qsl(u.urlsplit(sys.stdin.read()).query,strict_parsing=True))\n\
                 d=hmac.new(b'SEC1',(q['timestamp']+'\\nSEC1').encode(),'sha256').digest()\n\
                 assert q['sign']==base64.b64encode(d).decode(),q\nassert len(q['timestamp'])==13";
    assert_eq!(stdout(&python(check, &hit.path)), "");
    let hit = receiver.wait("/feishu", "feishu", |_| true).await;
    assert_eq!(hit.json()["content"], json!({"text": line}));
    let check = "import sys,json,hmac,base64\nb=json.load(sys.stdin)\n\
                 d=hmac.new((b['timestamp']+'\\ndemo').encode(),b'','sha256').digest()\n\
                 assert b['sign']==base64.b64encode(d).decode(),b\nassert len(b['timestamp'])==10";
    assert_eq!(stdout(&python(check, &hit.json().to_string())), "");
}

#[tokio::test]
async fn they_are_listed_changed_and_deleted_and_keep_their_secrets() {
    let receiver = Receiver::start().await;
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let given = json!({"type": "wecom", "name": "The group", "url": receiver.url("/robot"), "key": "swordfish"});
    let made = make(&instance, &given).await;
    assert_eq!((&made["type"], &made["name"]), (&json!("wecom"), &json!("The group")));
    assert_eq!(
        (&made["enabled"], &made["maxRetries"], &made["retryInterval"]),
        (&json!(true), &json!(3), &json!(60000))
    );
    assert_eq!((&made["events"], &made["hasSecret"]), (&json!(["message_received"]), &json!(false)));
    assert_eq!(made["endpoint"], format!("fw-{}", made["id"].as_str().expect("an id")));
    assert_eq!(made["url"], "http://127.0.0.1");
    let list = instance.get("/forwarders").await;
    assert_eq!(list, json!({"forwarders": [made]}));
    assert!(!list.to_string().contains("swordfish"));
    assert_eq!(instance.get("").await["webhookUrl"], Value::Null, "the webhook is another thing");

    let change = json!({"name": "Renamed", "events": ["message_sent"], "enabled": false, "maxRetries": 0});
    let changed = tenant.client.put(&instance.at(&path_of(&made)), &change).await.expect(200);
    assert_eq!(
        (&changed["name"], &changed["enabled"], &changed["maxRetries"]),
        (&json!("Renamed"), &json!(false), &json!(0))
    );
    assert_eq!((&changed["events"], &changed["url"]), (&json!(["message_sent"]), &made["url"]));
    let test = instance.client.order(&instance.at(&format!("{}/test", path_of(&made)))).await.expect(200);
    assert_eq!(
        (&test["status"], &test["outcome"]),
        (&json!("dead"), &json!("protocol")),
        "a 200 without a code: {test}"
    );
    receiver.behave("/robot?key=swordfish", Behaviour::Body(OK.into()));
    let test = instance.client.order(&instance.at(&format!("{}/test", path_of(&made)))).await.expect(200);
    assert_eq!(
        (&test["status"], &test["event"], &test["endpoint"]),
        (&json!("delivered"), &json!("webhook_test"), &made["endpoint"])
    );

    let before = receiver.all().len();
    instance.send("79001234567", "nobody is told").await;
    stays(Duration::from_millis(500), "nothing", async || receiver.all().len() == before).await;
    tenant.client.delete(&instance.at(&path_of(&made))).await.expect(200);
    assert_eq!(instance.get("/forwarders").await, json!({"forwarders": []}));
    for answer in [
        tenant.client.put(&instance.at(&path_of(&made)), &json!({})).await,
        tenant.client.delete(&instance.at(&path_of(&made))).await,
        tenant.client.order(&instance.at(&format!("{}/test", path_of(&made)))).await,
    ] {
        answer.refused_with(404, "Forwarder not found");
    }
    let noted = instance.get("/activity").await.to_string();
    for action in ["forwarder_created", "forwarder_updated", "forwarder_deleted"] {
        assert!(noted.contains(action), "{action}: {noted}");
    }
    assert!(!noted.contains("swordfish"));
}

#[tokio::test]
async fn bad_settings_are_refused_by_name() {
    let tenant = Tenant::new().await;
    let instance = Instance::create(&tenant.client, &json!({})).await;
    for (given, field) in [
        (json!({"url": "http://127.0.0.1:9/"}), "type"),
        (json!({"type": "telegram", "url": "http://127.0.0.1:9/"}), "type"),
        (json!({"type": "wecom"}), "key"),
        (json!({"type": "wecom", "key": "with space"}), "key"),
        (json!({"type": "wecom", "key": ""}), "key"),
        (json!({"type": "wecom", "key": "k", "secret": "s"}), "secret"),
        (json!({"type": "wecom", "key": "k", "template": "x"}), "template"),
        (json!({"type": "slack", "key": "k"}), "key"),
        (json!({"type": "slack", "url": "ftp://127.0.0.1/"}), "url"),
        (json!({"type": "slack", "url": "http://169.254.169.254/latest"}), "url"),
        (json!({"type": "slack", "url": "http://u:p@example.com/"}), "url"),
        (json!({"type": "slack", "url": "http://127.0.0.1:9/", "events": ["[a-"]}), "events"),
        (json!({"type": "slack", "url": "http://127.0.0.1:9/", "maxRetries": 21}), "maxRetries"),
        (json!({"type": "slack", "url": "http://127.0.0.1:9/", "retryInterval": 999}), "retryInterval"),
        (json!({"type": "slack", "url": "http://127.0.0.1:9/", "name": " "}), "name"),
        (json!({"type": "template", "url": "http://127.0.0.1:9/"}), "template"),
        (json!({"type": "template", "url": "http://127.0.0.1:9/", "template": "{{what}}"}), "template"),
        (
            json!({"type": "template", "url": "http://127.0.0.1:9/", "template": "x", "contentType": "a\r\nb: c"}),
            "contentType",
        ),
    ] {
        instance.post("/forwarders", &given).await.names(field);
    }
    assert_eq!(instance.get("/forwarders").await, json!({"forwarders": []}));
    let slack = json!({"type": "slack", "url": "http://127.0.0.1:9/"});
    let made = make(&instance, &slack).await;
    let path = instance.at(&path_of(&made));
    tenant.client.put(&path, &json!({"type": "wecom"})).await.names("type");
    for _ in 1..10 {
        make(&instance, &slack).await;
    }
    let refusal = instance.post("/forwarders", &slack).await.refused(409);
    assert_eq!(refusal.code, "TOO_MANY_FORWARDERS");
}

#[tokio::test]
async fn changes_at_the_same_time_are_all_made() {
    let tenant = Tenant::new().await;
    let instance = Instance::create(&tenant.client, &json!({})).await;
    let given = json!({"type": "slack", "url": "http://127.0.0.1:9/"});
    let all = (0..6).map(|_| instance.post("/forwarders", &given));
    for answer in futures_util::future::join_all(all).await {
        answer.expect(201);
    }
    assert_eq!(instance.get("/forwarders").await["forwarders"].as_array().map(Vec::len), Some(6));
}
