//! Two users, every route, every method: neither sees or changes the other's things.

use crate::harness::{Behaviour, Instance, Receiver, Server, Tenant, eventually};
use crate::routes::{ENDING, Ids, ROUTES, Route, Whose};
use http::Method;
use serde_json::{Value, json};

/// A word that only the victim's data holds.
const MARK: &str = "swordfish";

/// A user with one of everything.
pub(crate) async fn furnished(server: &Server, receiver: &Receiver) -> (Tenant, Instance, Ids) {
    let tenant = Tenant::of(server).await;
    let given = json!({"name": MARK, "description": MARK, "webhookUrl": receiver.url("/hook"), "maxRetries": 0});
    let instance = Instance::paired(&tenant.client, &given).await;
    let message = instance.send("79001234567", MARK).await;
    let row = instance.wait_message("79001234567", &message, "read").await;
    let public = row["id"].as_str().expect("id").to_owned();
    instance.receive_with(&json!({"from": "79001234567", "name": MARK, "text": MARK})).await;
    let delivery = eventually("a delivery", async || {
        let page = instance.get("/webhook-deliveries").await;
        page["deliveries"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    let replay =
        instance.post("/webhook-deliveries/replay", &json!({"since": "2023-01-01T00:00:00.000Z"})).await.expect(202);
    let key = tenant.client.post("/api/auth/keys", &json!({"name": MARK})).await.expect(201);
    let guid = format!("device-of-{}", tenant.id);
    let device = json!({"name": MARK, "platform": "wecom", "credentials": {"guid": guid}});
    tenant.client.post("/api/instances", &device).await.expect(201);
    let ids = Ids {
        instance: instance.id.clone(),
        phone: "79001234567".into(),
        message,
        delivery,
        job: replay["jobId"].as_str().expect("jobId").to_owned(),
        key: key["id"].as_str().expect("id").to_owned(),
        public,
        user: tenant.id.clone(),
        guid: guid.clone(),
        other: Tenant::of(server).await.id,
        im_group: group_of(&tenant).await,
    };
    (tenant, instance, ids)
}

/// A group of the user's, with a message in it.
pub(crate) async fn group_of(tenant: &Tenant) -> String {
    let id = format!("group-{}", tenant.id);
    let group = json!({"channelId": id, "channelType": 2, "name": MARK});
    tenant.client.post("/api/im/channel/create", &group).await.expect(200);
    let message = json!({"id": MARK, "toId": id, "chatType": "group", "content": MARK});
    tenant.client.post("/api/message/send", &message).await.expect(200);
    id
}

/// Everything of the victim that could change.
async fn snapshot(tenant: &Tenant, instance: &Instance) -> Value {
    // `lastSeenAt` and `lagMs` move by themselves.
    let mut one = instance.get("").await;
    one["connectionStatus"] = json!({"status": one["connectionStatus"]["status"]});
    json!({
        "me": tenant.client.get("/api/auth/me").await.expect(200),
        "keys": tenant.client.get("/api/auth/keys").await.expect(200)["keys"].as_array().map(Vec::len),
        "instance": one,
        "activity": instance.get("/activity").await,
        "history": instance.history("79001234567").await,
        "outbox": instance.outbox().await,
        "events": instance.events().await,
        "contacts": tenant.client.get(&instance.wa("/contacts")).await.expect(200),
        "conversations": tenant.client.get("/api/conversations").await.expect(200),
    })
}

#[tokio::test]
async fn neither_sees_nor_changes_the_others_things() {
    let server = Server::start();
    let receiver = Receiver::start().await;
    receiver.behave("/hook", Behaviour::Ok);
    let (victim, instance, ids) = furnished(&server, &receiver).await;
    let intruder = Tenant::of(&server).await;
    eventually("a quiet victim", async || {
        let before = snapshot(&victim, &instance).await;
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        (before == snapshot(&victim, &instance).await).then_some(())
    })
    .await;
    let before = snapshot(&victim, &instance).await;
    let calls = receiver.count("/hook");

    for credential in [&intruder.client, &intruder.jwt] {
        let guarded = |route: &&Route| !matches!(route.whose, Whose::Public | Whose::Own);
        for route in ROUTES.iter().filter(guarded) {
            let path = ids.fill(route.path);
            let answer = credential.call(route.method(), &path, route.json(|text| ids.fill(text)).as_ref()).await;
            match route.whose {
                Whose::Instance | Whose::User | Whose::Admin => drop(answer.refused(403)),
                _ => assert!(matches!(answer.status, 403 | 404), "{answer}"),
            }
            answer.envelope();
            assert!(!String::from_utf8_lossy(&answer.body).contains(MARK), "{answer}");
            // Also without a body, with a wrong one, and by every method that the route does not have.
            for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let answer = credential.call(method, &path, Some(&json!({"name": "taken over"}))).await;
                assert!((400..500).contains(&answer.status), "{answer}");
                assert!(!String::from_utf8_lossy(&answer.body).contains(MARK), "{answer}");
            }
        }
        for route in ROUTES.iter().filter(|route| route.whose == Whose::Own && route.method == "GET") {
            let answer = credential.get(&ids.fill(route.path)).await;
            assert!(!String::from_utf8_lossy(&answer.body).contains(MARK), "{answer}");
        }
    }
    assert_eq!(snapshot(&victim, &instance).await, before);
    assert_eq!(receiver.count("/hook"), calls, "somebody made the victim's webhook ring");
}

#[tokio::test]
async fn an_id_of_the_victims_inside_ones_own_instance_is_unknown() {
    let server = Server::start();
    let receiver = Receiver::start().await;
    let (_victim, _, theirs) = furnished(&server, &receiver).await;
    let (intruder, own, _) = furnished(&server, &receiver).await;
    let mixed = Ids { instance: own.id.clone(), ..theirs };
    for (method, path) in [
        ("GET", "/api/instances/{instance}/messages/{message}"),
        ("POST", "/api/instances/{instance}/webhook-deliveries/{delivery}/replay"),
        ("DELETE", "/api/whatsapp/{instance}/messages/{message}"),
    ] {
        intruder.client.call(method.parse().unwrap(), &mixed.fill(path), None).await.refused(404);
    }
    let edit = json!({"message": "changed"});
    let path = mixed.fill("/api/whatsapp/{instance}/messages/{message}");
    intruder.client.put(&path, &edit).await.refused(404);
    let reaction = json!({"messageId": mixed.message, "emoji": "👍"});
    own.wa_post("/send-reaction", &reaction).await.refused(404);
}

#[tokio::test]
async fn without_credentials_there_is_nothing() {
    let server =
        Server::start_with(&[("THIRD_PARTY_AUTH", "key"), ("JUHE_APP_KEY", "key"), ("JUHE_APP_SECRET", "secret")]);
    let receiver = Receiver::start().await;
    let (victim, _, ids) = furnished(&server, &receiver).await;
    let anonymous = server.anonymous();
    for route in ROUTES.iter().filter(|route| route.whose != Whose::Public) {
        let answer =
            anonymous.call(route.method(), &ids.fill(route.path), route.json(|text| ids.fill(text)).as_ref()).await;
        answer.refused(401);
    }
    victim.client.get(&ids.fill("/api/instances/{instance}")).await.expect(200);
}

#[tokio::test]
async fn every_instance_route_knows_an_unknown_instance() {
    let server = Server::start();
    let tenant = Tenant::of(&server).await;
    let nothing = || "no-such-thing".to_owned();
    let ids = Ids {
        instance: nothing(),
        phone: "79001234567".into(),
        message: nothing(),
        delivery: nothing(),
        job: nothing(),
        key: nothing(),
        public: nothing(),
        user: tenant.id.clone(),
        guid: nothing(),
        other: tenant.id.clone(),
        im_group: nothing(),
    };
    for route in ROUTES.iter().filter(|route| matches!(route.whose, Whose::Instance | Whose::Thing)) {
        let answer =
            tenant.client.call(route.method(), &ids.fill(route.path), route.json(|text| ids.fill(text)).as_ref()).await;
        answer.refused(404);
    }
}

#[tokio::test]
async fn the_owner_is_let_through_everywhere() {
    let server = Server::start();
    let receiver = Receiver::start().await;
    let (tenant, _, ids) = furnished(&server, &receiver).await;
    let ending = |route: &Route| ENDING.contains(&(route.method, route.path));
    let streams = |route: &Route| route.path.ends_with("/stream");
    let own = |route: &Route| matches!(route.whose, Whose::Instance | Whose::User);
    for route in ROUTES.iter().filter(|route| own(route) && !ending(route) && !streams(route)) {
        let answer =
            tenant.client.call(route.method(), &ids.fill(route.path), route.json(|text| ids.fill(text)).as_ref()).await;
        // What the sandbox does not have (a picture, a group) may be unknown; the wall it must not meet is the owner's.
        assert!(!matches!(answer.status, 401 | 403 | 405) && answer.status < 500, "{answer}");
        if answer.status == 404 {
            assert_ne!(answer.envelope().error, "Instance not found", "{answer}");
        }
    }
}
