//! The seed's own lines, as they stand there but for address and credentials.

use crate::harness::server::ADMIN_API_KEY;
use crate::harness::tools::{node, seed_file, stdout};
use crate::harness::{Person, Server, eventually};
use serde_json::{Deserializer, Value, json};
use std::process::{Command, Stdio};

const ADDRESS: &str = "https://chat.example.com";

/// A file of the seed with our address in the place of its own.
fn adapted(file: &str, server: &Server) -> String {
    let text = seed_file(file);
    assert!(text.contains(ADDRESS), "{file} has no {ADDRESS}");
    text.replace(ADDRESS, &server.url())
}

#[tokio::test]
async fn the_javascript_samples_log_in_and_send() {
    let server = Server::start();
    Person::named(&server, "alice").await;
    let target = Person::named(&server, "target_user").await;
    // What the samples leave out: a UUID, and somebody who looks at the outcome.
    let program = format!(
        "const generateUUID = () => require('node:crypto').randomUUID();\n(async () => {{\n{}\n{}\nconsole.log(token);\n}})();",
        adapted("004/login.mjs", &server),
        adapted("004/send.mjs", &server),
    );
    let running = tokio::task::spawn_blocking(move || stdout(&node(&program, "")));
    let token = running.await.expect("no panic");
    assert_eq!(token.trim().split('.').count(), 3, "a JWT: {token}");
    let conversation =
        eventually("the message", async || target.get("/api/conversations").await["conversations"].get(0).cloned())
            .await;
    assert_eq!((&conversation["name"], &conversation["unread"]), (&json!("bot_user"), &json!(1)));
    assert_eq!(conversation["lastMessage"]["content"], "系统通知:您的订单已发货");
    assert_eq!(conversation["lastMessage"]["contentType"], "text");
}

#[tokio::test]
async fn the_curl_lines_administer() {
    let server = Server::start();
    let (a, b) = (Person::named(&server, "user_a").await, Person::named(&server, "user_b").await);
    let creator = Person::named(&server, "admin_user").await;
    a.chat("single", "user_b", "one").await;
    b.chat("single", "user_a", "two").await;
    let script = adapted("004/admin.sh", &server);
    assert!(script.contains("YOUR_API_KEY"));
    let script = script.replace("YOUR_API_KEY", ADMIN_API_KEY).replace("curl ", "curl -s --fail --noproxy '*' ");
    let output = tokio::task::spawn_blocking(move || {
        Command::new("bash").args(["-euo", "pipefail", "-c", &script]).stdin(Stdio::null()).output().expect("bash runs")
    });
    let printed = stdout(&output.await.expect("no panic"));
    let answers: Vec<Value> =
        Deserializer::from_str(&printed).into_iter().collect::<Result<_, _>>().expect("three answers in JSON");
    let [users, history, group] = answers.as_slice() else { panic!("not three answers: {printed}") };
    assert!(answers.iter().all(|answer| answer["code"] == 200), "{printed}");
    let names: Vec<_> = users["data"]["users"].as_array().unwrap().iter().map(|user| &user["username"]).collect();
    assert_eq!(names, ["", "user_a", "user_b", "admin_user"], "the first administrator has no username");
    let contents: Vec<_> =
        history["data"]["messages"].as_array().unwrap().iter().map(|message| &message["content"]).collect();
    assert_eq!(contents, ["two", "one"], "newest first, both directions");
    let made = &group["data"];
    assert_eq!(
        (&made["id"], &made["name"], &made["creatorId"]),
        (&json!("group_001"), &json!("客服群"), &json!(creator.id))
    );
    assert_eq!(made["memberCount"], 1, "the creator is a member");
    creator.chat("group", "group_001", "welcome").await;
}
