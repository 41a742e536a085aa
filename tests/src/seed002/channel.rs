//! Groups, their members, and conversations that are named and hidden.

use super::example;
use crate::harness::{Person, Server, eventually, shape, shared};
use serde_json::{Value, json};

const CREATE: &str = "/api/v1/im/channel/create";
const DELETE: &str = "/api/v1/im/channel/delete";
const ADD: &str = "/api/v1/im/channel/subscriber/add";
const REMOVE: &str = "/api/v1/im/channel/subscriber/remove";

fn of(id: &str, subscribers: &[&str]) -> Value {
    json!({"channelId": id, "channelType": 2, "subscribers": subscribers})
}

#[tokio::test]
async fn the_seeds_requests_are_answered_in_the_seeds_shape() {
    let server = Server::start();
    let owner = Person::named(&server, "owner").await;
    Person::named(&server, "string").await;
    for prefix in ["/api/v1/im", "/api/im"] {
        for name in ["channel/create", "channel/subscriber/add", "channel/subscriber/remove", "channel/delete"] {
            let endpoint = format!("POST /api/v1/im/{name}");
            let request = example(&endpoint, "request");
            let answer = owner.client.post(&format!("{prefix}/{name}"), request).await.expect(200);
            shape(example(&endpoint, "answer"), &answer);
            assert_ne!(answer["data"]["added"], 0);
            assert_ne!(answer["data"]["removed"], 0);
        }
    }
}

#[tokio::test]
async fn the_answer_to_a_creation_holds_what_was_given() {
    let (owner, other) = (Person::of(shared(), "owner").await, Person::of(shared(), "other").await);
    let id = format!("工作群 {}", owner.name);
    let group =
        json!({"channelId": id, "channelType": 2, "name": "群组名称", "avatar": "https://example.com/avatar.jpg"});
    assert_eq!(owner.post(CREATE, &group).await, group);
    // The same owner: an update of what is given.
    let renamed = json!({"channelId": id, "channelType": 2, "name": "renamed"});
    let answer = owner.post(CREATE, &renamed).await;
    assert_eq!((&answer["name"], &answer["avatar"]), (&json!("renamed"), &group["avatar"]));
    other.client.post(CREATE, &group).await.refused(409);
    shared().admin().post(CREATE, &group).await.refused(409);
    let bare = owner.post(CREATE, &json!({"channelId": format!("{id}2"), "channelType": 2})).await;
    assert_eq!((&bare["name"], &bare["avatar"]), (&json!(""), &json!("")));
}

#[tokio::test]
async fn members_write_and_read_and_others_do_not() {
    let (owner, member) = (Person::of(shared(), "owner").await, Person::of(shared(), "member").await);
    let stranger = Person::of(shared(), "stranger").await;
    let group = owner.group(&[&member]).await;
    assert_eq!(owner.im_send(&group, 2, "one").await["messageSeq"], 1);
    assert_eq!(member.im_send(&group, 2, "two").await["messageSeq"], 2);
    let seen = member.sync(&group, 2, "").await;
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|one| one["channelId"] == group && one["channelType"] == 2), "{seen:?}");
    let body = json!({"channelId": group, "channelType": 2, "payload": "aGk="});
    stranger.client.post("/api/v1/im/message/send", &body).await.refused(403);
    stranger.client.get(&format!("/api/v1/im/message/sync?channelId={group}&channelType=2")).await.refused(403);
    // A bot is no member because its owner is.
    let mut as_bot = body.clone();
    as_bot["fromUid"] = "bot_x".into();
    owner.client.post("/api/v1/im/message/send", &as_bot).await.refused(403);
}

#[tokio::test]
async fn who_may_change_members() {
    let (owner, member) = (Person::of(shared(), "owner").await, Person::of(shared(), "member").await);
    let (third, stranger) = (Person::of(shared(), "third").await, Person::of(shared(), "stranger").await);
    let group = owner.group(&[]).await;
    let count = |answer: Value, name: &str| answer[name].as_u64().unwrap_or_else(|| panic!("no {name}: {answer}"));
    // Ids and usernames; who is named twice, or is one already, is not counted.
    let both = of(&group, &[&member.id, &third.name, &member.name, &owner.id]);
    assert_eq!(count(owner.post(ADD, &both).await, "added"), 2);
    assert_eq!(count(owner.post(ADD, &both).await, "added"), 0);
    for other in [&member, &stranger] {
        other.client.post(ADD, &of(&group, &[&stranger.id])).await.refused(403);
        other.client.post(REMOVE, &of(&group, &[&third.id])).await.refused(403);
        other.client.post(REMOVE, &of(&group, &[&other.id, &third.id])).await.refused(403);
    }
    assert_eq!(count(member.post(REMOVE, &of(&group, &[&member.name])).await, "removed"), 1, "anybody leaves");
    assert_eq!(count(stranger.post(REMOVE, &of(&group, &[&stranger.id])).await, "removed"), 0);
    assert_eq!(count(owner.post(REMOVE, &of(&group, &[&third.id, &member.id])).await, "removed"), 1);
    member.client.get(&format!("/api/im/message/sync?channelId={group}&channelType=2")).await.refused(403);
    let admin = shared().admin();
    let data = |answer: &crate::harness::Answer| crate::harness::person::data(answer);
    assert_eq!(count(data(&admin.post(ADD, &of(&group, &[&third.id])).await), "added"), 1);
    assert_eq!(count(data(&admin.post(REMOVE, &of(&group, &[&third.id])).await), "removed"), 1);
    // One unknown name, and nothing has changed.
    owner.client.post(ADD, &of(&group, &[&third.id, "nobody-of-this-name"])).await.refused(404);
    third.client.get(&format!("/api/im/message/sync?channelId={group}&channelType=2")).await.refused(403);
    owner.client.post(ADD, &of("no-such-group", &[&third.id])).await.refused(404);
}

#[tokio::test]
async fn only_the_owner_or_an_administrator_deletes() {
    let (owner, member) = (Person::of(shared(), "owner").await, Person::of(shared(), "member").await);
    let group = owner.group(&[&member]).await;
    let delete = json!({"channelId": group, "channelType": 2});
    member.client.post(DELETE, &delete).await.refused(403);
    assert_eq!(owner.post(DELETE, &delete).await, json!({"channelId": group}));
    owner.client.post(DELETE, &delete).await.refused(404);
    let group = owner.group(&[&member]).await;
    let delete = json!({"channelId": group, "channelType": 2});
    crate::harness::person::data(&shared().admin().post(DELETE, &delete).await);
    let gone = json!({"channelId": group, "channelType": 2, "payload": "aGk="});
    owner.client.post("/api/im/message/send", &gone).await.refused(404);
}

#[tokio::test]
async fn a_group_made_anew_shows_nothing_of_the_first() {
    let (owner, member) = (Person::of(shared(), "owner").await, Person::of(shared(), "member").await);
    let group = owner.group(&[&member]).await;
    let mut body = json!({"channelId": group, "channelType": 2, "payload": "aGk=", "clientMsgNo": "the same"});
    let first = owner.post("/api/im/message/send", &body).await;
    owner.post(DELETE, &json!({"channelId": group, "channelType": 2})).await;
    // Somebody else's now.
    member.post(CREATE, &json!({"channelId": group, "channelType": 2, "name": "second"})).await;
    assert!(member.sync(&group, 2, "&lastMessageSeq=0").await.is_empty());
    let history = member.get(&format!("/api/message/history?chatType=group&chatId={group}")).await;
    assert_eq!(history["messages"], json!([]));
    owner.client.get(&format!("/api/im/message/sync?channelId={group}&channelType=2")).await.refused(403);
    body["fromUid"] = member.id.clone().into();
    let second = member.post("/api/im/message/send", &body).await;
    assert_eq!(second["messageSeq"], 1, "numbered from the beginning");
    assert_ne!(second["messageId"], first["messageId"]);
    let named = eventually("one conversation", async || {
        let all = member.get("/api/conversations").await["conversations"].as_array().unwrap().clone();
        (all.len() == 1).then(|| all[0].clone())
    })
    .await;
    assert_eq!((&named["chatId"], &named["name"]), (&json!(group), &json!("second")));
    let left = eventually("no conversation of the first owner", async || {
        let all = owner.get("/api/conversations").await["conversations"].as_array().unwrap().clone();
        all.is_empty().then_some(all)
    })
    .await;
    assert!(left.is_empty());
}

#[tokio::test]
async fn a_person_channel_is_named_and_hidden_for_oneself_only() {
    let (ann, bob) = (Person::of(shared(), "ann").await, Person::of(shared(), "bob").await);
    let name =
        json!({"channelId": bob.name, "channelType": 1, "name": "Bobby", "avatar": "https://example.com/bob.png"});
    let answer = ann.post(CREATE, &name).await;
    assert_eq!((&answer["channelId"], &answer["name"]), (&json!(bob.id), &json!("Bobby")));
    ann.im_send(&bob.id, 1, "hi").await;
    let listed = async |who: &Person| who.get("/api/conversations").await["conversations"].as_array().unwrap().clone();
    let one = |what: &'static str, who: Person, wanted: usize| async move {
        eventually(what, async || {
            let all = listed(&who).await;
            (all.len() == wanted && all.iter().all(|one| one["lastSeq"] != 0)).then_some(all)
        })
        .await
    };
    let mine = one("ann's conversation", ann.clone(), 1).await;
    assert_eq!((&mine[0]["name"], &mine[0]["avatar"]), (&json!("Bobby"), &json!("https://example.com/bob.png")));
    let theirs = one("bob's conversation", bob.clone(), 1).await;
    assert_eq!(theirs[0]["name"], ann.name);
    for (path, count) in [(ADD, "added"), (REMOVE, "removed")] {
        let body = json!({"channelId": bob.id, "channelType": 1, "subscribers": [bob.id]});
        assert_eq!(ann.post(path, &body).await[count], 0);
    }
    let hide = json!({"channelId": bob.id, "channelType": 1});
    assert_eq!(ann.post(DELETE, &hide).await["channelId"], bob.id);
    assert!(listed(&ann).await.is_empty());
    assert_eq!(listed(&bob).await.len(), 1);
    assert_eq!(ann.sync(&bob.id, 1, "").await.len(), 1, "hidden, not deleted");
    bob.im_send(&ann.id, 1, "still there?").await;
    one("it is back", ann.clone(), 1).await;
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let owner = Person::of(shared(), "owner").await;
    let group = owner.group(&[]).await;
    let base = json!({"channelId": group, "channelType": 2, "name": "n", "avatar": "", "subscribers": [owner.id]});
    let too_many: Vec<_> = (0..1001).map(|n| format!("u{n}")).collect();
    for (path, field, bad) in [
        (CREATE, "channelId", json!("with#hash")),
        (CREATE, "channelId", json!("x".repeat(65))),
        (CREATE, "channelId", json!(" space")),
        (CREATE, "channelId", json!("a\u{0}b")),
        (CREATE, "channelType", json!(9)),
        (CREATE, "name", json!(7)),
        (CREATE, "name", json!("x".repeat(101))),
        (CREATE, "avatar", json!("javascript:alert(1)")),
        (CREATE, "avatar", json!({"url": 1})),
        (ADD, "subscribers", json!("one")),
        (ADD, "subscribers", json!([])),
        (ADD, "subscribers", json!([1])),
        (ADD, "subscribers", json!(too_many)),
        (ADD, "subscribers", Value::Null),
        (REMOVE, "subscribers", json!([])),
        (DELETE, "channelType", json!("2")),
    ] {
        let mut body = base.clone();
        body[field] = bad;
        owner.client.post(path, &body).await.names(field);
    }
    for path in [CREATE, DELETE, ADD, REMOVE] {
        owner
            .client
            .post(path, &json!({"subscribers": ["x"]}))
            .await
            .refused_with(400, "channelId and channelType are required");
    }
}
