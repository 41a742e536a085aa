//! A user of the IM, registered by username as seed 004 has it, with the calls that its tests make most.

use super::client::{Answer, Client, Credential};
use super::server::Server;
use super::tenant::unique;
use base64::Engine as _;
use serde_json::{Value, json};

/// What every person logs in with.
pub const PASSWORD: &str = "password123";

/// One user, seen by himself.
#[derive(Clone, Debug)]
pub struct Person {
    /// The caller with his JWT.
    pub client: Client,
    /// His id.
    pub id: String,
    /// His username.
    pub name: String,
}

impl Person {
    /// Registers one whose username begins with `name`.
    pub async fn of(server: &Server, name: &str) -> Person {
        Person::named(server, &format!("{name}{}", unique())).await
    }

    /// Registers one with exactly this username.
    ///
    /// # Panics
    /// When it is taken.
    pub async fn named(server: &Server, name: &str) -> Person {
        let body = json!({"username": name, "password": PASSWORD});
        let session = data(&server.anonymous().post("/api/register", &body).await);
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        Person {
            client: server.anonymous().with(Credential::Bearer(text(&session["token"]))),
            id: text(&session["user"]["id"]),
            name: name.to_owned(),
        }
    }

    /// `POST` that must succeed; gives `data`.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        data(&self.client.post(path, body).await)
    }

    /// `GET` that must succeed; gives `data`.
    pub async fn get(&self, path: &str) -> Value {
        data(&self.client.get(path).await)
    }

    /// Sends over seed 002's API; gives `{messageId, messageSeq}`.
    pub async fn im_send(&self, channel: &str, kind: u8, payload: &str) -> Value {
        let body = json!({"channelId": channel, "channelType": kind, "payload": encoded(payload)});
        self.post("/api/v1/im/message/send", &body).await
    }

    /// Sends over seed 004's API; gives `{id, messageId, messageSeq, timestamp}`.
    pub async fn chat(&self, kind: &str, to: &str, content: &str) -> Value {
        let id = format!("chat-{}-{}", self.name, unique());
        self.post("/api/message/send", &json!({"id": id, "toId": to, "chatType": kind, "content": content})).await
    }

    /// `message/sync` of a channel with more of a query.
    pub async fn sync(&self, channel: &str, kind: u8, more: &str) -> Vec<Value> {
        let path = format!("/api/v1/im/message/sync?channelId={channel}&channelType={kind}{more}");
        self.get(&path).await.as_array().expect("a list").clone()
    }

    /// Makes a group; gives its id.
    pub async fn group(&self, members: &[&Person]) -> String {
        let id = format!("group{}", unique());
        let group = json!({"channelId": id, "channelType": 2, "name": "a group"});
        self.post("/api/v1/im/channel/create", &group).await;
        if !members.is_empty() {
            let members: Vec<_> = members.iter().map(|member| member.id.as_str()).collect();
            let add = json!({"channelId": id, "channelType": 2, "subscribers": members});
            assert_eq!(self.post("/api/v1/im/channel/subscriber/add", &add).await["added"], members.len());
        }
        id
    }
}

/// Base64, as payloads are.
#[must_use]
pub fn encoded(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// The `data` of a success, in the envelope of seed 002 or of seed 004's groups.
///
/// # Panics
/// When it is none.
#[track_caller]
pub fn data(answer: &Answer) -> Value {
    let body = answer.expect(200);
    let im = body["success"] == true;
    let chat = body["code"] == 200 && body["msg"] == "ok";
    assert!(im != chat, "no envelope of a success: {answer}");
    body["data"].clone()
}
