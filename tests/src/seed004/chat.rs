//! Logging in, registering, sending, histories, conversations.

use crate::harness::person::{PASSWORD, data, encoded};
use crate::harness::{Credential, Person, Server, eventually, shape, shared};
use http::Method;
use serde_json::{Value, json};

const SEND: &str = "/api/message/send";

#[tokio::test]
async fn registering_and_logging_in() {
    let server = Server::start();
    let anonymous = server.anonymous();
    let body = json!({"username": "alice", "password": PASSWORD, "nickname": "爱丽丝", "email": "alice@example.com"});
    let session = data(&anonymous.post("/api/register", &body).await);
    let expected = json!({
        "token": "jwt", "realtimeUrl": "ws://", "user": {"id": "u", "username": "alice", "nickname": "爱丽丝", "email": "alice@example.com"},
    });
    shape(&expected, &session);
    for field in ["username", "nickname", "email"] {
        assert_eq!(session["user"][field], expected["user"][field]);
    }
    for name in ["alice", "ALICE", "alice@example.com"] {
        let again = data(&anonymous.post("/api/login", &json!({"username": name, "password": PASSWORD})).await);
        assert_eq!(again["user"], session["user"]);
        let holder = anonymous.with(Credential::Bearer(again["token"].as_str().unwrap().to_owned()));
        assert_eq!(holder.get("/api/auth/me").await.expect(200)["username"], "alice");
    }
    for wrong in
        [json!({"username": "alice", "password": "not this one"}), json!({"username": "nobody", "password": PASSWORD})]
    {
        anonymous.post("/api/login", &wrong).await.refused_with(401, "Invalid credentials");
    }
    for missing in [
        json!({}),
        json!({"username": "alice"}),
        json!({"password": PASSWORD}),
        json!({"username": "", "password": ""}),
    ] {
        anonymous.post("/api/login", &missing).await.refused_with(400, "username and password are required");
        anonymous.post("/api/register", &missing).await.refused_with(400, "username and password are required");
    }
    anonymous.post("/api/register", &body).await.refused(409);
    let taken = json!({"username": "Alice", "password": PASSWORD});
    anonymous.post("/api/register", &taken).await.refused(409);
    for (field, bad) in [
        ("username", json!("a")),
        ("username", json!("x".repeat(65))),
        ("username", json!("a#b")),
        ("username", json!("bot_alice")),
        ("username", json!("01hz0000000abcde")),
        ("username", json!(7)),
        ("password", json!("short")),
        ("password", json!("x".repeat(201))),
        ("nickname", json!("x".repeat(101))),
        ("email", json!("no address")),
    ] {
        let mut body = json!({"username": "another", "password": PASSWORD});
        body[field] = bad;
        anonymous.post("/api/register", &body).await.names(field);
    }
    let ask = async || {
        let body = json!({"username": "keyed", "password": PASSWORD});
        anonymous
            .send(anonymous.request(Method::POST, "/api/register").header("idempotency-key", "once").json(&body))
            .await
    };
    assert_eq!(data(&ask().await)["user"]["id"], data(&ask().await)["user"]["id"]);
}

#[tokio::test]
async fn registration_can_be_closed_or_by_invitation() {
    let body = json!({"username": "alice", "password": PASSWORD});
    let closed = Server::start_with(&[("REGISTRATION", "closed")]);
    closed.anonymous().post("/api/register", &body).await.refused(403);
    let invite = Server::start_with(&[("REGISTRATION", "invite")]);
    invite.anonymous().post("/api/register", &body).await.refused(403);
    let code = invite.admin().order("/api/auth/invites").await.expect(201)["code"].clone();
    let mut invited = body.clone();
    invited["invitation"] = code;
    data(&invite.anonymous().post("/api/register", &invited).await);
}

#[tokio::test]
async fn a_message_is_answered_once_and_for_all() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let body = json!({"id": "5f0c7f1e-6b0a-4f2e-9a53-0d8f6f0b1c11", "fromId": ann.name, "toId": bob.name, "chatType": "single",
                      "content": "hello", "contentType": "text"});
    let first = ann.post(SEND, &body).await;
    shape(&json!({"id": "x", "messageId": "1", "messageSeq": 1, "timestamp": 1_705_312_800_000_i64}), &first);
    assert_eq!((&first["id"], &first["messageSeq"]), (&body["id"], &json!(1)));
    assert!(first["timestamp"].as_i64().unwrap() > 1_700_000_000_000);
    assert_eq!(ann.post(SEND, &body).await, first);
    let mut other = body.clone();
    other["content"] = "another text under the same id".into();
    assert_eq!(ann.post(SEND, &other).await, first);
    let all = futures_util::future::join_all((0..16).map(|_| ann.post(SEND, &body))).await;
    assert!(all.iter().all(|one| *one == first));
    let mut elsewhere = body.clone();
    elsewhere["toId"] = Person::of(shared(), "cat").await.name.into();
    ann.client.post(SEND, &elsewhere).await.refused(422);
    assert_eq!(bob.sync(&ann.id, 1, "").await.len(), 1);
}

#[tokio::test]
async fn what_is_sent_here_is_seen_there_and_the_other_way_round() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let group = ann.group(&[&bob]).await;
    for (kind, number, to_bob, to_ann) in
        [("single", 1, bob.id.clone(), ann.id.clone()), ("group", 2, group.clone(), group.clone())]
    {
        let chat = ann.chat(kind, &to_bob, "over chat").await;
        let text = json!({"type": 1, "content": "over im"}).to_string();
        let im = bob.im_send(&to_ann, number, &text).await;
        let odd = bob.im_send(&to_ann, number, "no JSON at all").await;
        let image = json!({"id": format!("i-{kind}"), "toId": to_bob, "chatType": kind, "contentType": "image",
                           "imageUrl": "https://example.com/a.png", "replyTo": chat["id"]});
        let image = ann.post(SEND, &image).await;
        let synced = bob.sync(&to_ann, number, "").await;
        let ids: Vec<_> = synced.iter().map(|one| (&one["messageId"], one["messageSeq"].as_u64().unwrap())).collect();
        assert_eq!(
            ids,
            [(&chat["messageId"], 1), (&im["messageId"], 2), (&odd["messageId"], 3), (&image["messageId"], 4)]
        );
        assert_eq!(synced[0]["clientMsgNo"], chat["id"]);
        assert_eq!(synced[0]["payload"], encoded(r#"{"content":"over chat","type":1}"#));
        let path = format!("/api/message/history?chatType={kind}&chatId={to_ann}");
        let history = bob.get(&path).await["messages"].as_array().unwrap().clone();
        let seen: Vec<_> = history.iter().rev().map(|one| (&one["contentType"], &one["content"])).collect();
        let text = json!("text");
        let expected = [(text.clone(), "over chat"), (text, "over im"), (json!("custom"), ""), (json!("image"), "")];
        for (seen, expected) in seen.iter().zip(&expected) {
            assert_eq!((seen.0, seen.1.as_str()), (&expected.0, Some(expected.1)));
        }
        assert_eq!((&history[3]["id"], &history[3]["messageId"]), (&chat["id"], &chat["messageId"]));
        assert_eq!(history[2]["id"], im["messageId"], "a message without a client's id has ours");
        assert_eq!(history[1]["payload"], encoded("no JSON at all"));
        assert_eq!(
            (&history[0]["imageUrl"], &history[0]["replyTo"]),
            (&json!("https://example.com/a.png"), &chat["id"])
        );
        let expected = json!({"id": "", "fromId": "", "toId": "", "chatType": "", "content": "", "timestamp": 1, "contentType": "",
                              "replyTo": "", "imageUrl": ""});
        shape(&expected, &history[3]);
        assert_eq!((&history[3]["fromId"], &history[3]["chatType"]), (&json!(ann.id), &json!(kind)));
        assert_eq!(history[3]["toId"], if kind == "group" { group.clone() } else { bob.id.clone() });
        if kind == "group" {
            assert_eq!((&history[3]["from_name"], &history[3]["from_avatar"]), (&json!(ann.name), &json!("")));
        }
    }
}

#[tokio::test]
async fn one_sends_as_oneself_or_a_bot_and_an_administrator_as_anybody() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let from = |from: &str, id: &str| json!({"id": id, "fromId": from, "toId": bob.name, "chatType": "single", "content": "x"});
    ann.client.post(SEND, &from(&bob.name, "1")).await.refused(403);
    ann.client.post(SEND, &from("nobody-of-this-name", "2")).await.refused(404);
    let first = ann.post(SEND, &from("bot_user", "3")).await;
    // Another's bot of the same name is another sender: the same id is another message.
    let cat = Person::of(shared(), "cat").await;
    assert_ne!(cat.post(SEND, &from("bot_user", "3")).await["messageId"], first["messageId"]);
    data(&shared().admin().post(SEND, &from(&ann.id, "4")).await);
    let bots = eventually("two bots and ann", async || {
        let all = bob.get("/api/conversations").await["conversations"].as_array().unwrap().clone();
        (all.len() == 3).then_some(all)
    })
    .await;
    assert_eq!(bots.iter().filter(|one| one["name"] == "bot_user").count(), 2);
    // Whom a bot wrote to can answer it.
    let bot = bots.iter().find(|one| one["name"] == "bot_user").unwrap()["chatId"].as_str().unwrap();
    bob.chat("single", bot, "thank you, bot").await;
}

#[tokio::test]
async fn groups_are_their_members() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let group = ann.group(&[]).await;
    ann.chat("group", &group, "alone").await;
    let body = json!({"id": "1", "toId": group, "chatType": "group", "content": "me, too"});
    bob.client.post(SEND, &body).await.refused(403);
    bob.client.get(&format!("/api/message/history?chatType=group&chatId={group}")).await.refused(403);
    bob.client.post("/api/conversations/read", &json!({"chatId": group, "chatType": "group"})).await.refused(403);
    let body = json!({"id": "1", "toId": "no-such-group", "chatType": "group", "content": "x"});
    ann.client.post(SEND, &body).await.refused(404);
}

#[tokio::test]
async fn histories_page_backwards() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let batch: Vec<Value> =
        (1..=90).map(|n| json!({"channelId": bob.id, "channelType": 1, "payload": encoded(&n.to_string())})).collect();
    ann.post("/api/im/message/sendbatch", &json!(batch)).await;
    let mut seqs = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = bob.get(&format!("/api/message/history?chatType=single&chatId={}&limit=40{cursor}", ann.name)).await;
        seqs.extend(page["messages"].as_array().unwrap().iter().map(|one| one["messageSeq"].as_u64().unwrap()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seqs, (1..=90).rev().collect::<Vec<_>>());
    for (query, field) in [
        ("chatId=x", "chatType"),
        ("chatType=single", "chatId"),
        ("chatType=both&chatId=x", "chatType"),
        ("chatType=single&chatId=x&limit=201", "limit"),
        ("chatType=single&chatId=x&cursor=y", "cursor"),
    ] {
        bob.client.get(&format!("/api/message/history?{query}")).await.names(field);
    }
    bob.client.get("/api/message/history?chatType=single&chatId=nobody-here").await.refused(404);
}

#[tokio::test]
async fn conversations_count_what_is_unread() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let group = ann.group(&[&bob]).await;
    for text in ["one", "two", "three"] {
        ann.chat("single", &bob.id, text).await;
        ann.chat("group", &group, text).await;
    }
    let listed = async |who: &Person, chat: &str| {
        let all = who.get("/api/conversations").await["conversations"].as_array().unwrap().clone();
        all.into_iter().find(|one| one["chatId"] == chat).unwrap_or_default()
    };
    for (chat, kind) in [(&ann.id, "single"), (&group, "group")] {
        let unread = async |wanted: u64| {
            eventually(&format!("{wanted} unread in the {kind} chat"), async || {
                let one = listed(&bob, chat).await;
                (one["unread"] == wanted && one["lastSeq"] == 3).then_some(one)
            })
            .await
        };
        let one = unread(3).await;
        assert_eq!((&one["chatType"], &one["lastMessage"]["content"]), (&json!(kind), &json!("three")));
        let read =
            bob.post("/api/conversations/read", &json!({"chatId": chat, "chatType": kind, "messageSeq": 2})).await;
        assert_eq!(read, json!({"chatId": chat, "chatType": kind, "messageSeq": 2}));
        unread(1).await;
        // Never back.
        bob.post("/api/conversations/read", &json!({"chatId": chat, "messageSeq": 1})).await;
        unread(1).await;
        // Without a kind and a number, and beyond the end.
        assert_eq!(bob.post("/api/conversations/read", &json!({"chatId": chat})).await["messageSeq"], 3);
        unread(0).await;
        let beyond = json!({"chatId": chat, "messageSeq": 1_000_000});
        assert_eq!(bob.post("/api/conversations/read", &beyond).await["messageSeq"], 3);
    }
    // One's own messages are read.
    let mine = listed(&ann, &bob.id).await;
    assert_eq!((&mine["unread"], &mine["name"]), (&json!(0), &json!(bob.name)));
    let page = bob.get("/api/conversations?limit=1").await;
    assert_eq!(page["conversations"].as_array().unwrap().len(), 1);
    let next = page["nextCursor"].as_str().expect("a second page").to_owned();
    let second = bob.get(&format!("/api/conversations?limit=1&cursor={next}")).await;
    assert_ne!(second["conversations"][0]["chatId"], page["conversations"][0]["chatId"]);
    for (body, field) in [
        (json!({}), "chatId"),
        (json!({"chatId": 1}), "chatId"),
        (json!({"chatId": "x", "chatType": "all"}), "chatType"),
        (json!({"chatId": "x", "messageSeq": -1}), "messageSeq"),
    ] {
        bob.client.post("/api/conversations/read", &body).await.names(field);
    }
    bob.client.post("/api/conversations/read", &json!({"chatId": "nobody-here"})).await.refused(404);
}

#[tokio::test]
async fn wrong_fields_are_named_and_leave_nothing() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let good = json!({"id": "1", "toId": bob.id, "chatType": "single", "content": "hi", "contentType": "text"});
    for (field, bad) in [
        ("id", json!("")),
        ("id", json!("x".repeat(129))),
        ("id", json!(1)),
        ("id", Value::Null),
        ("fromId", json!("")),
        ("fromId", json!(1)),
        ("fromId", json!("bot_a@b")),
        ("toId", json!("")),
        ("toId", json!([])),
        ("chatType", json!("channel")),
        ("chatType", json!(1)),
        ("content", json!("")),
        ("content", json!(1)),
        ("content", json!("x".repeat(10_001))),
        ("content", json!("😀".repeat(7_681))),
        ("contentType", json!("video")),
        ("replyTo", json!(1)),
        ("imageUrl", json!({})),
    ] {
        let mut body = good.clone();
        body[field] = bad;
        ann.client.post(SEND, &body).await.names(field);
    }
    for url in [Value::Null, json!(""), json!("ftp://example.com/a.png"), json!("javascript:alert(1)"), json!("a.png")]
    {
        let mut body = good.clone();
        (body["contentType"], body["imageUrl"]) = (json!("image"), url);
        ann.client.post(SEND, &body).await.names("imageUrl");
    }
    shared().anonymous().post(SEND, &good).await.refused(401);
    assert!(ann.sync(&bob.id, 1, "").await.is_empty(), "nothing was stored");
    let mut longest = good;
    longest["content"] = "汉".repeat(10_000).into();
    ann.post(SEND, &longest).await;
    ann.client.get("/api/message/nothing").await.refused(404);
    ann.client.get(SEND).await.refused(405);
}
