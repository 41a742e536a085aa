//! Contacts: looking them up, listing them, and whose they are.

use super::{CONTACT, PLATFORMS, PREFIXES, SYNC, account, alone, answer_of, encoded, text};
use crate::harness::{Instance, Tenant, eventually, shape};
use serde_json::{Value, json};

async fn find(tenant: &Tenant, platform: &str, address: &str) -> Value {
    let query = format!("userId={}&platformUserId={}", tenant.id, encoded(address));
    tenant.client.get(&format!("/third-party/{platform}/contacts?{query}")).await.expect(200)
}

async fn sync(tenant: &Tenant, platform: &str) -> Vec<Value> {
    let body = json!({"userId": tenant.id});
    let answer = tenant.client.post(&format!("/third-party/{platform}/contacts/sync"), &body).await;
    assert_eq!(answer.header("x-sync-status"), "complete", "{answer}");
    answer.expect(200).as_array().expect("an array").clone()
}

/// What a number looks like in `platformUserId`.
fn shown(platform: &str, number: &str) -> String {
    match platform {
        "whatsapp" | "signal" => format!("+{number}"),
        _ => number.to_owned(),
    }
}

#[tokio::test]
async fn the_seeds_answers_on_every_platform() {
    let tenant = Tenant::new().await;
    for platform in PLATFORMS {
        let instance = account(&tenant, platform).await;
        instance.receive_with(&json!({"from": "+8613800138000", "name": "张三", "text": "hello"})).await;
        let contacts = sync(&tenant, platform).await;
        shape(answer_of(SYNC), &json!(contacts));
        let number = shown(platform, "8613800138000");
        let contact = contacts.iter().find(|contact| contact["platformUserId"] == number.as_str());
        let contact = contact.unwrap_or_else(|| panic!("{number} is not in {contacts:?}"));
        assert_eq!((&contact["name"], &contact["avatar"]), (&json!("张三"), &json!("")));
        assert_eq!((&contact["platform"], &contact["userId"]), (&json!(platform), &json!(tenant.id)));
        for prefix in PREFIXES {
            for address in ["%2B8613800138000", "+8613800138000", "8613800138000", "%2B86%20138%200013%208000"] {
                let path = format!("{prefix}/{platform}/contacts?userId={}&platformUserId={address}", tenant.id);
                let found = tenant.client.get(&path).await.expect(200);
                shape(answer_of(CONTACT), &found);
                assert_eq!(&found, contact, "{path}");
            }
            // As the seed prints its example.
            let path = format!("{prefix}/{platform}/contacts?userId={}&amp;platformUserId=8613800138000", tenant.id);
            assert_eq!(&tenant.client.get(&path).await.expect(200), contact);
        }
        let answer = tenant
            .client
            .get(&format!("/third-party/{platform}/contacts?userId={}&platformUserId=%2B1555", tenant.id))
            .await;
        assert_eq!((answer.status, answer.body.as_ref()), (200, &b"null"[..]), "{answer}");
    }
}

#[tokio::test]
async fn a_contact_list_is_fetched_where_there_is_one_and_else_people_are_remembered() {
    let tenant = Tenant::new().await;
    for platform in PLATFORMS {
        let instance = account(&tenant, platform).await;
        let listed = instance.get("/capabilities").await["contactList"].as_bool().unwrap();
        assert_eq!(listed, matches!(platform, "whatsapp" | "signal"), "the capability record of {platform}");
        let contacts = sync(&tenant, platform).await;
        let ada = contacts.iter().any(|contact| contact["name"] == "Ada Sandbox");
        assert_eq!(ada, listed, "{platform}: {contacts:?}");
        // Who was written to counts as seen, and so does who writes in a group; the group does not.
        text(&tenant.client, platform, &instance.id, "+79005550001", "hello").await;
        let group = match platform {
            "whatsapp" => "1234567890@g.us",
            "telegram" => "-1001234567890",
            "signal" => "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            _ => "1234567890@chatroom",
        };
        let body = json!({"from": "+79005550002", "name": "Olga", "text": "all", "chatId": group});
        instance.receive_with(&body).await;
        let wanted = shown(platform, "79005550002");
        eventually("who wrote in the group", async || {
            let contacts = sync(&tenant, platform).await;
            assert!(!contacts.iter().any(|contact| contact["platformUserId"] == group), "{contacts:?}");
            contacts.iter().any(|contact| contact["platformUserId"] == wanted.as_str()).then_some(())
        })
        .await;
        if !listed {
            eventually("who was written to", async || {
                sync(&tenant, platform).await;
                find(&tenant, platform, "+79005550001").await.is_object().then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn contacts_of_several_instances_are_one_list() {
    let tenant = Tenant::new().await;
    let (first, second) = (account(&tenant, "telegram").await, account(&tenant, "telegram").await);
    let elsewhere = account(&tenant, "wechat").await;
    first.receive_with(&json!({"from": "79005550010", "text": "no name"})).await;
    second.receive_with(&json!({"from": "79005550010", "name": "Named", "text": "hello"})).await;
    second.receive_with(&json!({"from": "79005550011", "name": "Second", "text": "hello"})).await;
    elsewhere.receive_with(&json!({"from": "79005550012", "name": "Elsewhere", "text": "hello"})).await;
    let contacts = sync(&tenant, "telegram").await;
    let mut names: Vec<&str> = contacts.iter().map(|contact| contact["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["Named", "Second"], "{contacts:?}");
    for contact in &contacts {
        assert_eq!(&find(&tenant, "telegram", contact["platformUserId"].as_str().unwrap()).await, contact);
    }
    // The same person is another contact on another platform and of another user, and the same in every answer.
    let again = sync(&tenant, "telegram").await;
    let ids = |contacts: &[Value]| contacts.iter().map(|contact| contact["id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&contacts), ids(&again));
    assert!(contacts[0]["syncedAt"].as_str() < again[0]["syncedAt"].as_str(), "a sync has a time");
    // What an instance knew goes with it.
    tenant.client.delete(&second.at("")).await.expect(200);
    eventually("one contact", async || (sync(&tenant, "telegram").await.len() == 1).then_some(())).await;
    assert_eq!(find(&tenant, "telegram", "79005550010").await["name"], "");
    assert_eq!(find(&tenant, "telegram", "79005550011").await, Value::Null);
}

#[tokio::test]
async fn parameters_are_required_and_checked() {
    let tenant = Tenant::new().await;
    let user = &tenant.id;
    for platform in PLATFORMS {
        let get = async |rest: &str| tenant.client.get(&format!("/third-party/{platform}/contacts{rest}")).await;
        get("").await.names("userId");
        get(&format!("?userId={user}")).await.names("platformUserId");
        get(&format!("?userId={user}&platformUserId=")).await.names("platformUserId");
        get(&format!("?userId=&platformUserId={user}")).await.names("userId");
        get(&format!("?userId={user}&platformUserId={}", "1".repeat(600))).await.names("platformUserId");
        for nobody in ["nobody", "%00", "%F0%9F%91%8B", "-", "++", "1", "%2B", "@nobody", "999999999999999999999"] {
            assert_eq!(get(&format!("?userId={user}&platformUserId={nobody}")).await.expect(200), Value::Null);
        }
        get("/list").await.names("userId");
        get(&format!("/list?userId={user}&cursor=nonsense")).await.names("cursor");
        for limit in ["0", "5001", "x", "-1"] {
            get(&format!("/list?userId={user}&limit={limit}")).await.names("limit");
        }
        assert_eq!(get(&format!("/list?userId={user}")).await.expect(200), json!([]));
        let path = format!("/third-party/{platform}/contacts/sync");
        for body in [json!({}), json!({"userId": null}), json!({"userId": 7}), json!({"userId": [user]})] {
            tenant.client.post(&path, &body).await.names("userId");
        }
        tenant.client.post(&path, &json!({"userId": " "})).await.names("userId");
        for body in [json!([]), json!("x")] {
            tenant.client.post(&path, &body).await.refused(400);
        }
        tenant.client.post(&format!("{path}?wait=21"), &json!({"userId": user})).await.names("wait");
        assert_eq!(tenant.client.post(&path, &json!({"userId": user})).await.expect(200), json!([]));
    }
}

#[tokio::test]
async fn a_cursor_of_another_user_or_platform_is_refused() {
    let (server, one) = alone().await;
    let other = Tenant::of(&server).await;
    let instance = account(&one, "telegram").await;
    for number in 1..=3 {
        instance.receive(&format!("7900555002{number}"), "hello").await;
    }
    let list = |user: &str, rest: &str| format!("/third-party/telegram/contacts/list?userId={user}{rest}");
    let page = one.client.get(&list(&one.id, "&limit=1")).await;
    assert_eq!(page.expect(200).as_array().unwrap().len(), 1);
    let cursor = page.header("x-next-cursor").to_owned();
    other.client.get(&list(&other.id, &format!("&cursor={cursor}"))).await.names("cursor");
    let path = format!("/third-party/wechat/contacts/list?userId={}&cursor={cursor}", one.id);
    one.client.get(&path).await.names("cursor");
    let page = one.client.get(&list(&one.id, &format!("&cursor={cursor}"))).await;
    assert_eq!(page.expect(200).as_array().unwrap().len(), 2);
    assert_eq!(page.header("x-next-cursor"), "");
}

/// Makes `count` people write to the instance, many at once. Numbers follow from `first`.
async fn crowd(instance: &Instance, first: u64, count: u64) {
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..32 {
        let instance = instance.clone();
        tasks.spawn(async move {
            for number in (first + lane..first + count).step_by(32) {
                let body = json!({"from": number.to_string(), "name": format!("P{number}"), "text": "x"});
                // Whoever is told to try again does.
                while instance.post("/sandbox/receive", &body).await.status == 503 {}
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("everybody writes");
    }
}

#[tokio::test]
async fn six_thousand_contacts_are_paged() {
    let (_server, tenant) = alone().await;
    let (first, second) = (account(&tenant, "telegram").await, account(&tenant, "telegram").await);
    crowd(&first, 79_100_000_000, 3500).await;
    // A hundred of them are known to both.
    crowd(&second, 79_100_003_400, 2600).await;
    let body = json!({"userId": tenant.id});
    let answer = tenant.client.post("/third-party/telegram/contacts/sync", &body).await;
    assert_eq!(answer.header("x-sync-status"), "complete");
    let mut all = answer.expect(200).as_array().unwrap().clone();
    assert_eq!(all.len(), 5000, "at most 5,000");
    let path = |cursor: &str| format!("/third-party/telegram/contacts/list?userId={}&cursor={cursor}", tenant.id);
    let rest = tenant.client.get(&path(answer.header("x-next-cursor"))).await;
    all.extend(rest.expect(200).as_array().unwrap().iter().cloned());
    assert_eq!(rest.header("x-next-cursor"), "");
    let numbers = |contacts: &[Value]| {
        let mut numbers: Vec<String> =
            contacts.iter().map(|contact| contact["platformUserId"].as_str().unwrap().to_owned()).collect();
        numbers.sort();
        numbers
    };
    let wanted: Vec<String> = (79_100_000_000_u64..79_100_006_000).map(|number| number.to_string()).collect();
    assert!(numbers(&all) == wanted, "{} contacts, not each of 6,000 once", all.len());
    // Pages of any size have the same people in the same order.
    for limit in [700, 999] {
        let (mut paged, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = tenant.client.get(&format!("{}&limit={limit}", path(&cursor))).await;
            paged.extend(page.expect(200).as_array().unwrap().iter().cloned());
            page.header("x-next-cursor").clone_into(&mut cursor);
            if cursor.is_empty() {
                break;
            }
        }
        assert!(paged == all, "pages of {limit} differ");
    }
}
