//! The instance log: numbers without gaps, the fence, the look-up of a redelivery, and all of it over the borders of buckets.

use futures_util::future::join_all;
use shared::store::{
    Append, CommitError, Unit,
    log::{self, BUCKET, Tail, Writer},
};

use super::{World, append, contract, entry};

contract!(
    an_empty_log_has_no_tail,
    numbers_start_at_one_and_have_no_gap,
    the_fence_rises_and_holds,
    many_appenders_and_a_take_over,
    a_redelivery_appends_what_is_absent,
    a_log_goes_on_over_the_border_of_a_bucket,
    logs_do_not_see_each_other,
);

const fn owner(epoch: u64) -> Writer {
    Writer::Owner { epoch }
}

async fn add(w: &World, append: Append) -> Result<Vec<u64>, CommitError> {
    let committed = w.store.commit(Unit { append: vec![append], ..Unit::default() }).await?;
    Ok(committed.seqs.into_iter().next().unwrap_or_default())
}

async fn an_empty_log_has_no_tail(w: World) {
    w.same("tail", w.ok("tail", w.store.tail("none").await), Tail { seq: 0, fence: 0 });
    w.same("entries", w.ok("read", log::read(&*w.store, "none", 0, 10).await), vec![]);
    w.same("found", w.ok("find", log::find(&*w.store, "none", 1, &["x"]).await).len(), 0);
    w.same("exists", w.ok("exists", log::exists(&*w.store, "none", 1).await), false);
}

async fn numbers_start_at_one_and_have_no_gap(w: World) {
    let mut keys = Vec::new();
    for size in [1, 2, 60, 1, 24, 25, 3] {
        let new: Vec<String> = (0..size).map(|n| format!("{}/{n}", keys.len())).collect();
        let first = keys.len() as u64 + 1;
        keys.extend(new.clone());
        let append = append("i1", owner(1), &new.iter().map(String::as_str).collect::<Vec<_>>());
        w.same("numbers", w.ok("append", add(&w, append).await), (first..first + size).collect::<Vec<_>>());
        let tail = Tail { seq: keys.len() as u64, fence: 1 };
        w.same("tail", w.ok("tail", w.store.tail("i1").await), tail);
    }
    w.same("keys", w.log_keys("i1").await, keys.clone());

    let one = w.ok("read", log::read(&*w.store, "i1", 40, 1).await).remove(0);
    w.same("an entry", (one.seq, one.fence, one.body), (41, 1, entry(keys[40].clone())));
    for (after, limit, should) in [(0, 1, 1..2), (0, 116, 1..117), (50, 7, 51..58), (115, 5, 116..117), (116, 5, 0..0)]
    {
        let read = w.ok("read", log::read(&*w.store, "i1", after, limit).await);
        let seqs: Vec<u64> = read.iter().map(|entry| entry.seq).collect();
        w.same(&format!("{limit} after {after}"), seqs, should.collect::<Vec<u64>>());
    }

    // A large entry gets an item of its own; the numbers go on.
    let mut large = append("i1", owner(1), &["l1", "l2", "l3"]);
    large.entries[1].data = serde_json::json!({"qr": "x".repeat(5000)});
    w.same("large", w.ok("append", add(&w, large).await), vec![117, 118, 119]);
    w.same("number of entries", w.log_keys("i1").await.len(), 119);
}

async fn the_fence_rises_and_holds(w: World) {
    let steps = [
        (Writer::Foreign, Ok(0)),
        (owner(3), Ok(3)),
        (Writer::Foreign, Ok(3)),
        (owner(3), Ok(3)),
        (owner(2), Err((2, 3))),
        (owner(7), Ok(7)),
        (owner(3), Err((3, 7))),
        (Writer::Foreign, Ok(7)),
        (owner(0), Err((0, 7))),
        (owner(7), Ok(7)),
    ];
    let mut seq = 0;
    for (n, (writer, should)) in steps.into_iter().enumerate() {
        let is = match add(&w, append("i1", writer, &[&format!("e{n}")])).await {
            Ok(_) => {
                seq += 1;
                let tail = w.ok("tail", w.store.tail("i1").await);
                w.same("tail", tail.seq, seq);
                Ok(tail.fence)
            }
            Err(CommitError::Fenced { epoch, fence }) => Err((epoch, fence)),
            Err(other) => w.ok("append", Err(other)),
        };
        w.same(&format!("step {n}, {writer:?}"), is, should);
    }
}

/// 32 at once: owners, foreigners, and in the middle somebody takes over.
async fn many_appenders_and_a_take_over(w: World) {
    let tasks = (0..32).map(|task: u64| {
        let store = w.store.clone();
        tokio::spawn(async move {
            let mut done: Vec<(u64, String)> = Vec::new();
            let mut fenced = Vec::new();
            for round in 0..6 {
                let writer = match (task, round) {
                    (31, 0..3) => continue,
                    (31, _) => owner(2),
                    (0..20, _) => owner(1),
                    _ => Writer::Foreign,
                };
                let keys: Vec<String> = (0..=task % 3).map(|n| format!("{writer:?}/{task}/{round}/{n}")).collect();
                let append = append("i1", writer, &keys.iter().map(String::as_str).collect::<Vec<_>>());
                match store.commit(Unit { append: vec![append], ..Unit::default() }).await {
                    Ok(committed) => done.extend(committed.seqs[0].iter().copied().zip(keys)),
                    Err(CommitError::Fenced { epoch: 1, fence: 2 }) => fenced.extend(keys),
                    Err(other) => return Err(other),
                }
                if round == 2 && task == 31 {
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            }
            Ok((done, fenced))
        })
    });
    let results = join_all(tasks).await;
    let keys = w.log_keys("i1").await;
    let entries = w.ok("read", log::read(&*w.store, "i1", 0, 10_000).await);
    let mut acknowledged = 0;
    for result in results {
        let (done, fenced) = w.ok("append", result.expect("no panic"));
        acknowledged += done.len();
        for (seq, key) in done {
            w.same("an acknowledged entry", Some(&key), keys.get(usize::try_from(seq).expect("small") - 1));
        }
        for key in fenced {
            w.holds(&format!("{key} was fenced, so it is not there"), !keys.contains(&key));
        }
    }
    w.same("entries and acknowledged ones", keys.len(), acknowledged);
    w.holds("the fence never falls", entries.is_sorted_by_key(|entry| entry.fence));
    let stale = entries.iter().find(|entry| entry.fence == 2 && entry.body.key.contains("epoch: 1"));
    w.same("an entry of the old owner after the take-over", stale, None);
}

async fn a_redelivery_appends_what_is_absent(w: World) {
    w.ok("append", add(&w, append("i1", owner(1), &["a", "b", "c"])).await);
    let again = |keys: &[&str], from| Append { look_from: Some(from), ..append("i1", owner(1), keys) };
    let steps: [(&[&str], u64, &[u64], usize); 8] = [
        (&["a", "b", "c"], 1, &[1, 2, 3], 3),
        (&["c", "a"], 1, &[3, 1], 3),
        (&["c"], 3, &[3], 3),
        (&["b", "x"], 2, &[2, 4], 4),
        (&["y"], 5, &[5], 5),
        (&["y"], 5, &[5], 5),
        (&["z"], 0, &[6], 6),
        (&["w", "z", "v"], 4, &[7, 6, 8], 8),
    ];
    for (keys, from, numbers, length) in steps {
        let what = format!("{keys:?} from {from}");
        w.same(&what, w.ok(&what, add(&w, again(keys, from)).await), numbers.to_vec());
        w.same(&format!("{what}: length"), w.log_keys("i1").await.len(), length);
    }
    // Also what is there already is not for a stale owner to confirm.
    w.ok("take over", add(&w, append("i1", owner(2), &["owner/2"])).await);
    match add(&w, again(&["n"], 1)).await {
        Err(CommitError::Fenced { epoch: 1, fence: 2 }) => {}
        other => w.same("a stale redelivery", format!("{other:?}"), "Fenced { epoch: 1, fence: 2 }"),
    }
}

async fn a_log_goes_on_over_the_border_of_a_bucket(w: World) {
    let key = |seq: u64| format!("e{seq}");
    let mut tail = 0;
    while tail < BUCKET - 6 {
        let size = 480.min(BUCKET - 6 - tail);
        let keys: Vec<String> = (tail + 1..=tail + size).map(key).collect();
        let append = append("i1", owner(1), &keys.iter().map(String::as_str).collect::<Vec<_>>());
        w.same("the last number", w.ok("append", add(&w, append).await).last(), Some(&(tail + size)));
        tail += size;
    }
    // One append over the border, then single ones.
    let keys: Vec<String> = (tail + 1..=tail + 12).map(key).collect();
    let over = append("i1", owner(1), &keys.iter().map(String::as_str).collect::<Vec<_>>());
    w.same("over the border", w.ok("append", add(&w, over).await), (BUCKET - 5..=BUCKET + 6).collect::<Vec<_>>());
    let again =
        Append { look_from: Some(BUCKET - 4), ..append("i1", owner(1), &[&key(BUCKET - 3), &key(BUCKET + 3), "new"]) };
    w.same("looked up", w.ok("append", add(&w, again).await), vec![BUCKET - 3, BUCKET + 3, BUCKET + 7]);
    w.same("tail", w.ok("tail", w.store.tail("i1").await), Tail { seq: BUCKET + 7, fence: 1 });

    for (after, limit) in
        [(BUCKET - 10, 100), (BUCKET - 3, 2), (BUCKET - 2, 1), (BUCKET - 1, 3), (BUCKET, 3), (BUCKET + 6, 9)]
    {
        let read = w.ok("read", log::read(&*w.store, "i1", after, limit).await);
        let is: Vec<u64> = read.iter().map(|entry| entry.seq).collect();
        let should: Vec<u64> = (after + 1..=BUCKET + 7).take(limit).collect();
        w.same(&format!("{limit} after {after}"), is, should);
    }
    let wanted = [key(BUCKET - 1), key(BUCKET), key(BUCKET + 1), "new".into(), "nowhere".into()];
    let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
    let found = w.ok("find", log::find(&*w.store, "i1", BUCKET - 8, &wanted).await);
    let found: Vec<_> = wanted.iter().map(|key| found.get(*key).copied()).collect();
    w.same("found", found, vec![Some(BUCKET - 1), Some(BUCKET), Some(BUCKET + 1), Some(BUCKET + 7), None]);
    for (seq, exists) in [(BUCKET - 1, true), (BUCKET, true), (BUCKET + 7, true), (BUCKET + 8, false)] {
        w.same(&format!("{seq} exists"), w.ok("exists", log::exists(&*w.store, "i1", seq).await), exists);
    }
    let all = w.log_keys("i1").await;
    w.same("all of it", all.len() as u64, BUCKET + 7);

    // Whoever knows nothing yet finds the tail in the second bucket.
    let w = w.reopen().await;
    w.same("tail, reopened", w.ok("tail", w.store.tail("i1").await), Tail { seq: BUCKET + 7, fence: 1 });
    w.same("next", w.ok("append", add(&w, append("i1", owner(1), &["next"])).await), vec![BUCKET + 8]);
}

async fn logs_do_not_see_each_other(w: World) {
    for log in ["i", "i1", "i1x", "I1"] {
        w.same(log, w.ok("append", add(&w, append(log, owner(1), &[log])).await), vec![1]);
        w.same(log, w.log_keys(log).await, vec![log]);
    }
}
