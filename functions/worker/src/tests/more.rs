//! Dead letters, and messages that change other ones.

use std::time::Duration;

use serde_json::json;
use shared::{
    address::Platform,
    connector::{Action, Incoming},
    domain::{
        content::Content,
        message::{self, Status},
        owner::Owner,
    },
    store::Queue,
};

use super::bed::Bed;
use crate::bury_dead;

#[tokio::test]
async fn a_dead_send_fails_and_tells_so() {
    let bed = Bed::new().await;
    let instance = bed.paired(Platform::Whatsapp).await;
    let message = bed.accept(&instance, "15550100001", "hello").await;
    let queue = Queue::Commands(0);
    bury_dead(&bed.app, &[0]).await.expect("nothing to do");
    for _ in 0..queue.max_receives() {
        for received in bed.app.queues.receive(queue, 1, Duration::ZERO).await.expect("receives") {
            bed.app.queues.release(&received.receipt, Duration::ZERO).await.expect("releases");
        }
    }
    assert!(bed.app.queues.receive(queue, 1, Duration::ZERO).await.expect("receives").is_empty());
    bury_dead(&bed.app, &[0]).await.expect("works");
    let failed = bed.message(&message).await;
    assert_eq!((failed.status, failed.reason.as_deref()), (Status::Failed, Some("undeliverable")));
    assert_eq!(bed.told(&message).await, ["status/*/failed"]);
    assert_eq!(bed.app.queues.depth(queue).await.expect("counts").dead, 0);
}

#[tokio::test]
async fn dead_callbacks_are_queued_anew_each_for_itself() {
    // All in the same millisecond.
    let bed = Bed::still().await;
    let instance = bed.paired(Platform::Whatsapp).await;
    let queue = Queue::Commands(0);
    for part in 0..3 {
        bed.command(&instance, Action::Callback { parts: vec![json!({ "part": part })] }).await;
    }
    for _ in 0..queue.max_receives() {
        for received in bed.app.queues.receive(queue, 10, Duration::ZERO).await.expect("receives").iter().rev() {
            bed.app.queues.release(&received.receipt, Duration::ZERO).await.expect("releases");
        }
    }
    assert!(bed.app.queues.receive(queue, 1, Duration::ZERO).await.expect("receives").is_empty());
    assert_eq!(bed.app.queues.depth(queue).await.expect("counts").dead, 3);
    bury_dead(&bed.app, &[0]).await.expect("works");
    let depth = bed.app.queues.depth(queue).await.expect("counts");
    assert_eq!((depth.visible, depth.dead), (3, 0));
}

#[tokio::test]
async fn edits_reactions_and_revocations_change_their_message() {
    let bed = Bed::serial().await;
    let instance = bed.paired(Platform::Whatsapp).await;
    let owner = Owner::take_over(bed.app.clone(), &instance.id, 0).await.expect("works").expect("is there");
    let first = bed.incoming("A", "helo");
    owner.received(&first).await.expect("works");
    let change = |id: &str, content| Incoming { id: id.into(), content, ..bed.incoming(id, "") };
    let target = || "A".to_owned();
    let long = "hello ".repeat(200);
    let all = [
        change("B", Content::Edit { target: target(), text: long.clone() }),
        change("C", Content::Reaction { target: target(), emoji: "👍".into() }),
        change("D", Content::Revoke { target: target() }),
        change("E", Content::Revoke { target: "unknown".into() }),
    ];
    for incoming in &all {
        owner.received(incoming).await.expect("works");
        owner.received(incoming).await.expect("again");
    }
    let found = message::by_platform_id(&bed.app, &instance.id, "A").await.expect("reads");
    let [changed] = found.as_slice() else { panic!("one message: {found:?}") };
    assert_eq!(changed.content, Content::Text { text: long });
    assert!(changed.edited && changed.revoked);
    assert_eq!(serde_json::Value::from(changed.reactions.clone()), json!({ first.sender.clone(): "👍" }));
    let kinds: Vec<String> = bed.log(&instance).await.into_iter().map(|entry| entry.body.kind).collect();
    let expected = [
        "owner_changed",
        "message_received",
        "message_edited",
        "message_reaction",
        "message_revoked",
        "message_revoked",
    ];
    assert_eq!(kinds, expected);
}
