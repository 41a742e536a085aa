//! The sync as a job: it is joined, it tells how far it is, and it goes on after `kill -9`.

use super::{account, alone, text};
use crate::harness::server::on_aws;
use crate::harness::{Tenant, eventually, eventually_within};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const PATH: &str = "/third-party/whatsapp/contacts/sync";

async fn job(tenant: &Tenant, id: &str) -> Value {
    tenant.client.get(&format!("/api/jobs/{id}")).await.expect(200)
}

#[tokio::test]
async fn the_job_is_there_to_be_watched() {
    let (server, tenant) = alone().await;
    let instance = account(&tenant, "whatsapp").await;
    let answer = tenant.client.post(PATH, &json!({"userId": tenant.id})).await;
    answer.expect(200);
    let id = answer.header("x-sync-job").to_owned();
    assert_eq!(answer.header("x-sync-status"), "complete");
    let job = job(&tenant, &id).await;
    assert_eq!(
        (&job["status"], &job["progress"], &job["kind"]),
        (&json!("done"), &json!(100), &json!("sync_contacts"))
    );
    assert_eq!(job["result"], json!({"refreshed": 1, "skipped": []}));
    // Another user's job does not exist.
    Tenant::of(&server).await.client.get(&format!("/api/jobs/{id}")).await.refused(404);
    // An account that cannot be asked is passed over; what is known of its contacts stays.
    instance.post("/sandbox/logout", &json!({})).await.expect(200);
    instance.wait_status("logged_out").await;
    let answer = tenant.client.post(PATH, &json!({"userId": tenant.id})).await;
    assert_eq!(answer.expect(200).as_array().unwrap().len(), 4);
    assert_ne!(answer.header("x-sync-job"), id);
    let job = self::job(&tenant, answer.header("x-sync-job")).await;
    assert_eq!(job["result"]["skipped"], json!([{"instanceId": instance.id, "code": "INSTANCE_NOT_READY"}]));
}

#[tokio::test]
async fn many_at_once_are_one_job() {
    let (server, tenant) = alone().await;
    for _ in 0..6 {
        account(&tenant, "whatsapp").await;
    }
    let clients = [tenant.client.clone(), tenant.jwt.clone(), server.anonymous(), server.admin()];
    let mut asks = tokio::task::JoinSet::new();
    for number in 0..24 {
        let (client, user) = (clients[number % clients.len()].clone(), tenant.id.clone());
        asks.spawn(async move {
            let answer = client.post(&format!("{PATH}?wait=0"), &json!({"userId": user})).await;
            answer.expect(200);
            answer.header("x-sync-job").to_owned()
        });
    }
    let mut jobs = HashSet::new();
    while let Some(job) = asks.join_next().await {
        jobs.insert(job.expect("asks"));
    }
    // All of them fit into one sync of six instances, give or take one that was over before the last had asked.
    assert!(jobs.len() <= 2, "{jobs:?}");
    for id in &jobs {
        eventually("the end", async || (job(&tenant, id).await["status"] == "done").then_some(())).await;
        assert_eq!(job(&tenant, id).await["result"]["refreshed"], 6);
    }
}

#[tokio::test]
async fn a_sync_goes_on_after_kill_9() {
    let (mut server, tenant) = alone().await;
    let mut instances = Vec::new();
    for number in 0..12 {
        let instance = account(&tenant, "whatsapp").await;
        instance.receive_with(&json!({"from": format!("790055510{number:02}"), "text": "hello"})).await;
        instances.push(instance);
    }
    for round in 0..4_u64 {
        let answer = tenant.client.post(&format!("{PATH}?wait=0"), &json!({"userId": tenant.id})).await;
        assert_eq!(answer.header("x-sync-status"), "running", "{answer}");
        let id = answer.header("x-sync-job").to_owned();
        tokio::time::sleep(Duration::from_millis(round * 60)).await;
        server.kill();
        server.restart();
        let before = job(&tenant, &id).await;
        // Who asks again joins it.
        let again = tenant.client.post(&format!("{PATH}?wait=0"), &json!({"userId": tenant.id})).await;
        again.expect(200);
        if before["status"] != "done" && again.header("x-sync-status") == "running" {
            assert_eq!(again.header("x-sync-job"), id);
        }
        let least = AtomicU64::new(before["progress"].as_u64().unwrap());
        // A job in hand of a killed function comes again when its message is visible again.
        let patience = Duration::from_secs(if on_aws() { 180 } else { 60 });
        let done = eventually_within(patience, "the end of the sync", async || {
            let job = job(&tenant, &id).await;
            let progress = job["progress"].as_u64().unwrap();
            let least = least.fetch_max(progress, Ordering::Relaxed);
            assert!(progress >= least, "it went back from {least} to {progress}");
            (job["status"] == "done").then_some(job)
        })
        .await;
        let result = &done["result"];
        // An account that was not connected again yet may have been passed over, but none is lost or counted twice.
        let skipped = result["skipped"].as_array().unwrap().len() as u64;
        assert_eq!(result["refreshed"].as_u64().unwrap() + skipped, 12, "{result}");
        for instance in &instances {
            instance.wait_status("connected").await;
        }
    }
    let answer = tenant.client.post(PATH, &json!({"userId": tenant.id})).await;
    assert_eq!(answer.header("x-sync-status"), "complete");
    let contacts = answer.expect(200);
    let people: HashSet<&str> =
        contacts.as_array().unwrap().iter().map(|contact| contact["platformUserId"].as_str().unwrap()).collect();
    assert_eq!(people.len(), 12 + 4, "{people:?}");
    assert_eq!(contacts.as_array().unwrap().len(), people.len());
}

#[tokio::test]
async fn everybody_who_was_written_to_is_found_by_the_sync() {
    let (_server, tenant) = alone().await;
    let instance = account(&tenant, "wechat").await;
    for number in 0..150 {
        text(&tenant.client, "wechat", &instance.id, &format!("wxid_{number:03}"), "hello").await;
    }
    eventually("all of them", async || {
        let answer = tenant.client.post("/third-party/wechat/contacts/sync", &json!({"userId": tenant.id})).await;
        let contacts = answer.expect(200);
        let people: HashSet<&str> =
            contacts.as_array().unwrap().iter().map(|contact| contact["platformUserId"].as_str().unwrap()).collect();
        (people.len() == 150 && contacts.as_array().unwrap().len() == 150).then_some(())
    })
    .await;
}
