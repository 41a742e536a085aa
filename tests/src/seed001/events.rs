//! The event log: cursor, long poll, filter, stream. Gapless, and nothing is skipped.

use crate::harness::{Credential, Instance, Server, Tenant, eventually, shape};
use futures_util::StreamExt;
use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn seqs(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["seq"].as_u64().expect("seq")).collect()
}

#[tokio::test]
async fn the_log_has_no_gaps_and_pages_join_without_a_seam() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let id = instance.send("79001234567", "hello").await;
    instance.receive("79001234567", "hello back").await;
    let is_read = |event: &Value| event["type"] == "message_status" && event["data"]["status"] == "read";
    instance
        .wait_event("message_status read", |event| is_read(event) && event["data"]["messageId"] == id.as_str())
        .await;
    instance.wait_event("message_received", |event| event["type"] == "message_received").await;

    let events = instance.events().await;
    shape(&json!({"id": "x", "seq": 1, "type": "x", "timestamp": "2023-01-01T00:00:00.000Z", "data": {}}), &events[0]);
    for wanted in ["qr_received", "connection_opened", "message_sent", "message_received", "message_status"] {
        assert!(events.iter().any(|event| event["type"] == wanted), "no {wanted} in {events:#?}");
    }
    let all = seqs(&events);
    let first = all[0];
    assert_eq!(all, (first..first + all.len() as u64).collect::<Vec<_>>(), "gaps");

    let mut paged = Vec::new();
    let mut after = String::new();
    loop {
        let page = instance.get(&format!("/events?limit=2{after}")).await;
        shape(&json!({"events": [], "nextCursor": "x", "hasMore": true}), &page);
        paged.extend(page["events"].as_array().unwrap().iter().cloned());
        after = format!("&after={}", page["nextCursor"].as_str().unwrap());
        if page["hasMore"] == false {
            break;
        }
    }
    assert_eq!(paged[..events.len()], events[..]);
    let ids: std::collections::HashSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len(), "ids repeat");
}

#[tokio::test]
async fn a_filter_skips_and_its_cursor_still_advances() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    instance.receive("79001234567", "one").await;
    instance.wait_event("message_received", |event| event["type"] == "message_received").await;
    let page = instance.get("/events?types=message_received,connection_opened").await;
    let types: Vec<&str> =
        page["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["connection_opened", "message_received"], "{page}");
    let after = page["nextCursor"].as_str().unwrap();
    let rest = instance.get(&format!("/events?after={after}&types=message_received")).await;
    assert_eq!(rest["events"], json!([]));
}

#[tokio::test]
async fn a_wait_ends_with_the_event_or_with_the_time() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let after = instance.get("/events?limit=200").await["nextCursor"].as_str().unwrap().to_owned();
    let start = Instant::now();
    let empty = instance.get(&format!("/events?after={after}&wait=1&types=message_received")).await;
    assert_eq!(empty["events"], json!([]));
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());

    let (poll, ()) = tokio::join!(
        async {
            let start = Instant::now();
            (instance.get(&format!("/events?after={after}&wait=20&types=message_received")).await, start.elapsed())
        },
        async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            instance.receive("79001234567", "wake up").await;
        }
    );
    assert_eq!(poll.0["events"][0]["type"], "message_received", "{}", poll.0);
    // Not at the end of its time; how soon is the benchmark's business.
    assert!(poll.1 < Duration::from_secs(15), "woken after {:?}", poll.1);
}

#[tokio::test]
async fn bad_cursors_and_waits_are_refused() {
    let tenant = Tenant::new().await;
    let instance = Instance::create(&tenant.client, &json!({})).await;
    for (field, query) in [
        ("after", "after=nonsense"),
        ("wait", "wait=21"),
        ("wait", "wait=-1"),
        ("limit", "limit=0"),
        ("limit", "limit=many"),
    ] {
        tenant.client.get(&instance.at(&format!("/events?{query}"))).await.names(field);
    }
    // Another instance's cursor means nothing here: refused, or read as a position; never somebody else's events.
    let other = Instance::paired(&tenant.client, &json!({})).await;
    let foreign = other.get("/events").await["nextCursor"].as_str().unwrap().to_owned();
    let answer = tenant.client.get(&instance.at(&format!("/events?after={foreign}"))).await;
    assert!(matches!(answer.status, 200 | 400 | 410), "{answer}");
    assert!(!String::from_utf8_lossy(&answer.body).contains(&other.id), "{answer}");
}

#[tokio::test]
async fn an_expired_cursor_is_a_410() {
    let mut server = Server::start();
    let tenant = Tenant::of(&server).await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let after = instance.get("/events?limit=1").await["nextCursor"].as_str().unwrap().to_owned();
    instance.receive("79001234567", "later").await;
    instance.wait_event("message_received", |event| event["type"] == "message_received").await;
    // Thirty days do not pass in a test; the rows that they would have taken are taken by hand.
    assert!(server.stop().success());
    assert!(server.forget_events(&instance.id, 1) > 0, "no log entries");
    server.restart();
    let answer = tenant.client.get(&instance.at(&format!("/events?after={after}"))).await;
    answer.refused(410);
}

/// Reads the stream until `wanted` says enough; gives what came. Resumes, as clients of Server-Sent Events do, when it ends.
async fn stream(instance: &Instance, last: Option<&str>, wanted: impl Fn(&str) -> bool) -> String {
    let mut last = last.map(str::to_owned);
    let mut text = String::new();
    let reading = async {
        while !wanted(&text) {
            let mut request = instance.client.request(Method::GET, &instance.at("/events/stream"));
            request = request.header("accept", "text/event-stream");
            if let Some(last) = &last {
                request = request.header("last-event-id", last);
            }
            let answer = request.send().await.expect("an answer");
            assert_eq!(answer.status().as_u16(), 200);
            let mime = answer.headers()["content-type"].to_str().unwrap().to_owned();
            assert!(mime.starts_with("text/event-stream"), "{mime}");
            let mut body = answer.bytes_stream();
            while !wanted(&text)
                && let Some(Ok(part)) = body.next().await
            {
                text.push_str(&String::from_utf8_lossy(&part));
            }
            let mut ids = text.lines().filter_map(|line| line.strip_prefix("id:"));
            last = ids.next_back().map(|id| id.trim().to_owned()).or(last);
        }
    };
    tokio::time::timeout(Duration::from_secs(15), reading).await.expect("the stream brings it in time");
    text
}

#[tokio::test]
async fn the_stream_brings_the_same_events_and_resumes() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let (text, ()) = tokio::join!(stream(&instance, None, |text| text.contains("over the stream")), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        instance.receive("79001234567", "over the stream").await;
    });
    let frame = text.split("\n\n").find(|frame| frame.contains("over the stream")).expect("the frame");
    let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).expect("a field").trim().to_owned();
    let (id, data) = (field("id:"), field("data:"));
    let event: Value = serde_json::from_str(&data).expect("JSON in data");
    shape(&json!({"id": "x", "seq": 1, "type": "x", "timestamp": "2023-01-01T00:00:00.000Z", "data": {}}), &event);

    instance.receive("79001234567", "missed meanwhile").await;
    let resumed = stream(&instance, Some(&id), |text| text.contains("missed meanwhile")).await;
    assert!(!resumed.contains("over the stream"), "{resumed}");
}

#[tokio::test]
async fn the_stream_and_the_wait_end_when_the_right_to_see_ends() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    let made = tenant.client.post("/api/auth/keys", &json!({"name": "short-lived"})).await.expect(201);
    let key = tenant.client.with(Credential::ApiKey(made["key"].as_str().unwrap().to_owned()));
    key.get(&instance.at("/events")).await.expect(200);
    let revoked = tenant.client.delete(&format!("/api/auth/keys/{}", made["id"].as_str().unwrap())).await;
    assert!((200..300).contains(&revoked.status), "{revoked}");
    key.get(&instance.at("/events")).await.refused(401);
    key.get(&instance.at("/events/stream")).await.refused(401);
    eventually("the owner still reads", async || {
        (tenant.client.get(&instance.at("/events")).await.status == 200).then_some(())
    })
    .await;
}
