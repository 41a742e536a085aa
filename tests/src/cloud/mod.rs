//! WhatsApp accounts on the Cloud API (transport `cloud`), against a Graph API of our own (`harness::graph`).

mod account;
mod callbacks;
mod crash;
mod foreign;
mod receive;
mod refusals;
mod send;

use crate::harness::graph::{Graph, Number, Sender, Sent};
use crate::harness::{Answer, Client, Instance, Receiver, Server, Tenant, eventually};
use serde_json::{Value, json};
use std::sync::OnceLock;

/// A server whose Cloud API is the fake, and the fake. Most tests share one; numbers keep them apart.
struct World {
    graph: Graph,
    server: Server,
}

impl World {
    fn start() -> World {
        World::start_with(&[])
    }

    fn start_with(env: &[(&str, &str)]) -> World {
        let graph = Graph::start();
        let url = graph.url();
        let all: Vec<_> = env.iter().copied().chain([("WHATSAPP_CLOUD_API_URL", url.as_str())]).collect();
        let server = Server::start_with(&all);
        World { graph, server }
    }

    /// The server is killed and started again.
    async fn restarted(self) -> World {
        World { server: self.server.killed_and_restarted().await, ..self }
    }

    /// An account of before.
    fn known(&self, number: &Number, instance: &Instance) -> Account<'_> {
        Account { graph: &self.graph, number: number.clone(), instance: instance.clone() }
    }

    fn shared() -> &'static World {
        static SHARED: OnceLock<World> = OnceLock::new();
        SHARED.get_or_init(World::start)
    }

    /// An account that is connected.
    async fn account(&self) -> Account<'_> {
        self.account_with(&json!({})).await
    }

    /// The same with more settings.
    async fn account_with(&self, more: &Value) -> Account<'_> {
        let account = self.unconnected(more).await;
        account.instance.wait_status("connected").await;
        account
    }

    /// An account that is being connected.
    async fn unconnected(&self, more: &Value) -> Account<'_> {
        let number = self.graph.number();
        let mut settings = json!({"mode": "live", "transport": "cloud", "credentials": number.credentials()});
        crate::harness::instance::merge(&mut settings, more);
        let client = Tenant::of(&self.server).await.client;
        Account { graph: &self.graph, instance: Instance::create(&client, &settings).await, number }
    }
}

/// One account, seen from both sides.
struct Account<'a> {
    graph: &'a Graph,
    number: Number,
    instance: Instance,
}

impl Account<'_> {
    fn client(&self) -> &Client {
        &self.instance.client
    }

    /// Accepts a message; gives its id of ours.
    async fn accept(&self, body: &Value) -> String {
        let accepted = self.instance.post("/messages", body).await.expect(201);
        accepted["id"].as_str().expect("an id").to_owned()
    }

    async fn text(&self, to: &str, text: &str) -> String {
        self.accept(&json!({"to": to, "content": text})).await
    }

    /// A message by its id.
    async fn message(&self, id: &str) -> Value {
        self.instance.get(&format!("/messages/{id}")).await
    }

    /// Waits until a message has this status.
    async fn until(&self, id: &str, status: &str) -> Value {
        eventually(&format!("{id} {status}"), async || {
            let message = self.message(id).await;
            (message["status"] == status).then_some(message)
        })
        .await
    }

    /// Sends, and waits until the platform has it.
    async fn sent(&self, body: &Value) -> Sent {
        let before = self.graph.sent(&self.number).len();
        let id = self.accept(body).await;
        let message = self.until(&id, "sent").await;
        let sent = self.graph.sent(&self.number);
        assert_eq!(sent.len(), before + 1, "{sent:?}");
        let sent = sent.into_iter().next_back().expect("one more");
        assert_eq!(message["messageId"], sent.id.as_str(), "the platform's name for it");
        sent
    }

    /// Tells the server what happened, as the platform does.
    async fn tell(&self, callback: &Value) -> Answer {
        self.number.post(self.client(), &self.instance.id, callback).await
    }

    /// The same, which must be taken.
    async fn takes(&self, callback: &Value) {
        let answer = self.tell(callback).await;
        assert_eq!(answer.status, 200, "{answer}");
    }

    /// Somebody writes; gives the event.
    async fn gets(&self, from: &Sender, id: &str, kind: &str, content: &Value) -> Value {
        self.takes(&self.number.message(from, id, kind, content)).await;
        self.instance.wait_event_of(id).await
    }

    /// Waits for a received message, by the platform's id, as its event has it.
    async fn heard(&self, id: &str) -> Value {
        let event = self.instance.wait_event_of(id).await;
        event["data"].clone()
    }

    /// How often something of this kind was told of a message.
    async fn told(&self, kind: &str, id: &str) -> Vec<Value> {
        let of = |event: &Value| event["type"] == kind && event["data"]["messageId"] == id;
        self.instance.events().await.into_iter().filter(of).map(|event| event["data"].clone()).collect()
    }
}

/// The smallest picture there is, in bytes that no other test has.
fn png(mark: u8) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00".to_vec();
    bytes.extend([mark, 0, 0, 0]);
    bytes
}

/// A file on the web, for media by URL.
async fn file(mime: &'static str, content: &[u8]) -> (Receiver, String) {
    let receiver = Receiver::start().await;
    receiver.behave("/file", crate::harness::Behaviour::File(mime, bytes::Bytes::copy_from_slice(content)));
    let url = receiver.url("/file");
    (receiver, url)
}
