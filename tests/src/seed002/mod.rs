//! Seed 002, the IM: every endpoint with its success and its refusals, compared with the seed's examples
//! (`seeds/002/examples.json`, word for word), and what our own specification adds to them.

mod channel;
mod client;
mod message;
pub(crate) mod storm;
mod tenancy;

use serde_json::Value;
use std::sync::LazyLock;

static EXAMPLES: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../seeds/002/examples.json")).expect("the fixture holds JSON")
});

/// A part of an endpoint's example: `request`, `answer` or `error`.
#[track_caller]
fn example(endpoint: &str, part: &str) -> &'static Value {
    let example = &EXAMPLES[endpoint][part];
    assert!(!example.is_null(), "the seed has no {part} of {endpoint}");
    example
}
