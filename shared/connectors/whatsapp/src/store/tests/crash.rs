//! What a crash may lose, and what not. A crash is a second store on the same rows.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use whatsapp_rust::traits::{PendingInboundRow, ProtocolStore as _, SignalStore as _};

use super::bed::Bed;

const CHAT: &str = "1555@s.whatsapp.net";

fn session(step: u8) -> Vec<(Arc<str>, Bytes)> {
    vec![(Arc::from("1555:0@s.whatsapp.net"), Bytes::from(vec![step; 900]))]
}

#[tokio::test]
async fn a_ratchet_step_is_durable_when_the_put_returns() {
    let bed = Arc::new(Bed::default());
    bed.open().await.put_sessions_batch(&session(1)).await.expect("puts");
    let found = bed.open().await.get_session("1555:0@s.whatsapp.net").await.expect("reads");
    assert_eq!(found, Some(Bytes::from(vec![1; 900])));
}

#[tokio::test]
async fn a_message_that_is_settled_before_its_ratchet_is_never_written() {
    let bed = Arc::new(Bed::default());
    let store = bed.open().await;
    Bed::count(&bed.changes);
    for step in 0..20 {
        let id = format!("ID{step}");
        store.store_pending_inbound(CHAT, CHAT, &id, b"hello").await.expect("stores");
        store.delete_pending_inbound(CHAT, CHAT, &id).await.expect("settles");
        store.put_sessions_batch(&session(step)).await.expect("puts");
    }
    assert_eq!(Bed::count(&bed.changes), 20, "one row a message");
}

#[tokio::test]
async fn no_ratchet_step_is_durable_without_the_message_that_it_decrypted() {
    let bed = Arc::new(Bed::default());
    let store = bed.open().await;
    store.store_pending_inbound(CHAT, CHAT, "ID", b"hello").await.expect("stores");
    assert!(bed.keys("in/").is_empty(), "nothing to save as long as the platform would deliver it anew");
    store.put_sessions_batch(&session(1)).await.expect("puts");

    let after = bed.open().await;
    let found = after.get_pending_inbound(CHAT, CHAT, "ID").await.expect("reads");
    assert_eq!(found.as_deref(), Some(&b"hello"[..]));
    assert_eq!(after.get_pending_inbound(CHAT, "other", "ID").await.expect("reads"), None);
    after.delete_pending_inbound(CHAT, CHAT, "ID").await.expect("settles");
    after.flush().await.expect("flushes");
    assert!(bed.keys("in/").is_empty());
}

#[tokio::test]
async fn a_backlog_of_many_senders_is_saved_before_any_of_their_ratchets() {
    let bed = Arc::new(Bed::default());
    let store = bed.open().await;
    let ids: Vec<String> = (0..400).map(|n| format!("ID{n}")).collect();
    let rows: Vec<_> =
        ids.iter().map(|id| PendingInboundRow { chat: CHAT, sender: CHAT, id, message: &[5; 2000] }).collect();
    store.store_pending_inbound_batch(&rows).await.expect("stores");
    let sessions: Vec<(Arc<str>, Bytes)> =
        (0..300).map(|n| (Arc::from(format!("{n}:0@lid")), Bytes::from_static(b"ratchet"))).collect();
    Bed::count(&bed.puts);
    store.put_sessions_batch(&sessions).await.expect("puts");
    assert!(Bed::count(&bed.puts) <= 8);
    let after = bed.open().await;
    for id in &ids {
        assert!(after.get_pending_inbound(CHAT, CHAT, id).await.expect("reads").is_some());
    }
    after.delete_expired_pending_inbound(i64::MAX).await.expect("expires");
    after.flush().await.expect("flushes");
    assert!(bed.keys("in/").is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_is_written_soon() {
    let bed = Arc::new(Bed::default());
    let store = bed.open().await;
    let rows = bed.len();
    store.put_identity("1@lid", [1; 32]).await.expect("sets");
    store.put_identity("2@lid", [2; 32]).await.expect("sets");
    assert_eq!(bed.len(), rows);
    Bed::count(&bed.puts);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bed.len(), rows + 2);
    assert_eq!(Bed::count(&bed.puts), 1);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(Bed::count(&bed.puts), 0, "an idle account writes nothing");
}

#[tokio::test(start_paused = true)]
async fn a_failed_put_is_told_and_done_again() {
    let bed = Arc::new(Bed::default());
    let store = bed.open().await;
    bed.broken.store(true, Ordering::Relaxed);
    store.store_pending_inbound(CHAT, CHAT, "ID", b"hello").await.expect("stores");
    assert!(store.put_sessions_batch(&session(1)).await.is_err());
    assert!(store.put_sessions_batch(&session(2)).await.is_err());
    store.put_identity("1@lid", [1; 32]).await.expect("sets");
    assert_eq!(store.get_session("1555:0@s.whatsapp.net").await.expect("reads"), Some(Bytes::from(vec![2; 900])));
    bed.broken.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let after = bed.open().await;
    assert_eq!(after.get_session("1555:0@s.whatsapp.net").await.expect("reads"), Some(Bytes::from(vec![2; 900])));
    assert_eq!(after.load_identity("1@lid").await.expect("reads"), Some([1; 32]));
    assert!(after.get_pending_inbound(CHAT, CHAT, "ID").await.expect("reads").is_some());
}

#[tokio::test]
async fn a_put_that_nobody_waits_for_any_more_is_done_with_the_next() {
    let bed = Arc::new(Bed::default());
    let store = bed.open().await;
    // Dropped at its first pause, which is inside the put.
    let first = session(1);
    let mut put = Box::pin(store.put_sessions_batch(&first));
    assert!(futures_util::poll!(put.as_mut()).is_pending());
    drop(put);
    store.put_sender_key("g", b"key").await.expect("puts");
    let after = bed.open().await;
    assert_eq!(after.get_session("1555:0@s.whatsapp.net").await.expect("reads"), Some(Bytes::from(vec![1; 900])));
}

#[tokio::test]
async fn those_who_wait_together_share_a_put() {
    let bed = Arc::new(Bed::default());
    let store = bed.open().await;
    Bed::count(&bed.puts);
    let puts = (0..40).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.put_session(&format!("{n}:0@lid"), b"ratchet").await })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await.expect("no panic").expect("puts");
    }
    assert!(Bed::count(&bed.puts) <= 3);
}
