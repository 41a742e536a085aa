//! The contacts of an instance.

use super::answer_of;
use crate::harness::{Instance, Tenant, eventually, shape};
use serde_json::json;

#[tokio::test]
async fn who_wrote_is_a_contact_and_so_is_a_group() {
    let tenant = Tenant::new().await;
    let instance = Instance::paired(&tenant.client, &json!({})).await;
    instance.receive_with(&json!({"from": "79001234567", "name": "伊万·伊万诺夫", "text": "hello"})).await;
    let group = json!({"from": "79001234567", "name": "伊万·伊万诺夫", "text": "all", "chatId": "1234567890@g.us"});
    instance.receive_with(&group).await;
    let contacts = eventually("both contacts", async || {
        let answer = tenant.client.get(&instance.wa("/contacts")).await.expect(200);
        let found = answer["contacts"]
            .as_array()?
            .iter()
            .filter(|contact| contact["number"] == "79001234567" || contact["id"] == "1234567890@g.us");
        (found.count() == 2).then_some(answer)
    })
    .await;
    shape(answer_of("GET /api/whatsapp/{instanceId}/contacts"), &contacts);
    let find = |id: &str| contacts["contacts"].as_array().unwrap().iter().find(|contact| contact["id"] == id).unwrap();
    let person = find("79001234567@s.whatsapp.net");
    assert_eq!((&person["name"], &person["isGroup"]), (&json!("伊万·伊万诺夫"), &json!(false)));
    let group = find("1234567890@g.us");
    assert_eq!((&group["number"], &group["isGroup"]), (&json!("1234567890"), &json!(true)));
}

#[tokio::test]
async fn nobody_is_an_empty_list() {
    let tenant = Tenant::new().await;
    let instance = Instance::create(&tenant.client, &json!({})).await;
    assert!(tenant.client.get(&instance.wa("/contacts")).await.expect(200)["contacts"].is_array());
}
