//! What README.md says about the control API, tried.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::bed::{ALICE, BOB, CAROL, with_alice};
use crate::control::Server;

const README: &str = include_str!("../../README.md");

/// The lines of the `json` block that begins with `start`.
fn block(start: &str) -> Vec<&'static str> {
    README
        .split("```json\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .find(|block| block.starts_with(start))
        .expect("the block is there")
        .lines()
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_of_the_readme_can_be_sent() {
    let server = Server::start().await;
    for (phone, name) in [(ALICE, "Alice"), (BOB, "Bob"), (CAROL, "Carol"), ("15550000004", "Dan")] {
        server.phone(phone, name).await;
    }
    let examples = block("{\"text\"");
    for (at, example) in examples.iter().enumerate() {
        let message: Value = serde_json::from_str(example).expect(example);
        let id = format!("M{}", at + 1);
        let body = json!({"to": ALICE, "message": message, "id": id});
        server.post(&format!("/phones/{BOB}/send"), body).await;
    }
    let inbox = server.get(&format!("/phones/{ALICE}/inbox")).await;
    let arrived = inbox["messages"].as_array().expect("a list");
    assert_eq!(arrived.len(), examples.len());
    let kinds: BTreeSet<&str> = arrived.iter().filter_map(|message| message["kind"].as_str()).collect();
    assert!(!kinds.contains("unknown"), "{kinds:?}");
    assert_eq!(arrived[14]["content"]["options"], json!(["tea"]), "{}", arrived[14]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_phone_of_the_readme_looks_like_one() {
    let server = Server::start().await;
    let phone = server.phone(ALICE, "Alice").await;
    let shown: Value = serde_json::from_str(&block("{\"phone\"").concat()).expect("JSON");
    let keys = |value: &Value| -> BTreeSet<String> { value.as_object().expect("an object").keys().cloned().collect() };
    assert_eq!(keys(&phone), keys(&shown));
}

/// `METHOD /path` wherever the README names one in code.
fn routes() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for code in README.split('`').skip(1).step_by(2) {
        let mut words = code.split([' ', ',']).filter(|word| !word.is_empty());
        if let (Some(method @ ("GET" | "POST" | "PATCH" | "DELETE")), Some(path)) = (words.next(), words.next()) {
            let path = path.split('?').next().unwrap_or(path);
            found.insert((method.to_owned(), path.to_owned()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_readme_exists() {
    let server = with_alice().await;
    let routes = routes();
    assert!(routes.len() > 25, "{routes:?}");
    for (method, path) in routes {
        let path =
            path.replace("{phone}", ALICE).replace("{group}", "1").replace("{id}", "1").replace("{action}", "add");
        let (status, answer) = server.send(&method, &path, json!({})).await;
        // An unknown route or method has no body; everything else says what is wrong.
        let missing = (status == 404 || status == 405) && !answer["error"].is_string();
        assert!(!missing || path.starts_with("/v/media/"), "{method} {path}: {status}");
    }
}
