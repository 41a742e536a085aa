//! Sending, sending many, syncing.

use super::example;
use crate::harness::person::encoded;
use crate::harness::{Credential, Person, Server, eventually, shape, shared};
use http::Method;
use serde_json::{Value, json};

const SEND: &str = "/api/v1/im/message/send";
const BATCH: &str = "/api/v1/im/message/sendbatch";

fn to(channel: &str, kind: u8, text: &str) -> Value {
    json!({"channelId": channel, "channelType": kind, "payload": encoded(text)})
}

#[tokio::test]
async fn the_seeds_request_is_answered_in_the_seeds_shape() {
    let server = Server::start();
    let person = Person::named(&server, "sender").await;
    // "string" is what the example has for every text: here it is a user, and base64 as it stands ("stri" + "ng==" would be).
    Person::named(&server, "string").await;
    let mut body = example("POST /api/v1/im/message/send", "request").clone();
    body["payload"] = encoded("string").into();
    for prefix in ["/api/v1/im", "/api/im"] {
        let answer = person.client.post(&format!("{prefix}/message/send"), &body).await.expect(200);
        shape(example("POST /api/v1/im/message/send", "answer"), &answer);
        // The same client number: the same message.
        assert_eq!(answer["data"]["messageSeq"], 1);
    }
    let batch = json!([body]);
    let answer = person.client.post(BATCH, &batch).await.expect(200);
    shape(example("POST /api/v1/im/message/sendbatch", "answer"), &answer);
    assert_eq!(answer["data"], json!([{"messageId": answer["data"][0]["messageId"], "messageSeq": 1}]));
    let synced = person.client.get("/api/v1/im/message/sync?channelId=string&channelType=1").await.expect(200);
    shape(example("GET /api/v1/im/message/sync", "answer"), &synced);
    assert_eq!(synced["data"][0]["clientMsgNo"], "string");
}

#[tokio::test]
async fn both_sides_see_a_message_each_from_its_side() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let first = ann.im_send(&bob.name, 1, "你好").await;
    let second = bob.im_send(&ann.id, 1, "hello").await;
    assert_eq!((first["messageSeq"].as_u64(), second["messageSeq"].as_u64()), (Some(1), Some(2)));
    let id: i64 = first["messageId"].as_str().unwrap().parse().expect("digits of an int64");
    assert!(id > 0);
    for (me, peer) in [(&ann, &bob), (&bob, &ann)] {
        let seen = me.sync(&peer.id, 1, "").await;
        assert_eq!(seen.len(), 2);
        for (message, (from, text)) in seen.iter().zip([(&ann, "你好"), (&bob, "hello")]) {
            assert_eq!(message["channelId"], peer.id, "{message}");
            assert_eq!((&message["fromUid"], &message["payload"]), (&json!(from.id), &json!(encoded(text))));
            assert_eq!(message["channelType"], 1);
            assert!(message["timestamp"].as_i64().unwrap() > 1_700_000_000_000, "milliseconds: {message}");
        }
        assert_eq!(seen[0]["messageId"], first["messageId"]);
    }
}

#[tokio::test]
async fn a_client_number_is_one_message_per_sender_and_channel() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let mut body = to(&bob.id, 1, "once");
    body["clientMsgNo"] = "n-1".into();
    let first = ann.post(SEND, &body).await;
    assert_eq!(ann.post(SEND, &body).await, first);
    body["payload"] = encoded("another text, the same number").into();
    assert_eq!(ann.post(SEND, &body).await, first, "the first one counts");
    let mut theirs = to(&ann.id, 1, "mine");
    theirs["clientMsgNo"] = "n-1".into();
    assert_ne!(bob.post(SEND, &theirs).await["messageId"], first["messageId"]);
    // Many at once, too.
    body["clientMsgNo"] = "n-2".into();
    let all = futures_util::future::join_all((0..16).map(|_| ann.post(SEND, &body))).await;
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
    let texts: Vec<_> = ann.sync(&bob.id, 1, "").await.iter().map(|one| one["payload"].clone()).collect();
    assert_eq!(texts, [encoded("once"), encoded("mine"), encoded("another text, the same number")]);
}

#[tokio::test]
async fn an_idempotency_key_makes_the_number_where_there_is_none() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let ask = async |path: &str, key: &str, body: &Value| {
        ann.client.send(ann.client.request(Method::POST, path).header("idempotency-key", key).json(body)).await
    };
    let body = to(&bob.id, 1, "keyed");
    let first = ask(SEND, "im-1", &body).await;
    let again = ask(SEND, "im-1", &body).await;
    assert_eq!(first.expect(200), again.expect(200));
    assert_eq!(again.header("idempotent-replay"), "true");
    ask(SEND, "im-1", &to(&bob.id, 1, "other")).await.refused(422);
    let batch = json!([body, body]);
    let first = ask(BATCH, "im-2", &batch).await.expect(200);
    assert_eq!(ask(BATCH, "im-2", &batch).await.expect(200), first);
    assert_ne!(first["data"][0]["messageSeq"], first["data"][1]["messageSeq"], "two messages without a number are two");
    let all = ann.sync(&bob.id, 1, "").await;
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|one| !one["clientMsgNo"].as_str().unwrap().is_empty()));
}

#[tokio::test]
async fn one_sends_as_oneself_or_as_a_bot_of_ones_own() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let with = |from: &str| {
        let mut body = to(&bob.id, 1, "who?");
        body["fromUid"] = from.into();
        body
    };
    ann.post(SEND, &with(&ann.id)).await;
    ann.post(SEND, &with(&ann.name)).await;
    ann.post(SEND, &with("bot_news")).await;
    ann.client.post(SEND, &with(&bob.id)).await.refused(403);
    ann.client.post(SEND, &with("nobody-of-this-name")).await.refused(404);
    let own = ann.sync(&bob.id, 1, "").await;
    assert_eq!(own.len(), 2, "the bot's conversation is another one");
    // The same name is another bot in other hands.
    let bot = eventually("the bot's conversation", async || {
        let all = bob.get("/api/conversations").await["conversations"].as_array().unwrap().clone();
        all.iter().find(|one| one["name"] == "bot_news").map(|one| one["chatId"].as_str().unwrap().to_owned())
    })
    .await;
    let as_bot = with(&bot);
    ann.post(SEND, &as_bot).await;
    bob.client.post(SEND, &as_bot).await.refused(403);
    assert_eq!(bob.sync(&bot, 1, "").await.len(), 2);
    let admin = shared().admin().post(SEND, &with(&ann.id)).await;
    assert_eq!(crate::harness::person::data(&admin)["messageSeq"], 3, "an administrator sends as anybody");
}

#[tokio::test]
async fn a_batch_is_checked_before_anything_is_sent_and_answers_in_order() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let group = ann.group(&[&bob]).await;
    let good: Vec<Value> = (0..100)
        .map(|n| if n % 3 == 0 { to(&group, 2, &n.to_string()) } else { to(&bob.id, 1, &n.to_string()) })
        .collect();
    for (index, bad, status, names) in [
        (99, json!({"channelId": bob.id, "channelType": 1, "payload": "***"}), 400, "[99].payload"),
        (50, json!({"channelId": bob.id, "channelType": 3, "payload": "aGk="}), 400, "[50].channelType"),
        (98, json!({"channelId": "no-such-group", "channelType": 2, "payload": "aGk="}), 404, "[98].channelId"),
        (1, json!({"channelId": "nobody-at-all", "channelType": 1, "payload": "aGk="}), 404, "[1].channelId"),
        (2, json!({"channelType": 1, "payload": "aGk="}), 400, "[2].channelId"),
    ] {
        let mut batch = good.clone();
        batch[index] = bad;
        let answer = ann.client.post(BATCH, &json!(batch)).await;
        answer.refused(status);
        assert_eq!(answer.json()["field"], names, "{answer}");
    }
    assert_eq!(ann.sync(&group, 2, "").await.len() + ann.sync(&bob.id, 1, "").await.len(), 0, "nothing was sent");
    ann.client.post(BATCH, &json!([])).await.refused(400);
    let many: Vec<_> = good.iter().chain(&good).cloned().collect();
    ann.client.post(BATCH, &json!(many)).await.refused(400);
    ann.client.post(BATCH, &json!({"messages": good})).await.refused(400);
    ann.client.post(BATCH, &json!(["text"])).await.refused(400);

    let sent = ann.post(BATCH, &json!(good)).await;
    assert_eq!(sent.as_array().unwrap().len(), 100);
    let (grouped, direct) = (ann.sync(&group, 2, "&limit=100").await, ann.sync(&bob.id, 1, "&limit=100").await);
    let (mut grouped, mut direct) = (grouped.iter(), direct.iter());
    for (n, answer) in sent.as_array().unwrap().iter().enumerate() {
        let stored = if n % 3 == 0 { grouped.next() } else { direct.next() }.expect("as many as were sent");
        assert_eq!(stored["payload"], encoded(&n.to_string()), "in order");
        assert_eq!((&stored["messageId"], &stored["messageSeq"]), (&answer["messageId"], &answer["messageSeq"]));
    }
}

#[tokio::test]
async fn syncing_pages_forwards_and_shows_the_newest_first_of_all() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let batch: Vec<Value> = (1..=60).map(|n| to(&bob.id, 1, &n.to_string())).collect();
    ann.post(BATCH, &json!(batch)).await;
    let seqs = |page: &[Value]| page.iter().map(|one| one["messageSeq"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(seqs(&bob.sync(&ann.id, 1, "").await), (11..=60).collect::<Vec<_>>(), "the newest fifty, ascending");
    assert_eq!(seqs(&bob.sync(&ann.id, 1, "&limit=3").await), [58, 59, 60]);
    assert_eq!(seqs(&bob.sync(&ann.id, 1, "&lastMessageSeq=0&limit=1000").await), (1..=60).collect::<Vec<_>>());
    assert_eq!(seqs(&bob.sync(&ann.id, 1, "&lastMessageSeq=57").await), [58, 59, 60]);
    assert!(bob.sync(&ann.id, 1, "&lastMessageSeq=60").await.is_empty());
    assert!(bob.sync(&ann.id, 1, "&lastMessageSeq=9007199254740993").await.is_empty());
}

#[tokio::test]
async fn an_answer_stays_below_five_megabytes() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let large = "x".repeat(64 * 1024);
    let batch: Vec<Value> = (0..10).map(|_| to(&bob.id, 1, &large)).collect();
    for _ in 0..12 {
        ann.post(BATCH, &json!(batch)).await;
    }
    let (mut seen, mut after) = (0, 0);
    while seen < 120 {
        let path =
            format!("/api/v1/im/message/sync?channelId={}&channelType=1&limit=1000&lastMessageSeq={after}", ann.id);
        let answer = bob.client.get(&path).await;
        assert!(answer.body.len() < 5_000_000, "{} bytes", answer.body.len());
        let page = answer.expect(200)["data"].as_array().unwrap().clone();
        assert_eq!(page.first().and_then(|one| one["messageSeq"].as_u64()), Some(after + 1), "without a gap");
        after = page.last().and_then(|one| one["messageSeq"].as_u64()).unwrap();
        seen += page.len();
    }
    let newest =
        bob.client.get(&format!("/api/v1/im/message/sync?channelId={}&channelType=1&limit=1000", ann.id)).await;
    assert!(newest.body.len() < 5_000_000);
    assert_eq!(newest.expect(200)["data"].as_array().unwrap().last().unwrap()["messageSeq"], 120);
}

#[tokio::test]
async fn wrong_fields_are_named_and_leave_nothing() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let good = to(&bob.id, 1, "good");
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (field, bad) in [
        ("channelId", json!(7)),
        ("channelType", json!("1")),
        ("channelType", json!(0)),
        ("channelType", json!(3)),
        ("channelType", json!(-1)),
        ("channelType", json!(1.5)),
        ("payload", json!(["aGk="])),
        ("payload", json!("")),
        ("payload", json!("not base64!")),
        ("payload", json!("aGk")),
        ("payload", json!(encoded(&"x".repeat(64 * 1024 + 1)))),
        ("clientMsgNo", json!(1)),
        ("clientMsgNo", json!("x".repeat(129))),
        ("clientMsgNo", json!("a\nb")),
        ("fromUid", json!(1)),
        ("fromUid", json!("bot_#")),
    ] {
        ann.client.post(SEND, &with(field, bad)).await.names(field);
    }
    let missing = example("GET /api/v1/im/message/sync", "error")["message"].as_str().unwrap();
    for field in ["channelId", "channelType"] {
        ann.client.post(SEND, &with(field, Value::Null)).await.refused_with(400, missing);
    }
    ann.client.post(SEND, &with("channelId", json!(""))).await.refused_with(400, missing);
    ann.client.post(SEND, &with("payload", Value::Null)).await.names("payload");
    ann.client.post(SEND, &with("channelId", json!("nobody-of-this-name"))).await.refused(404);
    ann.client.post(SEND, &to("no-such-group", 2, "x")).await.refused(404);
    ann.client.post(SEND, &json!([good])).await.refused(400);
    let sync = "/api/v1/im/message/sync";
    for query in ["", "?channelId=x", "?channelType=1", "?channelId=&channelType=1"] {
        ann.client.get(&format!("{sync}{query}")).await.refused_with(400, missing);
    }
    for (query, field) in [
        ("channelType=3", "channelType"),
        ("channelType=x", "channelType"),
        ("channelType=1&limit=0", "limit"),
        ("channelType=1&limit=1001", "limit"),
        ("channelType=1&lastMessageSeq=-1", "lastMessageSeq"),
    ] {
        ann.client.get(&format!("{sync}?channelId={}&{query}", bob.id)).await.names(field);
    }
    assert!(ann.sync(&bob.id, 1, "").await.is_empty(), "nothing was stored");
    shared().anonymous().with(Credential::None).post(SEND, &good).await.refused(401);
}
