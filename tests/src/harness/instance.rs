//! An instance in sandbox mode, with the commands that play its phone and its correspondents.

use super::client::{Answer, Client};
use super::tenant::fresh_phone;
use super::wait::{eventually, eventually_within, soon};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// One sandbox instance, seen by its owner.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its owner's client.
    pub client: Client,
    /// Its id.
    pub id: String,
    /// The answer to its creation.
    pub created: Value,
    /// The phone that scans, digits only.
    pub phone: String,
}

impl Instance {
    /// Creates one; `more` adds to or overrides `{name, mode: "sandbox"}`.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn create(client: &Client, more: &Value) -> Instance {
        let mut body = json!({"name": "A phone of the suite", "mode": "sandbox"});
        merge(&mut body, more);
        let created = client.post("/api/instances", &body).await.expect(201);
        let id = created["id"].as_str().expect("an id").to_owned();
        Instance { client: client.clone(), id, created, phone: fresh_phone() }
    }

    /// Creates one, scans its QR code, waits until it is connected.
    pub async fn paired(client: &Client, more: &Value) -> Instance {
        let instance = Instance::create(client, more).await;
        instance.scan().await;
        instance
    }

    /// Waits for the QR code, scans it, waits until connected.
    pub async fn scan(&self) {
        self.qr().await;
        let scan = json!({"phone": self.phone, "name": "The suite"});
        let answer = self.client.post(&self.at("/sandbox/scan"), &scan).await;
        assert!((200..300).contains(&answer.status), "{answer}");
        self.wait_status("connected").await;
    }

    /// Waits for the QR string.
    pub async fn qr(&self) -> String {
        eventually("a QR code", async || {
            let answer = self.client.get(&self.at("/qr")).await;
            match answer.status {
                202 => None,
                _ => Some(answer.expect(200)["qrCode"].as_str().expect("a QR string").to_owned()),
            }
        })
        .await
    }

    /// `/api/instances/{id}` + `rest`.
    #[must_use]
    pub fn at(&self, rest: &str) -> String {
        format!("/api/instances/{}{rest}", self.id)
    }

    /// `/api/whatsapp/{id}` + `rest`.
    #[must_use]
    pub fn wa(&self, rest: &str) -> String {
        format!("/api/whatsapp/{}{rest}", self.id)
    }

    /// `GET …` under `/api/instances/{id}`, which must succeed.
    pub async fn get(&self, rest: &str) -> Value {
        self.client.get(&self.at(rest)).await.expect(200)
    }

    /// `POST …` under `/api/instances/{id}`.
    pub async fn post(&self, rest: &str, body: &Value) -> Answer {
        self.client.post(&self.at(rest), body).await
    }

    /// `POST …` under `/api/whatsapp/{id}`.
    pub async fn wa_post(&self, rest: &str, body: &Value) -> Answer {
        self.client.post(&self.wa(rest), body).await
    }

    /// Exports the session; gives the file.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn export_session(&self, passphrase: &str) -> Bytes {
        let answer = self.post("/session/export", &json!({ "passphrase": passphrase })).await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.body
    }

    /// Imports a session.
    pub async fn import_session(&self, file: &[u8], passphrase: &str) -> Answer {
        let request = self.client.request(Method::POST, &self.at("/session/import"));
        let request = request.header("content-type", "application/octet-stream");
        self.client.send(request.header("x-session-passphrase", passphrase).body(file.to_vec())).await
    }

    /// Sends a text; gives the message id.
    pub async fn send(&self, phone: &str, message: &str) -> String {
        let sent = self.wa_post("/send", &json!({"phone": phone, "message": message})).await.expect(200);
        sent["id"].as_str().expect("a message id").to_owned()
    }

    /// Somebody writes.
    pub async fn receive(&self, from: &str, text: &str) -> Value {
        self.receive_with(&json!({"from": from, "text": text})).await
    }

    /// Somebody writes something particular.
    ///
    /// # Panics
    /// When the sandbox refuses it.
    pub async fn receive_with(&self, body: &Value) -> Value {
        let answer = self.post("/sandbox/receive", body).await;
        assert!((200..300).contains(&answer.status), "{answer}");
        answer.json()
    }

    /// Everything that arrived in the simulated network, oldest first.
    ///
    /// # Panics
    /// When a page cannot be read.
    pub async fn outbox(&self) -> Vec<Value> {
        let mut messages = Vec::new();
        let mut query = String::new();
        loop {
            let page = self.get(&format!("/sandbox/outbox{query}")).await;
            let some = page["messages"].as_array().expect("messages");
            messages.extend(some.iter().cloned());
            match &page["nextCursor"] {
                Value::Number(next) if !some.is_empty() => query = format!("?after={next}"),
                Value::String(next) if !some.is_empty() => query = format!("?after={next}"),
                _ => return messages,
            }
        }
    }

    /// Waits until the outbox holds the message.
    pub async fn wait_outbox(&self, id: &str) -> Value {
        eventually(&format!("{id} in the outbox"), async || {
            self.outbox().await.into_iter().find(|message| message["id"] == id)
        })
        .await
    }

    /// Waits for `connectionStatus.status`.
    pub async fn wait_status(&self, status: &str) -> Value {
        eventually(&format!("status {status}"), async || {
            let instance = self.get("").await;
            (instance["connectionStatus"]["status"] == status).then_some(instance)
        })
        .await
    }

    /// All events of the log, oldest first, paged through `after`.
    ///
    /// # Panics
    /// When a page cannot be read or the cursor does not advance.
    pub async fn events(&self) -> Vec<Value> {
        let mut events = Vec::new();
        let mut cursor = String::new();
        loop {
            let after = if cursor.is_empty() { String::new() } else { format!("&after={cursor}") };
            let page = self.get(&format!("/events?limit=200{after}")).await;
            events.extend(page["events"].as_array().expect("events").iter().cloned());
            let next = page["nextCursor"].as_str().expect("nextCursor").to_owned();
            if page["hasMore"] != true {
                return events;
            }
            assert_ne!(next, cursor, "the cursor does not advance: {page}");
            cursor = next;
        }
    }

    /// Waits for an event that `wanted` accepts.
    pub async fn wait_event(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_event_within(soon(), what, wanted).await
    }

    /// Waits for the first event about a message, by the platform's id.
    pub async fn wait_event_of(&self, message: &str) -> Value {
        self.wait_event(message, |event| event["data"]["messageId"] == message).await
    }

    /// The same with another deadline.
    pub async fn wait_event_within(&self, deadline: Duration, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually_within(deadline, &format!("event {what}"), async || {
            self.events().await.into_iter().find(|event| wanted(event))
        })
        .await
    }

    /// Waits until the message has this status in the history of its chat, or one that comes after it: whoever looks late finds
    /// it read.
    pub async fn wait_message(&self, phone: &str, id: &str, status: &str) -> Value {
        let reached = match status {
            "sent" => &["sent", "delivered", "read"][..],
            "delivered" => &["delivered", "read"],
            other => &[other],
        };
        eventually(&format!("message {id} {status}"), async || {
            let history = self.get(&format!("/chats/{phone}/messages?limit=200")).await;
            let messages = history["messages"].as_array().expect("messages").clone();
            messages
                .into_iter()
                .find(|message| message["messageId"] == id && reached.iter().any(|status| message["status"] == *status))
        })
        .await
    }

    /// Every message of one chat, newest first, paged through `cursor`.
    ///
    /// # Panics
    /// When a page cannot be read.
    pub async fn history(&self, phone: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        let mut query = "?limit=200".to_owned();
        loop {
            let page = self.get(&format!("/chats/{phone}/messages{query}")).await;
            messages.extend(page["messages"].as_array().expect("messages").iter().cloned());
            match page["pagination"]["nextCursor"].as_str() {
                Some(next) if page["pagination"]["hasMore"] == true => query = format!("?limit=200&cursor={next}"),
                _ => return messages,
            }
        }
    }
}

/// Puts the fields of `more` into `into`.
pub fn merge(into: &mut Value, more: &Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
}
