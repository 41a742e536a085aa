//! Administration: users, histories, groups, instances, and what is noted of it.

use crate::harness::person::{PASSWORD, data};
use crate::harness::server::ADMIN_API_KEY;
use crate::harness::{Client, Credential, Instance, Person, Server, Tenant, eventually, shape};
use serde_json::{Value, json};

/// The administrator, with his API key as a bearer, as the seed shows it.
fn admin(server: &Server) -> Client {
    server.anonymous().with(Credential::Bearer(ADMIN_API_KEY.to_owned()))
}

async fn get(client: &Client, path: &str) -> Value {
    data(&client.get(path).await)
}

async fn post(client: &Client, path: &str, body: Value) -> Value {
    data(&client.post(path, &body).await)
}

/// All elements of a paged list.
async fn walk(client: &Client, path: &str, name: &str) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let page = get(client, &format!("{path}{mark}limit=2{cursor}")).await;
        all.extend(page[name].as_array().expect("a list").iter().cloned());
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

#[tokio::test]
async fn only_administrators_get_in() {
    let server = Server::start();
    let person = Person::of(&server, "person").await;
    for (path, body) in [
        ("/api/admin/users", None),
        ("/api/admin/history?type=group&toId=x", None),
        ("/api/admin/group/create", Some(json!({"id": "g", "name": "g", "creatorId": person.id}))),
        ("/api/admin/user/update", Some(json!({"id": person.id, "role": "admin"}))),
    ] {
        let method = if body.is_some() { http::Method::POST } else { http::Method::GET };
        person.client.call(method.clone(), path, body.as_ref()).await.refused_with(403, "Access denied");
        server.anonymous().call(method.clone(), path, body.as_ref()).await.refused_with(401, "Unauthorized");
        let bad = server.anonymous().with(Credential::Bearer("no such key".to_owned()));
        bad.call(method, path, body.as_ref()).await.refused(401);
    }
    // A key of an administrator's that is for something else.
    let key =
        server.admin().post("/api/auth/keys", &json!({"name": "k", "scopes": ["messages:read"]})).await.expect(201);
    let part = server.anonymous().with(Credential::Bearer(key["key"].as_str().unwrap().to_owned()));
    part.get("/api/admin/users").await.refused(403);
    assert!(walk(&admin(&server), "/api/admin/audit", "entries").await.is_empty(), "nothing was changed");
}

#[tokio::test]
async fn users_are_made_changed_and_listed() {
    let server = Server::start();
    let admin = admin(&server);
    let body = json!({"username": "alice", "password": PASSWORD, "nickname": "Alice", "email": "alice@example.com",
                      "avatar": "https://example.com/a.png", "limits": {"maxMessagesSent": 5}});
    let alice = post(&admin, "/api/admin/user/create", body.clone()).await;
    let expected = json!({"id": "", "username": "", "email": "", "nickname": "", "name": "", "avatar": "", "role": "user",
                          "disabled": false, "limits": {}, "createdAt": "2024-01-15T10:30:00.000Z"});
    shape(&expected, &alice);
    assert_eq!(
        (&alice["nickname"], &alice["role"], &alice["limits"]),
        (&json!("Alice"), &json!("user"), &json!({"maxMessagesSent": 5}))
    );
    admin.post("/api/admin/user/create", &body).await.refused(409);
    let keyed = async || {
        let body = json!({"username": "keyed", "password": PASSWORD});
        let request =
            admin.request(http::Method::POST, "/api/admin/user/create").header("idempotency-key", "u").json(&body);
        data(&admin.send(request).await)
    };
    assert_eq!(keyed().await["id"], keyed().await["id"]);

    // By id, username or e-mail address; what is not given stays.
    let change = |id: &str, more: Value| {
        let mut body = json!({"id": id});
        crate::harness::instance::merge(&mut body, &more);
        body
    };
    let renamed = post(&admin, "/api/admin/user/update", change("alice", json!({"nickname": "爱丽丝"}))).await;
    assert_eq!((&renamed["nickname"], &renamed["email"]), (&json!("爱丽丝"), &alice["email"]));
    let id = alice["id"].as_str().unwrap();
    let moved = post(
        &admin,
        "/api/admin/user/update",
        change("alice@example.com", json!({"email": "new@example.com", "limits": null})),
    )
    .await;
    assert_eq!(
        (&moved["id"], &moved["email"], &moved["limits"]),
        (&alice["id"], &json!("new@example.com"), &Value::Null)
    );
    // The old address is free again, the new one taken.
    admin.post("/api/admin/user/create", &json!({"email": "NEW@example.com", "password": PASSWORD})).await.refused(409);
    let second =
        post(&admin, "/api/admin/user/create", json!({"email": "alice@example.com", "password": PASSWORD})).await;
    admin.post("/api/admin/user/update", &change(id, json!({"email": "alice@example.com"}))).await.refused(409);
    assert_eq!(second["username"], "");

    // A new password ends what was logged in with the old one.
    let session =
        data(&server.anonymous().post("/api/login", &json!({"username": "alice", "password": PASSWORD})).await);
    let holder = server.anonymous().with(Credential::Bearer(session["token"].as_str().unwrap().to_owned()));
    holder.get("/api/auth/me").await.expect(200);
    post(&admin, "/api/admin/user/update", change(id, json!({"password": "another password"}))).await;
    holder.get("/api/auth/me").await.refused(401);
    server.anonymous().post("/api/login", &json!({"username": "alice", "password": PASSWORD})).await.refused(401);
    let login = json!({"username": "alice", "password": "another password"});
    let session = data(&server.anonymous().post("/api/login", &login).await);
    let holder = server.anonymous().with(Credential::Bearer(session["token"].as_str().unwrap().to_owned()));

    // A role.
    holder.get("/api/admin/users").await.refused(403);
    post(&admin, "/api/admin/user/update", change(id, json!({"role": "admin"}))).await;
    holder.get("/api/admin/users").await.expect(200);
    holder.post("/api/admin/user/update", &change(id, json!({"role": "user"}))).await.refused(409);

    let names: Vec<Value> =
        walk(&admin, "/api/admin/users", "users").await.iter().map(|user| user["username"].clone()).collect();
    assert_eq!(names, ["", "alice", "keyed", ""], "oldest first, page by page");
    for (field, bad) in [
        ("nickname", json!("x".repeat(101))),
        ("nickname", json!(7)),
        ("email", json!("no address")),
        ("avatar", json!("javascript:alert(1)")),
        ("role", json!("king")),
        ("password", json!("short")),
        ("limits", json!([])),
        ("limits", json!({"maxMessagesSent": -1})),
        ("limits", json!({"timeWindowHours": 0})),
    ] {
        admin.post("/api/admin/user/update", &change(id, json!({field: bad}))).await.names(field);
        let mut body = json!({"username": "fresh", "password": PASSWORD});
        body[field] = bad;
        admin.post("/api/admin/user/create", &body).await.names(field);
    }
    admin.post("/api/admin/user/create", &json!({"password": PASSWORD})).await.names("username");
    admin.post("/api/admin/user/create", &json!({"username": "fresh"})).await.names("password");
    admin.post("/api/admin/user/update", &json!({"nickname": "x"})).await.names("id");
    admin.post("/api/admin/user/update", &change("nobody-here", json!({"nickname": "x"}))).await.refused(404);
}

#[tokio::test]
async fn who_is_locked_out_is_out_at_once() {
    let server = Server::start();
    let (admin, person) = (admin(&server), Person::of(&server, "person").await);
    person.get("/api/conversations").await;
    let key = person.client.order("/api/auth/api-key/rotate").await.expect(200)["apiKey"].as_str().unwrap().to_owned();
    let by_key = server.anonymous().with(Credential::ApiKey(key));
    let out = post(&admin, "/api/admin/user/disable", json!({"id": person.name})).await;
    assert_eq!((&out["id"], &out["disabled"]), (&json!(person.id), &json!(true)));
    person.client.get("/api/conversations").await.refused(401);
    by_key.get("/api/conversations").await.refused(401);
    let login = json!({"username": person.name, "password": PASSWORD});
    server.anonymous().post("/api/login", &login).await.refused(401);
    assert_eq!(
        post(&admin, "/api/admin/user/disable", json!({"id": person.id, "disabled": false})).await["disabled"],
        false
    );
    person.client.get("/api/conversations").await.refused(401);
    by_key.get("/api/conversations").await.expect(200);
    data(&server.anonymous().post("/api/login", &login).await);
    let me = admin.get("/api/auth/me").await.expect(200)["id"].clone();
    admin.post("/api/admin/user/disable", &json!({"id": me})).await.refused(409);
    admin.post("/api/admin/user/disable", &json!({"id": "nobody-here"})).await.refused(404);
    admin.post("/api/admin/user/disable", &json!({"id": person.id, "disabled": "yes"})).await.names("disabled");
}

#[tokio::test]
async fn a_users_quota_covers_all_instances() {
    let server = Server::start();
    let (admin, tenant) = (admin(&server), Tenant::of(&server).await);
    let first = Instance::paired(&tenant.client, &json!({})).await;
    let second = Instance::paired(&tenant.client, &json!({})).await;
    let limits = json!({"maxMessagesSent": 3, "timeWindowHours": 24});
    let user = post(&admin, "/api/admin/user/update", json!({"id": tenant.id, "limits": limits})).await;
    assert_eq!(user["limits"], limits);
    first.send("79001234567", "one").await;
    second.send("79001234567", "two").await;
    first.send("79001234567", "three").await;
    for instance in [&first, &second] {
        let answer = instance.wa_post("/send", &json!({"phone": "79001234567", "message": "four"})).await;
        assert_eq!(answer.refused(429).code, "LIMIT_EXCEEDED");
        assert!(!answer.header("retry-after").is_empty());
    }
    second.wait_event("limit_exceeded", |event| event["type"] == "limit_exceeded").await;
    post(&admin, "/api/admin/user/update", json!({"id": tenant.id, "limits": null})).await;
    first.send("79001234567", "four").await;
}

#[tokio::test]
async fn histories_of_everybody() {
    let server = Server::start();
    let admin = admin(&server);
    let (a, b) = (Person::of(&server, "a_").await, Person::of(&server, "b_").await);
    let group = a.group(&[&b]).await;
    for n in 0..5 {
        let (from, to) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        from.chat("single", &to.id, &format!("s{n}")).await;
        from.chat("group", &group, &format!("g{n}")).await;
    }
    let single =
        walk(&admin, &format!("/api/admin/history?type=single&toId={}&fromId={}", b.name, a.id), "messages").await;
    let contents = |all: &[Value]| all.iter().map(|one| one["content"].clone()).collect::<Vec<_>>();
    assert_eq!(contents(&single), ["s4", "s3", "s2", "s1", "s0"]);
    assert_eq!((&single[0]["fromId"], &single[0]["toId"]), (&json!(a.id), &json!(b.id)));
    assert_eq!((&single[1]["fromId"], &single[1]["toId"]), (&json!(b.id), &json!(a.id)));
    let turned =
        walk(&admin, &format!("/api/admin/history?type=single&toId={}&fromId={}", a.id, b.id), "messages").await;
    assert_eq!(turned, single);
    let grouped = walk(&admin, &format!("/api/admin/history?type=group&toId={group}"), "messages").await;
    assert_eq!(contents(&grouped), ["g4", "g3", "g2", "g1", "g0"]);
    assert_eq!(grouped[0]["toId"], group);
    for (query, field) in [
        ("toId=x", "type"),
        ("type=all&toId=x", "type"),
        ("type=single&fromId=x", "toId"),
        ("type=single&toId=x", "fromId"),
        ("type=group&toId=x&limit=0", "limit"),
    ] {
        admin.get(&format!("/api/admin/history?{query}")).await.names(field);
    }
    admin.get("/api/admin/history?type=group&toId=no-such-group").await.refused(404);
    admin.get(&format!("/api/admin/history?type=single&toId={}&fromId=nobody-here", a.id)).await.refused(404);
}

#[tokio::test]
async fn groups_of_everybody() {
    let server = Server::start();
    let admin = admin(&server);
    let (a, b) = (Person::of(&server, "a_").await, Person::of(&server, "b_").await);
    let create = json!({"id": "group_001", "name": "客服群", "creatorId": a.name});
    let group = post(&admin, "/api/admin/group/create", create.clone()).await;
    shape(
        &json!({"id": "", "name": "", "avatar": "", "creatorId": "", "memberCount": 1, "createdAt": "2024-01-15T10:30:00.000Z"}),
        &group,
    );
    assert_eq!((&group["creatorId"], &group["memberCount"]), (&json!(a.id), &json!(1)));
    admin
        .post("/api/admin/group/create", &json!({"id": "group_001", "name": "x", "creatorId": b.id}))
        .await
        .refused(409);
    let members = |names: &[&str]| json!({"id": "group_001", "members": names});
    assert_eq!(post(&admin, "/api/admin/group/members/add", members(&[&b.name, &a.id])).await, json!({"added": 1}));
    let by_other_name = json!({"groupId": "group_001", "members": [b.id]});
    assert_eq!(post(&admin, "/api/admin/group/members/add", by_other_name).await["added"], 0);
    b.chat("group", "group_001", "I am in").await;
    let listed = walk(&admin, "/api/admin/group/members?id=group_001", "members").await;
    let owners: Vec<_> = listed.iter().map(|one| (one["username"].as_str().unwrap(), one["owner"] == true)).collect();
    assert_eq!(owners, [(a.name.as_str(), true), (b.name.as_str(), false)]);
    for n in 0..4 {
        post(&admin, "/api/admin/group/create", json!({"id": format!("more{n}"), "creatorId": b.id})).await;
    }
    let groups = walk(&admin, "/api/admin/groups", "groups").await;
    let counted: Vec<_> =
        groups.iter().map(|one| (one["id"].as_str().unwrap(), one["memberCount"].as_u64().unwrap())).collect();
    assert_eq!(counted, [("group_001", 2), ("more0", 1), ("more1", 1), ("more2", 1), ("more3", 1)]);
    assert_eq!(post(&admin, "/api/admin/group/members/remove", members(&[&b.id])).await, json!({"removed": 1}));
    b.client.get("/api/message/history?chatType=group&chatId=group_001").await.refused(403);
    assert_eq!(post(&admin, "/api/admin/group/delete", json!({"id": "group_001"})).await, json!({"id": "group_001"}));
    admin.post("/api/admin/group/delete", &json!({"id": "group_001"})).await.refused(404);
    admin.get("/api/admin/group/members?id=group_001").await.refused(404);
    assert_eq!(walk(&admin, "/api/admin/groups", "groups").await.len(), 4);

    // Made anew it shows nothing of the first.
    let again = json!({"id": "group_001", "name": "second", "creatorId": b.id});
    assert_eq!(post(&admin, "/api/admin/group/create", again).await["memberCount"], 1);
    assert!(walk(&admin, "/api/admin/history?type=group&toId=group_001", "messages").await.is_empty());
    for (path, body, field) in [
        ("create", json!({"id": "a#b", "creatorId": a.id}), "id"),
        ("create", json!({"id": "", "creatorId": a.id}), "id"),
        ("create", json!({"id": "x"}), "creatorId"),
        ("create", json!({"id": "x", "creatorId": a.id, "name": "x".repeat(101)}), "name"),
        ("create", json!({"id": "x", "creatorId": a.id, "avatar": 7}), "avatar"),
        ("members/add", json!({"members": [a.id]}), "id"),
        ("members/add", json!({"id": "more0", "members": []}), "members"),
        ("members/add", json!({"id": "more0", "members": "x"}), "members"),
        ("members/remove", json!({"id": "more0"}), "members"),
        ("delete", json!({}), "id"),
    ] {
        admin.post(&format!("/api/admin/group/{path}"), &body).await.names(field);
    }
    admin.post("/api/admin/group/create", &json!({"id": "x", "creatorId": "nobody-here"})).await.refused(404);
    admin.post("/api/admin/group/members/add", &json!({"id": "more0", "members": ["nobody-here"]})).await.refused(404);
}

#[tokio::test]
async fn instances_of_everybody() {
    let server = Server::start_with(&[("WORKER_SHARDS", "4")]);
    let admin = admin(&server);
    let (a, b) = (Tenant::of(&server).await, Tenant::of(&server).await);
    let mut ids = Vec::new();
    for n in 0..7 {
        let tenant = if n % 2 == 0 { &a } else { &b };
        ids.push(Instance::create(&tenant.client, &json!({"name": format!("i{n}")})).await.id);
    }
    ids.sort();
    let all = walk(&admin, "/api/admin/instances", "instances").await;
    let mut found: Vec<_> = all.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    found.sort();
    assert_eq!(found, ids, "each once, over all shards");
    assert!(all.iter().all(|one| one["userId"].is_string() && one["connectionStatus"].is_object()));
    let of_b = walk(&admin, &format!("/api/admin/instances?userId={}", b.email), "instances").await;
    assert_eq!(of_b.len(), 3);
    assert!(of_b.iter().all(|one| one["userId"] == b.id));
    admin.get("/api/admin/instances?cursor=e30").await.names("cursor");
    admin.get("/api/admin/instances?userId=nobody-here").await.refused(404);
    let gone = &ids[0];
    a.client.delete(&format!("/api/instances/{gone}")).await;
    b.client.delete(&format!("/api/instances/{gone}")).await;
    eventually("one less", async || (walk(&admin, "/api/admin/instances", "instances").await.len() == 6).then_some(()))
        .await;
}

#[tokio::test]
async fn every_change_is_noted_and_nothing_secret() {
    let mut server = Server::start();
    let admin_client = admin(&server);
    let person = Person::of(&server, "person").await;
    let me = admin_client.get("/api/auth/me").await.expect(200)["id"].clone();
    let secret = "a password that nobody may see";
    let with_id = async |path: &str, id: &str, body: Value| {
        let request = admin_client.request(http::Method::POST, path).header("x-request-id", id).json(&body);
        data(&admin_client.send(request).await)
    };
    let user = with_id("/api/admin/user/create", "r-1", json!({"username": "noted", "password": secret})).await;
    let id = user["id"].as_str().unwrap();
    with_id(
        "/api/admin/user/update",
        "r-2",
        json!({"id": id, "password": secret, "nickname": "hidden too", "role": "user"}),
    )
    .await;
    with_id("/api/admin/user/disable", "r-3", json!({"id": id})).await;
    with_id("/api/admin/user/disable", "r-3b", json!({"id": id})).await;
    with_id("/api/admin/user/disable", "r-4", json!({"id": id, "disabled": false})).await;
    with_id("/api/admin/group/create", "r-5", json!({"id": "g", "name": "hidden too", "creatorId": id})).await;
    with_id("/api/admin/group/members/add", "r-6", json!({"id": "g", "members": [person.id]})).await;
    with_id("/api/admin/group/members/remove", "r-7", json!({"id": "g", "members": [person.id]})).await;
    with_id("/api/admin/group/delete", "r-8", json!({"id": "g"})).await;
    admin_client.order("/api/auth/invites").await.expect(201);
    // What is refused is no change.
    admin_client.post("/api/admin/user/create", &json!({"username": "noted", "password": secret})).await.refused(409);
    admin_client.post("/api/admin/group/delete", &json!({"id": "g"})).await.refused(404);

    server.kill();
    server.restart();
    let all = walk(&admin_client, "/api/admin/audit", "entries").await;
    let seen: Vec<_> = all
        .iter()
        .map(|one| {
            (one["action"].as_str().unwrap(), one["requestId"].as_str().unwrap(), one["target"].as_str().unwrap())
        })
        .collect();
    let invite = seen[0];
    assert_eq!(invite.0, "invite.create");
    assert_eq!(
        seen[1..],
        [
            ("group.delete", "r-8", "g"),
            ("group.members.remove", "r-7", "g"),
            ("group.members.add", "r-6", "g"),
            ("group.create", "r-5", "g"),
            ("user.enable", "r-4", id),
            ("user.disable", "r-3", id),
            ("user.update", "r-2", id),
            ("user.create", "r-1", id),
        ]
    );
    let expected = json!({"id": "", "at": "2024-01-15T10:30:00.000Z", "actor": "", "credential": "", "action": "", "target": "",
                          "details": {}, "requestId": "", "outcome": "done"});
    for entry in &all {
        shape(&expected, entry);
        assert_eq!((&entry["actor"], &entry["outcome"]), (&me, &json!("done")), "{entry}");
    }
    let text = Value::from(all.clone()).to_string();
    assert!(!text.contains(secret) && !text.contains("hidden too") && !text.contains(ADMIN_API_KEY), "{text}");
    assert_eq!(all[7]["details"]["fields"], json!(["nickname", "role", "password"]));
    assert_eq!(all[3]["details"]["members"], json!([person.id]));

    let filtered = async |query: &str| walk(&admin_client, &format!("/api/admin/audit?{query}"), "entries").await.len();
    assert_eq!(filtered("action=user.disable").await, 1);
    assert_eq!(filtered(&format!("target={id}")).await, 4);
    assert_eq!(filtered(&format!("actor={}", me.as_str().unwrap())).await, 9);
    assert_eq!(filtered(&format!("actor={}", person.id)).await, 0);
    assert_eq!(filtered("startDate=2000-01-01&endDate=2000-12-31").await, 0);
    assert_eq!(filtered("startDate=2000-01-01&endDate=2999-12-31").await, 9);
    admin_client.get("/api/admin/audit?action=coronation").await.names("action");
    admin_client.get("/api/admin/audit?startDate=soon").await.names("startDate");
}
