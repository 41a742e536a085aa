//! Creating and connecting accounts, and what their credentials are worth.

use super::World;
use crate::harness::graph::Number;
use crate::harness::{Client, Instance, Tenant, eventually};
use serde_json::{Value, json};

#[tokio::test]
async fn an_account_connects_by_asking_who_it_is() {
    let account = World::shared().account().await;
    let instance = account.instance.get("").await;
    let address = format!("{}@s.whatsapp.net", account.number.phone);
    assert_eq!((&instance["transport"], &instance["address"]), (&json!("cloud"), &json!(address)));
    assert_eq!(account.client().get(&account.instance.at("/qr")).await.status, 409, "there is nothing to scan");
    let can = account.instance.get("/capabilities").await;
    let kinds =
        ["text", "image", "video", "audio", "document", "sticker", "location", "contact", "reaction", "template"];
    assert_eq!(can["sends"], json!(kinds));
    for (what, yes) in
        [("typing", false), ("groups", false), ("contactList", false), ("qrPairing", false), ("markRead", true)]
    {
        assert_eq!(can[what], yes, "{what}");
    }
    assert_eq!((&can["messageIds"], &can["receipts"]), (&json!("platform"), &json!(["delivered", "read"])));
    account.instance.wait_event("opened", |event| event["type"] == "connection_opened").await;
}

#[tokio::test]
async fn credentials_are_checked_before_anything_is_created() {
    let world = World::shared();
    let (client, number) = (Tenant::of(&world.server).await.client, world.graph.number());
    let create = async |credentials: &Value| {
        let body = json!({"name": "x", "transport": "cloud", "credentials": credentials});
        client.post("/api/instances", &body).await
    };
    for name in ["accessToken", "phoneNumberId", "appSecret", "verifyToken"] {
        let mut credentials = number.credentials();
        credentials[name] = json!("");
        create(&credentials).await.names(&format!("credentials.{name}"));
    }
    create(&Value::Null).await.names("credentials");
    let mut odd = number.credentials();
    odd["apiVersion"] = json!("../v1");
    create(&odd).await.names("credentials.apiVersion");
    assert_eq!(client.get("/api/instances").await.expect(200)["instances"], json!([]));

    let account = world.account().await;
    let put = json!({"credentials": {"accessToken": "only this"}});
    account.client().put(&account.instance.at(""), &put).await.names("credentials");
    let shown = account.instance.get("").await.to_string();
    assert!(!shown.contains(&account.number.token) && !shown.contains(&account.number.app_secret), "{shown}");
}

#[tokio::test]
async fn a_bad_token_is_said_and_a_better_one_mends_it() {
    let world = World::shared();
    let number = world.graph.number();
    let mut credentials = number.credentials();
    credentials["accessToken"] = json!("EAAnothing");
    let account = world.unconnected(&json!({"credentials": credentials})).await;
    let instance = account.instance.wait_status("auth_expired").await;
    assert_eq!(instance["connectionStatus"]["reason"], "token_invalid");
    let closed = account.instance.wait_event("closed", |event| event["type"] == "connection_closed").await;
    assert_eq!((&closed["data"]["reason"], &closed["data"]["willReconnect"]), (&json!("error"), &json!(false)));
    assert_eq!(closed["data"]["detail"], "token_invalid");
    assert!(closed["data"]["message"].as_str().is_some_and(|text| text.starts_with("190: ")), "{closed}");
    account.instance.post("/messages", &json!({"to": "15557654321", "content": "x"})).await.refused(409);

    let put = json!({"credentials": number.credentials()});
    account.client().put(&account.instance.at(""), &put).await.expect(200);
    account.instance.wait_status("connected").await;
}

#[tokio::test]
async fn a_number_that_is_not_there_is_said() {
    let world = World::shared();
    let (one, other) = (world.graph.number(), world.graph.number());
    let mut credentials = one.credentials();
    credentials["phoneNumberId"] = json!(other.id);
    let account = world.unconnected(&json!({"credentials": credentials})).await;
    let instance = account.instance.wait_status("auth_expired").await;
    assert_eq!(instance["connectionStatus"]["reason"], "phone_number_unknown");
}

#[tokio::test]
async fn a_token_that_runs_out_stops_the_line_and_keeps_the_messages() {
    let account = World::shared().account().await;
    account.graph.change_token(&account.number, "EAArenewed");
    let id = account.text("15557654321", "after the token").await;
    account.instance.wait_status("auth_expired").await;
    let asked = account.graph.asked(&account.number);
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(account.graph.asked(&account.number), asked, "nothing is asked with a token that is not taken");
    assert_eq!(account.message(&id).await["status"], "pending");

    let renewed = Number { token: "EAArenewed".to_owned(), ..account.number.clone() };
    let put = json!({"credentials": renewed.credentials()});
    account.client().put(&account.instance.at(""), &put).await.expect(200);
    account.until(&id, "sent").await;
    assert_eq!(account.graph.sent(&account.number).len(), 1);
}

#[tokio::test]
async fn an_api_that_does_not_answer_is_asked_again() {
    let world = World::shared();
    let number = world.graph.number();
    world.graph.break_down(&number, Some((503, 131_016)));
    let account = world.unconnected(&json!({"credentials": number.credentials()})).await;
    eventually("a second try", async || (world.graph.asked(&number) >= 2).then_some(())).await;
    world.graph.break_down(&number, None);
    account.instance.wait_status("connected").await;
}

#[tokio::test]
async fn logout_and_reconnect() {
    let account = World::shared().account().await;
    account.instance.wa_post("/logout", &json!({})).await.expect(200);
    account.instance.wait_status("logged_out").await;
    let callback =
        account.number.message(&crate::harness::graph::Sender::new("A"), "wamid.out", "text", &json!({"body": "x"}));
    assert_eq!(account.tell(&callback).await.refused(409).code, "INSTANCE_NOT_READY");
    let answer = account.client().order(&account.instance.at("/reconnect")).await;
    assert!((200..300).contains(&answer.status), "{answer}");
    account.instance.wait_status("connected").await;
    account.takes(&callback).await;
    account.heard("wamid.out").await;
}

/// `GET` as the platform asks whether a URL is ours.
async fn verify(client: &Client, instance: &str, mode: &str, token: &str) -> crate::harness::Answer {
    let query = format!("hub.mode={mode}&hub.verify_token={token}&hub.challenge=1158201444");
    client.get(&format!("/inbound/whatsapp/{instance}?{query}")).await
}

#[tokio::test]
async fn a_callback_url_is_verified_by_its_token() {
    let world = World::shared();
    let (account, anonymous) = (world.account().await, world.server.anonymous());
    let id = &account.instance.id;
    let answer = verify(&anonymous, id, "subscribe", &account.number.verify_token).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"1158201444"[..]), "{answer}");
    assert!(answer.header("content-type").starts_with("text/plain"), "{answer}");
    for (mode, token) in
        [("subscribe", "wrong"), ("subscribe", ""), ("unsubscribe", account.number.verify_token.as_str())]
    {
        assert_eq!(verify(&anonymous, id, mode, token).await.refused(403).code, "VERIFY_TOKEN_MISMATCH");
    }
    verify(&anonymous, "01k0000000000000", "subscribe", "x").await.refused(404);
    // Of other accounts nothing is told, not even that they are there.
    let other = Instance::create(&Tenant::of(&world.server).await.client, &json!({})).await;
    verify(&anonymous, &other.id, "subscribe", &account.number.verify_token).await.refused(404);
}
