//! The pace of an account: what goes beyond it waits, in its order.

use super::Stage;
use serde_json::json;
use std::time::{Duration, Instant};

/// A burst to Bob through a bucket of three; gives how long it took until he had all of it.
async fn burst(stage: &Stage, messages: usize) -> Duration {
    let begun = Instant::now();
    let mut ids = Vec::new();
    for number in 0..messages {
        ids.push(stage.instance.send(&stage.other.number, &format!("burst {number}")).await);
    }
    for id in &ids {
        stage.other.receives(id).await;
    }
    let took = begun.elapsed();
    arrived_once(stage, &ids).await;
    took
}

/// The newest that Bob has are these, each once and in their order.
async fn arrived_once(stage: &Stage, ids: &[String]) {
    let inbox = stage.other.get("/inbox").await;
    let arrived = inbox["messages"].as_array().expect("a list");
    let arrived: Vec<_> = arrived.iter().map(|message| (message["id"].as_str(), message["copies"].as_u64())).collect();
    let wanted: Vec<_> = ids.iter().map(|id| (Some(id.as_str()), Some(1))).collect();
    assert!(arrived.ends_with(&wanted), "{arrived:?} does not end with {wanted:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_beyond_the_pace_waits_and_is_sent_in_order() {
    let pace = [("WHATSAPP_PACE", "3/3"), ("WHATSAPP_WARM_UP_DAYS", "0")];
    let stage = Stage::set_with(&pace, &json!({})).await;
    // Three go at once, one in each second after that.
    let took = burst(&stage, 6).await;
    assert!(took >= Duration::from_millis(2900), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_account_has_a_quarter_and_long_waits_are_kept_elsewhere() {
    // A quarter of it is three in nine seconds: a place comes later than a send waits for one.
    let pace = [("WHATSAPP_PACE", "12/9"), ("WHATSAPP_WARM_UP_DAYS", "7")];
    let stage = Stage::set_with(&pace, &json!({})).await;
    let took = burst(&stage, 5).await;
    assert!(took >= Duration::from_millis(5900), "{took:?}");

    // What waits outlives the process.
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(stage.instance.send(&stage.other.number, &format!("kept {number}")).await);
    }
    let stage = stage.restarted().await;
    stage.other.receives(&ids[3]).await;
    arrived_once(&stage, &ids).await;
    assert_eq!(stage.whatsapp.stats().await["duplicateMessages"], 0);
}
