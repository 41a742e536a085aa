//! A linked account moves between servers and homes, without a new QR code.

use super::Stage;
use crate::harness::{Instance, Server, Tenant};
use serde_json::json;

const PASSPHRASE: &str = "correct horse battery";

/// A message in each direction.
async fn talks(stage: &Stage, about: &str) {
    let sent = stage.tells("/send", json!({ "message": about })).await;
    assert_eq!(sent["text"], about);
    let heard = stage.hears(&json!({ "text": about })).await;
    assert_eq!(heard["data"]["body"], about);
}

/// The session of the stage's instance goes to a new instance of a server, which the stage has from then on. Bob writes
/// meanwhile.
async fn moves(stage: Stage, server: Server) -> (Stage, Server, Instance) {
    let tenant = Tenant::of(&server).await;
    let instance = Instance::create(&tenant.client, &json!({"mode": "live"})).await;
    instance.qr().await;
    let file = stage.instance.export_session(PASSPHRASE).await;
    let old = stage.instance.get("").await;
    assert_eq!(old["connectionStatus"]["reason"], "session_exported");
    let meanwhile = stage.other.writes(&stage.own.number, &json!({"text": "where are you?"})).await;
    instance.import_session(&file, PASSPHRASE).await.expect(200);
    let shown = instance.wait_status("connected").await;
    assert_eq!(shown["address"], stage.own.address());
    instance.wait_event_of(&meanwhile).await;
    let Stage { whatsapp, server: before, instance: old, own, other } = stage;
    (Stage { whatsapp, server, instance, own, other }, before, old)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_session_goes_from_sqlite_to_dynamodb_and_back() {
    let stage = Stage::set().await;
    talks(&stage, "on SQLite").await;
    let bundle = stage.whatsapp.bundle();
    let (stage, local, first) = moves(stage, bundle).await;
    talks(&stage, "on DynamoDB").await;
    let local = local.killed_and_restarted().await;
    talks(&stage, "beside a server that was started again").await;
    assert_eq!(
        first.get("").await["connectionStatus"]["reason"],
        "session_exported",
        "it does not come back by itself"
    );
    assert_eq!(stage.whatsapp.stats().await["connections"], 1);

    let (stage, bundle, second) = moves(stage, local).await;
    talks(&stage, "on SQLite again").await;
    assert_eq!(second.get("").await["connectionStatus"]["reason"], "session_exported");
    let stats = stage.whatsapp.stats().await;
    assert_eq!((&stats["pairings"], &stats["connections"]), (&json!(1), &json!(1)), "{stats}");
    for none in ["undecryptable", "retryReceipts", "duplicateMessages"] {
        assert_eq!(stats[none], 0, "{stats}");
    }
    let arrived = stage.other.get("/inbox").await;
    assert_eq!(arrived["messages"].as_array().map(Vec::len), Some(4), "each once: {arrived}");
    // The account is here now: that the old place is cleared does not unlink it.
    second.client.order(&second.at("/logout")).await.expect(200);
    talks(&stage, "after the old place was cleared").await;
    drop(bundle);
}
