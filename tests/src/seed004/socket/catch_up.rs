//! After a while without a connection: everything that was missed, in order, then what is new.

use super::{QUIET, column, group, listed, messages, online, post, uuid};
use crate::harness::socket::Came;
use crate::harness::{Socket, Tenant, shared};
use serde_json::{Value, json};

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<Value> {
    range.map(Value::from).collect()
}

/// The messages that come before word that all was caught up with.
async fn missed(socket: &mut Socket) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        match socket.next().await {
            Came::Frame(frame) if frame["type"] == "synced" => return messages(&frames),
            Came::Frame(frame) => frames.push(frame),
            Came::Close(code) => panic!("closed: {code}"),
        }
    }
}

#[tokio::test]
async fn what_was_missed_comes_in_order_and_once() {
    let (alice, mut socket) = online(shared()).await;
    let bob = Tenant::new().await;
    let group = group(&[&alice, &bob]).await;
    for number in 1..=3 {
        post(&bob, &uuid(), &alice.id, "single", &number.to_string()).await;
        post(&bob, &uuid(), &group, "group", &number.to_string()).await;
        socket.wait("message").await;
        socket.wait("message").await;
    }
    socket.close().await;
    // More than a page.
    for number in 4..=253 {
        post(&bob, &uuid(), &alice.id, "single", &number.to_string()).await;
    }
    post(&bob, &uuid(), &group, "group", "4").await;
    let after = json!({&bob.id: 3, &group: 3});
    let mut socket = Socket::auth(&shared().url(), &alice.api_key, Some(&after)).await;
    let came = missed(&mut socket).await;
    let (of_bob, of_group): (Vec<_>, Vec<_>) = came.into_iter().partition(|message| message["chatType"] == "single");
    assert_eq!(column(&of_bob, "messageSeq"), numbers(4..=253));
    assert_eq!(column(&of_bob, "content"), (4..=253).map(|n| json!(n.to_string())).collect::<Vec<_>>());
    assert_eq!(column(&of_group, "messageSeq"), numbers(4..=4));
    assert_eq!(of_group[0]["from_name"], "John Doe");
    post(&bob, &uuid(), &alice.id, "single", "live").await;
    assert_eq!(socket.wait("message").await["messageSeq"], 254);
    assert_eq!(messages(&socket.drain(QUIET).await), Vec::<Value>::new());
}

#[tokio::test]
async fn live_messages_do_not_overtake_what_is_caught_up_with() {
    let (alice, bob) = (Tenant::new().await, Tenant::new().await);
    for number in 0..400 {
        post(&bob, &uuid(), &alice.id, "single", &number.to_string()).await;
    }
    let writer = {
        let (bob, to) = (bob.clone(), alice.id.clone());
        tokio::spawn(async move {
            for number in 400..500 {
                post(&bob, &uuid(), &to, "single", &number.to_string()).await;
            }
        })
    };
    let mut sockets = Vec::new();
    for start in [0, 100, 250] {
        let after = json!({format!("single:{}", bob.id): start});
        sockets.push((start, Socket::auth(&shared().url(), &alice.api_key, Some(&after)).await));
    }
    for (start, socket) in &mut sockets {
        let mut seqs = Vec::new();
        while seqs.len() < 500 - *start {
            seqs.push(socket.wait("message").await["messageSeq"].clone());
        }
        assert_eq!(seqs, numbers(*start as u64 + 1..=500));
    }
    writer.await.expect("no panic");
}

#[tokio::test]
async fn chats_that_nobody_named_are_found_by_the_star() {
    let (alice, bob, carol) = (Tenant::new().await, Tenant::new().await, Tenant::new().await);
    post(&bob, &uuid(), &alice.id, "single", "one").await;
    post(&bob, &uuid(), &alice.id, "single", "two").await;
    post(&carol, &uuid(), &alice.id, "single", "new here").await;
    // A message whose news is still on its way would come as a live one.
    listed(&alice, &bob.id, 2).await;
    listed(&alice, &carol.id, 1).await;
    let mut without = Socket::auth(&shared().url(), &alice.api_key, Some(&json!({&bob.id: 2}))).await;
    assert_eq!(missed(&mut without).await, Vec::<Value>::new());
    let mut with = Socket::auth(&shared().url(), &alice.api_key, Some(&json!({&bob.id: 1, "*": 0}))).await;
    let mut contents: Vec<String> = column(&missed(&mut with).await, "content").iter().map(Value::to_string).collect();
    contents.sort();
    assert_eq!(contents, [r#""new here""#, r#""two""#]);
    post(&carol, &uuid(), &alice.id, "single", "live").await;
    for socket in [&mut with, &mut without] {
        assert_eq!(socket.wait("message").await["content"], "live");
    }
}

#[tokio::test]
async fn a_sync_repeats_nothing_that_this_connection_had() {
    let (alice, mut socket) = online(shared()).await;
    let bob = Tenant::new().await;
    for number in 1..=5 {
        post(&bob, &uuid(), &alice.id, "single", &number.to_string()).await;
        assert_eq!(socket.wait("message").await["messageSeq"], number);
    }
    socket.close().await;
    let url = shared().url();
    let mut socket = Socket::open(&url, &format!("?token={}", alice.api_key)).await;
    socket.wait("auth_success").await;
    post(&bob, &uuid(), &alice.id, "single", "6").await;
    assert_eq!(socket.wait("message").await["messageSeq"], 6);
    socket.send("sync", &json!({"after": {&bob.id: 2}})).await;
    assert_eq!(column(&missed(&mut socket).await, "messageSeq"), numbers(3..=5));
    socket.send("sync", &json!({"after": {&bob.id: "2"}})).await;
    assert_eq!(missed(&mut socket).await, Vec::<Value>::new());
    post(&bob, &uuid(), &alice.id, "single", "7").await;
    assert_eq!(socket.wait("message").await["messageSeq"], 7);
    // By the query, there is no moment in between.
    let after = json!({&bob.id: 5}).to_string().replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
    let mut socket = Socket::open(&url, &format!("?token={}&after={after}", alice.api_key)).await;
    assert_eq!(column(&missed(&mut socket).await, "messageSeq"), numbers(6..=7));
}

#[tokio::test]
async fn names_that_mean_nothing_are_told_and_the_rest_is_done() {
    let (alice, bob, eve) = (Tenant::new().await, Tenant::new().await, Tenant::new().await);
    post(&bob, &uuid(), &alice.id, "single", "one").await;
    let secret = group(&[&eve]).await;
    post(&eve, &uuid(), &secret, "group", "not for alice").await;
    let after = json!({&bob.id: 0, "nobody at all": 0, &secret: 0, "instance:0123456789abcdef": 0, "group:x": 1});
    let mut socket = Socket::auth(&shared().url(), &alice.api_key, Some(&after)).await;
    let mut errors = Vec::new();
    for _ in 0..4 {
        let error = socket.wait("error").await;
        errors.push(format!("{} {}", error["field"].as_str().expect("field"), error["code"].as_str().expect("code")));
    }
    errors.sort();
    let mut expected = [
        "after.group:x GROUP_NOT_FOUND".to_owned(),
        "after.instance:0123456789abcdef INSTANCE_NOT_FOUND".to_owned(),
        "after.nobody at all GROUP_NOT_FOUND".to_owned(),
        format!("after.{secret} NOT_A_MEMBER"),
    ];
    expected.sort();
    assert_eq!(errors, expected);
    assert_eq!(column(&missed(&mut socket).await, "content"), ["one"]);
    // A position ahead of the chat is its end.
    let mut socket = Socket::auth(&shared().url(), &alice.api_key, Some(&json!({&bob.id: 1000}))).await;
    assert_eq!(missed(&mut socket).await, Vec::<Value>::new());
    post(&bob, &uuid(), &alice.id, "single", "two").await;
    assert_eq!(socket.wait("message").await["messageSeq"], 2);
}
