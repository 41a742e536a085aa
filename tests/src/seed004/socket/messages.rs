//! Messages live: acknowledged to the sender, pushed to the others, once each, and the same everywhere.

use super::{QUIET, column, group, listed, messages, online, post, uuid};
use crate::harness::server::{ADMIN_API_KEY, on_aws};
use crate::harness::socket::Came;
use crate::harness::tools::{node, seed_file, stdout};
use crate::harness::{Client, Credential, Receiver, Server, Socket, Tenant, eventually, shared};
use serde_json::{Value, json};

#[tokio::test]
async fn a_message_reaches_the_peer_and_ones_other_device() {
    let (alice, mut phone) = online(shared()).await;
    let (bob, mut peer) = online(shared()).await;
    let mut desk = Socket::auth(&shared().url(), &alice.api_key, None).await;
    let id = uuid();
    let ack = phone.said(&id, &bob.id, "single", "你好").await;
    assert_eq!((&ack["id"], &ack["messageSeq"]), (&json!(id), &json!(1)));
    for socket in [&mut peer, &mut desk] {
        let message = socket.wait("message").await;
        let at = message["timestamp"].as_i64().expect("milliseconds");
        assert!(at > 1_600_000_000_000);
        let expected = json!({
            "id": id, "messageId": ack["messageId"], "messageSeq": 1, "fromId": alice.id, "toId": bob.id,
            "chatType": "single", "content": "你好", "timestamp": at, "contentType": "text", "replyTo": "", "imageUrl": "",
        });
        assert_eq!(message, expected);
    }
    let reply = json!({"id": uuid(), "toId": alice.id, "chatType": "single", "content": "", "contentType": "image",
        "imageUrl": "https://example.com/a.png", "replyTo": id});
    peer.send("message", &reply).await;
    assert_eq!(peer.wait("ack").await["messageSeq"], 2);
    for socket in [&mut phone, &mut desk] {
        let message = socket.wait("message").await;
        assert_eq!((&message["contentType"], &message["imageUrl"]), (&json!("image"), &reply["imageUrl"]));
        assert_eq!((&message["replyTo"], &message["messageSeq"]), (&json!(id), &json!(2)));
    }
    // A repeat is the same message: acknowledged again, pushed to nobody.
    let again = phone.said(&id, &bob.id, "single", "你好").await;
    assert_eq!(again, ack);
    for socket in [&mut phone, &mut peer, &mut desk] {
        assert_eq!(messages(&socket.drain(QUIET).await), Vec::<Value>::new());
    }
}

#[tokio::test]
async fn groups_name_their_senders_and_reach_members_only() {
    let (alice, mut one) = online(shared()).await;
    let (bob, mut two) = online(shared()).await;
    let (_, mut stranger) = online(shared()).await;
    let group = group(&[&alice, &bob]).await;
    let id = uuid();
    let ack = one.said(&id, &group, "group", "hello all").await;
    let message = two.wait("message").await;
    assert_eq!((&message["id"], &message["toId"], &message["chatType"]), (&json!(id), &json!(group), &json!("group")));
    assert_eq!((&message["from_name"], &message["from_avatar"]), (&json!("John Doe"), &json!("")));
    assert_eq!(message["messageId"], ack["messageId"]);
    stranger.say(&uuid(), &group, "group", "may I?").await;
    let refused = stranger.wait("error").await;
    assert_eq!((&refused["code"], &refused["field"]), (&json!("NOT_A_MEMBER"), &json!("toId")));
    assert_eq!(messages(&stranger.drain(QUIET).await), Vec::<Value>::new());
    let removed = json!({"channelId": group, "channelType": 2, "subscribers": [bob.id]});
    alice.client.post("/api/im/channel/subscriber/remove", &removed).await.expect(200);
    one.said(&uuid(), &group, "group", "without you").await;
    assert_eq!(messages(&two.drain(QUIET).await), Vec::<Value>::new());
    two.send("sync", &json!({"after": {format!("group:{group}"): 0}})).await;
    assert_eq!(two.wait("error").await["code"], "NOT_A_MEMBER");
}

#[tokio::test]
async fn a_message_over_http_is_the_same_everywhere_once() {
    let server = Server::start();
    let receiver = Receiver::start().await;
    let (alice, mut own) = online(&server).await;
    let (bob, mut peer) = online(&server).await;
    let hook = json!({"name": "IM", "platform": "im", "webhookUrl": receiver.url("/im")});
    let instance = bob.client.post("/api/instances", &hook).await.expect(201)["id"].clone();
    let id = uuid();
    let posted = post(&alice, &id, &bob.id, "single", "to be seen everywhere").await;
    let (message_id, seq) = (posted["messageId"].clone(), posted["messageSeq"].clone());
    let same = |message: &Value, what: &str| {
        assert_eq!((&message["messageId"], &message["messageSeq"]), (&message_id, &seq), "{what}: {message}");
    };
    let is_told = |frame: &Value| frame["type"] == "event" && frame["data"]["event"] == "message_received";
    let mut frames = Vec::new();
    while !frames.iter().any(is_told) || messages(&frames).is_empty() {
        let Came::Frame(frame) = peer.next().await else { panic!("closed after {frames:?}") };
        frames.push(frame);
    }
    same(&own.wait("message").await, "the sender's socket");
    let sync = format!("/api/im/message/sync?channelId={}&channelType=1", alice.id);
    let synced = bob.client.get(&sync).await.expect(200)["data"].clone();
    let synced = synced["messages"].as_array().or(synced.as_array()).expect("messages").clone();
    assert_eq!(synced.len(), 1);
    same(&synced[0], "sync");
    let admin = Client::new(&server.url(), Credential::Bearer(ADMIN_API_KEY.into()));
    let history = format!("/api/admin/history?type=single&toId={}&fromId={}", bob.id, alice.id);
    let history = admin.get(&history).await.expect(200)["data"]["messages"].as_array().expect("messages").clone();
    assert_eq!(history.len(), 1);
    same(&history[0], "history");
    let told = eventually("a webhook", async || {
        receiver.hits("/im").into_iter().find(|hit| hit.event() == "message_received")
    })
    .await;
    same(&told.json()["data"], "the webhook");
    frames.extend(peer.drain(QUIET).await);
    let came = messages(&frames);
    assert_eq!(came.len(), 1, "once: {came:?}");
    same(&came[0], "the peer's socket");
    let events: Vec<_> = frames.iter().filter(|frame| is_told(frame)).collect();
    assert_eq!(events.len(), 1, "{frames:?}");
    assert_eq!(events[0]["data"]["instanceId"], instance);
    let received = receiver.hits("/im").into_iter().filter(|hit| hit.event() == "message_received").count();
    assert_eq!(received, 1);
}

#[tokio::test]
async fn bots_write_to_their_owner() {
    let (alice, mut socket) = online(shared()).await;
    let frame =
        json!({"id": uuid(), "fromId": "bot_user", "toId": alice.id, "chatType": "single", "content": "订单已发货"});
    socket.send("message", &frame).await;
    let mut frames = [socket.next().await, socket.next().await].map(|came| match came {
        Came::Frame(frame) => frame,
        Came::Close(code) => panic!("closed: {code}"),
    });
    frames.sort_by_key(|frame| frame["type"].to_string());
    assert_eq!(column(&frames, "type"), ["ack", "message"]);
    assert_eq!(frames[0]["data"]["messageId"], frames[1]["data"]["messageId"]);
    let other = Tenant::new().await;
    socket
        .send(
            "message",
            &json!({"id": uuid(), "fromId": other.id, "toId": alice.id, "chatType": "single", "content": "x"}),
        )
        .await;
    assert_eq!(socket.wait("error").await["code"], "NOT_YOUR_SENDER");
}

#[tokio::test]
async fn eight_senders_at_once_arrive_in_one_order_at_all() {
    // In the bundle each of them is an invocation, and each of their copies a request, all through one emulator.
    let each = if on_aws() { 8 } else { 25 };
    let members: Vec<Tenant> = {
        let mut members = Vec::new();
        for _ in 0..8 {
            members.push(Tenant::new().await);
        }
        members
    };
    let group = group(&members.iter().collect::<Vec<_>>()).await;
    let url = shared().url();
    let mut listeners = Vec::new();
    for member in &members[..3] {
        listeners.push(Socket::auth(&url, &member.api_key, None).await);
    }
    let senders = members.iter().map(|member| {
        let (url, key, group) = (url.clone(), member.api_key.clone(), group.clone());
        tokio::spawn(async move {
            let mut socket = Socket::auth(&url, &key, None).await;
            for number in 0..each {
                socket.say(&uuid(), &group, "group", &number.to_string()).await;
            }
            // What the others said comes as messages, what was said here only as acknowledgements.
            let (mut acks, mut seqs) = (0, Vec::new());
            while acks < each || seqs.len() < 7 * each {
                match socket.next().await {
                    Came::Frame(frame) if frame["type"] == "ack" => acks += 1,
                    Came::Frame(frame) if frame["type"] == "message" => {
                        seqs.push(frame["data"]["messageSeq"].as_u64().expect("a number"));
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert!(seqs.is_sorted_by(|one, next| one < next), "{seqs:?}");
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.expect("no panic");
    }
    for mut listener in listeners {
        let mut seqs = Vec::new();
        while seqs.len() < 8 * each {
            seqs.push(listener.wait("message").await["messageSeq"].as_u64().expect("a number"));
        }
        assert_eq!(seqs, (1..=8 * each as u64).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn what_is_told_together_is_counted_apart() {
    let (alice, mut one) = online(shared()).await;
    let (bob, mut two) = online(shared()).await;
    // Faster than they are told of, so that several are told of at once.
    for turn in 0..5 {
        for _ in 0..4 {
            one.say(&uuid(), &bob.id, "single", "a question").await;
        }
        for _ in 0..4 {
            one.wait("ack").await;
        }
        if turn < 4 {
            two.said(&uuid(), &alice.id, "single", "an answer").await;
        }
    }
    let of = |conversation: &Value| (conversation["unread"].clone(), conversation["readSeq"].clone());
    assert_eq!(of(&listed(&alice, &bob.id, 24).await), (json!(0), json!(24)));
    assert_eq!(of(&listed(&bob, &alice.id, 24).await), (json!(4), json!(20)), "who writes has read what was before");
}

#[tokio::test]
async fn another_implementation_of_websocket_talks_to_it() {
    let (bob, mut peer) = online(shared()).await;
    let alice = Tenant::new().await;
    let input = json!({"url": shared().url(), "token": alice.api_key, "to": bob.id, "id": uuid()}).to_string();
    let answering = tokio::spawn(async move {
        let message = peer.wait("message").await;
        peer.said(&uuid(), message["fromId"].as_str().expect("an id"), "single", "an answer").await;
    });
    let said = tokio::task::spawn_blocking(move || stdout(&node(&seed_file("004/socket.cjs"), &input)));
    let frames: Vec<Value> = serde_json::from_str(&said.await.expect("no panic")).expect("JSON");
    answering.await.expect("no panic");
    assert_eq!(column(&frames, "type"), ["auth_success", "pong", "ack", "message"]);
    assert_eq!(frames[3]["data"]["content"], "an answer");
}
