//! What may happen to a line: linked by code, restarted, unlinked, replaced, banned, refused, cut off.

use super::Stage;
use crate::harness::{Instance, Tenant, whatsapp::Whatsapp};
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Waits until the instance says that it is down for this reason, and gives the event of it.
pub(super) async fn closed(instance: &Instance, reason: &str) -> Value {
    instance.wait_event(reason, |event| event["type"] == "connection_closed" && event["data"]["reason"] == reason).await
}

/// What the account may not do for a while.
async fn restriction(instance: &Instance) -> Value {
    instance.get("").await["connectionStatus"]["restriction"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_links_as_a_qr_does() {
    let whatsapp = Whatsapp::start();
    let server = whatsapp.server(&[]);
    let tenant = Tenant::of(&server).await;
    let phone = whatsapp.phone("Alice").await;
    let instance = Instance::create(&tenant.client, &json!({"mode": "live"})).await;
    instance.qr().await;
    let code = instance.post("/pairing-code", &json!({"phone": phone.number})).await.expect(200);
    phone.does("scan", &json!({"code": code["code"]})).await;
    let shown = instance.wait_status("connected").await;
    assert_eq!(shown["address"], phone.address());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_asks_for_a_passkey_is_told_of_and_can_be_linked_once_it_does_not() {
    let whatsapp = Whatsapp::start();
    let server = whatsapp.server(&[]);
    let tenant = Tenant::of(&server).await;
    let phone = whatsapp.phone("Alice").await;
    let asks = async |on: bool| {
        let path = format!("/phones/{}", phone.number);
        whatsapp.ask(Method::PATCH, &path, Some(&json!({"passkey": on}))).await;
    };
    asks(true).await;
    let instance = Instance::create(&tenant.client, &json!({"mode": "live"})).await;
    let qr = instance.qr().await;
    assert_eq!(phone.tries("scan", &json!({"qr": qr})).await.status, 400);
    let shown = instance.wait_status("disconnected").await;
    assert_eq!(shown["connectionStatus"]["reason"], "passkey_required", "{shown}");
    let closed = closed(&instance, "error").await;
    assert_eq!(
        (&closed["data"]["detail"], &closed["data"]["willReconnect"]),
        (&json!("passkey_required"), &json!(false))
    );
    // Nobody tries again by itself: that is for whoever has the phone in his hand.
    crate::harness::stays(Duration::from_secs(1), "it waits", async || {
        instance.get("").await["connectionStatus"]["status"] == "disconnected"
    })
    .await;
    asks(false).await;
    instance.client.order(&instance.at("/reconnect")).await.expect(200);
    instance.wait_status("qr_received").await;
    phone.scans(&instance).await;
    assert_eq!(whatsapp.stats().await["pairings"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_needs_no_code() {
    let stage = Stage::set().await;
    stage.tells("/send", json!({"message": "before"})).await;
    stage.hears(&json!({"text": "before"})).await;
    let stage = stage.restarted().await;
    stage.instance.wait_status("connected").await;
    assert_eq!(stage.tells("/send", json!({"message": "after a kill"})).await["text"], "after a kill");
    assert_eq!(stage.hears(&json!({"text": "after a kill"})).await["data"]["body"], "after a kill");
    let stage = Stage { server: stage.server.stopped_and_restarted().await, ..stage };
    stage.instance.wait_status("connected").await;
    assert_eq!(stage.tells("/send", json!({"message": "after a stop"})).await["text"], "after a stop");
    let stats = stage.whatsapp.stats().await;
    assert_eq!(
        (&stats["pairings"], &stats["undecryptable"], &stats["retryReceipts"]),
        (&json!(1), &json!(0), &json!(0))
    );
    assert!(stats["prekeyUploads"].as_u64() <= Some(1), "a new process has the keys of the one before: {stats}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlinked_from_the_phone_it_is_logged_out_and_can_be_linked_again() {
    let stage = Stage::set().await;
    stage.own.does("unlink", &json!({})).await;
    stage.instance.wait_status("logged_out").await;
    assert_eq!(closed(&stage.instance, "logout").await["data"]["willReconnect"], false);
    let refused = stage.instance.wa_post("/send", &json!({"phone": stage.other.number, "message": "x"})).await;
    assert_eq!(refused.status, 409);
    stage.instance.client.order(&stage.instance.at("/reconnect")).await.expect(200);
    stage.instance.wait_status("qr_received").await;
    stage.own.scans(&stage.instance).await;
    assert_eq!(stage.tells("/send", json!({"message": "back"})).await["text"], "back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_logout_removes_the_device_from_the_phone() {
    let stage = Stage::set().await;
    stage.instance.client.order(&stage.instance.at("/logout")).await.expect(200);
    stage.instance.wait_status("logged_out").await;
    crate::harness::eventually("no linked device", async || {
        (stage.own.get("").await["devices"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replaced_and_banned_are_told_apart_and_wait_for_a_person() {
    let stage = Stage::set().await;
    stage.own.does("replace", &json!({})).await;
    assert_eq!(closed(&stage.instance, "replaced").await["data"]["willReconnect"], false);
    stage.instance.client.order(&stage.instance.at("/reconnect")).await.expect(200);
    stage.instance.wait_status("connected").await;

    stage.own.does("ban", &json!({"reason": 402, "code": 101, "expire": 3600})).await;
    stage.instance.wait_status("error").await;
    assert_eq!(closed(&stage.instance, "banned").await["data"]["willReconnect"], false);
    let restricted = stage.instance.wait_event("a ban", |event| event["type"] == "account_restricted").await;
    assert_eq!(restricted["data"]["reason"], "banned");
    assert_eq!(restriction(&stage.instance).await["until"], restricted["data"]["until"]);
    stage.whatsapp.ask(Method::DELETE, &format!("/phones/{}/ban", stage.own.number), None).await;
    stage.instance.client.order(&stage.instance.at("/reconnect")).await.expect(200);
    stage.instance.wait_status("connected").await;
    assert_eq!(restriction(&stage.instance).await, Value::Null);
    assert_eq!(stage.tells("/send", json!({"message": "back"})).await["text"], "back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_may_not_write_to_strangers_it_does_not_try_again() {
    let stage = Stage::set().await;
    let locked = stage.own.does("time-lock", &json!({"seconds": 3600})).await;
    let cold = async || {
        let body = json!({"phone": stage.other.number, "message": "cold"});
        stage.instance.wa_post("/send", &body).await.expect(200)["id"].as_str().expect("an id").to_owned()
    };
    for _ in 0..3 {
        let sent = cold().await;
        let failed = stage.instance.wait_event("failed", |event| {
            event["data"]["messageId"] == sent.as_str() && event["data"]["status"] == "failed"
        });
        assert_eq!(failed.await["data"]["reason"], "reachout_timelock");
    }
    let stats = stage.whatsapp.ask(Method::GET, "/stats", None).await;
    assert_eq!(stats["refusedMessages"], 1, "WhatsApp was asked once");
    let is_told = |event: &Value| event["type"] == "account_restricted";
    let told = stage.instance.wait_event("the time-lock", is_told).await;
    assert_eq!(told["data"]["reason"], "reachout_timelock");
    let until = told["data"]["until"].as_str().expect("WhatsApp says when it is over");
    let until = chrono::DateTime::parse_from_rfc3339(until).expect("a time");
    assert_eq!(Some(until.timestamp()), locked["until"].as_i64());
    assert_eq!(restriction(&stage.instance).await["reason"], "reachout_timelock");
    assert_eq!(stage.instance.get("").await["connectionStatus"]["ready"], true, "everything else works");
    // Who writes is no stranger.
    stage.hears(&json!({"text": "hello"})).await;
    assert_eq!(stage.tells("/send", json!({"message": "welcome"})).await["text"], "welcome");
    assert_eq!(stage.instance.events().await.iter().filter(|event| is_told(event)).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_message_fails_with_its_reason_and_is_not_repeated() {
    let stage = Stage::set().await;
    for (error, reason) in [(479, "refused_479"), (463, "reachout_timelock")] {
        stage.own.does("refuse", &json!({"error": error, "count": 1})).await;
        let sent = stage.instance.send(&stage.other.number, "cold").await;
        let failed = stage
            .instance
            .wait_event(reason, |event| {
                event["data"]["messageId"] == sent.as_str() && event["data"]["status"] == "failed"
            })
            .await;
        assert_eq!(failed["data"]["reason"], reason);
    }
    let sent = stage.instance.send("15559990001", "x").await;
    let failed = stage.instance.wait_event_of(&sent).await;
    assert_eq!(failed["data"]["reason"], "not_on_whatsapp");
    let stats = stage.whatsapp.stats().await;
    assert_eq!((&stats["refusedMessages"], &stats["duplicateMessages"]), (&json!(2), &json!(0)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_network_is_cut_for_a_minute_messages_wait_and_then_arrive_in_order() {
    let stage = Stage::set().await;
    stage.tells("/send", json!({"message": "before"})).await;
    stage.whatsapp.ask(Method::POST, "/network/cut", Some(&json!({"seconds": 60}))).await;
    assert_eq!(closed(&stage.instance, "unreachable").await["data"]["willReconnect"], true);
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(stage.instance.send(&stage.other.number, &format!("cut {number}")).await);
    }
    let written = stage.other.writes(&stage.own.number, &json!({"text": "while you were away"})).await;
    let patience = Duration::from_secs(150);
    let heard = stage
        .instance
        .wait_event_within(patience, "after the cut", |event| event["data"]["messageId"] == written.as_str());
    heard.await;
    stage.other.receives(&ids[4]).await;
    let inbox = stage.other.get("/inbox").await;
    let arrived: Vec<&str> =
        inbox["messages"].as_array().expect("a list").iter().filter_map(|m| m["id"].as_str()).collect();
    assert_eq!(arrived[1..], ids[..], "each once, in their order");
}
