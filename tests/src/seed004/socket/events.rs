//! The event logs of one's instances, as `event` frames.

use super::QUIET;
use crate::harness::socket::Came;
use crate::harness::{Instance, Server, Socket, Tenant, shared};
use serde_json::{Value, json};

fn events(frames: &[Value], instance: &Instance) -> Vec<Value> {
    let of = |frame: &&Value| frame["type"] == "event" && frame["data"]["instanceId"] == instance.id;
    frames.iter().filter(of).map(|frame| frame["data"].clone()).collect()
}

fn seqs(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["seq"].as_u64().expect("a number")).collect()
}

#[tokio::test]
async fn events_come_as_the_cursor_has_them() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let before = instance.events().await.len() as u64;
    let mut socket = Socket::auth(&shared().url(), &tenant.api_key, None).await;
    let mut stranger = Socket::auth(&shared().url(), &Tenant::new().await.api_key, None).await;
    instance.receive("79001234567", "hello").await;
    let came = socket.wait("event").await;
    let logged = instance.events().await;
    let expected = &logged[usize::try_from(before).expect("a few")];
    assert_eq!((&came["event"], &came["instanceId"]), (&json!("message_received"), &json!(instance.id)));
    assert_eq!((&came["id"], &came["seq"], &came["data"]), (&expected["id"], &expected["seq"], &expected["data"]));
    assert_eq!(came["timestamp"], expected["timestamp"]);
    assert_eq!(stranger.drain(QUIET).await, Vec::<Value>::new());
}

#[tokio::test]
async fn missed_events_are_caught_up_with_and_new_instances_join() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    for number in 0..120 {
        instance.receive("79001234567", &number.to_string()).await;
    }
    let all = seqs(&instance.events().await);
    let seen = all[3];
    let mut socket = Socket::auth(&shared().url(), &tenant.api_key, Some(&json!({&instance.id: seen}))).await;
    let mut came = Vec::new();
    while came.len() < all.len() - 4 {
        came.push(socket.wait("event").await);
    }
    assert_eq!(seqs(&came), all[4..]);
    socket.wait("synced").await;
    let second = Instance::paired(&tenant.client, &json!({})).await;
    second.receive("79001234567", "to the second").await;
    let logged = second.wait_event("the message", |event| event["type"] == "message_received").await;
    let frames = socket.drain(QUIET).await;
    let joined = events(&frames, &second);
    assert_eq!(seqs(&joined), (1..=logged["seq"].as_u64().expect("a number")).collect::<Vec<_>>(), "from the first");
    // Nothing is repeated by a look back within what this connection had.
    socket.send("sync", &json!({"after": {format!("instance:{}", instance.id): seen}})).await;
    assert_eq!(events(&socket.drain(QUIET).await, &instance), Vec::<Value>::new());
}

#[tokio::test]
async fn who_may_only_read_sees_no_codes() {
    let tenant = Tenant::new().await;
    let key = json!({"name": "a reader", "scopes": ["messages:read"]});
    let key = tenant.client.post("/api/auth/keys", &key).await.expect(201)["key"].clone();
    let mut reader = Socket::auth(&shared().url(), key.as_str().expect("a key"), None).await;
    let mut owner = Socket::auth(&shared().url(), &tenant.api_key, None).await;
    let im = tenant.client.post("/api/im/token", &json!({})).await.expect(200)["data"]["token"].clone();
    let mut client = Socket::auth(&shared().url(), im.as_str().expect("a token"), None).await;
    let instance = Instance::create(&tenant.client, &json!({})).await;
    let code = instance.qr().await;
    for (socket, sees) in [(&mut reader, false), (&mut owner, true)] {
        let qr = loop {
            let event = socket.wait("event").await;
            if event["event"] == "qr_received" {
                break event;
            }
        };
        let shown = if sees { json!(code) } else { Value::Null };
        assert_eq!(qr["data"]["qrCode"], shown);
    }
    assert_eq!(client.drain(QUIET).await, Vec::<Value>::new(), "clients of the IM get messages only");
}

#[tokio::test]
async fn an_expired_cursor_is_told_and_goes_on_from_the_oldest() {
    let mut server = Server::start();
    let tenant = Tenant::of(&server).await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    for number in 0..30 {
        instance.receive("79001234567", &number.to_string()).await;
    }
    let all = seqs(&instance.events().await);
    server.kill();
    // Thirty days later, made by hand: the log's oldest items are gone.
    assert!(server.forget_events(&instance.id, 3) > 0, "no log entries");
    server.restart();
    let left = seqs(&instance.events().await);
    assert!(left.len() < all.len() && left[0] > 2, "{left:?}");
    let mut socket = Socket::auth(&server.url(), &tenant.api_key, Some(&json!({&instance.id: 1}))).await;
    let mut frames = Vec::new();
    loop {
        match socket.next().await {
            Came::Frame(frame) if frame["type"] == "synced" => break,
            Came::Frame(frame) => frames.push(frame),
            other @ Came::Close(_) => panic!("{other:?}"),
        }
    }
    let error = frames.iter().find(|frame| frame["type"] == "error").expect("an error");
    assert_eq!(error["data"]["code"], "CURSOR_EXPIRED");
    assert_eq!(error["data"]["field"], format!("after.{}", instance.id));
    let came = seqs(&events(&frames, &instance));
    let now = seqs(&instance.events().await);
    assert_eq!(came, now[..came.len()]);
    assert!(came.len() >= left.len());
}
