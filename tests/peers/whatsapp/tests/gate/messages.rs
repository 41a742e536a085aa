//! Messages of every kind, in both directions.

use serde_json::json;
use wacore_binary::Jid;
use waproto::whatsapp as wa;

use crate::client::Device;
use crate::control::Server;

#[tokio::test(flavor = "multi_thread")]
async fn text_goes_both_ways() {
    let server = Server::start().await;
    server.phone("15550000001", "Alice").await;
    server.phone("15550000002", "Bob").await;
    let device = Device::linked(&server, "15550000001").await;

    let sent = server
        .post(
            "/phones/15550000002/send",
            json!({"to": "15550000001", "message": {"text": "hello Alice"}}),
        )
        .await;
    let arrived = device.text("hello Alice").await;
    assert_eq!(arrived.info.id, sent["id"].as_str().expect("an id"));
    assert_eq!(arrived.info.push_name, "Bob");

    let message = wa::Message {
        conversation: Some("hello Bob".to_owned()),
        ..Default::default()
    };
    let to = Jid::pn("15550000002");
    device.client.send_message(to, message).await.expect("sent");
    let arrived = server.arrived("15550000002", "conversation").await;
    assert_eq!(arrived["text"], "hello Bob");
    assert_eq!(arrived["from"], "15550000001");
}
