//! Keyword search: what is found, in which order, page by page, and that it follows the items.

use serde_json::{Value, json};
use shared::{
    error::Kind,
    store::{
        Change, Found, Item, Key, Range, Search, Unit, Write,
        chaos::Dice,
        search::{self, fold},
    },
};

use super::{World, contract, item};

contract!(
    keywords_are_found_in_every_script,
    what_reads_the_same_is_found,
    special_characters_are_characters,
    pages_go_both_ways_with_exact_totals,
    ranges_and_filters_narrow,
    the_index_follows_changes,
    partitions_are_apart,
    nothing_is_invalid_but_a_blank_keyword,
    many_items_are_found_as_by_reading_all,
    a_search_is_bounded_where_everything_is_read,
);

/// A message in chat `chat`.
fn said(sk: &str, chat: &str, text: &str) -> Item {
    item(&Key::new("P", sk), json!({"chat": chat, "text": text, search::ATTRIBUTE: fold(text)}))
}

async fn ask(w: &World, search: Search) -> Found {
    w.ok(&format!("{search:?}"), w.store.search(search.clone()).await)
}

/// Sort keys of all matches in partition `P`, and that the total is their number.
async fn found(w: &World, keyword: &str) -> Vec<String> {
    let found = ask(w, Search::new("P", keyword)).await;
    w.same(&format!("the total for {keyword:?}"), found.total, found.items.len() as u64);
    keys(&found)
}

fn keys(found: &Found) -> Vec<String> {
    found.items.iter().map(|item| item.key.sk.clone()).collect()
}

async fn expect(w: &World, cases: &[(&str, &[&str])]) {
    for (keyword, should) in cases {
        w.same(&format!("{keyword:?}"), found(w, keyword).await, should.to_vec());
    }
}

async fn write(w: &World, write: Write) {
    w.ok(&format!("{:?}", write.op), w.store.commit(Unit::write(write)).await);
}

async fn keywords_are_found_in_every_script(w: World) {
    let items = vec![
        said("1", "a", "张三，你好！"),
        said("2", "a", "李四说：张三丰来了"),
        said("3", "a", "三张票"),
        said("4", "a", "Hello World, hello again"),
        said("5", "a", "Γειά σου Κόσμε, ΟΔΟΣ"),
        said("6", "a", "Grüße — Привет 👩‍👩‍👧 🎉🎉"),
        said("7", "a", "好"),
        item(&Key::new("P", "8"), json!({"text": "张三"})),
        item(&Key::new("P", "9"), json!({"search": 7})),
    ];
    w.put_all(items.clone()).await;
    let cases: &[(&str, &[&str])] = &[
        ("张三", &["1", "2"]),
        ("三", &["1", "2", "3"]),
        ("三丰", &["2"]),
        ("张三丰", &["2"]),
        ("你好", &["1"]),
        ("好", &["1", "7"]),
        ("丰三", &[]),
        ("票", &["3"]),
        ("hello", &["4"]),
        ("o wor", &["4"]),
        ("ell", &["4"]),
        ("d", &["4"]),
        ("lloh", &[]),
        ("σου", &["5"]),
        ("οδος", &["5"]),
        ("привет", &["6"]),
        ("🎉", &["6"]),
        ("🎉🎉", &["6"]),
        ("🎉🎉🎉", &[]),
        ("👩‍👧", &["6"]),
        ("7", &[]),
    ];
    expect(&w, cases).await;
    let found = ask(&w, Search::new("P", "张三")).await;
    w.same("items come whole", found.items, items[..2].to_vec());
    let used = w.meter.snapshot().get("search").copied().unwrap_or_default();
    w.holds(&format!("searches are metered: {used:?}"), used.requests > 0 && used.read_half_units > 0);
}

async fn what_reads_the_same_is_found(w: World) {
    w.put_all(vec![said("1", "a", "Order  No.\n４２ for ＡＬＩＣＥ"), said("2", "a", "order no")]).await;
    let cases: &[(&str, &[&str])] = &[
        ("ORDER", &["1", "2"]),
        ("ｏｒｄｅｒ", &["1", "2"]),
        ("alice", &["1"]),
        ("Alice ", &["1"]),
        ("no. 42", &["1"]),
        ("no.\t\u{3000}42  FOR", &["1"]),
        ("order  no", &["1", "2"]),
        ("orderno", &[]),
    ];
    expect(&w, cases).await;
}

async fn special_characters_are_characters(w: World) {
    let texts = [
        "a*b",
        "say \"yes\" or 'no'",
        "this NEAR that AND those",
        "100% _sure_; DROP TABLE items; --",
        "(a OR b) NOT c: {x} ^y +z",
        "back\\slash \u{0} null",
        "<b>&amp;</b> #0 :0 $.x",
        "。，、？！",
    ];
    let items = texts.iter().enumerate().map(|(n, text)| said(&n.to_string(), "a", text)).collect();
    w.put_all(items).await;
    let cases: &[(&str, &[&str])] = &[
        ("*", &["0"]),
        ("a*", &["0"]),
        ("a*b", &["0"]),
        ("a* OR b", &[]),
        ("\"", &["1"]),
        ("\"yes\"", &["1"]),
        ("'", &["1"]),
        ("' or '", &[]),
        ("near", &["2"]),
        ("AND", &["2"]),
        ("this near that", &["2"]),
        ("this that", &[]),
        ("%", &["3"]),
        ("_", &["3"]),
        ("; drop", &["3"]),
        ("--", &["3"]),
        ("(a or b)", &["4"]),
        ("{x}", &["4"]),
        ("^", &["4"]),
        ("not c:", &["4"]),
        ("\\", &["5"]),
        ("h nu", &["5"]),
        (":0", &["6"]),
        ("$.x", &["6"]),
        ("</b>", &["6"]),
        ("?", &["7"]),
        ("。，", &["7"]),
    ];
    expect(&w, cases).await;
}

async fn pages_go_both_ways_with_exact_totals(w: World) {
    // More than one look at the index, and than one request to DynamoDB's batches.
    let items: Vec<Item> = (0..300)
        .map(|n| said(&format!("{n:03}"), "a", if n % 3 == 0 { "the word 收到了" } else { "another 收到" }))
        .collect();
    w.put_all(items).await;
    let all: Vec<String> = (0..300).step_by(3).map(|n| format!("{n:03}")).collect();
    for keyword in ["w", "wo", "word", "了"] {
        for (skip, limit) in [(0, 100), (0, 7), (7, 7), (95, 7), (100, 10), (500, 10), (0, 1)] {
            let page = |all: &[String]| all.iter().skip(skip).take(limit).cloned().collect::<Vec<_>>();
            let what = format!("{keyword:?}, {limit} from {skip}");
            let oldest = ask(&w, Search::new("P", keyword).page(skip, limit)).await;
            w.same(&what, (keys(&oldest), oldest.total), (page(&all), 100));
            let newest = ask(&w, Search::new("P", keyword).page(skip, limit).newest_first()).await;
            let reversed: Vec<String> = all.iter().rev().cloned().collect();
            w.same(&format!("{what}, newest first"), (keys(&newest), newest.total), (page(&reversed), 100));
        }
    }
}

async fn ranges_and_filters_narrow(w: World) {
    let items = (0..100).map(|n| said(&format!("m{n:02}"), ["a", "b", "c"][n % 3], "hello")).collect();
    w.put_all(items).await;
    w.put_all(vec![item(&Key::new("P", "m50x"), json!({"search": "hello", "chat": 1, "no": null}))]).await;
    let between = |from: &str, to: &str| Range::Between(from.into(), to.into());
    for keyword in ["h", "he", "hello"] {
        for (range, filter, total) in [
            (Range::All, None, 101),
            (between("m10", "m19"), None, 10),
            (Range::Prefix("m5".into()), None, 11),
            (between("m19", "m10"), None, 0),
            (between("x", "y"), None, 0),
            (Range::All, Some(json!("a")), 34),
            (Range::All, Some(json!("x")), 0),
            (Range::All, Some(json!(1)), 1),
            (Range::All, Some(json!("1")), 0),
            (between("m00", "m09"), Some(json!("b")), 3),
        ] {
            let search =
                Search { filter: filter.map(|is| ("chat".into(), is)), ..Search::new("P", keyword).page(0, 5) };
            let found = ask(&w, search.range(range.clone())).await;
            let what = format!("{keyword:?} in {range:?}");
            w.same(&what, (found.total, found.items.len()), (total, 5.min(total as usize)));
        }
        let found = ask(&w, Search::new("P", keyword).filter("chat", "b").newest_first().page(1, 2)).await;
        w.same("the second page of a chat", keys(&found), vec!["m94", "m91"]);
        w.same("a null", ask(&w, Search::new("P", keyword).filter("no", Value::Null)).await.total, 1);
    }
}

async fn the_index_follows_changes(w: World) {
    let key = Key::new("P", "1");
    let set = |text: &str| Write::update(key.clone(), Change::default().set(search::ATTRIBUTE, text));
    let steps = [
        (Write::create(said("1", "a", "first words")), Some("first words")),
        (Write::update(key.clone(), Change::default().set("status", "read")), Some("first words")),
        (set("second words"), Some("second words")),
        (Write::put(said("1", "b", "third words")), Some("third words")),
        (Write::update(key.clone(), Change::default().remove(search::ATTRIBUTE)), None),
        (Write::update(key.clone(), Change::default().set("status", "gone")), None),
        (set("fourth words"), Some("fourth words")),
        (Write::put(item(&key, json!({"x": 1}))), None),
        (set("fifth words"), Some("fifth words")),
        (Write::delete(key.clone()), None),
        (set("sixth words"), Some("sixth words")),
        (Write::delete(key.clone()), None),
        (Write::delete(key.clone()), None),
    ];
    let texts: Vec<&str> = steps.iter().filter_map(|(_, text)| *text).collect();
    for (step, is) in steps {
        let what = format!("after {:?}", step.op);
        write(&w, step).await;
        for text in &texts {
            let should: &[&str] = if is == Some(text) { &["1"] } else { &[] };
            w.same(&format!("{what}: {text:?}"), found(&w, text).await, should.to_vec());
        }
        w.same(&format!("{what}: wo"), found(&w, "wo").await.len(), usize::from(is.is_some()));
        w.same(&format!("{what}: d"), found(&w, "d").await.len(), usize::from(is.is_some()));
    }
    // A transaction, and one that is refused.
    let both = |text: &str| ["1", "2"].map(|sk| Write::create(said(sk, "a", text))).to_vec();
    w.ok("transact", w.store.transact(both("seventh")).await);
    w.same("a transaction", found(&w, "seventh").await, vec!["1", "2"]);
    w.holds("a refused transaction", w.store.transact(both("eighth")).await.is_err());
    w.same("a refused transaction leaves nothing", found(&w, "eighth").await.len(), 0);
    w.same("and takes nothing", found(&w, "seventh").await.len(), 2);
    let w = w.reopen().await;
    w.same("after a restart", found(&w, "seventh").await, vec!["1", "2"]);
}

async fn partitions_are_apart(w: World) {
    for n in 0..30 {
        let mut item = said(&format!("{n}"), "a", "the same words");
        item.key.pk = format!("P{n}");
        write(&w, Write::create(item)).await;
    }
    for pk in ["P1", "P11", "P2", "P29"] {
        for keyword in ["e", "me", "same"] {
            let found = ask(&w, Search::new(pk, keyword)).await;
            let places: Vec<_> = found.items.iter().map(|item| item.key.pk.as_str()).collect();
            w.same(&format!("{keyword} in {pk}"), (places, found.total), (vec![pk], 1));
        }
    }
    for (pk, keyword) in [("P", "same"), ("none", "s"), ("P30", "me"), ("P1", "1"), ("P1", "1x")] {
        w.same(&format!("{keyword} in {pk}"), ask(&w, Search::new(pk, keyword)).await, Found::default());
    }
}

async fn nothing_is_invalid_but_a_blank_keyword(w: World) {
    w.put_all(vec![said("1", "a", "text"), said("2", "a", "")]).await;
    for keyword in ["", "  ", "\u{3000}\n", "\u{200B}"] {
        let refused = w.store.search(Search::new("P", keyword)).await;
        let error = refused.err().map(|error| (error.kind, error.field));
        w.same(&format!("{keyword:?}"), error, Some((Kind::Invalid, Some("keyword".into()))));
    }
    w.same("a long keyword", found(&w, &"text ".repeat(500)).await.len(), 0);
    let long = "汉字 and letters; ".repeat(300);
    write(&w, Write::create(said("3", "a", &long))).await;
    w.same("a long keyword in a long text", found(&w, &long).await, vec!["3"]);
}

/// Against the plain reading of every text, over texts of few characters, so that pairs meet by chance where words do not.
async fn many_items_are_found_as_by_reading_all(w: World) {
    const LETTERS: [char; 12] = ['张', '三', '好', 'a', 'B', 'é', ' ', '*', '"', '🎉', '1', 'ｘ'];
    let mut dice = Dice::new(w.backend.seed());
    let mut text = |longest: u64| {
        let length = 1 + dice.below(longest);
        (0..length).map(|_| LETTERS[usize::try_from(dice.below(12)).expect("fits")]).collect::<String>()
    };
    let mut all: Vec<Item> = (0..2000).map(|n| said(&format!("{n:04}"), ["a", "b"][n % 2], &text(14))).collect();
    w.put_all(all.clone()).await;
    // Some change, some go.
    let mut changes = Vec::new();
    for n in (0..2000).step_by(9) {
        all[n] = said(&format!("{n:04}"), "b", &text(14));
        changes.push(Write::put(all[n].clone()));
    }
    let gone: Vec<Item> = all.extract_if(.., |item| item.key.sk.ends_with('5')).collect();
    changes.extend(gone.into_iter().map(|item| Write::delete(item.key)));
    w.ok("write_many", w.store.write_many(changes).await);
    let mut asked = 0;
    while asked < 30 {
        let keyword = text(5);
        let folded = fold(&keyword);
        if folded.is_empty() {
            continue;
        }
        asked += 1;
        for chat in [None, Some("b")] {
            let fits = |item: &&Item| {
                item.str(search::ATTRIBUTE).is_some_and(|text| text.contains(&folded))
                    && chat.is_none_or(|chat| item.str("chat") == Some(chat))
            };
            let should: Vec<&Item> = all.iter().filter(fits).collect();
            let search =
                Search { filter: chat.map(|chat| ("chat".into(), json!(chat))), ..Search::new("P", &*keyword) };
            let found = ask(&w, search.page(3, 1000)).await;
            let what = format!("{keyword:?} in chat {chat:?}");
            w.same(&format!("{what}: total"), found.total, should.len() as u64);
            let should: Vec<&str> = should.iter().skip(3).map(|item| item.key.sk.as_str()).collect();
            w.same(&what, keys(&found), should);
        }
    }
}

/// Twelve megabytes: an index does not mind, DynamoDB would read them all.
async fn a_search_is_bounded_where_everything_is_read(w: World) {
    let big = |n: u64| {
        let body = json!({"text": "x".repeat(380_000), search::ATTRIBUTE: "needle"});
        item(&Key::new("P", format!("{n:02}")), body)
    };
    for n in 0..32 {
        write(&w, Write::create(big(n))).await;
    }
    let all = w.store.search(Search::new("P", "needle").page(0, 1)).await;
    let all = all.map(|found| found.total).map_err(|error| (error.kind, error.code.to_string(), error.field));
    let too_broad = Err((Kind::Invalid, "SEARCH_TOO_BROAD".to_owned(), Some("keyword".into())));
    w.same("everything", all, if w.can.search_all { Ok(32) } else { too_broad });
    let part = ask(&w, Search::new("P", "needle").range(Range::Between("10".into(), "19".into())).page(0, 1)).await;
    w.same("a part", part.total, 10);
}
