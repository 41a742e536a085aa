//! `kill -9` at random moments under load, twenty times. Afterwards nothing that was accepted is missing or doubled. The load
//! and the checks serve `bundle`, too.

use crate::harness::{Instance, Receiver, Server, Tenant, cut_off, eventually_within};
use http::Method;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

const ROUNDS: usize = 20;
pub(crate) const CHATS: usize = 4;
/// Everything must have settled this long after the last start.
const SETTLED: Duration = Duration::from_secs(180);

/// What the load was promised.
#[derive(Default)]
pub(crate) struct Promised {
    /// Message ids of sends that got their 2xx.
    pub(crate) sent: Vec<String>,
    /// Texts of incoming messages that the sandbox took.
    pub(crate) received: Vec<String>,
}

/// A small generator: the moments need no quality, only a seed that can be repeated.
pub(crate) struct Moments(pub(crate) u64);

impl Moments {
    pub(crate) fn new() -> Moments {
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").subsec_nanos();
        let seed = std::env::var("SUITE_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(u64::from(clock) | 1);
        Moments(seed)
    }

    pub(crate) fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// Sends one text after the other into its chat until told to stop. An answer that was lost is asked for again under the
/// same key, so that at the end every text is accepted exactly once. Gives how many.
pub(crate) async fn sender(
    instance: Instance,
    chat: usize,
    pause: Duration,
    stop: Arc<AtomicBool>,
    promised: Arc<Mutex<Promised>>,
) -> usize {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let body = json!({"phone": format!("7900222000{chat}"), "message": format!("out {chat} {number}")});
        let key = format!("crash-{}-{chat}-{number}", instance.id);
        let path = instance.wa("/send");
        let (begun, mut again) = (Instant::now(), Duration::from_millis(5));
        let id = loop {
            assert!(begun.elapsed() < SETTLED, "{key} is not accepted");
            let request = instance.client.request(Method::POST, &path).header("idempotency-key", &key).json(&body);
            match instance.client.try_send(request).await {
                Ok(answer) if answer.status == 200 => break answer.json()["id"].as_str().expect("an id").to_owned(),
                // Not ready yet after a restart, or the first attempt is still being cleared up.
                Ok(answer) => assert!(answer.status == 409 || cut_off(&answer), "{answer}"),
                Err(_) => {}
            }
            tokio::time::sleep(again).await;
            again = (2 * again).min(Duration::from_millis(200));
        };
        promised.lock().expect("no panic before").sent.push(id);
        number += 1;
        tokio::time::sleep(pause).await;
    }
    number
}

/// Lets somebody write, one text after the other. An answer that was lost leaves it open whether the text arrived.
pub(crate) async fn writer(
    instance: Instance,
    chat: usize,
    pause: Duration,
    stop: Arc<AtomicBool>,
    promised: Arc<Mutex<Promised>>,
) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let text = format!("in {chat} {number}");
        let body = json!({"from": format!("7900333000{chat}"), "text": text});
        let request = instance.client.request(Method::POST, &instance.at("/sandbox/receive")).json(&body);
        match instance.client.try_send(request).await {
            Ok(answer) if answer.status == 200 => promised.lock().expect("no panic before").received.push(text),
            // 202: it takes long, and what comes of it is in a job.
            Ok(answer) => assert!(matches!(answer.status, 202 | 409) || cut_off(&answer), "{answer}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        number += 1;
        tokio::time::sleep(pause).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_nothing_double_nothing_and_keep_the_order() {
    let mut moments = Moments::new();
    let seed = moments.0;
    let mut server = Server::start();
    let (tenant, receiver) = (Tenant::of(&server).await, Receiver::start().await);
    let given = json!({"webhookUrl": receiver.url("/hook"), "notifyDelivery": true, "notifyRead": true,
                       "maxRetries": 20, "retryInterval": 1000});
    let instance = Instance::paired(&tenant.client, &given).await;
    let (stop, promised) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Promised::default())));
    let mut load = Vec::new();
    for chat in 0..CHATS {
        load.push(tokio::spawn(sender(
            instance.clone(),
            chat,
            Duration::ZERO,
            Arc::clone(&stop),
            Arc::clone(&promised),
        )));
        let (stop, promised) = (Arc::clone(&stop), Arc::clone(&promised));
        let instance = instance.clone();
        load.push(tokio::spawn(async move {
            writer(instance, chat, Duration::from_millis(2), stop, promised).await;
            0
        }));
    }
    for round in 0..ROUNDS {
        tokio::time::sleep(Duration::from_millis(30 + moments.next(500))).await;
        // A slow machine gets the time to do something between two kills, else they would hit nothing.
        let busy = Instant::now();
        while busy.elapsed() < Duration::from_secs(5) {
            let (sent, received) = {
                let promised = promised.lock().expect("no panic before");
                (promised.sent.len(), promised.received.len())
            };
            if sent > round && received > round {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server = server.killed_and_restarted().await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut wanted = 0;
    for task in load {
        wanted += task.await.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
    let promised = std::mem::take(&mut *promised.lock().expect("no panic before"));
    println!("seed {seed}: {} sends, {} texts received", promised.sent.len(), promised.received.len());
    assert!(
        promised.sent.len() > ROUNDS && promised.received.len() > ROUNDS,
        "seed {seed}: too little load to prove anything"
    );
    assert_eq!(promised.sent.len(), wanted, "seed {seed}");

    all_was_kept(&instance, &promised, (&receiver, "/hook"), seed).await;
}

/// Everything that was promised of an instance whose webhook is the path of the receiver, and nothing twice.
pub(crate) async fn all_was_kept(instance: &Instance, promised: &Promised, hook: (&Receiver, &str), seed: u64) {
    outbox_holds_each_once(instance, promised, seed).await;
    let events = log_is_gapless_and_complete(instance, promised, seed).await;
    receiver_was_told_everything_in_order(hook, &events, seed).await;
    statistics_equal_a_recount(instance, seed).await;
}

async fn outbox_holds_each_once(instance: &Instance, promised: &Promised, seed: u64) {
    let wanted: HashSet<&str> = promised.sent.iter().map(String::as_str).collect();
    assert_eq!(wanted.len(), promised.sent.len(), "seed {seed}: one id answered for two sends");
    let arrived = eventually_within(SETTLED, &format!("seed {seed}: every accepted send in the outbox"), async || {
        let outbox = instance.outbox().await;
        let ids: HashSet<String> =
            outbox.iter().filter_map(|message| message["id"].as_str().map(str::to_owned)).collect();
        wanted.iter().all(|id| ids.contains(*id)).then_some(outbox)
    })
    .await;
    let mut times: HashMap<&str, usize> = HashMap::new();
    for message in &arrived {
        *times.entry(message["id"].as_str().expect("an id")).or_default() += 1;
    }
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(doubled.is_empty(), "seed {seed}: more than once in the outbox: {doubled:?}");
    let mut texts: HashMap<&str, usize> = HashMap::new();
    for message in &arrived {
        *texts.entry(message["text"].as_str().unwrap_or_default()).or_default() += 1;
    }
    let repeated: Vec<_> = texts.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "seed {seed}: one Idempotency-Key, two messages: {repeated:?}");
    for chat in 0..CHATS {
        let order: Vec<usize> = arrived
            .iter()
            .filter_map(|message| message["text"].as_str()?.strip_prefix(&format!("out {chat} "))?.parse().ok())
            .collect();
        let late: Vec<&Value> = arrived.iter().rev().take(8).collect();
        assert!(order.is_sorted(), "seed {seed}: chat {chat} left out of order: {order:?}; the last: {late:?}");
    }
}

/// All events, once they hold a final status of every send and every text that was taken.
async fn log_is_gapless_and_complete(instance: &Instance, promised: &Promised, seed: u64) -> Vec<Value> {
    let (start, mut missing) = (Instant::now(), String::new());
    let events = loop {
        assert!(start.elapsed() < SETTLED, "seed {seed}: not in the log: {missing}");
        let events = instance.events().await;
        let of = |kind: &'static str, field: &'static str| -> HashSet<String> {
            let events = events.iter().filter(|event| event["type"] == kind);
            events.filter_map(|event| event["data"][field].as_str().map(str::to_owned)).collect()
        };
        let (sent, received) = (of("message_sent", "messageId"), of("message_received", "body"));
        let read: HashSet<&str> = events
            .iter()
            .filter(|event| event["type"] == "message_status" && event["data"]["status"] == "read")
            .filter_map(|event| event["data"]["messageId"].as_str())
            .collect();
        let unsent: Vec<_> = promised.sent.iter().filter(|id| !sent.contains(*id)).collect();
        let unread: Vec<_> = promised.sent.iter().filter(|id| !read.contains(id.as_str())).collect();
        let unheard: Vec<_> = promised.received.iter().filter(|text| !received.contains(*text)).collect();
        if unsent.is_empty() && unread.is_empty() && unheard.is_empty() {
            break events;
        }
        missing = format!("sent {unsent:?}, read {unread:?}, received {unheard:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let seqs: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().expect("seq")).collect();
    assert!(seqs.windows(2).all(|pair| pair[1] == pair[0] + 1), "seed {seed}: gaps in the log: {seqs:?}");
    for kind in ["message_sent", "message_received"] {
        let mut told = HashSet::new();
        for event in events.iter().filter(|event| event["type"] == kind) {
            assert!(
                told.insert(event["data"]["messageId"].to_string()),
                "seed {seed}: {kind} twice in the log: {event}"
            );
        }
    }
    events
}

async fn receiver_was_told_everything_in_order((receiver, path): (&Receiver, &str), events: &[Value], seed: u64) {
    let seq_of: HashMap<&str, u64> =
        events.iter().map(|event| (event["id"].as_str().expect("id"), event["seq"].as_u64().expect("seq"))).collect();
    let kinds =
        ["message_sent", "message_received", "message_status", "connection_opened", "connection_closed", "qr_received"];
    let wanted: BTreeSet<&str> = events
        .iter()
        .filter(|event| kinds.contains(&event["type"].as_str().expect("type")))
        .map(|event| event["id"].as_str().expect("id"))
        .collect();
    let start = Instant::now();
    loop {
        let told: HashSet<String> = receiver.hits(path).iter().map(|hit| hit.header("webhook-id").to_owned()).collect();
        let is_untold =
            |event: &&Value| event["id"].as_str().is_some_and(|id| wanted.contains(id) && !told.contains(id));
        let untold: Vec<_> = events.iter().filter(is_untold).collect();
        if untold.is_empty() {
            break;
        }
        assert!(start.elapsed() < SETTLED, "seed {seed}: the receiver was not told of {untold:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut last: HashMap<String, u64> = HashMap::new();
    let mut seen = HashSet::new();
    for hit in receiver.hits(path) {
        let id = hit.header("webhook-id").to_owned();
        let Some(&seq) = seq_of.get(id.as_str()) else { continue };
        if !seen.insert(id) {
            continue;
        }
        let data = hit.json()["data"].clone();
        let chat = ["to", "from"].iter().find_map(|field| data[field].as_str()).unwrap_or("the instance").to_owned();
        let before = last.insert(chat.clone(), seq).unwrap_or_default();
        let of = |seq| events.iter().find(|event| event["seq"] == seq);
        let (late, early) = (of(seq), of(before));
        assert!(before < seq, "seed {seed}: {chat} was told of {seq} after {before}: {late:?} after {early:?}");
    }
}

async fn statistics_equal_a_recount(instance: &Instance, seed: u64) {
    let (mut sent, mut received) = (0_u64, 0_u64);
    for chat in 0..CHATS {
        for phone in [format!("7900222000{chat}"), format!("7900333000{chat}")] {
            for row in instance.history(&phone).await {
                *(if row["fromMe"] == true { &mut sent } else { &mut received }) += 1;
            }
        }
    }
    let path = format!("/api/stats/instances/{}?period=all", instance.id);
    eventually_within(
        Duration::from_secs(20),
        &format!("seed {seed}: statistics of {sent} and {received}"),
        async || {
            let usage = instance.client.get(&path).await.expect(200)["usage"].clone();
            let equal = usage["messagesSent"] == sent && usage["messagesReceived"] == received;
            let daily = usage["dailyStats"].as_array().expect("dailyStats");
            let days: u64 = daily.iter().filter_map(|day| day["messagesSent"].as_u64()).sum();
            (equal && days == sent).then_some(())
        },
    )
    .await;
}
