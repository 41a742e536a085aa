//! What a credential for a part of an account reaches.

use crate::harness::{Credential, Instance, Tenant, person::data};
use serde_json::json;

#[tokio::test]
async fn keys_reach_as_far_as_their_scopes() {
    let (tenant, peer) = (Tenant::new().await, Tenant::new().await);
    let instance = Instance::create(&tenant.client, &json!({})).await;
    let key = async |more: serde_json::Value| {
        let mut body = json!({"name": "part"});
        crate::harness::instance::merge(&mut body, &more);
        let made = tenant.client.post("/api/auth/keys", &body).await.expect(201);
        tenant.client.with(Credential::Bearer(made["key"].as_str().unwrap().to_owned()))
    };
    let sender = key(json!({"scopes": ["messages:send"]})).await;
    let reader = key(json!({"scopes": ["messages:read"]})).await;
    let limited = key(json!({"instanceIds": [instance.id]})).await;
    let send = json!({"channelId": peer.id, "channelType": 1, "payload": "aGk="});
    let chat = json!({"id": "1", "toId": peer.id, "chatType": "single", "content": "hi"});
    let group = json!({"channelId": format!("g{}", tenant.id), "channelType": 2});
    for (path, body) in
        [("/api/im/message/send", &send), ("/api/message/send", &chat), ("/api/im/channel/create", &group)]
    {
        data(&sender.post(path, body).await);
        reader.post(path, body).await.refused(403);
        limited.post(path, body).await.refused(403);
    }
    sender.post("/api/im/message/sendbatch", &json!([send])).await.expect(200);
    for path in [
        format!("/api/im/message/sync?channelId={}&channelType=1", peer.id),
        format!("/api/message/history?chatType=single&chatId={}", peer.id),
        "/api/conversations".to_owned(),
    ] {
        data(&reader.get(&path).await);
        sender.get(&path).await.refused(403);
        limited.get(&path).await.refused(403);
    }
    for credential in [&sender, &reader, &limited] {
        credential.order("/api/im/token").await.refused(403);
    }
}
