//! Seed 003: the callbacks of the aggregation service, and the queries over what they have told.

mod access;
mod callback;
pub(crate) mod corpus;
mod device;
mod examples;
mod order;
mod queries;
mod status;

use crate::harness::{Answer, Client, Server, eventually_within};
use http::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What was accepted is applied within this time, also on a busy machine.
const APPLIED: Duration = Duration::from_secs(30);

/// A device that talks to one server.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) client: Client,
    pub(crate) guid: String,
}

impl Device {
    /// A device that nobody has heard of.
    pub(crate) fn new(server: &Server) -> Device {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let guid = format!("guid-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Device { client: server.developer(), guid }
    }

    /// One notification.
    pub(crate) async fn tell(&self, kind: u32, data: Value) {
        let answer = self.post(&json!({"guid": self.guid, "notify_type": kind, "data": data})).await;
        assert_eq!(answer.expect(200), json!({"success": true, "message": "Callback processed"}));
    }

    /// A callback as it is given.
    pub(crate) async fn post(&self, body: &Value) -> Answer {
        self.client.post("/callback", body).await
    }

    pub(crate) async fn ask(&self, what: &str, query: &str) -> Answer {
        self.client.get(&format!("/api/{what}?guid={}&{query}", self.guid)).await
    }

    /// The `data` of a query that succeeds.
    pub(crate) async fn data(&self, what: &str, query: &str) -> Value {
        let answer = self.ask(what, query).await.expect(200);
        assert_eq!(answer["success"], true, "{answer}");
        answer["data"].clone()
    }

    pub(crate) async fn messages(&self, query: &str) -> Vec<Value> {
        self.data("messages", query).await["messages"].as_array().expect("a list").clone()
    }

    /// Waits until there are that many messages, all told.
    pub(crate) async fn wait_messages(&self, count: usize) -> Vec<Value> {
        self.wait("messages", "limit=200", &format!("{count} messages"), |data| {
            let list = data["messages"].as_array().expect("a list");
            (data["total"] == count && list.len() == count).then(|| list.clone())
        })
        .await
    }

    /// Waits until the answer to a query is as it should be.
    pub(crate) async fn wait<T>(&self, what: &str, query: &str, wish: &str, found: impl Fn(&Value) -> Option<T>) -> T {
        eventually_within(APPLIED, wish, async || {
            let answer = self.ask(what, query).await;
            if answer.status == 200 { found(&answer.json()["data"]) } else { None }
        })
        .await
    }

    /// The instance behind it, as its owner sees it.
    pub(crate) async fn instance(&self, owner: &Client) -> Value {
        let id = self.data("sync-status", "").await["instance_id"].as_str().expect("an id").to_owned();
        owner.get(&format!("/api/instances/{id}")).await.expect(200)
    }
}

/// A private text to the account `788` from `from`.
pub(crate) fn text(id: u64, from: &str, text: &str) -> Value {
    json!({"id": id.to_string(), "appinfo": format!("app-{id}"), "seq": id.to_string(), "sender": from, "receiver": "788",
           "roomid": "0", "sendtime": 1_700_000_000 + id, "sender_name": format!("name of {from}"), "content": text,
           "msg_type": 2, "content_type": 2, "referid": "0", "flag": 16_777_216, "send_flag": 1, "at_list": []})
}

/// A raw body.
pub(crate) async fn raw(client: &Client, body: &'static [u8]) -> Answer {
    client.send(client.request(Method::POST, "/callback").header("content-type", "application/json").body(body)).await
}
