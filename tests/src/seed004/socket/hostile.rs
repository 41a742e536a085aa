//! Frames that are none, too many of them, and clients that do not read.

use super::{column, group, online, uuid};
use crate::harness::server::on_aws;
use crate::harness::socket::Came;
use crate::harness::{Server, Socket, Tenant, shared};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn bad_frames_are_told_and_the_connection_stays() {
    let (alice, mut socket) = online(shared()).await;
    for text in ["", "hello", "[]", "{", "null", r#"{"type":"dance"}"#, r#"{"data":{}}"#, r#"{"type":"auth","data":7}"#]
    {
        socket.text(text).await;
        let error = socket.wait("error").await;
        assert!(error["message"].is_string() && error["code"].is_string(), "{text}: {error}");
    }
    socket.raw(Message::Binary("{\"type\":\"ping\"}".into())).await.expect("the server listens");
    assert_eq!(socket.wait("error").await["code"], "BAD_FRAME");
    for (data, field) in [
        (json!({"id": "1", "chatType": "single", "content": "x"}), "toId"),
        (json!({"id": "1", "toId": 7, "chatType": "single", "content": "x"}), "toId"),
        (json!({"id": "1", "toId": alice.id, "chatType": "both", "content": "x"}), "chatType"),
        (json!({"id": "1", "toId": alice.id, "chatType": "single", "content": "x".repeat(10_001)}), "content"),
        (json!({"id": "1", "toId": "nobody at all", "chatType": "single", "content": "x"}), "toId"),
        (
            json!({"id": "1", "toId": alice.id, "chatType": "single", "contentType": "image", "imageUrl": "x"}),
            "imageUrl",
        ),
    ] {
        socket.send("message", &data).await;
        let error = socket.wait("error").await;
        assert_eq!((&error["field"], &error["id"]), (&json!(field), &json!("1")), "{error}");
    }
    socket.raw(Message::Ping("x".into())).await.expect("the server listens");
    socket.text("ping").await;
    assert!(socket.wait("pong").await["at"].is_i64());
    socket.said(&uuid(), &alice.id, "single", "still here").await;
}

#[tokio::test]
async fn too_many_errors_and_too_large_frames_end_it() {
    let (_, mut socket) = online(shared()).await;
    for _ in 0..60 {
        if socket.raw(Message::Text("nonsense".into())).await.is_err() {
            break;
        }
    }
    assert_eq!(socket.closed().await, 1008);
    for size in [64 * 1024 + 1, 1024 * 1024] {
        let (_, mut socket) = online(shared()).await;
        // The server may hang up before it has all.
        drop(socket.raw(Message::Text("x".repeat(size).into())).await);
        assert_eq!(socket.closed().await, 1009, "{size} bytes");
    }
    let (alice, mut socket) = online(shared()).await;
    let mut data =
        json!({"type": "message", "data": {"id": "1", "toId": alice.id, "chatType": "single", "content": "x"}});
    data["data"]["more"] = "x".repeat(64 * 1024 - data.to_string().len() - 10).into();
    assert!(data.to_string().len() <= 64 * 1024);
    socket.text(&data.to_string()).await;
    socket.wait("ack").await;
}

#[tokio::test]
async fn a_flood_waits_its_turn() {
    let (_, mut socket) = online(shared()).await;
    let start = Instant::now();
    for _ in 0..400 {
        socket.text("ping").await;
    }
    for _ in 0..400 {
        socket.wait("pong").await;
    }
    let took = start.elapsed();
    assert!(took > Duration::from_millis(1500), "200 at once, then 100 a second: {took:?}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_let_go_and_the_others_go_on() {
    let server = Server::start();
    let (alice, mut fast) = online(&server).await;
    let (bob, slow) = online(&server).await;
    let carol = Tenant::of(&server).await;
    let group = group(&[&alice, &bob, &carol]).await;
    let text = "汉".repeat(10_000);
    let writer = {
        let (url, key, group) = (server.url(), carol.api_key.clone(), group.clone());
        tokio::spawn(async move {
            let mut socket = Socket::auth(&url, &key, None).await;
            for _ in 0..500 {
                socket.said(&uuid(), &group, "group", &text).await;
            }
        })
    };
    let mut seqs = Vec::new();
    while seqs.len() < 500 {
        seqs.push(fast.wait("message").await["messageSeq"].as_u64().expect("a number"));
    }
    assert_eq!(seqs, (1..=500).collect::<Vec<_>>());
    writer.await.expect("no panic");
    // What was under way is still there; then nothing, or the goodbye.
    let mut slow = slow;
    let (mut last, mut end) = (0, None);
    while end.is_none() {
        match slow.next().await {
            Came::Frame(frame) if frame["type"] == "message" => {
                let seq = frame["data"]["messageSeq"].as_u64().expect("a number");
                assert_eq!(seq, last + 1);
                last = seq;
            }
            Came::Frame(_) => {}
            Came::Close(code) => end = Some(code),
        }
    }
    // API Gateway has one code for all ends, and who does not read is not told ours before it.
    let told = matches!(end, Some(1013 | 1006)) || (on_aws() && end == Some(1000));
    assert!(last < 500 && told, "{last} {end:?}");
    // It comes back and has the rest.
    let mut back = Socket::auth(&server.url(), &bob.api_key, Some(&json!({&group: last}))).await;
    let mut rest = Vec::new();
    while rest.len() as u64 != 500 - last {
        rest.push(back.wait("message").await);
    }
    assert_eq!(column(&rest, "messageSeq"), (last + 1..=500).map(serde_json::Value::from).collect::<Vec<_>>());
}
