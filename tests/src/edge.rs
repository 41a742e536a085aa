//! What every route shares: unknown paths, wrong methods, large bodies, request ids, origins; and the common routes.

use crate::harness::server::on_aws;
use crate::harness::{Credential, Instance, Server, Tenant, eventually, shape, shared};
use crate::routes::ROUTES;
use http::Method;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

#[tokio::test]
async fn an_unknown_path_is_404_in_the_envelope() {
    let tenant = Tenant::new().await;
    for path in [
        "/",
        "/nothing",
        "/api",
        "/api/nothing",
        "/api/auth",
        "/api/instances/x/nothing",
        "/api/whatsapp",
        "/api/stats/x",
    ] {
        tenant.client.get(path).await.refused(404);
    }
}

#[tokio::test]
async fn a_wrong_method_is_405_and_says_which_are_right() {
    let tenant = Tenant::new().await;
    let instance = Instance::create(&tenant.client, &json!({})).await;
    let mut methods: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for route in ROUTES.iter() {
        let path = route.path.split('?').next().unwrap_or_default();
        // /webhook-deliveries/replay also matches …/{delivery}/replay's neighbour; ids stand for themselves here.
        let path = path.replace("{instance}", &instance.id).replace(['{', '}'], "");
        methods.entry(path).or_default().insert(route.method);
    }
    for (path, right) in &methods {
        if on_aws() && path == "/ws" {
            // The WebSocket API answers for itself.
            continue;
        }
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            if right.contains(method.as_str()) {
                continue;
            }
            let answer = tenant.client.call(method, path, None).await;
            answer.refused(405);
            let allow: BTreeSet<&str> =
                answer.header("allow").split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
            assert!(right.is_subset(&allow), "Allow: {allow:?} on {path}, not {right:?}");
        }
    }
}

#[tokio::test]
async fn more_than_a_mebibyte_is_413() {
    let tenant = Tenant::new().await;
    let body = json!({"name": "x".repeat(1 << 20)});
    tenant.client.post("/api/instances", &body).await.refused(413);
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let body = json!({"phone": "79001234567", "message": "x".repeat(1 << 20)});
    instance.wa_post("/send", &body).await.refused(413);
    assert!(instance.outbox().await.is_empty());
}

#[tokio::test]
async fn what_is_not_json_is_400() {
    let tenant = Tenant::new().await;
    for body in ["", "{", "[]", "\"text\"", "null", "{\"name\": \"\u{1}\"}", "{\"name\":\"a\"} trailing"] {
        let request = tenant.client.request(Method::POST, "/api/instances").header("content-type", "application/json");
        tenant.client.send(request.body(body)).await.refused(400);
    }
    let broken: &[u8] = b"{\"name\": \"\xff\xfe\"}";
    let request = tenant.client.request(Method::POST, "/api/instances").header("content-type", "application/json");
    tenant.client.send(request.body(broken)).await.refused(400);
}

#[tokio::test]
async fn every_answer_has_a_request_id_the_callers_if_it_is_sane() {
    let client = shared().anonymous();
    for path in ["/health", "/nothing", "/api/auth/me"] {
        let answer = client.get(path).await;
        assert!(!answer.header("x-request-id").is_empty(), "{path}: {:?}", answer.headers);
    }
    let with = async |id: &str| {
        let answer = client.send(client.request(Method::GET, "/health").header("x-request-id", id)).await;
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(with("caller-42").await, "caller-42");
    let insane = "x".repeat(5000);
    assert_ne!(with(&insane).await, insane);
    assert_ne!(with("with space and \"quotes\"").await, "with space and \"quotes\"");
}

#[tokio::test]
async fn other_origins_get_nothing_unless_configured() {
    let preflight = async |server: &Server| {
        let client = server.anonymous();
        let request = client.request(Method::OPTIONS, "/api/instances").header("origin", "https://app.example.com");
        client.send(request.header("access-control-request-method", "POST")).await
    };
    let closed = preflight(shared()).await;
    assert_eq!(closed.header("access-control-allow-origin"), "", "{:?}", closed.headers);
    let server = Server::start_with(&[("CORS_ORIGINS", "https://app.example.com")]);
    let open = preflight(&server).await;
    assert_eq!(open.header("access-control-allow-origin"), "https://app.example.com", "{:?}", open.headers);
    let client = server.anonymous();
    let foreign = client.request(Method::OPTIONS, "/api/instances").header("origin", "https://evil.example.com");
    let answer = client.send(foreign.header("access-control-request-method", "POST")).await;
    assert_ne!(answer.header("access-control-allow-origin"), "https://evil.example.com");
    assert_ne!(answer.header("access-control-allow-origin"), "*");
}

#[tokio::test]
async fn health_readiness_metrics() {
    let client = shared().anonymous();
    assert_eq!(client.get("/health").await.status, 200);
    assert_eq!(client.get("/ready").await.status, 200);
    let metrics = client.get("/metrics").await;
    if on_aws() {
        metrics.refused_with(404, "Metrics are in CloudWatch, namespace Trunkline");
        return;
    }
    assert_eq!(metrics.status, 200, "{metrics}");
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(text.contains("# TYPE"), "{text}");
}

#[tokio::test]
async fn the_openapi_document_knows_every_route() {
    let client = shared().anonymous();
    let document = client.get("/openapi.json").await.expect(200);
    shape(&json!({"openapi": "3.1.0", "info": {"title": "x", "version": "x"}, "paths": {}}), &document);
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let anonymous = |path: &str| {
        path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
    };
    let known: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), anonymous(path)))
        })
        .collect();
    let missing: Vec<String> = ROUTES
        .iter()
        .filter(|route| {
            let path = route.path.split('?').next().unwrap_or_default();
            !known.contains(&(route.method.to_owned(), anonymous(path)))
        })
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    assert!(missing.is_empty(), "not in the document: {missing:#?}");
    let docs = client.get("/docs").await;
    assert_eq!(docs.status, 200, "{docs}");
    let page = String::from_utf8_lossy(&docs.body).into_owned();
    assert!(!page.contains("src=\"http") && !page.contains("src=\"//"), "no CDN: {page}");
}

#[tokio::test]
async fn the_log_holds_no_contents_and_no_secrets() {
    let server = Server::start();
    let tenant = Tenant::of(&server).await;
    let given = json!({"webhookUrl": "http://127.0.0.1:9/hook", "webhookSecret": "sesame-open-up"});
    let instance = Instance::paired(&tenant.client, &given).await;
    let id = instance.send("79007778899", "the eagle has landed").await;
    instance.wait_message("79007778899", &id, "read").await;
    instance.receive("79007778899", "roger, eagle").await;
    instance.wait_event("message_received", |event| event["type"] == "message_received").await;
    let bad = tenant.client.with(Credential::ApiKey("bad-key-in-the-log".into()));
    bad.get("/api/auth/me").await.refused(401);
    let log = server.log();
    for secret in [
        "eagle",
        "79007778899",
        "sesame-open-up",
        &tenant.api_key,
        &tenant.password,
        "bad-key-in-the-log",
        &instance.phone,
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn a_graceful_stop_finishes_and_a_restart_goes_on() {
    let mut server = Server::start();
    let tenant = Tenant::of(&server).await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(instance.send("79001234567", &format!("number {number}")).await);
    }
    let status = server.stop();
    assert!(status.success(), "{status}");
    server.restart();
    instance.wait_status("connected").await;
    for id in &ids {
        instance.wait_outbox(id).await;
    }
    let outbox = instance.outbox().await;
    assert_eq!(outbox.len(), ids.len(), "each once");
    tenant.jwt.get("/api/auth/me").await.expect(200);
    let id = instance.send("79001234567", "after the restart").await;
    instance.wait_outbox(&id).await;
    eventually("no QR asked for", async || {
        (instance.get("").await["connectionStatus"]["hasQr"] == false).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_second_process_on_the_same_data_is_refused() {
    let server = Server::start();
    let port = crate::harness::server::free_port();
    let second = server.command_with(&["serve"], &[("LISTEN_ADDR", &format!("127.0.0.1:{port}"))]);
    assert!(!second.status.success(), "two writers on one folder");
    assert_eq!(server.anonymous().get("/ready").await.status, 200);
}

#[tokio::test]
async fn what_was_put_aside_and_forgotten_goes() {
    let mut server = Server::start();
    let tmp = server.data_dir().join("media/tmp");
    std::fs::create_dir_all(&tmp).expect("a folder");
    let (old, new) = (tmp.join("old"), tmp.join("new"));
    for path in [&old, &new] {
        std::fs::write(path, "half of something").expect("a file");
    }
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3 * 86_400);
    std::fs::File::options().write(true).open(&old).and_then(|file| file.set_modified(long_ago)).expect("its time");
    server.kill();
    server.restart();
    eventually("the old one is gone", async || (!old.exists()).then_some(())).await;
    assert!(new.exists(), "somebody may be writing it");
}
