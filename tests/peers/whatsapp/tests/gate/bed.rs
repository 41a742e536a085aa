//! What every test begins with: who takes part, what they do most, and waiting for what must come.

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Device;
use crate::control::Server;

pub(crate) const ALICE: &str = "15550000001";
pub(crate) const BOB: &str = "15550000002";
pub(crate) const CAROL: &str = "15550000003";

/// How long anything may take in a test.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until there is an answer; `None` when that takes too long.
pub(crate) async fn waited<T, F, Fut>(mut probe: F) -> Option<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let since = Instant::now();
    loop {
        let found = probe().await;
        if found.is_some() || since.elapsed() > PATIENCE {
            return found;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until something is so.
pub(crate) async fn until<F, Fut>(what: &str, mut probe: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let asked = waited(|| {
        let answer = probe();
        async move { answer.await.then_some(()) }
    });
    assert!(asked.await.is_some(), "waited in vain: {what}");
}

/// A fake with Alice.
pub(crate) async fn with_alice() -> Server {
    let server = Server::start().await;
    server.phone(ALICE, "Alice").await;
    server
}

/// A fake with Alice and Bob.
pub(crate) async fn with_alice_and_bob() -> Server {
    let server = with_alice().await;
    server.phone(BOB, "Bob").await;
    server
}

/// Alice with a linked device.
pub(crate) async fn linked_alice() -> (Server, Device) {
    let server = with_alice().await;
    let device = Device::linked(&server, ALICE).await;
    (server, device)
}

/// Alice with a linked device, and Bob.
pub(crate) async fn alice_and_bob() -> (Server, Device) {
    let server = with_alice_and_bob().await;
    let device = Device::linked(&server, ALICE).await;
    (server, device)
}

impl Server {
    /// A phone writes; gives the message's id.
    pub(crate) async fn writes(&self, phone: &str, to: &str, message: Value) -> String {
        let sent = self.post(&format!("/phones/{phone}/send"), json!({"to": to, "message": message})).await;
        sent["id"].as_str().expect("an id").to_owned()
    }

    /// Bob writes to Alice.
    pub(crate) async fn bob_sends(&self, message: Value) -> String {
        self.writes(BOB, ALICE, message).await
    }

    /// Bob writes a text to Alice.
    pub(crate) async fn bob_says(&self, text: &str) -> String {
        self.bob_sends(json!({ "text": text })).await
    }

    /// What the one linked device of a phone has not acknowledged.
    pub(crate) async fn pending(&self, phone: &str) -> Vec<Value> {
        let answer = self.get(&format!("/phones/{phone}/pending")).await;
        answer["devices"][0]["pending"].as_array().expect("a list").clone()
    }

    pub(crate) async fn until_nothing_is_pending(&self, phone: &str) {
        until("nothing is pending", async || self.pending(phone).await.is_empty()).await;
    }
}
