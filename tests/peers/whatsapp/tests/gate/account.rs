//! What belongs to an account: contacts, history, presence, calls, pictures.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use wacore_binary::Jid;
use whatsapp_rust::types::events::Event;

use crate::bed::{ALICE, BOB, until, with_alice_and_bob};
use crate::client::Device;
use crate::control::Server;

/// Alice with a linked device and Bob in her address book.
async fn acquainted() -> (Server, Device) {
    let server = with_alice_and_bob().await;
    server
        .post(&format!("/phones/{ALICE}/contacts"), json!({"contacts": [{"phone": BOB, "name": "Robert Builder"}]}))
        .await;
    let device = Device::linked(&server, ALICE).await;
    (server, device)
}

async fn contact(device: &Device, name: &str) -> Jid {
    device
        .event(&format!("the contact {name}"), |event| match event {
            Event::ContactUpdate(update) => {
                (update.action.full_name.as_deref() == Some(name)).then(|| update.jid.clone())
            }
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn contacts_and_names_come_with_the_app_state() {
    let (server, device) = acquainted().await;
    assert_eq!(contact(&device, "Robert Builder").await.user, BOB);
    assert_eq!(device.client.push_name(), "Alice");

    server
        .post(&format!("/phones/{ALICE}/contacts"), json!({"contacts": [{"phone": "15550000009", "name": "Nina New"}]}))
        .await;
    assert_eq!(contact(&device, "Nina New").await.user, "15550000009");

    // And the other way round: the client changes the state, twice.
    for name in ["Alice I", "Alice II"] {
        device.client.profile().set_push_name(name).await.expect("set");
    }
    let storage = device.stop().await;
    let device = Device::start(&server, storage).await;
    device.connected().await;
    assert_eq!(device.client.push_name(), "Alice II");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_handed_over() {
    let (server, device) = acquainted().await;
    let sent = server
        .post(
            &format!("/phones/{ALICE}/history"),
            json!({
                "chats": [{"chat": BOB, "unread": 1, "messages": [
                    {"from": BOB, "message": {"text": "old from Bob"}, "id": "OLD1", "at": 1_700_000_000},
                    {"from": ALICE, "message": {"text": "old from me"}, "id": "OLD2", "at": 1_700_000_100}
                ]}],
                "progress": 50
            }),
        )
        .await;
    assert_eq!(sent["messages"], 2);
    history_with(&device, "OLD2").await;

    let sent = server
        .post(&format!("/phones/{ALICE}/history"), json!({"kind": "recent", "generate": {"chats": 20, "messages": 50}}))
        .await;
    assert_eq!(sent["messages"], 1000);
    history_with(&device, "OLD000019000049").await;
}

async fn history_with(device: &Device, id: &str) {
    device
        .event(&format!("history with {id}"), |event| match event {
            Event::HistorySync(history) => {
                let plain = history.decompress().ok()?;
                plain.windows(id.len()).any(|window| window == id.as_bytes()).then_some(())
            }
            _ => None,
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_and_typing_are_shown() {
    let (server, device) = acquainted().await;
    device.client.presence().subscribe(Jid::pn(BOB)).await.expect("subscribed");
    until("somebody is told", async || {
        server.post(&format!("/phones/{BOB}/presence"), json!({"available": true})).await["told"] == 1
    })
    .await;
    device
        .event("Bob's presence", |event| match event {
            Event::Presence(update) => (update.from.user == BOB && !update.unavailable).then_some(()),
            _ => None,
        })
        .await;
    server.post(&format!("/phones/{BOB}/chatstate"), json!({"to": ALICE, "state": "composing"})).await;
    device.event("Bob typing", |event| matches!(event, Event::ChatPresence(_)).then_some(())).await;

    device.client.chatstate().send_composing(&Jid::pn(BOB)).await.expect("sent");
    let states = server.get(&format!("/phones/{BOB}/states?kind=composing&wait=10")).await;
    assert_eq!(states["states"][0]["from"], ALICE, "{states}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_ring_and_end() {
    let (server, device) = acquainted().await;
    let call = server.post(&format!("/phones/{BOB}/call"), json!({"to": ALICE, "video": true})).await["call"].clone();
    device
        .event("the call", |event| match event {
            Event::IncomingCall(call) => (call.from.user == BOB).then_some(()),
            _ => None,
        })
        .await;
    server.post(&format!("/phones/{BOB}/hangup"), json!({"to": ALICE, "call": call})).await;
    server.until_nothing_is_pending(ALICE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_pictures_can_be_looked_up() {
    let (server, device) = acquainted().await;
    let contacts = device.client.contacts();
    let found = contacts.is_on_whatsapp(&[Jid::pn(BOB), Jid::pn("15559999999")]).await.expect("answered");
    let of = |user: &str| found.iter().find(|result| result.jid.user == user).map(|result| result.is_registered);
    assert_eq!(of(BOB), Some(true), "{found:?}");
    assert_eq!(of("15559999999"), Some(false), "{found:?}");

    let picture = BASE64_STANDARD.encode(b"a picture");
    server.post(&format!("/phones/{BOB}/picture"), json!({ "data": picture })).await;
    let shown = contacts.get_profile_picture(&Jid::pn(BOB), false).await.expect("answered").expect("a picture");
    assert!(shown.url.contains("/v/media/"));
    let stats = server.get("/stats").await;
    assert_eq!(stats["unknownIqs"], json!({}), "{stats}");
}
