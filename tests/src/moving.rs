//! Session export and import on sandbox instances: the surface and its refusals. What moves with a real session: `whatsapp_web::moving`.

use crate::harness::{Instance, Tenant, eventually};
use serde_json::json;

const PASSPHRASE: &str = "correct horse battery";

#[tokio::test]
async fn a_session_moves_to_another_instance() {
    let tenant = Tenant::new().await;
    let (from, to) =
        (Instance::paired(&tenant.client, &json!({})).await, Instance::create(&tenant.client, &json!({})).await);
    let answer = from.post("/session/export", &json!({ "passphrase": PASSPHRASE })).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/octet-stream"), "{answer}");
    let disposition = answer.header("content-disposition");
    assert!(disposition.starts_with("attachment; filename=\"whatsapp-") && disposition.contains(&from.id));
    assert!(answer.body.starts_with(b"TRUNKLINE-SESSION 1\n"));
    let shown = from.wait_status("disconnected").await;
    assert_eq!(shown["connectionStatus"]["reason"], "session_exported");
    let closed = from.wait_event("closed", |event| event["type"] == "connection_closed").await;
    let said = (&closed["data"]["reason"], &closed["data"]["detail"], &closed["data"]["willReconnect"]);
    assert_eq!(said, (&json!("replaced"), &json!("session_exported"), &json!(false)));
    assert_eq!(from.get("/activity?actions=session_exported").await["pagination"]["total"], 1);

    to.qr().await;
    to.import_session(&answer.body, PASSPHRASE).await.expect(200);
    let moved = to.wait_status("connected").await;
    assert_eq!(moved["address"], shown["address"], "it is the same account");
    let sent = to.send("79001234567", "from its new place").await;
    to.wait_outbox(&sent).await;
    to.receive("79001234567", "to its new place").await;
    let actions = to.get("/activity?actions=session_imported").await;
    assert_eq!(actions["pagination"]["total"], 1);

    let refused = to.import_session(&answer.body, PASSPHRASE).await.refused(409);
    assert_eq!(refused.code, "ALREADY_PAIRED");
    // The file broke off on its way to the user: it is written once more, and the line stays closed.
    from.export_session("another passphrase").await;
    assert_eq!(from.get("").await["connectionStatus"]["reason"], "session_exported");
    from.client.order(&from.at("/reconnect")).await.expect(200);
    from.wait_status("connected").await;
}

#[tokio::test]
async fn what_does_not_open_or_does_not_fit_changes_nothing() {
    let tenant = Tenant::new().await;
    let from = Instance::paired(&tenant.client, &json!({})).await;
    let to = Instance::create(&tenant.client, &json!({})).await;
    let code = to.qr().await;
    let refused = to.post("/session/export", &json!({ "passphrase": PASSPHRASE })).await.refused(409);
    assert_eq!(refused.code, "NOT_PAIRED");
    for passphrase in
        [json!("short"), json!("пароль, который длинен"), json!(" around the spaces "), json!(7), json!(null)]
    {
        from.post("/session/export", &json!({ "passphrase": passphrase })).await.names("passphrase");
    }
    assert_eq!(from.get("").await["connectionStatus"]["status"], "connected", "a refusal closes nothing");
    let file = from.export_session(PASSPHRASE).await;

    let refused = to.import_session(&file, "another passphrase").await.refused(400);
    assert_eq!(refused.code, "WRONG_PASSPHRASE");
    to.import_session(&file, "short").await.names("X-Session-Passphrase");
    to.client.order(&to.at("/session/import")).await.names("X-Session-Passphrase");
    to.import_session(b"", PASSPHRASE).await.names("file");
    to.import_session(b"not a session", PASSPHRASE).await.names("file");
    to.import_session(&file[..40], PASSPHRASE).await.names("file");
    to.import_session(&file[..file.len() - 1], PASSPHRASE).await.names("file");
    let mut changed = file.to_vec();
    *changed.last_mut().expect("a file") ^= 1;
    to.import_session(&changed, PASSPHRASE).await.names("passphrase");
    let other = Instance::create(&tenant.client, &json!({"platform": "telegram"})).await;
    let refused = other.import_session(&file, PASSPHRASE).await.refused(409);
    assert_eq!(refused.code, "OTHER_PLATFORM");
    let guid = format!("device-of-{}", tenant.id);
    let device = json!({"platform": "wecom", "mode": "live", "credentials": {"guid": guid}});
    let device = Instance::create(&tenant.client, &device).await;
    assert_eq!(device.import_session(&file, PASSPHRASE).await.refused(400).code, "NOT_SUPPORTED");
    let refused = device.post("/session/export", &json!({ "passphrase": PASSPHRASE })).await.refused(400);
    assert_eq!(refused.code, "NOT_SUPPORTED");

    assert_eq!(to.qr().await, code, "the pairing under way is the same");
    to.import_session(&file, PASSPHRASE).await.expect(200);
    eventually("connected", async || (to.get("").await["connectionStatus"]["ready"] == true).then_some(())).await;
}
