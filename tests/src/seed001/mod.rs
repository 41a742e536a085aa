//! Seed 001, the WhatsApp multi-instance API: every endpoint with its success and its refusals, compared with the seed's
//! examples (`seeds/001/examples.json`, word for word), and what our own specification adds to them.

mod activity;
mod auth;
mod contacts;
mod counted;
mod deliveries;
mod events;
mod examples;
mod history;
mod idempotency;
mod instances;
mod keys;
mod limits;
mod media;
mod network;
mod pairing;
mod send;
mod stats;
mod webhooks;

use serde_json::Value;
use std::sync::LazyLock;

static EXAMPLES: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../seeds/001/examples.json")).expect("the fixture holds JSON")
});

/// The seed's example answer of an endpoint, `METHOD /path` as the seed writes it.
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

/// The seed's example of a webhook.
#[track_caller]
fn webhook_of(event: &str) -> &'static Value {
    let example = &EXAMPLES[format!("webhook {event}").as_str()];
    assert!(!example.is_null(), "the seed has no webhook {event}");
    example
}
