//! Seed 000, four platforms behind one form: every endpoint on every platform, compared with the seed's examples
//! (`seeds/000/examples.json`, word for word); who may come in; and the same sending by instance.

mod access;
mod contacts;
mod neutral;
mod received;
mod send;
mod sender;
mod status;
mod sync;

use crate::harness::{Answer, Client, Instance, Server, Tenant};
use serde_json::{Value, json};
use std::sync::LazyLock;

static EXAMPLES: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../seeds/000/examples.json")).expect("the fixture holds JSON")
});

const PLATFORMS: [&str; 4] = ["whatsapp", "telegram", "wechat", "signal"];
const PREFIXES: [&str; 3] = ["/third-party", "/api/third-party", "/api/v1/third-party"];

/// The seed's example answer of an endpoint.
#[track_caller]
fn answer_of(endpoint: &str) -> &'static Value {
    let example = &EXAMPLES[endpoint]["answer"];
    assert!(!example.is_null(), "the seed has no answer of {endpoint}");
    example
}

/// The seed's example request.
#[track_caller]
fn request_of(endpoint: &str) -> Value {
    let example = &EXAMPLES[endpoint]["request"];
    assert!(!example.is_null(), "the seed has no request of {endpoint}");
    example.clone()
}

const SEND: &str = "POST /third-party/{platform}/messages";
const SYNC: &str = "POST /third-party/{platform}/contacts/sync";
const CONTACT: &str = "GET /third-party/{platform}/contacts";

/// A connected account of the tenant on the platform.
async fn account(tenant: &Tenant, platform: &str) -> Instance {
    Instance::paired(&tenant.client, &json!({"platform": platform})).await
}

/// A connected account whose phone has this number.
async fn account_with(tenant: &Tenant, platform: &str, phone: &str) -> Instance {
    let mut instance = Instance::create(&tenant.client, &json!({"platform": platform})).await;
    phone.clone_into(&mut instance.phone);
    instance.scan().await;
    instance
}

/// A server of its own, with one tenant.
async fn alone() -> (Server, Tenant) {
    let server = Server::start();
    let tenant = Tenant::of(&server).await;
    (server, tenant)
}

/// Sends a text; any answer.
async fn try_text(client: &Client, platform: &str, from: &str, to: &str, content: &str) -> Answer {
    let body = json!({"to": to, "from": from, "content": content});
    client.post(&format!("/third-party/{platform}/messages"), &body).await
}

/// Sends a text.
async fn text(client: &Client, platform: &str, from: &str, to: &str, content: &str) -> Value {
    try_text(client, platform, from, to, content).await.expect(201)
}

/// The status of a message, as the seed's endpoint tells it.
async fn status(client: &Client, platform: &str, message: &Value) -> String {
    let id = message["id"].as_str().expect("an id");
    let answer = client.get(&format!("/third-party/{platform}/messages/{id}/status")).await;
    assert_eq!(answer.header("content-type"), "application/json", "{answer}");
    answer.expect(200).as_str().expect("a JSON string").to_owned()
}

/// Percent-encodes a value of a query.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
