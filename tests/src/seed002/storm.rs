//! 64 senders into one group over both APIs, `kill -9` in the middle: numbers without gaps, nothing lost, nothing doubled. The
//! senders and the checks serve `bundle`, too.

use crate::harness::person::encoded;
use crate::harness::server::on_aws;
use crate::harness::{Person, Server, cut_off, eventually_within};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PEOPLE: usize = 8;
const SENDERS: usize = 64;
const KILLS: usize = 3;
/// Long enough for a debug build on a busy machine.
const SETTLED: Duration = Duration::from_secs(90);

/// What was answered to each client number: `{messageId, messageSeq}`.
pub(crate) type Answered = Arc<Mutex<HashMap<String, Value>>>;

/// Sends until told to stop, over one API or the other. What got no answer is asked for again under the same number, until it
/// has one.
pub(crate) async fn sender(
    person: Person,
    group: String,
    name: usize,
    stop: Arc<AtomicBool>,
    answered: Answered,
) -> usize {
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let number = format!("{name}-{sent}");
        let im = json!({"channelId": group, "channelType": 2, "clientMsgNo": number,
                        "payload": encoded(&json!({"type": 1, "content": number}).to_string())});
        let chat = json!({"id": number, "toId": group, "chatType": "group", "content": number});
        let (path, body) =
            if name.is_multiple_of(2) { ("/api/v1/im/message/send", im) } else { ("/api/message/send", chat) };
        let data = loop {
            match person.client.try_send(person.client.request(http::Method::POST, path).json(&body)).await {
                Ok(answer) if answer.status == 200 => break answer.json()["data"].clone(),
                Ok(answer) => assert!(cut_off(&answer), "{answer}"),
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let seen = json!({"messageId": data["messageId"], "messageSeq": data["messageSeq"]});
        answered.lock().expect("no panic before").insert(number, seen);
        sent += 1;
    }
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_leave_no_gap_lose_nothing_and_double_nothing() {
    let mut server = Server::start();
    let mut people = Vec::new();
    for _ in 0..PEOPLE {
        people.push(Person::of(&server, "sender").await);
    }
    let group = people[0].group(&people[1..].iter().collect::<Vec<_>>()).await;
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Answered::default());
    let tasks: Vec<_> = (0..SENDERS)
        .map(|name| {
            let person = people[name % PEOPLE].clone();
            tokio::spawn(sender(person, group.clone(), name, Arc::clone(&stop), Arc::clone(&answered)))
        })
        .collect();
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        server = server.killed_and_restarted().await;
    }
    tokio::time::sleep(Duration::from_millis(1200)).await;
    stop.store(true, Ordering::Relaxed);
    let mut wanted = 0;
    for task in tasks {
        wanted += task.await.expect("no sender was refused");
    }
    let answered = std::mem::take(&mut *answered.lock().expect("no panic before"));
    assert_eq!(answered.len(), wanted);
    // In the bundle a request costs several round trips to an emulator, and a start several processes.
    let enough = if on_aws() { SENDERS / 2 } else { 4 * SENDERS };
    assert!(wanted > enough, "only {wanted} messages: too little load to prove anything");
    all_is_there(&people, &group, &answered).await;
}

/// The group holds what was answered, each once, under the numbers that were answered, and everybody is told of the newest.
pub(crate) async fn all_is_there(people: &[Person], group: &str, answered: &HashMap<String, Value>) {
    let wanted = answered.len();
    let mut stored: Vec<Value> = Vec::new();
    loop {
        let after = stored.last().map_or(0, |last| last["messageSeq"].as_u64().expect("a number"));
        let page = people[1].sync(group, 2, &format!("&limit=1000&lastMessageSeq={after}")).await;
        if page.is_empty() {
            break;
        }
        stored.extend(page);
    }
    let seqs: Vec<u64> = stored.iter().map(|one| one["messageSeq"].as_u64().expect("a number")).collect();
    assert_eq!(seqs, (1..=wanted as u64).collect::<Vec<_>>(), "without gaps, and as many as were answered");
    let mut by_number: BTreeMap<&str, &Value> = BTreeMap::new();
    for one in &stored {
        let number = one["clientMsgNo"].as_str().expect("a number");
        assert!(by_number.insert(number, one).is_none(), "twice: {one}");
        assert_eq!(one["payload"], encoded(&json!({"type": 1, "content": number}).to_string()), "{one}");
    }
    for (number, data) in answered {
        let one = by_number.get(number.as_str()).unwrap_or_else(|| panic!("{number} was answered, and is lost"));
        assert_eq!((&one["messageId"], &one["messageSeq"]), (&data["messageId"], &data["messageSeq"]), "{number}");
    }
    // A retry long after finds it still, and so does the other API.
    let again = json!({"id": "0-0", "toId": group, "chatType": "group", "content": "0-0"});
    assert_eq!(people[0].post("/api/message/send", &again).await["messageSeq"], answered["0-0"]["messageSeq"]);
    // What follows a message, follows: the group's newest number, and so everybody's unread counts.
    eventually_within(SETTLED, "the conversation shows the newest", async || {
        let all = people[2].get("/api/conversations").await;
        (all["conversations"][0]["lastSeq"] == wanted).then_some(())
    })
    .await;
}
