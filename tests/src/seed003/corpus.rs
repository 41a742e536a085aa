//! A corpus of every notification in both forms, broken ones among them: shuffled, doubled, from eight clients, over
//! `kill -9`. The final state is the same every time, and it is what an independent reading of the corpus (`fold.py`) says.
//!
//! The state of the connection carries no time of its own and goes by arrival: its reports are shuffled with the rest, and
//! the last ones come at the end, in order.

use super::Device;
use crate::harness::tools::{python, stdout};
use crate::harness::{Client, Server, eventually_within};
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WECOM: &str = "device-of-wecom";
const PERSONAL: &str = "device-of-wechat";
const OWN_WECOM: &str = "1688850000000001";
const OWN_PERSONAL: &str = "wxid_me";
const CLIENTS: usize = 8;
/// Everything must be applied this long after the last start.
const SETTLED: Duration = Duration::from_secs(120);

/// A small generator: the corpus needs no quality, only a seed that can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.roll(times) == 0
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.roll(from.len() as u64)).expect("small")]
    }

    /// An id as a text or as a number.
    fn id(&mut self, id: &str) -> Value {
        match id.parse::<u64>() {
            Ok(number) if self.one_in(2) => json!(number),
            _ => json!(id),
        }
    }
}

/// Begins within the last hours, so that the statistics of the day hold what the corpus holds.
fn moment(dice: &mut Dice) -> u64 {
    1_705_000_000 + dice.roll(50_000)
}

const PEERS: [&str; 6] = [
    "7881300000000001",
    "7881300000000002",
    "7881300000000003",
    "1688850000000005",
    "1688850000000006",
    "10957014854528966",
];
const ROOMS: [&str; 4] = ["10957000000000001", "10957000000000002", "10957000000000003", "10957000000000004"];
const NAMES: [&str; 5] = ["张三", "李四", "Wang", "王五 😀", "Zoë"];
const CORPS: [&str; 3] = ["1970324940000001", "1970324940000002", "1970324940000003"];

#[expect(clippy::needless_pass_by_value, reason = "what is told is made for the call")]
fn callback(guid: &str, kind: impl Into<Value>, data: Value) -> Value {
    json!({"guid": guid, "notify_type": kind.into(), "data": data})
}

/// A message of the WeCom form; `n` makes its ids.
fn said(dice: &mut Dice, n: u64) -> Map<String, Value> {
    let own = dice.one_in(3);
    let peer = *dice.pick(&PEERS);
    let room = dice.one_in(3).then(|| *dice.pick(&ROOMS));
    let (sender, receiver) = if own { (OWN_WECOM, peer) } else { (peer, OWN_WECOM) };
    let seq = (7_000_000 + n).to_string();
    let id = (1_000_000 + n * 3).to_string();
    let mut data = Map::new();
    data.insert("seq".into(), dice.id(&seq));
    data.insert("id".into(), dice.id(&id));
    if !dice.one_in(5) {
        data.insert("appinfo".into(), json!(format!("CAUQ/{n}+=")));
    }
    data.insert("sender".into(), dice.id(sender));
    data.insert("receiver".into(), if room.is_some() { json!("0") } else { dice.id(receiver) });
    data.insert("roomid".into(), room.map_or_else(|| json!("0"), |room| dice.id(room)));
    data.insert("sendtime".into(), json!(moment(dice)));
    data.insert("sender_name".into(), json!(dice.pick(&NAMES)));
    data.insert("referid".into(), json!("0"));
    data.insert("flag".into(), json!(if dice.one_in(12) { 16_777_216 + 32 } else { 16_777_216 }));
    data.insert("at_list".into(), json!([]));
    data.insert("content".into(), json!(format!("{} {n}", dice.pick(&NAMES))));
    data.insert("msg_type".into(), json!(2));
    match dice.roll(20) {
        0 => drop(data.insert("content".into(), json!(format!("{{\"msg\":\"inside {n}\"}}")))),
        1 => drop(data.insert("content".into(), json!(format!("{{\"other\":{n}}}")))),
        2 => drop(data.insert("content".into(), json!("{not JSON"))),
        kind @ 3..=8 => {
            data.insert("msg_type".into(), json!(kind));
            data.insert("content".into(), json!(""));
            data.insert("file_name".into(), json!(format!("file {n}.pdf")));
            data.insert("cdn".into(), json!({"size": 5, "file_id": "https://a/b", "aes_key": "k"}));
            if kind == 3 {
                data.insert("longitude".into(), json!("120.1"));
                data.insert("latitude".into(), json!(30.5));
                data.insert("title".into(), json!(format!("place {n}")));
            }
            if kind == 4 {
                data.insert("title".into(), json!(format!("link {n}")));
                data.insert("url".into(), json!("https://a"));
            }
        }
        kind @ 9..=16 => drop(data.insert("msg_type".into(), json!(kind.to_string()))),
        17 => {
            data.insert("msg_type".into(), json!(1011));
        }
        18 => {
            data.remove("msg_type");
            data.insert("content_type".into(), json!(dice.pick(&[2, 101, 43, 104, 999])));
        }
        _ => {}
    }
    data
}

fn follow_up(dice: &mut Dice, n: u64, kind: u64, target: u64) -> Map<String, Value> {
    let mut data = said(dice, n);
    data.insert("msg_type".into(), json!(kind));
    data.insert("content".into(), json!(""));
    data.insert("flag".into(), json!(0));
    data.insert("referid".into(), dice.id(&(1_000_000 + target * 3).to_string()));
    data
}

fn wecom(dice: &mut Dice, corpus: &mut Vec<Value>) {
    let mut batch = Vec::new();
    for n in 0..260 {
        let data = match n {
            0..200 => said(dice, n),
            200..230 => follow_up(dice, n, 1, n * 7 % 210),
            _ => follow_up(dice, n, 1012, n * 11 % 210),
        };
        let data = Value::Object(data);
        match dice.roll(6) {
            0 => corpus.push(callback(WECOM, 11010, json!([data]))),
            1 => corpus.push(callback(WECOM, "11010", json!(data.to_string()))),
            2 | 3 => batch.push(data),
            _ => corpus.push(callback(WECOM, 11010, data)),
        }
        if batch.len() > 6 {
            corpus.push(callback(WECOM, 11013, json!(std::mem::take(&mut batch))));
        }
    }
    corpus.push(callback(WECOM, 11013, json!(batch)));
    for n in 0..60_u64 {
        let kind = *dice.pick(&[1001, 1001, 1002, 1002, 1003, 1004, 1005, 1006, 1023, 2118]);
        let mut data = Map::new();
        data.insert("roomid".into(), dice.id(ROOMS[usize::try_from(n % 4).expect("small")]));
        data.insert("sendtime".into(), json!(moment(dice)));
        match kind {
            1001 => drop(data.insert("room_name".into(), json!(format!("room {}", dice.pick(&NAMES))))),
            1005 => drop(data.insert("sender".into(), json!(dice.pick(&PEERS)))),
            1006 | 2118 => {
                data.insert("room_name".into(), json!(format!("made {n}")));
                data.insert("owner_vid".into(), dice.id(PEERS[0]));
                data.insert("roomurl".into(), json!(format!("https://rooms/{n}")));
                if dice.one_in(2) {
                    data.insert("member_count".into(), json!(dice.roll(200)));
                } else {
                    data.insert("user_list".into(), json!([PEERS[0], {"user_id": PEERS[1], "name": "listed"}, 77]));
                }
            }
            1023 => {}
            _ => {
                let members: Vec<Value> = (0..=dice.roll(3))
                    .map(|_| {
                        let member = *dice.pick(&PEERS);
                        dice.id(member)
                    })
                    .collect();
                data.insert("user_list".into(), json!(members));
            }
        }
        corpus.push(callback(WECOM, kind, Value::Object(data)));
    }
    for n in 0..30 {
        let mut data = json!({"user_id": dice.id(PEERS[n % 6]), "update_time": moment(dice) + 100_000});
        for (name, values) in [("name", &NAMES[..]), ("remark", &["同事", "客户", "friend"]), ("corp_id", &CORPS)] {
            if dice.one_in(2) {
                data[name] = json!(dice.pick(values));
            }
        }
        if dice.one_in(3) {
            data["avatar"] = json!(format!("https://faces/{n}"));
        }
        corpus.push(callback(WECOM, *dice.pick(&[2131, 1029]), data));
    }
}

fn personal(dice: &mut Dice, corpus: &mut Vec<Value>) {
    let peers = ["wxid_a", "wxid_b", "gh_service", "wxid_c"];
    let rooms = ["111@chatroom", "222@chatroom"];
    for n in 0..150_u64 {
        let id = 5_000_000_000_000_000_000 + n;
        let (peer, own, room) = (*dice.pick(&peers), dice.one_in(3), dice.one_in(3).then(|| *dice.pick(&rooms)));
        let (kind, mut content) = match dice.roll(12) {
            0 => (3, "<msg><img/></msg>".to_owned()),
            1 => (34, "<msg><voicemsg/></msg>".to_owned()),
            2 => (43, "<msg><videomsg/></msg>".to_owned()),
            3 => (47, "<msg><emoji/></msg>".to_owned()),
            4 => {
                let card = dice.pick(&[5, 6, 57, 33]);
                (49, format!("<msg><appmsg><title>card {n}</title><type>{card}</type></appmsg></msg>"))
            }
            5 => (48, format!("<msg><location x=\"30.5\" y=\"120.5\" poiname=\"place {n}\" label=\"street\"/></msg>")),
            6 => (10_000, format!("system {n}")),
            7 if n > 20 => {
                let (target, other) = (5_000_000_000_000_000_000 + n * 13 % 150, 4_000_000 + n);
                (
                    10_002,
                    format!(
                        "<sysmsg type=\"revokemsg\"><revokemsg><msgid>{other}</msgid><newmsgid>{target}</newmsgid></revokemsg></sysmsg>"
                    ),
                )
            }
            _ => (1, format!("{} {n}", dice.pick(&NAMES))),
        };
        let mut data = json!({"msg_id": dice.id(&id.to_string()), "msg_type": kind, "create_time": moment(dice), "desc": "", "source": "<x/>"});
        match (room, own) {
            (Some(room), true) => {
                data["from_username"] = json!(OWN_PERSONAL);
                data["to_username"] = json!(room);
            }
            (Some(room), false) => {
                data["from_username"] = json!(room);
                data["to_username"] = json!(OWN_PERSONAL);
                if dice.one_in(2) {
                    data["chatroom_sender"] = json!(peer);
                    data["chatroom"] = json!(room);
                } else {
                    content = format!("{peer}:\n{content}");
                }
            }
            (None, _) => {
                let (from, to) = if own { (OWN_PERSONAL, peer) } else { (peer, OWN_PERSONAL) };
                data["from_username"] = json!(from);
                data["to_username"] = json!(to);
            }
        }
        data["content"] = json!(content);
        let kind = *dice.pick(&[1003, 1004, 1010, 1011, 11010]);
        if dice.one_in(5) {
            data["guid"] = json!(PERSONAL);
            data["notify_type"] = json!(kind);
            corpus.push(data);
        } else {
            corpus.push(callback(PERSONAL, kind, data));
        }
    }
}

/// What nobody understands, and the reports of the connection.
fn the_rest(dice: &mut Dice, corpus: &mut Vec<Value>) {
    for guid in [WECOM, PERSONAL] {
        for kind in [573, 1037, 2115, 2120, 2166, 529, 2215, 2132, 31_337] {
            corpus.push(callback(guid, kind, json!({"n": dice.roll(1000), "big": 9_007_199_254_740_993_u64})));
        }
        for data in [
            json!(null),
            json!("text"),
            json!(7),
            json!({}),
            json!([]),
            json!({"sender": "1"}),
            json!({"id": "5", "sender": "1"}),
        ] {
            corpus.push(callback(guid, 11010, data));
        }
        corpus.push(callback(guid, "what is this", json!({"a": 1})));
        corpus.push(json!({"guid": guid, "data": {"b": 2}}));
        corpus.push(json!({"guid": guid}));
        corpus.push(callback(
            guid,
            11010,
            json!({"id": "9", "sender": "1", "receiver": "2", "msg_type": 1, "referid": "0"}),
        ));
        corpus.push(callback(guid, 1001, json!({"room_name": "of no room", "sendtime": 5})));
        corpus.push(callback(guid, 2131, json!({"name": "nobody"})));
        for kind in [11_001, 11_002, 11_005, 11_006, 11_007, 11_008, 11_009, 11_011, 11_012] {
            corpus.push(callback(guid, kind, json!({"status": 1})));
        }
    }
    corpus.push(callback(WECOM, 11_003, json!({"user_id": OWN_WECOM, "name": "me", "corp_id": CORPS[0]})));
    corpus.push(callback(PERSONAL, 11_003, json!({"username": OWN_PERSONAL, "nickname": "me"})));
}

/// Bodies that are no callbacks at all, and are refused.
const REFUSED: [&str; 4] = ["", "{", "[]", "{\"notify_type\": 11010}"];

/// Posts from the common heap until it is empty. What got no answer is posted again.
async fn client(client: Client, heap: Arc<Mutex<VecDeque<Value>>>, mut dice: Dice) {
    loop {
        let Some(body) = heap.lock().expect("no panic before").pop_front() else { return };
        loop {
            match client.try_send(client.request(http::Method::POST, "/callback").json(&body)).await {
                Ok(answer) if answer.status == 200 => break,
                Ok(answer) => assert_eq!(answer.status, 503, "{answer}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        if dice.one_in(20) {
            let request = client.request(http::Method::POST, "/callback").body(*dice.pick(&REFUSED));
            if let Ok(answer) = client.try_send(request).await {
                assert!(matches!(answer.status, 400 | 503), "{answer}");
            }
        }
    }
}

/// Everything that the queries and the view tell of a device.
async fn state(server: &Server, guid: &str) -> Option<Value> {
    let device = Device { client: server.anonymous(), guid: guid.to_owned() };
    let all = async |what: &str| {
        let mut rows = Vec::new();
        for page in 1.. {
            let answer = device.ask(what, &format!("limit=200&page={page}")).await;
            if answer.status != 200 {
                return None;
            }
            let data = answer.json()["data"].clone();
            let more = data[what].as_array().expect("a list").clone();
            if more.is_empty() {
                // Not while it still grows.
                if data["total"] != rows.len() {
                    return None;
                }
                break;
            }
            rows.extend(more);
        }
        Some(rows)
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
    let counts = [&sync["messages_count"], &sync["contacts_count"], &sync["rooms_count"]];
    if counts != [&json!(messages.len()), &json!(contacts.len()), &json!(rooms.len())] {
        return None;
    }
    let database = rusqlite::Connection::open_with_flags(
        server.data_dir().join("trunkline.db"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    )
    .expect("the database");
    let mut rows = database
        .prepare("SELECT DISTINCT type, data FROM unknown_notifications WHERE instance_id = ?1")
        .expect("the view");
    let unknown: Vec<Value> = rows
        .query_map([sync["instance_id"].as_str().expect("id")], |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, String>(1)?))
        })
        .expect("rows")
        .map(|row| {
            row.map(|(kind, data)| json!([kind, serde_json::from_str::<Value>(&data).expect("JSON")])).expect("a row")
        })
        .collect();
    let mut unknown: Vec<String> = unknown.iter().map(Value::to_string).collect();
    unknown.sort();
    Some(json!({"messages": messages, "contacts": contacts, "rooms": rooms, "unknown": unknown}))
}

/// One run: shuffled and doubled by `seed`, killed in between.
async fn run(corpus: &[Value], wanted: &Value, seed: u64) {
    let mut dice = Dice(seed);
    let mut heap: Vec<Value> = corpus.to_vec();
    heap.extend(corpus.iter().filter(|_| dice.one_in(3)).cloned());
    for at in (1..heap.len()).rev() {
        heap.swap(at, usize::try_from(dice.roll(at as u64 + 1)).expect("small"));
    }
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
        server = tokio::task::spawn_blocking(move || {
            server.kill();
            server.restart();
            server
        })
        .await
        .expect("no panic");
    }
    for client in clients {
        client.await.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
    // Once more in the middle of the work on what was accepted.
    server.kill();
    server.restart();
    for (guid, own) in [
        (WECOM, json!({"user_id": OWN_WECOM, "name": "me", "corp_id": CORPS[0]})),
        (PERSONAL, json!({"username": OWN_PERSONAL})),
    ] {
        let device = Device { client: server.anonymous(), guid: guid.to_owned() };
        device.tell(11_003, own).await;
        device.tell(11_009, json!({})).await;
    }
    for guid in [WECOM, PERSONAL] {
        let mut last = Value::Null;
        let start = std::time::Instant::now();
        loop {
            if let Some(now) = state(&server, guid).await {
                last = now;
                if last == wanted[guid] {
                    break;
                }
            }
            if start.elapsed() > SETTLED {
                panic!("seed {seed}, {guid}: {}", difference(&wanted[guid], &last));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // It is the end, not a moment on the way.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let after = state(&server, guid).await.expect("a settled state");
        assert!(after == wanted[guid], "seed {seed}, {guid}: {}", difference(&wanted[guid], &after));
        once_told(&server, guid, seed).await;
    }
}

/// No message is told of twice as the same.
async fn once_told(server: &Server, guid: &str, seed: u64) {
    let admin = server.admin();
    let device = Device { client: server.anonymous(), guid: guid.to_owned() };
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
    assert!(
        wanted[WECOM]["messages"].as_array().is_some_and(|messages| messages.len() == 200),
        "the fold reads the corpus"
    );
    for seed in [1, 0xdead_beef] {
        run(&corpus, &wanted, seed).await;
    }
}
