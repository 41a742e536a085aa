//! Who may come in: open mode, `THIRD_PARTY_AUTH`, and two tenants.

use super::{PREFIXES, SYNC, account, alone, answer_of, text};
use crate::harness::{Client, Credential, Instance, Server, Tenant, shape};
use http::Method;
use serde_json::{Value, json};

/// Every endpoint, with a request that succeeds for its owner.
fn requests(prefix: &str, tenant: &Tenant, instance: &Instance, message: &str) -> Vec<(Method, String, Option<Value>)> {
    let send = json!({"to": "79001234567", "from": instance.id, "content": "hello"});
    let (user, base) = (&tenant.id, format!("{prefix}/whatsapp"));
    vec![
        (Method::POST, format!("{base}/messages"), Some(send)),
        (Method::GET, format!("{base}/messages/{message}/status"), None),
        (Method::POST, format!("{base}/contacts/sync"), Some(json!({ "userId": user }))),
        (Method::GET, format!("{base}/contacts?userId={user}&platformUserId=79001234567"), None),
        (Method::GET, format!("{base}/contacts/list?userId={user}"), None),
    ]
}

/// Asks everything with these headers; all answers must have this status, or be a success for 0.
async fn all(client: &Client, requests: &[(Method, String, Option<Value>)], headers: &[(&str, &str)], status: u16) {
    for (method, path, body) in requests {
        let mut request = client.request(method.clone(), path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = client.send(request).await;
        match status {
            0 => assert!(matches!(answer.status, 200 | 201), "{headers:?}: {answer}"),
            status => drop(answer.refused(status)),
        }
    }
}

const FOREIGN: [&[(&str, &str)]; 7] = [
    &[("host", "example.com")],
    &[("host", "127.0.0.1.example.com")],
    &[("x-forwarded-for", "127.0.0.1")],
    &[("x-forwarded-host", "localhost")],
    &[("forwarded", "for=127.0.0.1")],
    &[("origin", "https://example.com")],
    &[("origin", "null")],
];

#[tokio::test]
async fn on_a_developers_machine_it_is_open_and_for_others_it_is_not() {
    let (server, tenant) = alone().await;
    let instance = account(&tenant, "whatsapp").await;
    let message = text(&tenant.client, "whatsapp", &instance.id, "79001234567", "hello").await;
    let anonymous = server.anonymous();
    let host = server.url().replace("127.0.0.1", "localhost").replace("http://", "");
    for prefix in PREFIXES {
        let requests = requests(prefix, &tenant, &instance, message["id"].as_str().unwrap());
        all(&anonymous, &requests, &[], 0).await;
        all(&anonymous, &requests, &[("host", &host)], 0).await;
        all(&anonymous, &requests, &[("origin", &server.url())], 0).await;
        for headers in FOREIGN {
            all(&anonymous, &requests, headers, 401).await;
            all(&tenant.client, &requests, headers, 0).await;
        }
        // A bad credential is not better than none.
        all(&anonymous.with(Credential::ApiKey("wrong".into())), &requests, &[], 401).await;
        all(&anonymous.with(Credential::Bearer("a.b.c".into())), &requests, &[], 401).await;
    }
}

#[tokio::test]
async fn a_setting_closes_it() {
    let server = Server::start_with(&[("THIRD_PARTY_AUTH", "key")]);
    let tenant = Tenant::of(&server).await;
    let instance = account(&tenant, "whatsapp").await;
    let message = text(&tenant.client, "whatsapp", &instance.id, "79001234567", "hello").await;
    let requests = requests("/third-party", &tenant, &instance, message["id"].as_str().unwrap());
    all(&server.anonymous(), &requests, &[], 401).await;
    all(&tenant.client, &requests, &[], 0).await;
    all(&tenant.jwt, &requests, &[], 0).await;
}

#[tokio::test]
async fn a_setting_opens_it_for_everybody() {
    let server = Server::start_with(&[("THIRD_PARTY_AUTH", "off")]);
    let tenant = Tenant::of(&server).await;
    let instance = account(&tenant, "whatsapp").await;
    let message = text(&tenant.client, "whatsapp", &instance.id, "79001234567", "hello").await;
    let requests = requests("/api/third-party", &tenant, &instance, message["id"].as_str().unwrap());
    for headers in FOREIGN {
        all(&server.anonymous(), &requests, headers, 0).await;
    }
    // Everything else stays closed.
    server.anonymous().get("/api/instances").await.refused(401);
    // Keys of requests work without credentials, too.
    let anonymous = server.anonymous();
    let before = instance.outbox().await.len();
    let body = json!({"to": "79001234567", "from": instance.id, "content": "once"});
    for replayed in ["", "true"] {
        let request = anonymous.request(Method::POST, "/third-party/whatsapp/messages").json(&body);
        let request = request.header("x-forwarded-for", "192.0.2.1").header("idempotency-key", "k");
        let answer = anonymous.send(request).await;
        answer.expect(201);
        assert_eq!(answer.header("idempotent-replay"), replayed);
    }
    assert_eq!(instance.outbox().await.len(), before + 1);
}

#[tokio::test]
async fn tenants_do_not_reach_each_other() {
    let (server, victim) = alone().await;
    let intruder = Tenant::of(&server).await;
    let instance = account(&victim, "whatsapp").await;
    let message = text(&victim.client, "whatsapp", &instance.id, "79001234567", "secret").await;
    let before = instance.events().await.len();
    let requests = requests("/third-party", &victim, &instance, message["id"].as_str().unwrap());
    all(&intruder.client, &requests, &[], 403).await;
    all(&intruder.jwt, &requests, &[], 403).await;
    let changed = |event: &Value| event["type"] == "contacts_updated" || event["type"] == "message_sent";
    assert!(!instance.events().await[before..].iter().any(changed), "an intruder changed something");
    all(&server.admin(), &requests, &[], 0).await;
    let contacts = server.admin().post("/third-party/whatsapp/contacts/sync", &json!({"userId": victim.id})).await;
    shape(answer_of(SYNC), &contacts.expect(200));
}

#[tokio::test]
async fn a_user_who_does_not_exist_is_unknown_to_those_who_may_ask() {
    let (server, tenant) = alone().await;
    for id in ["user-uuid", "01k0000000000000", &"x".repeat(3000), "a b", "#"] {
        let body = json!({ "userId": id });
        let query = format!("userId={}&platformUserId=1", super::encoded(id));
        for (client, status, code) in [
            (&server.admin(), 404, "USER_NOT_FOUND"),
            (&server.anonymous(), 404, "USER_NOT_FOUND"),
            (&tenant.client, 403, "FORBIDDEN"),
        ] {
            for answer in [
                client.post("/third-party/signal/contacts/sync", &body).await,
                client.get(&format!("/third-party/signal/contacts?{query}")).await,
                client.get(&format!("/third-party/signal/contacts/list?{query}")).await,
            ] {
                assert_eq!(answer.refused(status).code, code, "{answer}");
                assert_eq!(answer.json()["error"]["details"]["field"], "userId");
            }
        }
    }
}
