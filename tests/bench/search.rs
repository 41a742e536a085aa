//! Keyword search and deep pages in a listing of 200,000 messages, on SQLite and without a server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use shared::{
    clock::SystemClock,
    store::{
        Item, Key, Query, Range, Search, Source, Store as _, Unit, Write,
        chaos::Dice,
        meter::Meter,
        search::{self, fold},
    },
};
use shared_local::Sqlite;

const MESSAGES: u64 = 200_000;
/// Listings in the same file, of which one is searched.
const LISTINGS: u64 = 2;
const CHATS: u64 = 50;

/// Texts of words whose n-th is n times rarer than the first.
struct Talk {
    dice: Dice,
    words: Vec<String>,
}

impl Talk {
    fn new() -> Self {
        let mut dice = Dice::new(7);
        let mut words = Vec::new();
        for n in 0..12_000_u64 {
            let length = 1 + dice.below(3);
            words.push((0..length).map(|_| letter(&mut dice, n % 4 == 3)).collect());
        }
        Self { dice, words }
    }

    /// About 40 characters; one text in a hundred names 张三丰, every one begins and ends alike.
    fn text(&mut self) -> String {
        let mut text = String::from("ab ");
        for _ in 0..2 + self.dice.below(30) {
            let rank = rank(&mut self.dice, self.words.len());
            text.push_str(&self.words[rank]);
        }
        if self.dice.below(100) == 0 {
            text.push_str("张三丰");
        }
        text + "收到了"
    }
}

/// Small numbers are as many times likelier as they are smaller.
fn rank(dice: &mut Dice, end: usize) -> usize {
    let bits = u64::from(end.ilog2()) + 1;
    let below = 1_u64 << (1 + dice.below(bits));
    usize::try_from(dice.below(below)).map_or(0, |rank| rank.min(end - 1))
}

fn letter(dice: &mut Dice, latin: bool) -> char {
    let rank = rank(dice, if latin { 26 } else { 3500 });
    let first = if latin { u32::from('a') } else { 0x4E00 };
    u32::try_from(rank).ok().and_then(|rank| char::from_u32(first + rank)).unwrap_or('?')
}

/// A message as the listing of a device holds it: about 500 bytes.
fn message(listing: u64, n: u64, text: &str, searchable: bool) -> Item {
    let chat = format!("chat{:020}", n % CHATS);
    let mut body = json!({
        "id": format!("01J{n:023}"), "chat": chat, "from": format!("user{:020}", n % 77), "type": "text", "text": text,
        "status": "sent", "at": 1_700_000_000_000 + n * 1000, "fill": "x".repeat(150),
    });
    // The plain one has the folded text, too, under a name that is not searched: the index is the only difference.
    body[if searchable { search::ATTRIBUTE } else { "hcraes" }] = fold(text).into();
    let key =
        Key::new(format!("MI#01jd0000000000{listing:02}"), format!("{:013}{n:013}", 1_700_000_000_000 + n * 1000));
    Item::new(key, &body).expect("an object")
}

pub(crate) async fn run() {
    println!("search ({MESSAGES} messages in each of {LISTINGS} listings)");
    let plain = fill(false).await;
    let (store, folder) = fill(true).await;
    #[expect(clippy::cast_precision_loss, reason = "bytes of a file")]
    let each = (store.file_bytes() as f64 - plain.0.file_bytes() as f64) / (MESSAGES * LISTINGS) as f64;
    println!("  index, beside the text itself    {each:8.0} bytes a message");
    drop(plain);
    singles(&store).await;
    asked(&store).await;
    paged(&store).await;
    drop((store, folder));
    println!();
}

/// Fills a store 500 messages at a time, the listings in turn.
async fn fill(searchable: bool) -> (Arc<Sqlite>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let store =
        Sqlite::open(folder.path(), Arc::new(SystemClock::default()), Arc::new(Meter::default())).expect("a store");
    let mut talk = Talk::new();
    let mut spent = Duration::ZERO;
    for start in (0..MESSAGES).step_by(250) {
        let mut writes = Vec::new();
        for n in start..start + 250 {
            let text = talk.text();
            writes.extend((0..LISTINGS).map(|listing| Write::put(message(listing, n, &text, searchable))));
        }
        let begun = Instant::now();
        store.write_many(writes).await.expect("writes");
        spent += begun.elapsed();
    }
    #[expect(clippy::cast_precision_loss, reason = "a count")]
    let each = spent.as_secs_f64() * 1e6 / (MESSAGES * LISTINGS) as f64;
    println!("  written, {:24}{each:8.1} µs a message", if searchable { "searchable" } else { "plain" });
    (store, folder)
}

/// One message a unit, 128 at a time.
async fn singles(store: &Arc<Sqlite>) {
    for searchable in [false, true] {
        let begun = Instant::now();
        let senders = (0..128_u64).map(|sender| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                for n in 0..100 {
                    let mut item =
                        message(9, sender * 1000 + n, "你好，我们明天下午三点在公司开会，请准时参加。", searchable);
                    item.key.pk.push_str(if searchable { "s" } else { "p" });
                    store.commit(Unit::write(Write::create(item))).await.expect("writes");
                }
            })
        });
        for sender in senders.collect::<Vec<_>>() {
            sender.await.expect("does not panic");
        }
        let rate = 12_800.0 / begun.elapsed().as_secs_f64();
        println!("  units of one, {:19}{rate:8.0} /s", if searchable { "searchable" } else { "plain" });
    }
}

async fn asked(store: &Sqlite) {
    let chat = format!("chat{:020}", 7);
    for keyword in ["张三", "张三丰", "张", "一", "b", "收到", "收到了", "没有人这样说"] {
        let search = Search { newest_first: true, ..Search::new("MI#01jd000000000001", keyword) };
        for (what, search) in [
            ("page 1", search.clone().page(0, 20)),
            ("page 500", search.clone().page(9980, 20)),
            ("one chat", search.clone().filter("chat", chat.as_str()).page(0, 20)),
        ] {
            let (time, total) = best(async || store.search(search.clone()).await.expect("searches").total).await;
            println!("  {keyword} {what}: {total} matches in {time:.1} ms");
        }
    }
}

async fn paged(store: &Sqlite) {
    let listing = "MI#01jd000000000001";
    for (what, query) in [
        ("page 1 of 200", Query::table(listing).limit(200)),
        ("page 500 of 200", Query::table(listing).limit(200).skip(99_800)),
        ("page 1,000 of 200", Query::table(listing).limit(200).skip(199_800)),
        ("page 1,000, newest first", Query::table(listing).limit(200).skip(199_800).newest_first()),
    ] {
        let (time, items) = best(async || store.query(query.clone()).await.expect("reads").items.len()).await;
        println!("  {what}: {items} items in {time:.1} ms");
    }
    let count = async || store.count(Source::Table(listing.into()), Range::All).await.expect("counts");
    let (time, total) = best(count).await;
    println!("  count: {total} in {time:.1} ms");
}

/// The best of five, in milliseconds, and the answer.
async fn best<T>(ask: impl AsyncFn() -> T) -> (f64, T) {
    let mut best = f64::MAX;
    let mut answer = ask().await;
    for _ in 0..5 {
        let begun = Instant::now();
        answer = ask().await;
        best = best.min(begun.elapsed().as_secs_f64() * 1000.0);
    }
    (best, answer)
}
