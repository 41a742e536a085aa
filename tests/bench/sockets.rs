//! The WebSocket: memory per connection, the time until the last of a group has a message, a reconnect of all at once.

use crate::start::mebibytes;
use crate::summary::Latencies;
use futures_util::StreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};
use suite::harness::socket::Came;
use suite::harness::{Server, Socket, Tenant};
use tokio::sync::mpsc;

const CLIENTS: usize = 2000;
const MEMBERS: usize = 1000;
const MESSAGES: usize = 30;
/// Connections that are opened at the same time.
const AT_ONCE: usize = 100;
/// Anything here that takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// A user of the benchmark and its API key.
#[derive(Clone)]
struct User {
    id: String,
    key: String,
}

pub(crate) async fn run() {
    println!("{CLIENTS} WebSocket clients, a group of {MEMBERS}");
    let mut server = Server::start();
    let owner = Tenant::of(&server).await;
    let users = users(&mut server, &owner);
    // The first request of each kind has its own costs.
    Socket::auth(&server.url(), &users[0].key, None).await.close().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let empty = mebibytes(&server);
    let start = Instant::now();
    let sockets = open(&server, &users, None).await;
    println!("  all connected                        {:8.0} ms", millis(start.elapsed()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let full = mebibytes(&server);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let each = (full - empty) * 1024.0 / CLIENTS as f64;
    println!("  memory                               {empty:8.1} MiB without, {full:.1} MiB with: {each:.1} KiB each");

    let group = group(&owner, &users).await;
    let (told, mut arrivals) = mpsc::unbounded_channel();
    let mut sockets = sockets.into_iter();
    let mut sender = sockets.next().expect("the first client");
    let listeners: Vec<_> = sockets.map(|socket| tokio::spawn(listen(socket, told.clone()))).collect();
    let (mut each, mut last, mut acks) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..MESSAGES {
        let sent = Instant::now();
        sender
            .said(&format!("bench-{number}"), &group, "group", "a message of an ordinary length, as people write")
            .await;
        acks.push(sent.elapsed());
        let mut latest = Duration::ZERO;
        for _ in 1..MEMBERS {
            let (seq, at) =
                tokio::time::timeout(PATIENCE, arrivals.recv()).await.expect("in time").expect("a listener");
            assert_eq!(seq, number as u64 + 1);
            let latency = at.saturating_duration_since(sent);
            latest = latest.max(latency);
            each.push(latency);
        }
        last.push(latest);
    }
    println!("  message to its ack                   {}", Latencies::new(acks));
    println!("  message to each of {} members       {}", MEMBERS - 1, Latencies::new(each));
    println!("  message to the last member           {}", Latencies::new(last));

    for listener in listeners {
        listener.abort();
    }
    drop(sender);
    let start = Instant::now();
    let after = json!({&group: MESSAGES - 10});
    let sockets = open(&server, &users[..MEMBERS], Some(&after)).await;
    let caught_up = futures_util::stream::iter(sockets).map(catch_up).buffer_unordered(MEMBERS).collect::<Vec<_>>();
    let counts = tokio::time::timeout(PATIENCE, caught_up).await.expect("in time");
    assert!(counts.iter().all(|count| *count == 10), "everybody missed ten messages");
    println!("  {MEMBERS} back and caught up with ten     {:8.0} ms\n", millis(start.elapsed()));
}

/// Copies of the owner with keys of their own, written by hand: hashing two thousand passwords is not what is measured.
fn users(server: &mut Server, owner: &Tenant) -> Vec<User> {
    server.stop();
    let mut database = rusqlite::Connection::open(server.data_dir().join("trunkline.db")).expect("the database");
    let row = |database: &rusqlite::Connection, column: &str| -> String {
        let sql = format!("SELECT {column} FROM items WHERE pk = ?1");
        database.query_row(&sql, [format!("U#{}", owner.id)], |row| row.get(0)).expect("the owner's row")
    };
    let (sk, doc) = (row(&database, "sk"), row(&database, "doc"));
    let doc: Value = serde_json::from_str(&doc).expect("JSON");
    let transaction = database.transaction().expect("a transaction");
    let mut users = Vec::with_capacity(CLIENTS);
    for number in 0..CLIENTS {
        let user = User { id: format!("0bench{number:010}"), key: format!("a key of the benchmark {number}") };
        let mut copy = doc.clone();
        copy["id"] = json!(user.id);
        copy["email"] = json!(format!("bench{number}@example.com"));
        let hash = hex::encode(Sha256::digest(&user.key));
        let key = json!({"user": user.id});
        for (pk, doc) in [(format!("U#{}", user.id), &copy), (format!("AK#{hash}"), &key)] {
            let sql = "INSERT INTO items (pk, sk, doc) VALUES (?1, ?2, ?3)";
            transaction.execute(sql, (pk, &sk, doc.to_string())).expect("a row");
        }
        users.push(user);
    }
    transaction.commit().expect("a commit");
    drop(database);
    server.restart();
    users
}

async fn group(owner: &Tenant, users: &[User]) -> String {
    let id = "benchmark";
    let named = json!({"channelId": id, "channelType": 2, "name": "The benchmark"});
    owner.client.post("/api/im/channel/create", &named).await.expect(200);
    let members: Vec<&str> = users[..MEMBERS].iter().map(|user| user.id.as_str()).collect();
    let added = json!({"channelId": id, "channelType": 2, "subscribers": members});
    let added = owner.client.post("/api/im/channel/subscriber/add", &added).await.expect(200);
    assert_eq!(added["data"]["added"], MEMBERS, "{added}");
    id.to_owned()
}

/// In the order of the users.
async fn open(server: &Server, users: &[User], after: Option<&Value>) -> Vec<Socket> {
    let url = server.url();
    futures_util::stream::iter(users).map(|user| Socket::auth(&url, &user.key, after)).buffered(AT_ONCE).collect().await
}

async fn listen(mut socket: Socket, told: mpsc::UnboundedSender<(u64, Instant)>) {
    loop {
        match socket.next_within(PATIENCE).await {
            Some(Came::Frame(frame)) if frame["type"] == "message" => {
                let seq = frame["data"]["messageSeq"].as_u64().expect("a number");
                if told.send((seq, Instant::now())).is_err() {
                    return;
                }
            }
            Some(Came::Frame(_)) => {}
            // Seen by whoever counts the arrivals.
            Some(Came::Close(_)) | None => return,
        }
    }
}

/// Messages until word that all was caught up with.
async fn catch_up(mut socket: Socket) -> usize {
    let mut count = 0;
    loop {
        match socket.next().await {
            Came::Frame(frame) if frame["type"] == "message" => count += 1,
            Came::Frame(frame) if frame["type"] == "synced" => return count,
            Came::Frame(_) => {}
            Came::Close(code) => panic!("closed: {code}"),
        }
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}
