//! What the platform refuses, at once or later, and what follows.

use super::World;
use crate::harness::graph::Fault;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const TO: &str = "15557654321";

#[tokio::test]
async fn refusals_for_good_are_failures_with_a_reason() {
    let account = World::shared().account().await;
    for (status, code, said) in [
        (400, 131_047, "131047: more than 24 hours"),
        (400, 131_026, "131026: undeliverable"),
        (400, 131_049, "131049: not delivered"),
        (404, 132_001, "132001: As told"),
        (400, 100, "100: As told"),
    ] {
        account.graph.script(&account.number, [Fault::Error(status, code)]);
        let id = account.text(TO, "never").await;
        let failed = account.until(&id, "failed").await;
        assert!(failed["reason"].as_str().is_some_and(|reason| reason.starts_with(said)), "{code}: {failed}");
    }
    assert_eq!(account.graph.sent(&account.number).len(), 0);
    assert_eq!(
        account.instance.get("").await["connectionStatus"]["status"],
        "connected",
        "messages failed, not the line"
    );
}

#[tokio::test]
async fn limits_are_waited_for_and_nothing_is_lost() {
    let account = World::shared().account().await;
    for fault in [Fault::Error(400, 131_056), Fault::Error(400, 130_429), Fault::Page(429), Fault::Error(503, 131_016)]
    {
        let slow = matches!(fault, Fault::Error(503, _));
        account.graph.script(&account.number, [fault.clone()]);
        let start = Instant::now();
        let id = account.text(TO, "later").await;
        if slow {
            assert_eq!(account.message(&id).await["status"], "pending");
        }
        account.until(&id, "sent").await;
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(800), "{fault:?} was not waited for: {waited:?}");
    }
    assert_eq!(account.graph.sent(&account.number).len(), 4);
}

#[tokio::test]
async fn a_recipient_who_gets_too_much_does_not_hold_up_others() {
    let account = World::shared().account().await;
    // Twice: one second, then four.
    account.graph.script(&account.number, [Fault::Error(400, 131_056), Fault::Error(400, 131_056)]);
    let first = account.text(TO, "one").await;
    crate::harness::eventually("both refusals", async || (account.graph.asked(&account.number) >= 3).then_some(()))
        .await;
    let second = account.text(TO, "two").await;
    let other = account.text("15557650000", "somebody else").await;
    account.until(&other, "sent").await;
    assert_eq!(account.message(&first).await["status"], "pending");
    account.until(&second, "sent").await;
    let texts: Vec<_> =
        account.graph.sent(&account.number).iter().map(|sent| sent.body["text"]["body"].clone()).collect();
    assert_eq!(texts, ["somebody else", "one", "two"], "in order for each");
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_sent_again() {
    let account = World::shared().account().await;
    for fault in [Fault::Lost, Fault::Page(502), Fault::Error(500, 131_000)] {
        let taken = matches!(fault, Fault::Lost);
        let before = account.graph.sent(&account.number).len();
        account.graph.script(&account.number, [fault.clone()]);
        let id = account.text(TO, "perhaps").await;
        let failed = account.until(&id, "failed").await;
        assert_eq!(failed["reason"], "outcome_unknown", "{fault:?}");
        assert_eq!(account.graph.sent(&account.number).len(), before + usize::from(taken), "{fault:?}");
    }
}

#[tokio::test]
async fn a_status_tells_what_a_lost_answer_did_not() {
    let account = World::shared().account_with(&json!({"webhookEvents": ["message_*"]})).await;
    account.graph.script(&account.number, [Fault::Lost]);
    let id = account.text(TO, "perhaps").await;
    account.until(&id, "failed").await;
    let sent = account.graph.sent(&account.number).into_iter().next_back().expect("it was taken");
    account.takes(&account.number.status(&sent, "delivered", &json!({}))).await;
    let message = account.until(&id, "delivered").await;
    assert_eq!((&message["messageId"], message.get("reason")), (&json!(sent.id), None));
    account.takes(&account.number.status(&sent, "sent", &json!({}))).await;
    account.takes(&account.number.status(&sent, "read", &json!({}))).await;
    account.until(&id, "read").await;
    let statuses: Vec<Value> =
        account.told("message_status", &sent.id).await.iter().map(|data| data["status"].clone()).collect();
    assert_eq!(statuses, ["failed", "sent", "delivered", "read"], "what was told is corrected");
    assert_eq!(account.told("message_sent", &sent.id).await.len(), 1);
    let stats = account.client().get(&format!("/api/stats/instances/{}", account.instance.id)).await.expect(200);
    assert_eq!(stats["usage"]["messagesSent"], 1, "counted once: {stats}");
}

#[tokio::test]
async fn what_was_taken_can_still_fail() {
    let account = World::shared().account().await;
    let sent = account.sent(&json!({"to": TO, "content": "cold"})).await;
    let errors = json!({"errors": [{"code": 131_047, "title": "Re-engagement message", "message": "Re-engagement message",
                                    "error_data": {"details": "More than 24 hours have passed"}}]});
    let callback = account.number.status(&sent, "failed", &errors);
    for _ in 0..2 {
        account.takes(&callback).await;
    }
    let failed = account.until(&sent.id, "failed").await;
    assert!(
        failed["reason"].as_str().is_some_and(|reason| reason.starts_with("131047: more than 24 hours")),
        "{failed}"
    );
    // Nothing revives it.
    account.takes(&account.number.status(&sent, "delivered", &json!({}))).await;
    let probe = account.sent(&json!({"to": TO, "content": "probe"})).await;
    account.takes(&account.number.status(&probe, "read", &json!({}))).await;
    account.until(&probe.id, "read").await;
    assert_eq!(account.message(&sent.id).await["status"], "failed");
    let statuses: Vec<Value> =
        account.told("message_status", &sent.id).await.iter().map(|data| data["status"].clone()).collect();
    assert_eq!(statuses, ["sent", "failed"]);
}

#[tokio::test]
async fn a_locked_account_is_not_tried_again() {
    let account = World::shared().account().await;
    account.graph.script(&account.number, [Fault::Error(403, 131_031)]);
    let id = account.text(TO, "locked").await;
    let instance = account.instance.wait_status("error").await;
    assert_eq!(instance["connectionStatus"]["reason"], "banned");
    assert_eq!(account.message(&id).await["status"], "pending");
    assert_eq!(account.client().order(&account.instance.at("/reconnect")).await.status / 100, 2);
    account.until(&id, "sent").await;
}
