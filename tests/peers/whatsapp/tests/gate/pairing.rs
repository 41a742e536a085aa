//! Linking, logging in, and being cut off.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use wacore::store::InMemoryBackend;
use wacore_binary::Jid;
use whatsapp_rust::types::events::Event;

use crate::bed::{ALICE, BOB, alice_and_bob, linked_alice, until, with_alice};
use crate::client::{Device, Options};
use crate::control::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_linked_by_qr_and_comes_back_without() {
    let (server, device) = linked_alice().await;
    assert_eq!(device.client.pn().expect("linked").user, ALICE);

    let storage = device.stop().await;
    let device = Device::start(&server, storage).await;
    device.connected().await;

    let phone = server.get(&format!("/phones/{ALICE}")).await;
    assert_eq!(phone["devices"][0]["logins"], 2, "{phone}");
    let stats = server.get("/stats").await;
    assert_eq!(stats["pairings"], 1, "{stats}");
    assert_eq!(stats["unknownIqs"], json!({}), "{stats}");
    assert_eq!(stats["needlessAcks"], 0, "{stats}");
    assert_eq!(stats["prekeyUploads"], 1, "the digest satisfied it: {stats}");
}

async fn pairing_code(device: &Device) -> String {
    device
        .event("a code", |event| match event {
            Event::PairingCode(code) => Some(code.code.clone()),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_linked_by_code() {
    let server = with_alice().await;
    let wants_code = async || {
        let options = Options { code_for: Some(ALICE.to_owned()), ..Options::default() };
        Device::start_with(&server, Arc::new(InMemoryBackend::new()), options).await
    };
    let device = wants_code().await;
    let code = pairing_code(&device).await;
    let (status, refused) = server.try_post(&format!("/phones/{ALICE}/scan"), json!({"code": "AAAAAAAA"})).await;
    assert_eq!(status, 400, "a wrong code: {refused}");

    // A wrong code ends the attempt: the client must ask for another one.
    drop(device.crash());
    let device = wants_code().await;
    let fresh = pairing_code(&device).await;
    assert_ne!(fresh, code);
    server.post(&format!("/phones/{ALICE}/scan"), json!({ "code": fresh })).await;
    device.connected().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qr_that_nobody_shows_is_refused() {
    let server = with_alice().await;
    let (status, _) = server.try_post(&format!("/phones/{ALICE}/scan"), json!({"qr": "2@x,a,b,c,1"})).await;
    assert_eq!(status, 400);
    let (status, _) = server.try_post("/phones/1/scan", json!({"qr": "2@x,a,b,c,1"})).await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_asks_for_a_passkey() {
    let server = Server::start().await;
    server.post("/phones", json!({"phone": ALICE, "passkey": true})).await;
    let device = Device::start(&server, Arc::new(InMemoryBackend::new())).await;
    let qr = device.qr().await;
    let (status, answer) = server.try_post(&format!("/phones/{ALICE}/scan"), json!({ "qr": qr })).await;
    assert_eq!(status, 400, "{answer}");
    device.event("the request", |event| matches!(event, Event::PairPasskeyRequest(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_phone_unlinks_the_device() {
    let (server, device) = linked_alice().await;
    server.post(&format!("/phones/{ALICE}/unlink"), json!({})).await;
    logged_out(&device).await;

    let again = Device::start(&server, device.crash()).await;
    logged_out(&again).await;
    assert_eq!(server.get("/stats").await["refusedLogins"], 1);
}

async fn logged_out(device: &Device) {
    device.event("to be logged out", |event| matches!(event, Event::LoggedOut(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_device_unlinks_itself() {
    let (server, device) = linked_alice().await;
    device.client.logout().await;
    let phone = server.get(&format!("/phones/{ALICE}")).await;
    assert_eq!(phone["devices"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_replaces_the_first() {
    let (server, first) = linked_alice().await;
    let second = Device::start(&server, first.storage.clone()).await;
    second.connected().await;
    replaced(&first).await;

    server.post(&format!("/phones/{ALICE}/replace"), json!({})).await;
    replaced(&second).await;
}

async fn replaced(device: &Device) {
    device.event("to be replaced", |event| matches!(event, Event::StreamReplaced(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_account_cannot_log_in() {
    let (server, device) = linked_alice().await;
    let ban = json!({"reason": 402, "code": 101, "expire": 3600});
    server.post(&format!("/phones/{ALICE}/ban"), ban).await;
    device.event("a temporary ban", |event| matches!(event, Event::TemporaryBan(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_cut_and_nothing_is_lost() {
    let (server, device) = alice_and_bob().await;

    let cut = server.post("/network/cut", json!({"seconds": 2.0})).await;
    assert_eq!(cut["broken"], 1);
    for number in 0..3 {
        server.bob_says(&format!("meanwhile {number}")).await;
    }
    let client = device.client.clone();
    let waiting = tokio::spawn(async move {
        let message =
            waproto::whatsapp::Message { conversation: Some("sent while it was cut".to_owned()), ..Default::default() };
        client.send_message(Jid::pn(BOB), message).await
    });
    device.text("meanwhile 2").await;
    assert_eq!(device.texts(), ["meanwhile 0", "meanwhile 1", "meanwhile 2"]);
    waiting.await.expect("no panic").expect("sent");
    assert_eq!(server.arrived(BOB, "conversation").await["text"], "sent while it was cut");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stats = server.get("/stats").await;
    assert_eq!(stats["duplicateMessages"], 0, "{stats}");
    assert!(stats["resumed"].as_u64() >= Some(1), "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_silent_for_a_while() {
    let (server, device) = alice_and_bob().await;
    let cut = server.post("/network/cut", json!({"seconds": 1.0, "silent": true, "phones": [ALICE]})).await;
    assert_eq!(cut["broken"], 0);
    server.bob_says("held back").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(device.texts().is_empty(), "nothing passes");
    device.text("held back").await;
    let phone = server.get(&format!("/phones/{ALICE}")).await;
    assert_eq!(phone["devices"][0]["logins"], 1, "the connection stayed: {phone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_error_makes_the_client_come_back() {
    let (server, device) = linked_alice().await;
    server.post(&format!("/phones/{ALICE}/stream-error"), json!({"code": 503})).await;
    let phone = format!("/phones/{ALICE}");
    until("it comes back", async || server.get(&phone).await["devices"][0]["logins"] == 2).await;
    drop(device);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_account_gets_failure_403_until_it_is_unlocked() {
    let (server, device) = linked_alice().await;
    server.post(&format!("/phones/{ALICE}/ban"), json!({"reason": 403})).await;
    logged_out(&device).await;
    let (status, _) = server.send("DELETE", &format!("/phones/{ALICE}/ban"), json!({})).await;
    assert_eq!(status, 200);
    let device = Device::start(&server, device.crash()).await;
    device.connected().await;
}
