//! The seed's Python and Node examples, as they stand there but for URL, key and instance id.

use crate::harness::tools::{node, python, seed_file, stdout};
use crate::harness::{Instance, Tenant, eventually};
use serde_json::json;

/// Puts our values where the example has its placeholders; each must be there.
fn adapted(example: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(seed_file(example), |text, (placeholder, value)| {
        assert!(text.contains(placeholder), "{example} has no {placeholder}");
        text.replace(placeholder, value)
    })
}

async fn arrived(instance: &Instance, text: &str) {
    eventually(&format!("{text} in the outbox"), async || {
        instance.outbox().await.into_iter().find(|message| message["text"] == text)
    })
    .await;
}

#[tokio::test]
async fn the_python_example_runs() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let url = format!("{}/api", tenant.client.base());
    let id = format!("\"{}\"", instance.id);
    // The instance it creates has nobody who scans it: what it sends goes through one that was scanned.
    let program = adapted(
        "001/example.py",
        &[("YOUR_API_KEY", &tenant.api_key), ("https://api.example.com/api", &url), ("instance[\"id\"]", &id)],
    );
    let printed = stdout(&python(&program, ""));
    assert!(printed.starts_with("消息已发送，ID: "), "{printed}");
    arrived(&instance, "你好！这是一条测试消息。").await;
    assert_eq!(tenant.client.get("/api/instances").await.expect(200)["instances"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_node_example_runs() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let url = format!("{}/api", tenant.client.base());
    let program = adapted(
        "001/example.cjs",
        &[("YOUR_API_KEY", &tenant.api_key), ("https://api.example.com/api", &url), ("YOUR_INSTANCE_ID", &instance.id)],
    );
    let printed = stdout(&node(&program, ""));
    assert!(printed.starts_with("消息已发送，ID: "), "{printed}");
    arrived(&instance, "来自 Node.js 的问候！").await;
}
