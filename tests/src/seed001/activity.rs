//! The activity log.

use super::answer_of;
use crate::harness::{Instance, Tenant, eventually, shape};
use serde_json::{Value, json};

fn actions(page: &Value) -> Vec<&str> {
    page["logs"].as_array().expect("logs").iter().map(|log| log["action"].as_str().expect("an action")).collect()
}

/// An instance with a life behind it.
async fn lived() -> Instance {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    tenant.client.put(&instance.at(""), &json!({"description": "text"})).await.expect(200);
    tenant.client.order(&instance.at("/logout")).await.expect(200);
    instance.wait_status("logged_out").await;
    eventually("the logout in the activity", async || {
        actions(&instance.get("/activity").await).contains(&"logout").then_some(())
    })
    .await;
    instance
}

#[tokio::test]
async fn the_log_is_newest_first_and_has_the_seeds_shape() {
    let instance = lived().await;
    let page = instance.get("/activity").await;
    shape(answer_of("GET /api/instances/{instanceId}/activity"), &page);
    let actions = actions(&page);
    assert_eq!(actions.last(), Some(&"instance_created"), "{actions:?}");
    for wanted in ["qr_received", "connection_opened", "instance_updated", "logout", "connection_closed"] {
        assert!(actions.contains(&wanted), "no {wanted} in {actions:?}");
    }
    let times: Vec<&str> =
        page["logs"].as_array().unwrap().iter().map(|log| log["createdAt"].as_str().unwrap()).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    assert_eq!((&page["pagination"]["limit"], &page["pagination"]["skip"]), (&json!(100), &json!(0)));
    assert_eq!((&page["pagination"]["total"], &page["pagination"]["hasMore"]), (&json!(actions.len()), &json!(false)));
}

#[tokio::test]
async fn it_pages_and_filters() {
    let instance = lived().await;
    let all = instance.get("/activity").await;
    let total = all["pagination"]["total"].as_u64().unwrap();
    let page = instance.get("/activity?limit=2&skip=1").await;
    assert_eq!(page["logs"].as_array().unwrap()[..], all["logs"].as_array().unwrap()[1..3]);
    assert_eq!((&page["pagination"]["total"], &page["pagination"]["hasMore"]), (&json!(total), &json!(total > 3)));

    let filtered = instance.get("/activity?actions=connection_opened,instance_created").await;
    assert_eq!(actions(&filtered), ["connection_opened", "instance_created"]);
    assert_eq!(filtered["pagination"]["total"], 2);
    let old_names = instance.get("/activity?actions=connected,disconnected").await;
    let names = actions(&old_names);
    assert!(names.contains(&"connection_opened") && names.contains(&"connection_closed"), "{names:?}");

    let newest = all["logs"][0]["createdAt"].as_str().unwrap();
    let since = instance.get(&format!("/activity?startDate={newest}")).await;
    assert!(since["logs"].as_array().unwrap().iter().all(|log| log["createdAt"].as_str() >= Some(newest)));
    assert!(!since["logs"].as_array().unwrap().is_empty(), "inclusive");
    assert_eq!(instance.get("/activity?endDate=2001-01-01T00:00:00.000Z").await["pagination"]["total"], 0);
    for (field, query) in
        [("limit", "limit=0"), ("skip", "skip=x"), ("startDate", "startDate=x"), ("endDate", "endDate=1")]
    {
        instance.client.get(&instance.at(&format!("/activity?{query}"))).await.names(field);
    }
}
