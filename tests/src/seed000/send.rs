//! `POST …/messages`: the seed's request, every content type, and everything that is refused.

use super::{PLATFORMS, PREFIXES, SEND, account, account_with, alone, answer_of, request_of, text, try_text};
use crate::harness::{Tenant, eventually, shape};
use http::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn the_seeds_request_runs_on_every_platform_under_every_prefix() {
    let tenant = Tenant::new().await;
    let request = request_of(SEND);
    let phone = request["from"].as_str().unwrap().trim_start_matches('+');
    for platform in PLATFORMS {
        let instance = account_with(&tenant, platform, phone).await;
        for prefix in PREFIXES {
            let answer = tenant.client.post(&format!("{prefix}/{platform}/messages"), &request).await.expect(201);
            shape(answer_of(SEND), &answer);
            for field in ["to", "from", "content", "type", "metadata"] {
                assert_eq!(answer[field], request[field], "{field} on {platform}");
            }
            assert_eq!(answer["platform"], platform);
            assert_eq!(answer["status"], "sent", "{answer}");
            assert_eq!(answer["instanceId"], instance.id.as_str());
        }
        let outbox = instance.outbox().await;
        assert_eq!(outbox.len(), 3, "{outbox:?}");
        assert!(outbox.iter().all(|message| message["text"] == "Hello from OpenChat!"), "{outbox:?}");
    }
}

#[tokio::test]
async fn type_and_metadata_have_defaults_and_metadata_comes_back_unchanged() {
    let tenant = Tenant::new().await;
    let instance = account(&tenant, "telegram").await;
    let short = text(&tenant.client, "telegram", &instance.phone, "79001234567", "hello").await;
    assert_eq!((&short["type"], &short["metadata"]), (&json!("text"), &json!({})));

    let deep = (0..60).fold(json!("bottom"), |inside, _| json!({ "a": [inside] }));
    let metadata = json!({
        "url": 7, "latitude": "north", "": null, "list": [1, 2.5, -3e200, true, null, "张三 👋"],
        "big": 9_007_199_254_740_993_i64, "deep": deep, "a.b": {"$c": "#"}, "long": "x".repeat(20_000),
    });
    let body = json!({"to": "79001234567", "from": instance.phone, "content": "hello", "metadata": metadata});
    let answer = tenant.client.post("/third-party/telegram/messages", &body).await.expect(201);
    assert_eq!(answer["metadata"], metadata);
    let path = format!("/api/instances/{}/messages/{}", instance.id, answer["id"].as_str().unwrap());
    let read = tenant.client.get(&path).await.expect(200);
    assert_eq!((&read["metadata"], &read["content"]), (&metadata, &json!("hello")));
    let history = instance.history("79001234567").await;
    assert!(history.iter().any(|message| message["metadata"] == metadata), "not in the history");

    let nothing = json!({"to": "79001234567", "from": instance.phone, "content": "hello", "metadata": null});
    let answer = tenant.client.post("/third-party/telegram/messages", &nothing).await.expect(201);
    assert_eq!(answer["metadata"], json!({}));
}

/// `type`, `content`, `metadata`, and what arrives: type, and the rest.
fn contents(url: &str) -> Vec<(&'static str, Value, Value, &'static str, Value)> {
    let base64 = "aGVsbG8=";
    vec![
        ("image", json!("a caption"), json!({"base64": base64, "mimeType": "image/png"}), "image", json!("a caption")),
        ("image", json!(""), json!({"base64": base64, "caption": "another"}), "image", json!("another")),
        ("audio", json!(""), json!({"base64": base64, "mimeType": "audio/ogg"}), "audio", json!("")),
        ("video", json!("v"), json!({"base64": base64, "mimeType": "video/mp4"}), "video", json!("v")),
        ("file", json!("f"), json!({"base64": base64, "filename": "a.txt", "more": 1}), "document", json!("f")),
        ("file", json!("from a URL"), json!({ "url": url }), "document", json!("from a URL")),
        ("file", json!(url), json!({}), "document", json!("")),
        ("location", json!("here"), json!({"latitude": 59.9, "longitude": 30.3}), "location", json!("here")),
        (
            "location",
            json!(""),
            json!({"location": {"latitude": 1, "longitude": 2, "name": "n"}}),
            "location",
            json!("n"),
        ),
        ("contact", json!("Ivan"), json!({"phone": "+79001112233"}), "contact", json!("Ivan")),
        ("contact", json!(""), json!({"contact": {"name": "Olga", "phone": "1"}}), "contact", json!("Olga")),
    ]
}

#[tokio::test]
async fn other_types_are_carried_by_the_metadata() {
    let (server, tenant) = alone().await;
    let url = format!("{}/health", server.url());
    let mut example = answer_of(SEND).clone();
    example["metadata"] = json!({});
    for platform in ["whatsapp", "telegram"] {
        let instance = account(&tenant, platform).await;
        for (kind, content, metadata, arrives, shown) in contents(&url) {
            let body = json!({
                "to": "79001234567", "from": instance.phone, "content": content, "type": kind, "metadata": metadata,
            });
            let answer = tenant.client.post(&format!("/third-party/{platform}/messages"), &body).await.expect(201);
            shape(&example, &answer);
            assert_eq!((&answer["type"], &answer["content"]), (&json!(kind), &content), "{answer}");
            assert_eq!(answer["metadata"], metadata);
            let id = answer["messageId"].as_str().unwrap().to_owned();
            let found = eventually("the message in the outbox", async || {
                instance.outbox().await.into_iter().find(|message| message["messageId"] == id.as_str())
            })
            .await;
            assert_eq!((&found["type"], &found["text"]), (&json!(arrives), &shown), "{found}");
        }
    }
}

#[tokio::test]
async fn what_a_platform_cannot_carry_is_refused() {
    let tenant = Tenant::new().await;
    for (platform, kind, metadata) in [
        ("signal", "location", json!({"latitude": 1, "longitude": 1})),
        ("wechat", "location", json!({"latitude": 1, "longitude": 1})),
        ("wechat", "contact", json!({"name": "Ivan", "phone": "1"})),
        ("telegram", "sticker", json!({"base64": "aGVsbG8="})),
    ] {
        let instance = account(&tenant, platform).await;
        let body = json!({
            "to": "+79001234567", "from": instance.id, "content": "", "type": kind, "metadata": metadata,
        });
        let answer = tenant.client.post(&format!("/third-party/{platform}/messages"), &body).await;
        assert_eq!(answer.refused(400).code, "NOT_SUPPORTED", "{answer}");
        assert!(instance.outbox().await.is_empty());
    }
    for (platform, most) in [("telegram", 4096), ("wechat", 2048)] {
        let instance = account(&tenant, platform).await;
        try_text(&tenant.client, platform, &instance.id, "79001234567", &"张".repeat(most + 1)).await.names("content");
        text(&tenant.client, platform, &instance.id, "79001234567", &"张".repeat(most)).await;
    }
}

#[tokio::test]
async fn bad_input_on_every_field_is_refused_by_name_and_leaves_nothing() {
    let tenant = Tenant::new().await;
    for platform in PLATFORMS {
        let instance = account(&tenant, platform).await;
        let path = format!("/third-party/{platform}/messages");
        let good =
            json!({"to": "+79001234567", "from": instance.id, "content": "hello", "type": "text", "metadata": {}});
        let image = json!({"type": "image", "metadata": {"base64": "aGVsbG8="}});
        let mut cases = vec![
            ("content", json!({"content": "x".repeat(70_000)})),
            ("content", json!({"content": " "})),
            ("content", json!({"content": "a\0b"})),
            ("type", json!({"type": "fax"})),
            ("type", json!({"type": ""})),
            ("metadata", json!({"metadata": {"x": "y".repeat(70_000)}})),
            ("url", json!({"type": "image"})),
            ("url", json!({"type": "image", "metadata": {"url": "ftp://example.com/a"}})),
            ("url", json!({"type": "image", "metadata": {"url": "http://169.254.169.254/"}})),
            ("url", json!({"type": "image", "metadata": {"url": "http://a/", "base64": "aGVsbG8="}})),
            ("url", json!({"type": "image", "metadata": {"url": 7}})),
            ("base64", json!({"type": "image", "metadata": {"base64": "***"}})),
            ("mediaId", json!({"type": "image", "metadata": {"mediaId": "nothing"}})),
            ("filename", json!({"type": "file", "metadata": {"base64": "aGVsbG8=", "filename": "x".repeat(300)}})),
            ("latitude", json!({"type": "location"})),
            ("latitude", json!({"type": "location", "metadata": {"latitude": 91, "longitude": 0}})),
            ("longitude", json!({"type": "location", "metadata": {"latitude": 0, "longitude": "x"}})),
            ("contact", json!({"type": "contact", "content": ""})),
            ("phone", json!({"type": "contact", "metadata": {"phone": ["1"], "name": "Ivan"}})),
            ("contact", json!({"type": "contact", "metadata": {"contact": []}})),
            ("sendAt", json!({"sendAt": "tomorrow"})),
            ("clientMessageId", json!({"clientMessageId": 7})),
        ];
        for field in ["to", "from", "content"] {
            cases.push((field, json!({field: null})));
            cases.push((field, json!({field: ""})));
        }
        for field in ["to", "from", "content", "type", "metadata"] {
            for wrong in [json!(7), json!(true), json!(["a"])] {
                cases.push((field, json!({field: wrong})));
            }
        }
        if platform != "wechat" {
            cases.push(("to", json!({"to": "not an address"})));
        }
        for (field, change) in cases {
            let mut body = good.clone();
            crate::harness::instance::merge(&mut body, &change);
            let answer = tenant.client.post(&path, &body).await;
            answer.names(field);
            let named = answer.json()["error"]["details"]["field"].as_str().unwrap_or_default().to_owned();
            assert!(named.ends_with(field), "{change} names {named:?}: {answer}");
        }
        for field in ["to", "from", "content"] {
            let mut body = good.clone();
            body.as_object_mut().unwrap().remove(field);
            tenant.client.post(&path, &body).await.names(field);
        }
        for body in [json!([]), json!("x"), json!(7), Value::Null] {
            tenant.client.post(&path, &body).await.refused(400);
        }
        let broken = tenant.client.request(Method::POST, &path).body("{\"to\": ");
        tenant.client.send(broken).await.refused(400);
        tenant.client.order(&path).await.refused(400);
        let mut large = good.clone();
        large["content"] = "x".repeat(1 << 20).into();
        tenant.client.post(&path, &large).await.refused(413);
        assert!(instance.outbox().await.is_empty(), "something went out");
        let totals = instance.get("/chats/+79001234567/messages").await;
        assert_eq!(totals["pagination"]["total"], 0, "something was stored");
        let mut fine = good.clone();
        crate::harness::instance::merge(&mut fine, &image);
        tenant.client.post(&path, &fine).await.expect(201);
    }
}

#[tokio::test]
async fn other_platforms_are_not_supported() {
    let tenant = Tenant::new().await;
    let instance = account(&tenant, "wecom").await;
    let body = json!({"to": "S:1", "from": instance.id, "content": "hello"});
    for platform in ["wecom", "im", "viber", "WhatsApp", "%20"] {
        for (method, path) in [
            (Method::POST, "messages".to_owned()),
            (Method::POST, "contacts/sync".to_owned()),
            (Method::GET, format!("contacts?userId={}&platformUserId=1", tenant.id)),
            (Method::GET, format!("contacts/list?userId={}", tenant.id)),
            (Method::GET, "messages/x/status".to_owned()),
        ] {
            let answer = tenant.client.call(method, &format!("/third-party/{platform}/{path}"), Some(&body)).await;
            let refusal = answer.refused(404);
            let name = platform.replace("%20", " ");
            assert_eq!(refusal.error, format!("Platform {name} not supported"), "{answer}");
            assert_eq!(refusal.code, "PLATFORM_NOT_SUPPORTED");
        }
    }
    // An instance of another platform is no sender on this one.
    let answer = try_text(&tenant.client, "whatsapp", &instance.id, "79001234567", "hello").await;
    assert_eq!(answer.refused(404).code, "SENDER_NOT_FOUND");
}

#[tokio::test]
async fn what_fails_at_once_is_told_and_what_takes_long_is_pending() {
    let tenant = Tenant::new().await;
    for platform in PLATFORMS {
        let instance = account(&tenant, platform).await;
        let failed = text(&tenant.client, platform, &instance.id, "+99900010000", "to nobody").await;
        assert_eq!((&failed["status"], &failed["reason"]), (&json!("failed"), &json!("number does not exist")));
        let slow = text(&tenant.client, platform, &instance.id, "+99900030000", "slowly").await;
        assert_eq!(slow["status"], "pending", "{slow}");
        eventually("the slow one is sent", async || {
            (super::status(&tenant.client, platform, &slow).await != "pending").then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_idempotency_key_and_a_client_message_id_make_one_message() {
    let (_server, tenant) = alone().await;
    let instance = account(&tenant, "signal").await;
    let body = json!({"to": "+79001234567", "from": instance.id, "content": "once"});
    for client in [&tenant.client, &tenant.anonymous()] {
        let before = instance.outbox().await.len();
        let ask = || client.request(Method::POST, "/third-party/signal/messages").header("idempotency-key", "one");
        let first = client.send(ask().json(&body)).await;
        let again = client.send(ask().json(&body)).await;
        assert_eq!(first.expect(201), again.expect(201));
        assert_eq!(again.header("idempotent-replay"), "true");
        let other = json!({"to": "+79001234567", "from": instance.id, "content": "other"});
        client.send(ask().json(&other)).await.refused(422);
        assert_eq!(instance.outbox().await.len(), before + 1);
    }
    let named = json!({"to": "+79001234567", "from": instance.id, "content": "named", "clientMessageId": "mine"});
    let path = "/third-party/signal/messages";
    let first = tenant.client.post(path, &named).await.expect(201);
    let again = tenant.client.post(path, &named).await.expect(201);
    assert_eq!(first["id"], again["id"]);
}
