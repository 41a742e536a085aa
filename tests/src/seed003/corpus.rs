//! A corpus of every notification in both forms, broken ones among them: shuffled, doubled, from eight clients, over
//! `kill -9`. The final state is the same every time, and it is what an independent reading of the corpus (`fold.py`) says.
//!
//! The state of the connection carries no time of its own and goes by arrival: its reports are shuffled with the rest, and
//! the last ones come at the end, in order. The clients and the comparison serve `bundle`, too.

pub(crate) mod made;

use self::made::{CORPS, Dice, personal, the_rest, wecom};
use super::Device;
use crate::harness::tools::{python, stdout};
use crate::harness::{Client, Server, cut_off, eventually_within};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const WECOM: &str = "device-of-wecom";
pub(crate) const PERSONAL: &str = "device-of-wechat";
const OWN_WECOM: &str = "1688850000000001";
const OWN_PERSONAL: &str = "wxid_me";
const CLIENTS: usize = 8;
/// Everything must be applied this long after the last start.
const SETTLED: Duration = Duration::from_secs(120);

/// Bodies that are no callbacks at all, and are refused.
const REFUSED: [&str; 4] = ["", "{", "[]", "{\"notify_type\": 11010}"];

/// Posts from the common heap until it is empty. What got no answer is posted again.
pub(crate) async fn client(client: Client, heap: Arc<Mutex<VecDeque<Value>>>, mut dice: Dice) {
    loop {
        let Some(body) = heap.lock().expect("no panic before").pop_front() else { return };
        loop {
            match client.try_send(client.request(http::Method::POST, "/callback").json(&body)).await {
                Ok(answer) if answer.status == 200 => break,
                Ok(answer) => assert!(cut_off(&answer), "{answer}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        if dice.one_in(20) {
            let request = client.request(http::Method::POST, "/callback").body(*dice.pick(&REFUSED));
            if let Ok(answer) = client.try_send(request).await {
                assert!(answer.status == 400 || cut_off(&answer), "{answer}");
            }
        }
    }
}

/// Everything that the queries and the view tell of a device; why not, while they do not agree.
async fn state(server: &Server, guid: &str) -> Result<Value, String> {
    let device = Device { client: server.developer(), guid: guid.to_owned() };
    let all = async |what: &str| {
        let mut rows = Vec::new();
        for page in 1.. {
            let answer = device.ask(what, &format!("limit=200&page={page}")).await;
            if answer.status != 200 {
                return Err(answer.to_string());
            }
            let data = answer.json()["data"].clone();
            let more = data[what].as_array().expect("a list").clone();
            if more.is_empty() {
                // Not while it still grows.
                if data["total"] != rows.len() {
                    return Err(format!("{what}: total {}, rows {}", data["total"], rows.len()));
                }
                break;
            }
            rows.extend(more);
        }
        Ok(rows)
    };
    let messages: Vec<Value> = all("messages")
        .await?
        .into_iter()
        .map(|mut message| {
            let at =
                chrono::DateTime::parse_from_rfc3339(message["timestamp"].as_str().expect("a time")).expect("a time");
            let fields = message.as_object_mut().expect("an object");
            fields.remove("timestamp");
            fields.remove("from_name");
            fields.insert("at".into(), at.timestamp_millis().into());
            message
        })
        .collect();
    let by_id = |rows: Vec<Value>| {
        rows.into_iter().map(|row| (row["id"].as_str().expect("id").to_owned(), row)).collect::<Map<_, _>>()
    };
    let (contacts, rooms) = (by_id(all("contacts").await?), by_id(all("rooms").await?));
    let sync = device.data("sync-status", "").await;
    let counts = json!([sync["messages_count"], sync["contacts_count"], sync["rooms_count"]]);
    let rows = json!([messages.len(), contacts.len(), rooms.len()]);
    if counts != rows {
        return Err(format!("messages, contacts and rooms: {counts} counted, {rows} listed"));
    }
    let rows = server.unknown_notifications(sync["instance_id"].as_str().expect("id"));
    let unknown: BTreeSet<String> = rows
        .into_iter()
        .map(|(kind, data)| json!([kind, serde_json::from_str::<Value>(&data).expect("JSON")]).to_string())
        .collect();
    Ok(json!({"messages": messages, "contacts": contacts, "rooms": rooms, "unknown": unknown}))
}

/// The corpus, shuffled, and a third of it twice.
pub(crate) fn shuffled(corpus: &[Value], dice: &mut Dice) -> Vec<Value> {
    let mut heap: Vec<Value> = corpus.to_vec();
    heap.extend(corpus.iter().filter(|_| dice.one_in(3)).cloned());
    for at in (1..heap.len()).rev() {
        heap.swap(at, usize::try_from(dice.roll(at as u64 + 1)).expect("small"));
    }
    heap
}

/// One run: shuffled and doubled by `seed`, killed in between.
async fn run(corpus: &[Value], wanted: &Value, seed: u64) {
    let heap = shuffled(corpus, &mut Dice(seed));
    let mut server = Server::start();
    let total = heap.len();
    let heap = Arc::new(Mutex::new(VecDeque::from(heap)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| tokio::spawn(client(server.anonymous(), Arc::clone(&heap), Dice(seed + 1 + n as u64))))
        .collect();
    for kill in 1..=5 {
        // At a sixth, two sixths, … of the way.
        let left = total - total * kill / 6;
        eventually_within(SETTLED, "the clients get on", async || {
            (heap.lock().expect("no panic").len() <= left).then_some(())
        })
        .await;
        server = server.killed_and_restarted().await;
    }
    for client in clients {
        client.await.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
    // Once more in the middle of the work on what was accepted.
    let server = server.killed_and_restarted().await;
    ends_as_wanted(&server, wanted, seed).await;
}

/// Everything was accepted: tells the last of the connection, and waits for the state that the corpus comes to.
pub(crate) async fn ends_as_wanted(server: &Server, wanted: &Value, seed: u64) {
    for (guid, own) in [
        (WECOM, json!({"user_id": OWN_WECOM, "name": "me", "corp_id": CORPS[0]})),
        (PERSONAL, json!({"username": OWN_PERSONAL})),
    ] {
        let device = Device { client: server.developer(), guid: guid.to_owned() };
        device.tell(11_003, own).await;
        device.tell(11_009, json!({})).await;
    }
    for guid in [WECOM, PERSONAL] {
        let start = std::time::Instant::now();
        loop {
            let missed = match state(server, guid).await {
                Ok(now) if now == wanted[guid] => break,
                Ok(now) => difference(&wanted[guid], &now),
                Err(reason) => reason,
            };
            assert!(start.elapsed() < SETTLED, "seed {seed}, {guid}: {missed}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // It is the end, not a moment on the way.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let after = state(server, guid).await.expect("a settled state");
        assert!(after == wanted[guid], "seed {seed}, {guid}: {}", difference(&wanted[guid], &after));
        once_told(server, guid, seed).await;
    }
}

/// No message is told of twice as the same.
async fn once_told(server: &Server, guid: &str, seed: u64) {
    let admin = server.admin();
    let device = Device { client: server.developer(), guid: guid.to_owned() };
    let sync = device.data("sync-status", "").await;
    assert_eq!((&sync["status"], &sync["connection"]), (&json!("synced"), &json!("connected")), "seed {seed}");
    let id = sync["instance_id"].as_str().expect("id").to_owned();
    let (mut after, mut seen) = (String::new(), std::collections::HashSet::new());
    loop {
        let page = admin.get(&format!("/api/instances/{id}/events?limit=500&after={after}")).await.expect(200);
        for event in page["events"].as_array().expect("events") {
            let kind = event["type"].as_str().expect("a type");
            if matches!(kind, "message_received" | "message_sent") {
                // What was told of as somebody else's and turned out to be the account's own is not there any more.
                let Some(message) = event["data"]["messageId"].as_str() else { continue };
                assert!(seen.insert((kind.to_owned(), message.to_owned())), "seed {seed}: told twice: {event}");
            }
        }
        if page["hasMore"] != true {
            break;
        }
        after = page["nextCursor"].as_str().expect("a cursor").to_owned();
    }
}

/// The first differences of two states.
fn difference(wanted: &Value, got: &Value) -> String {
    let mut found = Vec::new();
    for part in ["messages", "contacts", "rooms", "unknown"] {
        let rows = |state: &Value| -> Vec<(String, Value)> {
            match &state[part] {
                Value::Array(rows) => rows
                    .iter()
                    .map(|row| (row["id"].as_str().map_or_else(|| row.to_string(), str::to_owned), row.clone()))
                    .collect(),
                Value::Object(rows) => rows.clone().into_iter().collect(),
                _ => Vec::new(),
            }
        };
        let (wanted, got) = (rows(wanted), rows(got));
        for (id, row) in &wanted {
            match got.iter().find(|(other, _)| other == id) {
                None => found.push(format!("{part}: missing {row}")),
                Some((_, other)) if other != row => found.push(format!("{part}: wanted {row}\n   got {other}")),
                Some(_) => {}
            }
        }
        found.extend(
            got.iter()
                .filter(|(id, _)| !wanted.iter().any(|(other, _)| other == id))
                .map(|(_, row)| format!("{part}: too much {row}")),
        );
        if wanted.len() == got.len() && found.is_empty() && wanted != got {
            found.push(format!("{part}: another order"));
        }
    }
    found.truncate(12);
    found.join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_shuffle_of_the_corpus_ends_as_the_corpus_says() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut corpus = Vec::new();
    wecom(&mut dice, &mut corpus);
    personal(&mut dice, &mut corpus);
    the_rest(&mut dice, &mut corpus);
    let wanted = what_it_comes_to(&corpus);
    assert!(
        wanted[WECOM]["messages"].as_array().is_some_and(|messages| messages.len() == 200),
        "the fold reads the corpus"
    );
    for seed in [1, 0xdead_beef] {
        run(&corpus, &wanted, seed).await;
    }
}

/// The independent reading of callbacks: the state that each device ends with.
pub(crate) fn what_it_comes_to(corpus: &[Value]) -> Value {
    let own = json!({WECOM: {"id": OWN_WECOM, "corp": CORPS[0]}, PERSONAL: {"id": OWN_PERSONAL, "corp": "-"}});
    let input = json!({"callbacks": corpus, "own": own}).to_string();
    let mut wanted: Value = serde_json::from_str(&stdout(&python(include_str!("fold.py"), &input))).expect("JSON");
    // Texts of JSON are compared as what they say.
    for guid in [WECOM, PERSONAL] {
        let unknown = wanted[guid]["unknown"].as_array_mut().expect("a list");
        let mut texts: Vec<String> = unknown
            .iter()
            .map(|text| serde_json::from_str::<Value>(text.as_str().expect("a text")).expect("JSON").to_string())
            .collect();
        texts.sort();
        *unknown = texts.into_iter().map(Value::from).collect();
    }
    wanted
}
