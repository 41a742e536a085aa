//! What comes in beside messages: calls, changes of groups, presence of whoever is watched.

use super::Stage;
use http::Method;
use serde_json::{Value, json};

impl Stage {
    async fn told(&self, kind: &str) -> Vec<Value> {
        self.instance.events().await.into_iter().filter(|event| event["type"] == kind).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_told_of_when_it_comes_and_when_it_is_over() {
    let stage = Stage::set().await;
    let call = stage.other.does("call", &json!({"to": stage.own.number, "video": true})).await["call"].clone();
    let came = stage.instance.wait_event("a call", |event| event["type"] == "call_received").await;
    assert_eq!((&came["data"]["callId"], &came["data"]["isVideo"]), (&call, &json!(true)));
    assert_eq!(
        (&came["data"]["from"], &came["data"]["chatId"]),
        (&json!(stage.other.address()), &json!(stage.other.address()))
    );
    stage.other.does("hangup", &json!({"to": stage.own.number, "call": call})).await;
    let over = stage.instance.wait_event("its end", |event| event["type"] == "call_ended").await;
    assert_eq!((&over["data"]["callId"], &over["data"]["outcome"]), (&call, &json!("missed")));
    let stage = stage.restarted().await;
    stage.instance.wait_status("connected").await;
    stage.hears(&json!({"text": "sorry, in my pocket"})).await;
    assert_eq!((stage.told("call_received").await.len(), stage.told("call_ended").await.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_a_group_are_told_of_once() {
    let stage = Stage::set().await;
    let third = stage.whatsapp.phone("Carol").await;
    let group = stage.whatsapp.group("Plans", &stage.other, &[&stage.own]).await;
    let member = json!({"phones": [third.number]});
    let steps = [
        ("add", member.clone()),
        ("promote", member.clone()),
        ("demote", member.clone()),
        ("remove", member),
        ("subject", json!({"subject": "Better plans"})),
        ("description", json!({"description": "where and when"})),
        ("announce", json!({"on": true})),
        ("locked", json!({"on": false})),
        ("remove", json!({"phones": [stage.own.number]})),
    ];
    // One after the other: the client library takes notifications that come together in any order.
    let of_group = |event: &Value| event["type"] == "group_updated" && event["data"]["chatId"] == group.as_str();
    stage.instance.wait_event("the group", of_group).await;
    for (number, (action, mut body)) in steps.clone().into_iter().enumerate() {
        body["actor"] = stage.other.number.as_str().into();
        stage.whatsapp.ask(Method::POST, &format!("/groups/{group}/{action}"), Some(&body)).await;
        let done = &steps[..=number];
        crate::harness::eventually(action, async || {
            let told = stage.told("group_updated").await;
            let like = |event: &&Value| of_group(event) && event["data"]["action"] == action;
            (told.iter().filter(like).count() == done.iter().filter(|step| step.0 == action).count()).then_some(())
        })
        .await;
    }
    let told: Vec<Value> = stage
        .told("group_updated")
        .await
        .into_iter()
        .filter(|event| event["data"]["chatId"] == group.as_str())
        .collect();
    let actions: Vec<&str> = told
        .iter()
        .filter_map(|event| event["data"]["action"].as_str())
        .filter(|action| *action != "create" && *action != "ephemeral")
        .collect();
    let expected: Vec<&str> = steps.iter().map(|(action, _)| *action).collect();
    assert_eq!(actions[actions.len() - expected.len()..], expected, "each once, in their order: {told:?}");
    let out = told.last().expect("an event")["data"].clone();
    assert_eq!((&out["me"], &out["by"]), (&json!(true), &json!(stage.other.address())), "the account itself is out");
    let of = |action: &str| told.iter().find(|event| event["data"]["action"] == action).expect("told")["data"].clone();
    assert_eq!(of("promote")["participants"][0]["id"], third.address());
    assert_eq!(of("subject")["subject"], "Better plans");
    assert_eq!(of("description")["description"], "where and when");
    assert_eq!((&of("announce")["on"], &of("locked")["on"]), (&json!(true), &json!(false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_is_told_of_those_who_are_watched() {
    let stage = Stage::set().await;
    let stranger = stage.whatsapp.phone("Carol").await;
    let watch = json!({"phone": stage.other.number});
    assert_eq!(stage.instance.wa_post("/presence/subscribe", &watch).await.expect(200)["success"], true);
    stranger.does("chatstate", &json!({"to": stage.own.number, "state": "composing"})).await;
    // The question is on its way to the server.
    crate::harness::eventually("presence", async || {
        stage.other.does("presence", &json!({"available": true})).await;
        stage.told("presence_updated").await.pop()
    })
    .await;
    stage.other.does("chatstate", &json!({"to": stage.own.number, "state": "recording"})).await;
    let last = stage.instance.wait_event("recording", |event| event["data"]["state"] == "recording").await;
    assert_eq!(last["data"]["from"], stage.other.address());
    let all = stage.told("presence_updated").await;
    assert!(all.iter().all(|event| event["data"]["from"] == stage.other.address()), "{all:?}");
}
