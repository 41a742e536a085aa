//! What happens when a request was applied and its answer was lost, or when a unit stops half-way: against a server that
//! speaks just enough of DynamoDB and SQS to do that on demand. An emulator cannot lose an answer.

mod peer;

use std::{sync::Arc, time::Duration};

use crate::{Aws, Settings};
use peer::{Peer, Trouble};
use serde_json::json;
use shared::{
    Kind,
    clock::{Millis, SystemClock},
    error::Retry,
    store::{
        Append, Change, CommitError, Cond, Enqueue, Item, Key, Queue, Queues as _, Stamp, Store as _, Unit, Write,
        log::{NewEntry, Tail, Writer},
        meter::Meter,
    },
};

async fn start() -> (Peer, Arc<Aws>, Arc<Meter>) {
    let peer = Peer::start().await;
    let settings = Settings { emulator: Some(peer.address()), ..Settings::default() };
    let meter = Arc::new(Meter::default());
    let aws = Aws::connect(settings, Arc::new(SystemClock::default()), meter.clone()).await.expect("connects");
    (peer, aws, meter)
}

fn item(text: &str) -> Item {
    Item::new(Key::new("P", "s"), &json!({ "text": text })).expect("an object")
}

fn appending(key: &str) -> Unit {
    let entry = NewEntry {
        key: key.into(),
        kind: "test".into(),
        at: Millis(0),
        chat: None,
        message: None,
        data: serde_json::Value::Null,
        delta: None,
        history: Vec::new(),
    };
    let append = Append { log: "i1".into(), writer: Writer::Foreign, entries: vec![entry], look_from: None };
    Unit { append: vec![append], ..Unit::default() }
}

fn message() -> Enqueue {
    Enqueue {
        queue: Queue::Dispatch,
        group: "g".into(),
        dedup: "d".into(),
        body: serde_json::Map::new(),
        delay: Duration::ZERO,
        stamp: Some(Stamp::FIRST),
    }
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_has_happened() {
    let (peer, aws, _) = start().await;
    peer.plan("PutItem", [Trouble::LoseAnswer]);
    aws.commit(Unit::write(Write::create(item("ours")))).await.expect("our own item is no conflict");
    assert_eq!(peer.calls("PutItem"), 2);
    assert_eq!(peer.item("P", "s").expect("stored")["text"], json!({"S": "ours"}));
}

#[tokio::test]
async fn a_create_beside_a_foreign_item_is_a_conflict() {
    let (peer, aws, meter) = start().await;
    aws.commit(Unit::write(Write::create(item("theirs")))).await.expect("the first one wins");
    meter.reset();
    peer.plan("PutItem", [Trouble::LoseRequest]);
    match aws.commit(Unit::write(Write::create(item("ours")))).await {
        Err(CommitError::Conflict { which: 0, old }) => assert_eq!(old, Some(Box::new(item("theirs")))),
        other => panic!("not a conflict: {other:?}"),
    }
    assert_eq!(meter.snapshot()["commit.conflict"].write_units, 1);
}

#[tokio::test]
async fn a_conditional_put_whose_answer_was_lost_has_happened() {
    let (peer, aws, _) = start().await;
    aws.commit(Unit::write(Write::put(item("old")))).await.expect("stored");
    peer.plan("PutItem", [Trouble::LoseAnswer]);
    let write = Write::put(item("new")).only_if(Cond::eq("text", "old"));
    aws.commit(Unit::write(write)).await.expect("our own item is no conflict");
    assert_eq!(peer.item("P", "s").expect("stored")["text"], json!({"S": "new"}));
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_there_once() {
    let (peer, aws, _) = start().await;
    peer.plan("PutItem", [Trouble::LoseAnswer]);
    let committed = aws.commit(appending("a")).await.expect("appended");
    assert_eq!(committed.seqs, [[1]]);
    assert_eq!(aws.tail("i1").await.expect("read"), Tail { seq: 1, fence: 0 });
}

#[tokio::test]
async fn a_unit_tried_again_after_its_append_appends_nothing_twice() {
    let (peer, aws, _) = start().await;
    let unit = Unit { enqueue: vec![message()], ..appending("a") };
    peer.plan("SendMessageBatch", [Trouble::Fail; 4]);
    let error = aws.commit(unit.clone()).await.expect_err("the queue is down");
    assert!(matches!(&error, CommitError::Store(error) if error.is_temporary()), "{error:?}");
    assert_eq!(aws.commit(appending("b")).await.expect("appended").seqs, [[2]]);
    assert_eq!(aws.commit(unit).await.expect("the queue is up again").seqs, [[1]]);
    assert_eq!(aws.tail("i1").await.expect("read").seq, 2);
    assert_eq!(peer.sent(), [r#"{"seq":1}"#]);
}

#[tokio::test]
async fn an_append_that_may_have_happened_is_looked_for() {
    let (peer, aws, _) = start().await;
    peer.plan("PutItem", [Trouble::LoseAnswer; 4]);
    let error = aws.commit(appending("a")).await.expect_err("no answer ever came");
    assert!(matches!(&error, CommitError::Store(error) if error.is_temporary()), "{error:?}");
    assert_eq!(aws.commit(appending("a")).await.expect("found").seqs, [[1]]);
    assert_eq!(aws.tail("i1").await.expect("read").seq, 1);
}

#[tokio::test]
async fn an_idle_log_goes_on_behind_its_expired_entries() {
    let (_peer, aws, _) = start().await;
    let owner = json!({"epoch": 3, "dispatchedUpto": 5000, "foldedUpto": 4990});
    let owner = Item::new(Key::new("I#i1", "owner"), &owner).expect("an object");
    aws.commit(Unit::write(Write::put(owner))).await.expect("stored");
    assert_eq!(aws.tail("i1").await.expect("read"), Tail { seq: 5000, fence: 3 });
    assert_eq!(aws.commit(appending("a")).await.expect("appended").seqs, [[5001]]);
}

#[tokio::test]
async fn messages_that_a_batch_leaves_out_are_sent_again() {
    let (peer, aws, _) = start().await;
    peer.plan("SendMessageBatch", [Trouble::LeaveOut]);
    aws.send(vec![Enqueue { stamp: None, ..message() }]).await.expect("sent in the end");
    assert_eq!((peer.calls("SendMessageBatch"), peer.sent().len()), (2, 1));
}

#[tokio::test]
async fn failures_have_a_retry_class() {
    let (peer, aws, _) = start().await;
    let write = Unit::write(Write::update(Key::new("P", "s"), Change::default().set("a", 1)));
    for (code, kind, retry) in [
        ("ProvisionedThroughputExceededException", Kind::Unavailable, Retry::Temporary),
        ("ResourceNotFoundException", Kind::Unavailable, Retry::Persistent),
        ("ValidationException", Kind::Internal, Retry::Persistent),
    ] {
        peer.plan("UpdateItem", [Trouble::Refuse(code); 4]);
        match aws.commit(write.clone()).await {
            Err(CommitError::Store(error)) => assert_eq!((error.kind, error.retry), (kind, retry), "{code}"),
            other => panic!("{code}: {other:?}"),
        }
        peer.plan("UpdateItem", []);
    }
}
