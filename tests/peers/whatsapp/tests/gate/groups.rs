//! Groups, under phone numbers and under LIDs.

use serde_json::{Value, json};
use wacore_binary::Jid;
use whatsapp_rust::types::events::Event;

use crate::bed::{ALICE, BOB, CAROL, with_alice_and_bob};
use crate::client::Device;
use crate::control::Server;

async fn three_phones() -> Server {
    let server = with_alice_and_bob().await;
    server.phone(CAROL, "Carol").await;
    server
}

async fn group_message_goes_both_ways(addressing: &str) {
    let server = three_phones().await;
    let alice = Device::linked(&server, ALICE).await;
    let carol = Device::linked(&server, CAROL).await;
    let group = server
        .post(
            "/groups",
            json!({"creator": BOB, "subject": "Friends", "members": [ALICE, CAROL], "addressing": addressing}),
        )
        .await;
    let jid: Jid = group["id"].as_str().expect("an id").parse().expect("an address");
    alice
        .event("the new group", |event| match event {
            Event::GroupUpdate(update) => (update.group_jid == jid).then_some(()),
            _ => None,
        })
        .await;

    for number in 0..3 {
        server.writes(BOB, &jid.to_string(), json!({"text": format!("from Bob {number}")})).await;
    }
    let arrived = alice.text("from Bob 2").await;
    assert_eq!(arrived.info.source.chat, jid);
    assert!(arrived.info.source.is_group);
    carol.text("from Bob 2").await;

    for text in ["from Alice", "again"] {
        alice.say(&jid, text).await;
        assert_eq!(carol.text(text).await.info.source.chat, jid);
    }
    let inbox = server.get(&format!("/phones/{BOB}/inbox?kind=conversation&from={ALICE}&count=2&wait=10")).await;
    let texts: Vec<&Value> =
        inbox["messages"].as_array().expect("a list").iter().map(|message| &message["text"]).collect();
    assert_eq!(texts, [&json!("from Alice"), &json!("again")]);
    let stats = server.get("/stats").await;
    assert_eq!(stats["undecryptable"], 0, "{stats}");
    assert_eq!(stats["retryReceipts"], 0, "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_under_phone_numbers() {
    group_message_goes_both_ways("pn").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_under_lids() {
    group_message_goes_both_ways("lid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_manages_groups() {
    let server = three_phones().await;
    let alice = Device::linked(&server, ALICE).await;
    let groups = alice.client.groups();
    let options = whatsapp_rust::GroupCreateOptions::builder()
        .subject("Ours")
        .participants(vec![whatsapp_rust::GroupParticipantOptions::new(Jid::pn(BOB))])
        .finish();
    let made = groups.create_group(options).await.expect("created").metadata;
    assert_eq!(made.subject, "Ours");
    assert_eq!(made.participants.len(), 2);
    let jid = made.id;

    groups.add_participants(jid.clone(), &[Jid::pn(CAROL)]).await.expect("added");
    groups.promote_participants(jid.clone(), &[Jid::pn(BOB)]).await.expect("promoted");
    groups
        .set_subject(jid.clone(), whatsapp_rust::GroupSubject::new("Renamed").expect("short"))
        .await
        .expect("renamed");
    let link = groups.get_invite_link(jid.clone(), false).await.expect("a link");
    let seen = server.get(&format!("/groups/{jid}")).await;
    assert_eq!(seen["subject"], "Renamed", "{seen}");
    assert!(link.ends_with(seen["invite"].as_str().expect("a code")), "{link}");
    assert_eq!(seen["members"].as_array().expect("a list").len(), 3, "{seen}");
    assert_eq!(seen["members"][1]["admin"], true, "{seen}");

    let listed = groups.get_participating().await.expect("a list");
    assert_eq!(listed[&jid].subject, "Renamed");
    groups.remove_participants(jid.clone(), &[Jid::pn(CAROL)]).await.expect("removed");
    groups.leave(jid.clone()).await.expect("left");
    let seen = server.get(&format!("/groups/{jid}")).await;
    assert_eq!(seen["members"].as_array().expect("a list").len(), 1, "{seen}");
    let stats = server.get("/stats").await;
    assert_eq!(stats["unknownIqs"], json!({}), "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_by_others_are_notified() {
    let server = three_phones().await;
    let alice = Device::linked(&server, ALICE).await;
    let group = server.post("/groups", json!({"creator": BOB, "subject": "Friends", "members": [ALICE]})).await;
    let id = group["id"].as_str().expect("an id");
    for (action, body) in [
        ("add", json!({"actor": BOB, "phones": [CAROL]})),
        ("promote", json!({"actor": BOB, "phones": [ALICE]})),
        ("subject", json!({"actor": BOB, "subject": "New name"})),
        ("announce", json!({"actor": BOB, "on": true})),
        ("remove", json!({"actor": BOB, "phones": [CAROL]})),
    ] {
        server.post(&format!("/groups/{id}/{action}"), body).await;
        let wanted = if action == "announce" { "announcement" } else { action };
        alice
            .event(&format!("{action} to be notified"), |event| match event {
                Event::GroupUpdate(update) => (update.action.tag_name() == wanted).then_some(()),
                _ => None,
            })
            .await;
    }
}
