//! Messages between phones and clients: delivery, acknowledgement, repetition, refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use wacore::store::InMemoryBackend;
use wacore::store::traits::SignalStore as _;
use wacore_binary::Jid;
use whatsapp_rust::types::events::Event;
use whatsapp_rust::types::presence::ReceiptType;

use crate::bed::{ALICE, BOB, alice_and_bob, until, with_alice, with_alice_and_bob};
use crate::client::{Device, Options};

#[tokio::test(flavor = "multi_thread")]
async fn text_goes_both_ways() {
    let (server, device) = alice_and_bob().await;
    let id = server.bob_says("hello Alice").await;
    let arrived = device.text("hello Alice").await;
    assert_eq!(arrived.info.id, id);
    assert_eq!(arrived.info.push_name, "Bob");
    assert_eq!(arrived.info.source.sender.user, BOB);
    assert!(arrived.info.source.sender_alt.is_some(), "the LID is beside it");

    device.say(&Jid::pn(BOB), "hello Bob").await;
    let arrived = server.arrived(BOB, "conversation").await;
    assert_eq!(arrived["text"], "hello Bob");
    assert_eq!(arrived["from"], ALICE);
    let inbox = server.get(&format!("/phones/{ALICE}/inbox?from={ALICE}&wait=10")).await;
    let own = &inbox["messages"][0];
    assert_eq!((&own["fromMe"], &own["text"]), (&json!(true), &json!("hello Bob")));
    server.until_nothing_is_pending(ALICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_writes_under_its_lid_is_understood() {
    let server = with_alice().await;
    server.post("/phones", json!({"phone": BOB, "name": "Bob", "lid": "100000000000002", "addressing": "lid"})).await;
    let device = Device::linked(&server, ALICE).await;
    server.bob_says("from a LID").await;
    let arrived = device.text("from a LID").await;
    assert_eq!(arrived.info.source.sender.user, "100000000000002");
    assert_eq!(arrived.info.source.sender_alt.as_ref().expect("the number").user, BOB);
    device.say(&Jid::lid("100000000000002"), "to a LID").await;
    assert_eq!(server.arrived(BOB, "conversation").await["text"], "to a LID");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clients_write_to_each_other() {
    let (server, alice) = alice_and_bob().await;
    let bob = Device::linked(&server, BOB).await;
    let id = alice.say(&Jid::pn(BOB), "client to client").await;
    assert_eq!(bob.text("client to client").await.info.id, id);
    bob.say(&Jid::pn(ALICE), "and back").await;
    alice.text("and back").await;
    // Both phones have it as well.
    assert_eq!(server.arrived(ALICE, "conversation").await["text"], "client to client");
    receipt(&alice, &id, &ReceiptType::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_phone_writes_reaches_its_own_device() {
    let (server, device) = alice_and_bob().await;
    server.writes(ALICE, BOB, json!({"text": "typed on the phone"})).await;
    let arrived = device.text("typed on the phone").await;
    assert!(arrived.info.source.is_from_me);
    assert_eq!(arrived.info.source.chat.user, BOB);
    server.until_nothing_is_pending(ALICE).await;
}

async fn receipt(device: &Device, id: &str, kind: &ReceiptType) {
    device
        .event(&format!("a receipt {kind:?} for {id}"), |event| match event {
            Event::Receipt(receipt) => {
                (receipt.r#type == *kind && receipt.message_ids.iter().any(|other| *other == id)).then_some(())
            }
            _ => None,
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_go_both_ways() {
    let (server, device) = alice_and_bob().await;
    let id = device.say(&Jid::pn(BOB), "read me").await;
    receipt(&device, &id, &ReceiptType::Delivered).await;
    server.post(&format!("/phones/{BOB}/read"), json!({ "ids": [id] })).await;
    receipt(&device, &id, &ReceiptType::Read).await;

    let id = server.bob_says("read this").await;
    device.text("read this").await;
    let delivered = server.get(&format!("/phones/{BOB}/receipts?id={id}&wait=10")).await;
    assert_eq!(delivered["receipts"][0]["from"], ALICE, "{delivered}");
    device.client.mark_as_read(&Jid::pn(BOB), None, &[&id]).await.expect("sent");
    let read = server.get(&format!("/phones/{BOB}/receipts?id={id}&kind=read&wait=10")).await;
    assert_eq!(read["receipts"][0]["from"], ALICE, "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_refused_on_request() {
    let (server, device) = alice_and_bob().await;
    server.post(&format!("/phones/{ALICE}/refuse"), json!({"error": 463})).await;
    let refused = device.say(&Jid::pn(BOB), "to a stranger").await;
    let error = device
        .event("the refusal", |event| match event {
            Event::ServerAck(ack) if ack.id == refused => Some(ack.error.clone()),
            _ => None,
        })
        .await;
    assert_eq!(error.as_deref(), Some("463"));

    let accepted = device.say(&Jid::pn(BOB), "now it goes").await;
    let error = device
        .event("the ack", |event| match event {
            Event::ServerAck(ack) if ack.id == accepted => Some(ack.error.clone()),
            _ => None,
        })
        .await;
    assert_eq!(error, None);
    let inbox = server.get(&format!("/phones/{BOB}/inbox?wait=10")).await;
    assert_eq!(inbox["messages"][0]["text"], "now it goes", "{inbox}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_delivered_at_login_in_order() {
    let (server, device) = alice_and_bob().await;
    server.bob_says("before").await;
    device.text("before").await;
    server.until_nothing_is_pending(ALICE).await;
    let storage = device.stop().await;
    let texts: Vec<String> = (0..30).map(|number| format!("backlog {number}")).collect();
    for text in &texts {
        server.bob_says(text).await;
    }
    assert_eq!(server.pending(ALICE).await.len(), texts.len());

    let device = Device::start(&server, storage).await;
    device.text("backlog 29").await;
    assert_eq!(device.texts(), texts);
    let announced = device
        .event("the end of the backlog", |event| match event {
            Event::OfflineSyncCompleted(done) => Some(done.count),
            _ => None,
        })
        .await;
    assert_eq!(announced, 30);
    server.until_nothing_is_pending(ALICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_acknowledged_comes_again() {
    let server = with_alice_and_bob().await;
    let durable = Arc::new(AtomicBool::new(true));
    let options = || Options { durable: Some(durable.clone()), ..Options::default() };
    let storage = Arc::new(InMemoryBackend::new());
    let device = Device::start_with(&server, storage.clone(), options()).await;
    let qr = device.qr().await;
    server.post(&format!("/phones/{ALICE}/scan"), json!({ "qr": qr })).await;
    device.connected().await;

    durable.store(false, Ordering::SeqCst);
    server.bob_says("hold this").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let pending = server.pending(ALICE).await;
    assert_eq!(pending.len(), 1, "{pending:?}");
    assert_eq!(pending[0]["deliveries"], 1, "{pending:?}");

    device.stop().await;
    let still_not = Device::start_with(&server, storage.clone(), options()).await;
    still_not.connected().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.pending(ALICE).await[0]["deliveries"], 2);

    still_not.stop().await;
    durable.store(true, Ordering::SeqCst);
    let again = Device::start_with(&server, storage, options()).await;
    again.connected().await;
    server.until_nothing_is_pending(ALICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_lost_its_session_asks_again() {
    let (server, device) = alice_and_bob().await;
    server.bob_says("first").await;
    device.text("first").await;
    // With an answer the session is settled on both sides: what the phone writes now carries no key to begin anew.
    device.say(&Jid::pn(BOB), "answer").await;
    server.arrived(BOB, "conversation").await;
    let lid = server.get(&format!("/phones/{BOB}")).await["lid"].as_str().expect("a LID").to_owned();
    let storage = device.stop().await;
    for address in [format!("{BOB}@s.whatsapp.net.0"), format!("{BOB}@c.us.0"), format!("{lid}@lid.0")] {
        storage.delete_session(&address).await.expect("memory");
    }
    let device = Device::start(&server, storage).await;
    device.connected().await;
    server.bob_says("second").await;
    device.text("second").await;
    server.until_nothing_is_pending(ALICE).await;
    let stats = server.get("/stats").await;
    assert_eq!(stats["retryReceipts"], 1, "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_linked_later_gets_messages_too() {
    let (server, alice) = alice_and_bob().await;
    alice.say(&Jid::pn(BOB), "before it was linked").await;
    server.arrived(BOB, "conversation").await;
    let bob = Device::linked(&server, BOB).await;
    alice.event("the new device", |event| matches!(event, Event::DeviceListUpdate(_)).then_some(())).await;
    alice.say(&Jid::pn(BOB), "after it was linked").await;
    bob.text("after it was linked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_asked_for_prekeys_when_they_run_low() {
    let (server, _device) = alice_and_bob().await;
    for number in 0..30 {
        let phone = format!("1666000{number:04}");
        server.phone(&phone, "Somebody").await;
        server.writes(&phone, ALICE, json!({"text": "hello"})).await;
    }
    server.until_nothing_is_pending(ALICE).await;
    until("more prekeys", async || server.get("/stats").await["prekeyUploads"].as_u64() > Some(1)).await;
}
