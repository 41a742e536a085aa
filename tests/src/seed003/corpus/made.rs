//! What the corpus is made of.

use super::{OWN_PERSONAL, OWN_WECOM, PERSONAL, WECOM};
use serde_json::{Map, Value, json};

/// A small generator: the corpus needs no quality, only a seed that can be repeated.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.roll(times) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[usize::try_from(self.roll(from.len() as u64)).expect("small")]
    }

    /// An id as a text or as a number.
    pub(crate) fn id(&mut self, id: &str) -> Value {
        match id.parse::<u64>() {
            Ok(number) if self.one_in(2) => json!(number),
            _ => json!(id),
        }
    }
}

/// Some moment of a day: the seconds clash now and then.
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
pub(crate) const CORPS: [&str; 3] = ["1970324940000001", "1970324940000002", "1970324940000003"];

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

pub(crate) fn wecom(dice: &mut Dice, corpus: &mut Vec<Value>) {
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

pub(crate) fn personal(dice: &mut Dice, corpus: &mut Vec<Value>) {
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
pub(crate) fn the_rest(dice: &mut Dice, corpus: &mut Vec<Value>) {
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
