//! Whom a `from` means.

use super::{PLATFORMS, account, account_with, alone, text, try_text};
use crate::harness::tenant::fresh_phone;
use crate::harness::{Credential, Instance, Tenant};
use serde_json::json;

#[tokio::test]
async fn an_account_is_known_by_all_of_its_names() {
    let tenant = Tenant::new().await;
    for platform in PLATFORMS {
        let instance = account(&tenant, platform).await;
        let phone = &instance.phone;
        let mut names = vec![
            phone.clone(),
            format!("+{phone}"),
            format!("+{} {} {}", &phone[..1], &phone[1..4], &phone[4..]),
            format!(" {phone} "),
            instance.id.clone(),
        ];
        match platform {
            "whatsapp" => names.push(format!("{phone}@s.whatsapp.net")),
            "telegram" => names.extend([format!("@sandbox_{phone}_bot"), format!("@Sandbox_{phone}_BOT")]),
            _ => {}
        }
        let address = instance.get("").await["address"].as_str().unwrap().to_owned();
        names.push(address);
        for name in names {
            let answer = text(&tenant.client, platform, &name, "+79001234567", "hello").await;
            assert_eq!(answer["from"], name.as_str(), "as it was sent");
            assert_eq!(answer["instanceId"], instance.id.as_str());
        }
        for stranger in [fresh_phone(), "nobody".into(), format!("-{phone}"), "0".repeat(600), "\u{0}".into()] {
            let answer = try_text(&tenant.client, platform, &stranger, "+79001234567", "hello").await;
            assert_eq!(answer.refused(404).code, "SENDER_NOT_FOUND", "{answer}");
        }
    }
}

#[tokio::test]
async fn two_accounts_with_one_address_are_ambiguous_until_one_is_named() {
    let tenant = Tenant::new().await;
    let first = account(&tenant, "signal").await;
    let second = account_with(&tenant, "signal", &first.phone).await;
    let answer = try_text(&tenant.client, "signal", &first.phone, "+79001234567", "hello").await;
    assert_eq!(answer.refused(409).code, "SENDER_AMBIGUOUS", "{answer}");
    let answer = text(&tenant.client, "signal", &second.id, "+79001234567", "hello").await;
    assert_eq!(answer["instanceId"], second.id.as_str());
    // One that cannot send any more is not meant.
    second.post("/sandbox/logout", &json!({})).await.expect(200);
    second.wait_status("logged_out").await;
    let answer = text(&tenant.client, "signal", &first.phone, "+79001234567", "hello").await;
    assert_eq!(answer["instanceId"], first.id.as_str());
}

#[tokio::test]
async fn ones_own_account_comes_before_anothers() {
    let (server, one) = alone().await;
    let other = Tenant::of(&server).await;
    let mine = account(&one, "whatsapp").await;
    let theirs = account_with(&other, "whatsapp", &mine.phone).await;
    for (tenant, instance) in [(&one, &mine), (&other, &theirs)] {
        let answer = text(&tenant.client, "whatsapp", &mine.phone, "79001234567", "hello").await;
        assert_eq!(answer["instanceId"], instance.id.as_str());
    }
    // An administrator has none of his own; somebody without credentials has no own.
    for client in [server.admin(), server.anonymous()] {
        let answer = try_text(&client, "whatsapp", &mine.phone, "79001234567", "hello").await;
        assert_eq!(answer.refused(409).code, "SENDER_AMBIGUOUS", "{answer}");
    }
    let alone = account(&other, "whatsapp").await;
    let answer = try_text(&one.client, "whatsapp", &alone.phone, "79001234567", "hello").await;
    assert_eq!(answer.refused(403).code, "FORBIDDEN");
    try_text(&one.client, "whatsapp", &alone.id, "79001234567", "hello").await.refused(403);
    text(&server.admin(), "whatsapp", &alone.phone, "79001234567", "hello").await;
    text(&server.anonymous(), "whatsapp", &alone.phone, "79001234567", "hello").await;
    assert_eq!(alone.outbox().await.len(), 2);
}

#[tokio::test]
async fn who_cannot_send_is_told_why() {
    let tenant = Tenant::new().await;
    for platform in PLATFORMS {
        let unpaired = Instance::create(&tenant.client, &json!({"platform": platform})).await;
        let answer = try_text(&tenant.client, platform, &unpaired.id, "+79001234567", "hello").await;
        assert_eq!(answer.refused(409).error, format!("Instance {} not ready", unpaired.id));
        let instance = account(&tenant, platform).await;
        instance.post("/sandbox/logout", &json!({})).await.expect(200);
        instance.wait_status("logged_out").await;
        let answer = try_text(&tenant.client, platform, &instance.phone, "+79001234567", "hello").await;
        assert_eq!(answer.refused(409).code, "INSTANCE_NOT_READY", "{answer}");
    }
}

#[tokio::test]
async fn another_number_and_a_deletion_free_the_address() {
    let tenant = Tenant::new().await;
    let mut instance = account(&tenant, "telegram").await;
    let old = instance.phone.clone();
    instance.post("/sandbox/logout", &json!({})).await.expect(200);
    instance.wait_status("logged_out").await;
    instance.post("/reconnect", &json!({})).await.expect(200);
    instance.wait_status("qr_received").await;
    instance.phone = fresh_phone();
    instance.scan().await;
    for gone in [old.clone(), format!("@sandbox_{old}_bot")] {
        try_text(&tenant.client, "telegram", &gone, "79001234567", "hello").await.refused(404);
    }
    text(&tenant.client, "telegram", &format!("@sandbox_{}_bot", instance.phone), "79001234567", "hello").await;
    tenant.client.delete(&instance.at("")).await.expect(200);
    for gone in [instance.phone.clone(), instance.id.clone()] {
        try_text(&tenant.client, "telegram", &gone, "79001234567", "hello").await.refused(404);
    }
}

#[tokio::test]
async fn a_key_for_some_instances_sends_from_those() {
    let tenant = Tenant::new().await;
    let (one, other) = (account(&tenant, "whatsapp").await, account(&tenant, "whatsapp").await);
    let key = json!({"name": "one", "instanceIds": [one.id], "scopes": ["messages:send"]});
    let key = tenant.client.post("/api/auth/keys", &key).await.expect(201);
    let client = tenant.client.with(Credential::ApiKey(key["key"].as_str().unwrap().to_owned()));
    let sent = text(&client, "whatsapp", &one.phone, "79001234567", "hello").await;
    try_text(&client, "whatsapp", &other.phone, "79001234567", "hello").await.refused(403);
    // It may send, and nothing else.
    let path = format!("/third-party/whatsapp/messages/{}/status", sent["id"].as_str().unwrap());
    assert_eq!(client.get(&path).await.refused(403).code, "SCOPE_REQUIRED");
    client.get(&format!("/third-party/whatsapp/contacts/list?userId={}", tenant.id)).await.refused(403);
}
