//! Linking, logging in, and being cut off.

use crate::client::Device;
use crate::control::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_linked_by_qr_and_comes_back_without() {
    let server = Server::start().await;
    server.phone("15550000001", "Alice").await;
    let device = Device::linked(&server, "15550000001").await;
    assert_eq!(device.client.pn().expect("linked").user, "15550000001");

    let storage = device.stop().await;
    let device = Device::start(&server, storage).await;
    device.connected().await;

    let phone = server.get("/phones/15550000001").await;
    assert_eq!(phone["devices"][0]["logins"], 2, "{phone}");
    let stats = server.get("/stats").await;
    assert_eq!(stats["pairings"], 1, "{stats}");
    assert_eq!(stats["unknownIqs"], serde_json::json!({}), "{stats}");
}
