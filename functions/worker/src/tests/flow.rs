//! A sandbox account from its pairing to its deletion.

use std::time::Duration;

use serde_json::json;
use shared::{
    address::Platform,
    connector::{Action, Play, Request},
    domain::{content::Content, instance::Status as Line, job, message::Status},
    store::{Query, Read, keys},
};

use super::bed::Bed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairs_sends_receives_and_restarts() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Whatsapp, "+1 555 010 0000").await;
    assert_eq!(instance.address.as_deref(), Some("15550100000@s.whatsapp.net"));
    assert_eq!(instance.qr, None);

    let message = bed.accept(&instance, "15550100001", "hello").await;
    bed.until_status(&message, Status::Read).await;
    let told = bed.told(&message).await;
    assert_eq!(told, ["sent/*", "status/*/sent", "status/*/delivered", "status/*/read"]);

    let echo = bed.accept(&instance, "99900050001", "are you there?").await;
    bed.until_status(&echo, Status::Read).await;
    let nobody = bed.accept(&instance, "99900010001", "hello?").await;
    assert_eq!(bed.until_status(&nobody, Status::Failed).await.reason.as_deref(), Some("number does not exist"));
    let deaf = bed.accept(&instance, "99900020001", "hello?").await;
    bed.until_status(&deaf, Status::Sent).await;

    let play = Play::Receive {
        id: "IN1".into(),
        from: "15550100002@s.whatsapp.net".into(),
        chat: "15550100002@s.whatsapp.net".into(),
        name: Some("Bruno".into()),
        content: Content::Text { text: "hi".into() },
        at: bed.app.clock.now(),
    };
    bed.play(&instance, play.clone()).await;
    bed.play(&instance, play).await;
    let log = bed.log(&instance).await;
    assert_eq!(log.iter().filter(|entry| entry.body.key.starts_with("recv/IN1#")).count(), 1);
    assert!(log.iter().any(|entry| entry.body.key.starts_with("recv/ECHO")), "the echo came");
    assert!(log.windows(2).all(|pair| pair[1].seq == pair[0].seq + 1), "gapless");

    bed.stop().await;
    let down = bed.read(&instance.id).await.expect("is there");
    assert_eq!((down.status, down.reason.as_deref()), (Line::Disconnected, Some("restart")));
    let waiting = bed.accept(&instance, "15550100001", "while away").await;
    bed.start();
    bed.until_status(&waiting, Status::Read).await;
    let up = bed.until(&instance, |now| now.status == Line::Connected).await;
    assert!(up.epoch > instance.epoch);
    let codes = bed.log(&instance).await.iter().filter(|entry| entry.body.kind == "qr_received").count();
    assert_eq!(codes, 1, "no new code after a restart");
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parks_while_the_line_is_broken_and_keeps_the_order() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Whatsapp, "15550100000").await;
    bed.play(&instance, Play::Disconnect { seconds: 2 }).await;
    bed.until(&instance, |now| now.status == Line::Disconnected).await;
    let mut messages = Vec::new();
    for n in 0..5 {
        messages.push(bed.accept(&instance, "15550100001", &format!("{n}")).await);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let parked = bed.app.store.query(Query::table(keys::parked_of(&instance.id))).await.expect("reads");
    assert_eq!(parked.items.len(), 5);
    for n in 5..8 {
        messages.push(bed.accept(&instance, "15550100001", &format!("{n}")).await);
    }
    for message in &messages {
        bed.until_status(message, Status::Read).await;
        assert_eq!(bed.told(message).await[0], "queued/*");
    }
    assert_eq!(bed.outbox(&instance).await, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    let parked = bed.app.store.query(Query::table(keys::parked_of(&instance.id))).await.expect("reads");
    assert!(parked.items.is_empty());
    let sent: i64 =
        bed.log(&instance).await.iter().filter_map(|entry| entry.body.delta).map(|delta| delta.messages_sent).sum();
    assert_eq!(sent, 8, "each is counted once");
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_out_pairs_anew_and_is_deleted() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Telegram, "15550100000").await;
    let message = bed.accept(&instance, "15550100001", "hello").await;
    let sent = bed.until_status(&message, Status::Sent).await;
    assert_eq!(sent.platform_id.as_deref(), Some("1"));

    bed.play(&instance, Play::Logout).await;
    let out = bed.until(&instance, |now| now.status == Line::LoggedOut).await;
    assert!(!out.paired);
    let error = bed.ask(&instance, Request::Check { phones: vec![] }).await.expect_err("there is no line");
    assert_eq!(error.code, "INSTANCE_NOT_READY");

    bed.command(&instance, Action::Reconnect).await;
    bed.until(&instance, |now| now.status == Line::QrReceived).await;
    bed.play(&instance, Play::Scan { phone: None, name: None }).await;
    let again = bed.until(&instance, |now| now.status == Line::Connected).await;
    assert_eq!(again.address.as_deref(), Some("15550100000"), "the phone is the same");

    bed.command(&instance, Action::Logout).await;
    bed.until(&instance, |now| now.status == Line::LoggedOut).await;

    let (job, write) = job::new(&bed.app, "delete", &instance.user_id, Some(&instance.id)).expect("a job");
    bed.app.store.commit(shared::store::Unit::write(write)).await.expect("is written");
    bed.command(&instance, Action::Delete { job: job.id.clone() }).await;
    for _ in 0..500 {
        let now = job::get(&bed.app, &job.id).await.expect("reads").expect("is there");
        if now.status == job::Status::Done {
            assert_eq!(now.result, Some(json!({ "deleted": true })));
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(bed.app.store.get(&keys::instance(&instance.id), Read::Strong).await.expect("reads").is_none());
    assert!(bed.outbox(&instance).await.is_empty());
    assert!(bed.log(&instance).await.is_empty());
    let error = bed.ask(&instance, Request::Groups).await.expect_err("is gone");
    assert_eq!(error.code, "INSTANCE_NOT_FOUND");
    bed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_questions() {
    let mut bed = Bed::new().await;
    bed.start();
    let instance = bed.connected(Platform::Whatsapp, "15550100000").await;
    let answer = bed
        .ask(&instance, Request::Check { phones: vec!["+1 555 010 0001".into(), "99900010001".into()] })
        .await
        .expect("answers");
    assert_eq!((&answer["results"][0]["exists"], &answer["results"][1]["exists"]), (&json!(true), &json!(false)));
    let request = Request::GroupCreate { subject: "Team".into(), participants: vec!["15550100001".into()] };
    let group = bed.ask(&instance, request).await.expect("answers");
    assert_eq!(group["size"], 2);
    let groups = bed.ask(&instance, Request::Groups).await.expect("answers");
    assert_eq!(groups["groups"][0]["id"], group["id"]);
    let lid = bed.ask(&instance, Request::Lid { address: "15550100001".into() }).await.expect("answers");
    let back = bed.ask(&instance, Request::Lid { address: lid["lid"].as_str().expect("a LID").into() }).await;
    assert_eq!(back.expect("answers"), lid);
    let code = bed.ask(&instance, Request::PairingCode { phone: "15550100001".into() }).await;
    assert_eq!(code.expect_err("is connected").code, "ALREADY_CONNECTED");
    bed.stop().await;
}
