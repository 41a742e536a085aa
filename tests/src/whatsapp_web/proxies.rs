//! A proxy of an instance's own: its socket and its media go through it, and nothing of anybody else.

use super::{PNG, Stage};
use crate::harness::tunnel::Tunnel;
use serde_json::json;

/// `user:secret`, as `Proxy-Authorization` has it.
const BASIC: &str = "basic dxnlcjpzzwnyzxq=";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_of_an_account_goes_through_its_proxy_and_nothing_of_others() {
    let (first, second) = (Tunnel::start().await, Tunnel::start().await);
    let stage = Stage::set_with(&[], &json!({"proxyUrl": first.url("user:secret")})).await;
    let shown = stage.instance.get("").await.to_string();
    assert!(!shown.contains("secret"), "{shown}");
    let socket = format!("CONNECT {} ", stage.whatsapp.socket());
    // The one that paired and the one that logged in.
    assert!(first.count(&socket) >= 2, "{:?}", first.heads());
    let image = stage.tells("/send-media", json!({"base64": PNG, "caption": "a dot"})).await;
    assert_eq!(image["text"], "a dot");
    assert_eq!(first.count("POST http://127.0.0.1:"), 1, "the upload: {:?}", first.heads());
    let heads = first.heads();
    assert!(heads.iter().all(|head| head.to_ascii_lowercase().contains(BASIC)), "{heads:?}");

    let direct = stage.other.links(&stage.instance.client, &json!({})).await;
    assert_eq!(stage.hears(&json!({"text": "without a proxy"})).await["data"]["body"], "without a proxy");
    assert_eq!(first.heads(), heads, "another account of the same user takes its own way");

    // Another proxy counts from the moment it is set.
    let change = json!({"proxyUrl": second.url("user:secret")});
    stage.instance.client.put(&stage.instance.at(""), &change).await.expect(200);
    crate::harness::eventually("a connection through the other", async || (second.count(&socket) > 0).then_some(()))
        .await;
    stage.instance.wait_status("connected").await;
    assert_eq!(stage.tells("/send", json!({"message": "another way"})).await["text"], "another way");
    assert_eq!(first.heads(), heads);

    // Without its proxy the account is away, rather than where everybody sees it.
    drop(second);
    super::lines::closed(&stage.instance, "unreachable").await;
    let refused = stage.instance.wa_post("/check", &json!({"phones": [stage.other.number]})).await;
    assert_eq!(refused.status, 409, "{refused}");
    assert_eq!(stage.own.get("").await["devices"][0]["connected"], false);
    assert_eq!(direct.get("").await["connectionStatus"]["status"], "connected");
    let none = json!({"proxyUrl": null});
    stage.instance.client.put(&stage.instance.at(""), &none).await.expect(200);
    stage.instance.wait_status("connected").await;
    assert_eq!(stage.tells("/send", json!({"message": "directly"})).await["text"], "directly");
}
