//! `POST /api/webhook/wechat`: what the seed's own code would have sent, sent as a delivery.

use crate::harness::tools::{node, seed_file, stdout};
use crate::harness::{Answer, Behaviour, Client, Instance, Receiver, Server, Tenant, eventually, stays};
use serde_json::{Value, json};
use std::time::Duration;

const ROUTE: &str = "/api/webhook/wechat";
/// Where the robot of these tests is: WeCom's path, the seed's key.
const ROBOT: &str = "/cgi-bin/webhook/send?key=xxx";
const OK: &str = r#"{"errcode":0,"errmsg":"ok"}"#;

fn says(text: &'static str) -> Behaviour {
    Behaviour::Body(text.into())
}

/// A receiver that plays WeCom.
async fn wecom() -> Receiver {
    let receiver = Receiver::start().await;
    receiver.behave(ROBOT, says(OK));
    receiver
}

/// A forwarder to the receiver's robot. Returns its view.
async fn forwarder(instance: &Instance, receiver: &Receiver, more: &Value) -> Value {
    let mut given =
        json!({"type": "wecom", "url": receiver.url("/cgi-bin/webhook/send"), "key": "xxx", "retryInterval": 1000});
    crate::harness::instance::merge(&mut given, more);
    instance.post("/forwarders", &given).await.expect(201)
}

/// A user of `server` with an instance that forwards.
async fn forwarding(server: &Server, receiver: &Receiver, more: &Value) -> (Tenant, Instance) {
    let tenant = Tenant::of(server).await;
    let instance = Instance::create(&tenant.client, &json!({})).await;
    forwarder(&instance, receiver, more).await;
    (tenant, instance)
}

fn new_message(from: &str, content: &str) -> Value {
    json!({"event": "new_message", "data": {"fromName": from, "content": content, "toId": "bob"}})
}

/// Hands a message over; gives the id of its delivery.
async fn hand_over(client: &Client, body: &Value) -> String {
    let answer = client.post(ROUTE, body).await.expect(200);
    assert_eq!((&answer["code"], &answer["msg"]), (&json!(200), &json!("ok")), "{answer}");
    answer["data"]["deliveryId"].as_str().expect("deliveryId").to_owned()
}

/// The refusal in the envelope of seed 004's groups.
fn refused(answer: &Answer, status: u16) -> String {
    let body = answer.expect(status);
    assert_eq!((&body["code"], &body["data"]), (&json!(status), &Value::Null), "{answer}");
    body["msg"].as_str().expect("msg").to_owned()
}

/// The record of a delivery, as soon as it is in this status.
async fn record(instance: &Instance, id: &str, status: &str) -> Value {
    eventually(status, async || {
        let page = instance.get("/webhook-deliveries").await;
        let mut all = page["deliveries"].as_array().expect("deliveries").iter();
        all.find(|row| row["id"] == id && row["status"] == status).cloned()
    })
    .await
}

#[tokio::test]
async fn the_seeds_code_and_ours_send_the_same() {
    let receiver = wecom().await;
    let (tenant, instance) = forwarding(crate::harness::shared(), &receiver, &json!({})).await;
    for (n, (from, content)) in
        [("爱丽丝", "你好"), ("a \"b\" \\c", "two\nlines <at> & {{event}}")].into_iter().enumerate()
    {
        let body = new_message(from, content);
        let seeds: Value =
            serde_json::from_str(&stdout(&node(&seed_file("004/wechat.cjs"), &body.to_string()))).expect("JSON");
        let id = hand_over(&tenant.jwt, &body).await;
        let hit = receiver.wait_count(ROBOT, n + 1).await.pop().expect("a request");
        let call = &seeds["calls"][0];
        assert_eq!(call["url"], format!("https://qyapi.weixin.qq.com{}", hit.path));
        assert_eq!(call["method"], hit.method.as_str());
        assert_eq!(call["headers"]["Content-Type"], hit.header("content-type"));
        assert_eq!(call["body"].as_str().expect("a text").as_bytes(), hit.body.as_ref());
        assert_eq!((&seeds["path"], &seeds["answer"]["code"]), (&json!(ROUTE), &json!(200)));
        let row = record(&instance, &id, "delivered").await;
        assert_eq!((&row["event"], &row["attempts"][0]["answer"]), (&json!("forwarded_message"), &json!(OK)));
    }
    let events = instance.events().await;
    let told: Vec<&Value> = events.iter().filter(|event| event["type"] == "forwarded_message").collect();
    assert_eq!(told.len(), 2);
    assert_eq!((&told[0]["data"]["fromName"], &told[0]["data"]["content"]), (&json!("爱丽丝"), &json!("你好")));
}

#[tokio::test]
async fn other_events_send_nothing() {
    let receiver = wecom().await;
    let (tenant, _) = forwarding(crate::harness::shared(), &receiver, &json!({})).await;
    for body in [json!({"event": "user_online", "data": {"id": 1}}), json!({"event": "message_received"})] {
        let answer = tenant.client.post(ROUTE, &body).await.expect(200);
        assert_eq!(answer, json!({"code": 200, "msg": "ok", "data": null}));
    }
    stays(Duration::from_millis(500), "no request", async || receiver.all().is_empty()).await;
}

#[tokio::test]
async fn who_has_no_robot_is_told_so_and_gets_nobody_elses() {
    let receiver = wecom().await;
    let server = crate::harness::shared();
    let (_other, _) = forwarding(server, &receiver, &json!({})).await;
    let tenant = Tenant::of(server).await;
    let text = refused(&tenant.client.post(ROUTE, &new_message("a", "b")).await, 409);
    assert!(text.contains("forwarder") && text.contains("WECOM_ROBOT_KEY"), "{text}");
    // One that is off is none; so is one of another kind.
    let instance = Instance::create(&tenant.client, &json!({})).await;
    forwarder(&instance, &receiver, &json!({"enabled": false})).await;
    instance.post("/forwarders", &json!({"type": "slack", "url": receiver.url("/slack")})).await.expect(201);
    refused(&tenant.client.post(ROUTE, &new_message("a", "b")).await, 409);
    refused(&tenant.anonymous().post(ROUTE, &new_message("a", "b")).await, 401);
    assert!(receiver.all().is_empty());
}

#[tokio::test]
async fn bad_input_is_refused_by_name() {
    let receiver = wecom().await;
    let (tenant, _) = forwarding(crate::harness::shared(), &receiver, &json!({})).await;
    let data = |data: Value| json!({"event": "new_message", "data": data});
    for (body, field) in [
        (json!({}), "event"),
        (json!({"event": ""}), "event"),
        (json!({"event": 7}), "event"),
        (json!({"event": "new_message"}), "data"),
        (data(json!("text")), "data"),
        (data(json!([])), "data"),
        (data(json!({"content": "b"})), "fromName"),
        (data(json!({"fromName": 1, "content": "b"})), "fromName"),
        (data(json!({"fromName": "a".repeat(201), "content": "b"})), "fromName"),
        (data(json!({"fromName": "a"})), "content"),
        (data(json!({"fromName": "a", "content": ""})), "content"),
        (data(json!({"fromName": "a", "content": {"text": "b"}})), "content"),
        (data(json!({"fromName": "a", "content": "b".repeat(10_001)})), "content"),
    ] {
        let text = refused(&tenant.client.post(ROUTE, &body).await, 400);
        assert!(text.contains(field), "{body}: {text}");
    }
    let broken = tenant.client.request(http::Method::POST, ROUTE).body("{");
    refused(&tenant.client.send(broken).await, 400);
    assert!(receiver.all().is_empty());
}

#[tokio::test]
async fn a_failure_is_tried_again_and_what_is_dead_can_be_replayed() {
    let receiver = wecom().await;
    let (tenant, instance) = forwarding(crate::harness::shared(), &receiver, &json!({})).await;
    receiver.script(ROBOT, [Behaviour::Status(502), says(r#"{"errcode":-1,"errmsg":"system busy"}"#)]);
    let id = hand_over(&tenant.client, &new_message("a", "again")).await;
    let row = record(&instance, &id, "delivered").await;
    let outcomes: Vec<&Value> = row["attempts"].as_array().expect("attempts").iter().map(|a| &a["outcome"]).collect();
    assert_eq!(outcomes, ["server_error", "throttled", "delivered"]);
    let hits = receiver.hits(ROBOT);
    assert!(hits.len() == 3 && hits.iter().all(|hit| hit.body == hits[0].body));

    // A 200 is no success by itself.
    receiver.behave(ROBOT, says(r#"{"errcode":93000,"errmsg":"invalid webhook url"}"#));
    let id = hand_over(&tenant.client, &new_message("a", "no such robot")).await;
    let row = record(&instance, &id, "dead").await;
    assert_eq!(row["attempts"].as_array().map(Vec::len), Some(1), "it is not tried in vain: {row}");
    assert_eq!((&row["attempts"][0]["outcome"], &row["attempts"][0]["statusCode"]), (&json!("rejected"), &json!(200)));
    receiver.behave(ROBOT, says(OK));
    instance.client.order(&instance.at(&format!("/webhook-deliveries/{id}/replay"))).await.expect(202);
    record(&instance, &id, "delivered").await;
    assert_eq!(receiver.count(ROBOT), 5);
}

#[tokio::test]
async fn a_robot_that_has_had_enough_is_left_alone() {
    let receiver = wecom().await;
    let (tenant, instance) = forwarding(crate::harness::shared(), &receiver, &json!({})).await;
    receiver.behave(ROBOT, says(r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#));
    let id = hand_over(&tenant.client, &new_message("a", "b")).await;
    let row = record(&instance, &id, "retrying").await;
    let time = |value: &Value| time_of_day(value.as_str().expect("a time"));
    // Over midnight, too.
    let wait = (time(&row["nextAttemptAt"]) - time(&row["attempts"][0]["at"])).rem_euclid(86_400_000);
    assert!(wait >= 60_000, "{wait} ms: {row}");
}

/// Milliseconds of the day in an ISO time.
fn time_of_day(text: &str) -> i64 {
    let clock = text.split('T').nth(1).expect("a time of the day");
    let number = |from: usize, to: usize| clock[from..to].parse::<i64>().expect("digits");
    ((number(0, 2) * 60 + number(3, 5)) * 60 + number(6, 8)) * 1000 + number(9, 12)
}

#[tokio::test]
async fn a_repeat_under_the_same_key_is_the_same_delivery() {
    let receiver = wecom().await;
    let (tenant, instance) = forwarding(crate::harness::shared(), &receiver, &json!({})).await;
    let body = new_message("a", "once");
    let ask = async || {
        let request = tenant.client.request(http::Method::POST, ROUTE).header("idempotency-key", "k-1").json(&body);
        tenant.client.send(request).await
    };
    let (first, second) = (ask().await, ask().await);
    assert_eq!(first.expect(200), second.expect(200));
    assert_eq!(second.header("idempotent-replay"), "true");
    let id = first.json()["data"]["deliveryId"].as_str().expect("deliveryId").to_owned();
    record(&instance, &id, "delivered").await;
    stays(Duration::from_millis(500), "one request", async || receiver.count(ROBOT) == 1).await;
}

#[tokio::test]
async fn what_was_accepted_survives_kill_9() {
    let receiver = wecom().await;
    let mut server = Server::start();
    let (tenant, instance) = forwarding(&server, &receiver, &json!({})).await;
    // The first attempts hang until the server is gone.
    receiver.behave(ROBOT, Behaviour::Slow(Duration::from_secs(9)));
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(hand_over(&tenant.client, &new_message("a", &format!("message {n}"))).await);
    }
    server.kill();
    receiver.behave(ROBOT, says(OK));
    server.restart();
    for id in &ids {
        record(&instance, id, "delivered").await;
    }
    let mut texts: Vec<String> = receiver
        .hits(ROBOT)
        .iter()
        .map(|hit| hit.json()["text"]["content"].as_str().expect("a text").to_owned())
        .collect();
    texts.dedup();
    let all: Vec<String> = (0..5).map(|n| format!("[IM消息] a: message {n}")).collect();
    assert_eq!(texts, all, "in order");
}

#[tokio::test]
async fn without_a_forwarder_the_deployments_robot_is_used() {
    let receiver = Receiver::start().await;
    let robot = "/send?key=of-the-deployment";
    receiver.behave(robot, says(OK));
    let server =
        Server::start_with(&[("WECOM_ROBOT_KEY", "of-the-deployment"), ("WECOM_ROBOT_URL", &receiver.url("/send"))]);
    let tenant = Tenant::of(&server).await;
    let id = hand_over(&tenant.client, &new_message("爱丽丝", "你好")).await;
    let hit = receiver.wait(robot, "a request", |_| true).await;
    assert_eq!(hit.json(), json!({"msgtype": "text", "text": {"content": "[IM消息] 爱丽丝: 你好"}}));
    // It is told of by the user's im instance, which was made for it.
    let list = tenant.client.get("/api/instances").await.expect(200);
    let im = list["instances"].as_array().expect("instances").iter().find(|one| one["platform"] == "im");
    let own = im.expect("an im instance")["id"].as_str().expect("an id").to_owned();
    let deliveries = format!("/api/instances/{own}/webhook-deliveries");
    eventually("the record", async || {
        let page = tenant.client.get(&deliveries).await.expect(200);
        let row = page["deliveries"][0].clone();
        (row["id"] == id.as_str() && row["status"] == "delivered").then_some(())
    })
    .await;
    // A forwarder of one's own comes first.
    receiver.behave(ROBOT, says(OK));
    let given = json!({"type": "wecom", "url": receiver.url("/cgi-bin/webhook/send"), "key": "xxx"});
    tenant.client.post(&format!("/api/instances/{own}/forwarders"), &given).await.expect(201);
    hand_over(&tenant.client, &new_message("a", "b")).await;
    receiver.wait(ROBOT, "a request", |_| true).await;
    assert_eq!(receiver.count(robot), 1);
}
