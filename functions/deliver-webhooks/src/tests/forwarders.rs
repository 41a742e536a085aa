//! Forwarders: endpoints beside the webhook, each with its form, its answers and its troubles.

use std::time::Duration;

use serde_json::{Value, json};
use shared::{
    domain::forwarder::{Format, Forwarder},
    store::{Item, Read, keys},
    webhook::{self, Delivery, Outcome, Status, Wanted},
};

use super::world::{NOON, Reply, World};

/// A forwarder at this path of the receiver. Returns its endpoint.
async fn forwarder(world: &World, format: Format, path: &str, change: impl FnOnce(&mut Forwarder)) -> String {
    let url = world.receiver.url.replace("/hook", path).parse().expect("a URL");
    let mut forwarder = Forwarder::new(path.trim_start_matches('/').to_owned(), format, NOON);
    forwarder.set_url(&world.app, &world.id, &url).expect("seals");
    change(&mut forwarder);
    let endpoint = forwarder.endpoint();
    world.change(|row| row.forwarders.push(forwarder)).await;
    endpoint
}

async fn delivery(world: &World, seq: u64, endpoint: &str) -> Delivery {
    let key = keys::delivery(&world.id, NOON, seq, endpoint);
    let item = world.app.store.get(&key, Read::Strong).await.expect("reads").expect("is there");
    Item::into(item).expect("decodes")
}

/// What reached a path.
fn bodies(world: &World, path: &str) -> Vec<Value> {
    let calls = world.receiver.calls().into_iter().filter(|call| call.path == path);
    calls.map(|call| serde_json::from_slice(&call.body).expect("JSON")).collect()
}

fn says(text: &str) -> Reply {
    Reply { status: 200, text: text.to_owned(), ..Reply::default() }
}

const OK: &str = r#"{"errcode":0,"errmsg":"ok"}"#;

#[tokio::test]
async fn each_endpoint_gets_the_event_in_its_form() {
    let world = World::new().await;
    let robot = forwarder(&world, Format::Wecom, "/wecom", |_| {}).await;
    forwarder(&world, Format::Template, "/own", |forwarder| {
        forwarder.template = Some(r#"{"chat": "{{data.c}}", "number": {{json data.n}}, "what": "{{event}}"}"#.into());
    })
    .await;
    forwarder(&world, Format::Slack, "/quiet", |forwarder| forwarder.events = vec!["message_sent".into()]).await;
    world.receiver.plan(|call| if call.path == "/wecom" { says(OK) } else { 200.into() });
    let seq = world.happens("alice", 1).await;
    world.settle().await;
    assert_eq!(world.receiver.of("alice"), [(1, 200)], "the webhook's body is what it was");
    assert_eq!(bodies(&world, "/wecom"), [json!({ "msgtype": "text", "text": { "content": "[IM消息] : " } })]);
    assert_eq!(bodies(&world, "/own"), [json!({ "chat": "alice", "number": 1, "what": "message_received" })]);
    assert!(bodies(&world, "/quiet").is_empty());
    let row = delivery(&world, seq, &robot).await;
    assert_eq!((row.status, row.endpoint, row.attempts[0].answer.as_str()), (Status::Delivered, robot, OK));
    assert!(row.url.starts_with("http://127.0.0.1") && !row.url.contains("wecom"), "{}", row.url);
    assert_eq!(world.listed(None).await.len(), 3);
}

#[tokio::test]
async fn a_code_in_the_body_decides() {
    let world = World::new().await;
    let robot = forwarder(&world, Format::Wecom, "/wecom", |_| {}).await;
    let mut answers = vec![OK, r#"{"errcode":45009}"#, r#"{"errcode":-1}"#, r#"{"errcode":93000}"#];
    world
        .receiver
        .plan(move |call| if call.path == "/wecom" { says(answers.pop().expect("four")) } else { 200.into() });
    let first = world.happens("alice", 1).await;
    let second = world.happens("alice", 2).await;
    world.pump().await;
    let row = delivery(&world, first, &robot).await;
    assert_eq!((row.status, row.attempts[0].outcome), (Status::Dead, Outcome::Rejected));
    let row = delivery(&world, second, &robot).await;
    assert_eq!((row.status, row.attempts[0].outcome), (Status::Retrying, Outcome::Throttled));
    world.settle().await;
    let row = delivery(&world, second, &robot).await;
    let outcomes: Vec<Outcome> = row.attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [Outcome::Throttled, Outcome::Throttled, Outcome::Delivered]);
    // A robot that has had too much is left alone for a minute, whatever the settings say.
    assert!(row.attempts[2].at.0 - row.attempts[1].at.0 >= 60_000);
}

#[tokio::test]
async fn endpoints_do_not_wait_for_each_other() {
    let world = World::new().await;
    let robot = forwarder(&world, Format::Wecom, "/wecom", |_| {}).await;
    world.receiver.plan(|call| if call.path == "/wecom" { 503.into() } else { 200.into() });
    let mut seqs = Vec::new();
    for n in 1..=3 {
        seqs.push(world.happens("alice", n).await);
    }
    world.pump().await;
    assert_eq!(world.receiver.of("alice"), [(1, 200), (2, 200), (3, 200)]);
    assert_eq!(bodies(&world, "/wecom").len(), 1, "the chat waits for its first");
    world.receiver.plan(|_| says(OK));
    world.settle().await;
    world.pass(Duration::from_secs(300), Duration::from_secs(30)).await;
    for seq in seqs {
        assert_eq!(delivery(&world, seq, &robot).await.status, Status::Delivered);
    }
}

#[tokio::test]
async fn gone_switches_the_forwarder_off_and_nothing_else() {
    let world = World::new().await;
    let robot = forwarder(&world, Format::Slack, "/slack", |_| {}).await;
    world.receiver.plan(|call| if call.path == "/slack" { 410.into() } else { 200.into() });
    let seq = world.happens("alice", 1).await;
    world.settle().await;
    let row = world.row().await;
    assert!(row.webhook.enabled && !row.forwarders[0].enabled);
    assert_eq!(row.forwarders[0].disabled_reason.as_deref(), Some("gone"));
    assert_eq!(delivery(&world, seq, &robot).await.status, Status::Dead);
    world.happens("alice", 2).await;
    world.settle().await;
    assert_eq!(world.receiver.of("alice").len(), 2);
    let id = delivery(&world, seq, &robot).await.id;
    let error = webhook::replay(&world.app, &world.row().await, &id).await.expect_err("off");
    assert_eq!(error.code, "FORWARDER_DISABLED");
}

#[tokio::test]
async fn a_deleted_forwarder_leaves_nothing_waiting() {
    let world = World::new().await;
    let robot = forwarder(&world, Format::Wecom, "/wecom", |_| {}).await;
    world.receiver.plan(|call| if call.path == "/wecom" { 503.into() } else { 200.into() });
    let seq = world.happens("alice", 1).await;
    world.happens("alice", 2).await;
    world.pump().await;
    world.change(|row| row.forwarders.clear()).await;
    webhook::removed(&world.app, &world.id, &robot).await.expect("ends");
    world.settle().await;
    let row = delivery(&world, seq, &robot).await;
    assert_eq!((row.status, row.attempts.len()), (Status::Dead, 2));
    assert_eq!(row.attempts[1].outcome, Outcome::Disabled);
    assert!(!row.url.is_empty(), "it still says where it went");
}

#[tokio::test]
async fn replays_and_test_calls_go_to_the_forwarder_they_are_for() {
    let world = World::new().await;
    let robot = forwarder(&world, Format::Dingtalk, "/ding", |_| {}).await;
    world.receiver.plan(|call| if call.path == "/ding" { says(OK) } else { 200.into() });
    let seq = world.happens("alice", 1).await;
    world.settle().await;
    let id = delivery(&world, seq, &robot).await.id;
    webhook::replay(&world.app, &world.row().await, &id).await.expect("replays");
    world.settle().await;
    assert_eq!((world.receiver.of("alice").len(), bodies(&world, "/ding").len()), (1, 2));
    let wanted = Wanted { endpoint: &robot, since: NOON, until: NOON.plus(Duration::from_secs(3600)), status: None };
    let step = webhook::replay_range(&world.app, &world.row().await, &wanted, None).await.expect("replays");
    assert_eq!(step.replayed, 1);
    world.settle().await;
    assert_eq!((world.receiver.of("alice").len(), bodies(&world, "/ding").len()), (1, 3));
    let test = webhook::test(&world.app, &world.row().await, &robot).await.expect("posts");
    assert_eq!((test.status, test.endpoint.as_str()), (Status::Delivered, robot.as_str()));
    assert_eq!(bodies(&world, "/ding")[3]["text"]["content"], "[webhook_test] test: This is a test of your webhook");
}
