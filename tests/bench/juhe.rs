//! One device with 200,000 messages beside one with 2,000: import rate, bytes per message, every query at the first page,
//! deep down, with a keyword, and over a span of time.

use crate::raw::Line;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use suite::harness::Server;
use suite::harness::server::ADMIN_API_KEY;

const FEW: u64 = 2_000;
const MANY: u64 = 200_000;
/// Messages in a callback; and how many are sent one by one.
const BATCH: u64 = 100;
const SINGLE: u64 = 2_000;
const CONNECTIONS: u64 = 8;
const REPEATS: usize = 9;
/// Time of the first message, and seconds between two.
const BEGIN: u64 = 1_700_000_000;
const STEP: u64 = 60;

pub(crate) async fn run() {
    println!("seed 003: a device with {MANY} messages beside one with {FEW}");
    let mut server = Server::start();
    let single = import(&server, "one-by-one", SINGLE, 1).await;
    println!("  import, one message a callback    {:9.0} /s", per_second(SINGLE, single));
    let took = import(&server, "few", FEW, BATCH).await;
    println!("  import, {BATCH} a callback, {FEW:6}    {:9.0} /s", per_second(FEW, took));
    let few = bytes(&mut server);
    let took = import(&server, "many", MANY, BATCH).await;
    println!("  import, {BATCH} a callback, {MANY}    {:9.0} /s", per_second(MANY, took));
    let many = bytes(&mut server);
    println!("  on disk, {MANY} messages          {:9} bytes each", many.saturating_sub(few) / MANY);
    println!("  {:44} {:>9} {:>9}  ratio", "query (ms, median)", FEW, MANY);
    let iso = |n: u64| {
        let at = i64::try_from(BEGIN + n * STEP).expect("a time");
        chrono::DateTime::from_timestamp(at, 0).expect("a time").format("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    let day = format!("start_time={}&end_time={}", iso(500), iso(1_500));
    for (what, few, many) in [
        ("messages, page 1", "messages?limit=20&page=1", "messages?limit=20&page=1"),
        ("messages, page 100 and page 1,000", "messages?limit=20&page=100", "messages?limit=20&page=1000"),
        ("messages, keyword of 1 in 100", "messages?keyword=%E7%A8%80%E6%9C%89", "messages?keyword=%E7%A8%80%E6%9C%89"),
        ("messages, keyword of all", "messages?keyword=%E4%BD%A0%E5%A5%BD", "messages?keyword=%E4%BD%A0%E5%A5%BD"),
        ("messages, 1,000 in a span", &format!("messages?{day}"), &format!("messages?{day}")),
        (
            "messages, keyword in a span",
            &format!("messages?{day}&keyword=%E7%A8%80"),
            &format!("messages?{day}&keyword=%E7%A8%80"),
        ),
        ("one conversation, page 1", "messages?conversation_id=R:7", "messages?conversation_id=R:7"),
        (
            "one conversation, page 100 and page 1,000",
            "messages?conversation_id=R:7&limit=10&page=100",
            "messages?conversation_id=R:7&limit=100&page=1000",
        ),
        (
            "one conversation, keyword",
            "messages?conversation_id=R:7&keyword=%E7%A8%80",
            "messages?conversation_id=R:7&keyword=%E7%A8%80",
        ),
        ("contacts, page 1", "contacts?page=1", "contacts?page=1"),
        ("contacts, last page", "contacts?page=3", "contacts?page=250"),
        ("contacts, keyword", "contacts?keyword=17", "contacts?keyword=17"),
        ("rooms", "rooms?page=1", "rooms?page=1"),
        ("sync-status", "sync-status?", "sync-status?"),
    ] {
        let (few, many) = (ask(&server, "few", few).await, ask(&server, "many", many).await);
        let millis = |span: Duration| span.as_secs_f64() * 1000.0;
        println!("  {what:44} {:9.2} {:9.2}  {:5.1}", millis(few), millis(many), millis(many) / millis(few));
    }
    println!();
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Half of all messages are in one room, the others with as many people as one in 40.
fn message(n: u64, of: u64) -> Value {
    let room = if n.is_multiple_of(2) { "7" } else { "0" };
    let rare = if n.is_multiple_of(100) { "稀有" } else { "" };
    let sender = 1_000_000 + n % (of / 40);
    json!({"id": (n + 1).to_string(), "appinfo": format!("CAUQ{n:012}"), "seq": n.to_string(), "sender": sender.to_string(),
           "receiver": "788", "roomid": room, "sendtime": BEGIN + n * STEP, "sender_name": format!("name {sender}"),
           "content": format!("你好 {rare} message {n} of the benchmark, as long as messages are"), "msg_type": 2,
           "content_type": 2, "referid": "0", "flag": 16_777_216, "send_flag": 1, "at_list": []})
}

/// Until everything is applied.
async fn import(server: &Server, guid: &'static str, count: u64, batch: u64) -> Duration {
    let start = Instant::now();
    let mut tasks = Vec::new();
    for connection in 0..CONNECTIONS {
        let url = server.url();
        tasks.push(tokio::spawn(async move {
            let mut line = Line::open(&url).await;
            for first in (connection * batch..count).step_by(usize::try_from(CONNECTIONS * batch).expect("small")) {
                let messages: Vec<Value> = (first..(first + batch).min(count)).map(|n| message(n, count)).collect();
                let body = json!({"guid": guid, "notify_type": 11013, "data": messages}).to_string();
                assert_eq!(line.ask("POST", "/callback", ADMIN_API_KEY, &body).await, 200);
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let client = server.admin();
    loop {
        let sync = client.get(&format!("/api/sync-status?guid={guid}")).await.expect(200);
        if sync["data"]["messages_count"] == count {
            return start.elapsed();
        }
        assert!(start.elapsed() < Duration::from_secs(3600), "{sync}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The median of some answers.
async fn ask(server: &Server, guid: &str, query: &str) -> Duration {
    let mark = if query.ends_with('?') { "" } else { "&" };
    let (client, path) = (server.admin(), format!("/api/{query}{mark}guid={guid}"));
    let mut spans = Vec::new();
    for _ in 0..REPEATS {
        let start = Instant::now();
        client.get(&path).await.expect(200);
        spans.push(start.elapsed());
    }
    spans.sort_unstable();
    spans[REPEATS / 2]
}

/// Of the database, once nothing is in the write-ahead log any more.
fn bytes(server: &mut Server) -> u64 {
    assert!(server.stop().success(), "it stops in good order");
    let size = |name: &str| std::fs::metadata(server.data_dir().join(name)).map_or(0, |file| file.len());
    let bytes = size("trunkline.db") + size("trunkline.db-wal");
    server.restart();
    bytes
}
