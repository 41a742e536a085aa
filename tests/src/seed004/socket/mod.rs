//! `GET /ws`: the WebSocket of seed 004, from outside.

mod auth;
mod catch_up;
mod crash;
mod events;
mod hostile;
mod messages;
mod presence;

use crate::harness::{Server, Socket, Tenant, eventually};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// How long nothing may come before nothing is believed to come.
const QUIET: Duration = Duration::from_millis(700);

/// A text in the shape of a UUID that nobody has used.
fn uuid() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_nanos();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}-0000-4000-8000-{number:012x}", clock & 0xffff_ffff)
}

/// A user of the server with an open socket.
async fn online(server: &Server) -> (Tenant, Socket) {
    let tenant = Tenant::of(server).await;
    let socket = Socket::auth(&server.url(), &tenant.api_key, None).await;
    (tenant, socket)
}

/// A group of these users; the first owns it. Its id.
async fn group(members: &[&Tenant]) -> String {
    let id = format!("group-{}", uuid());
    let owner = &members[0].client;
    let named = json!({"channelId": id, "channelType": 2, "name": "A group"});
    owner.post("/api/im/channel/create", &named).await.expect(200);
    if members.len() > 1 {
        let others: Vec<&str> = members[1..].iter().map(|member| member.id.as_str()).collect();
        let added = json!({"channelId": id, "channelType": 2, "subscribers": others});
        owner.post("/api/im/channel/subscriber/add", &added).await.expect(200);
    }
    id
}

/// The `data` of the `message` frames among these.
fn messages(frames: &[Value]) -> Vec<Value> {
    frames.iter().filter(|frame| frame["type"] == "message").map(|frame| frame["data"].clone()).collect()
}

/// One field of each.
fn column(messages: &[Value], name: &str) -> Vec<Value> {
    messages.iter().map(|message| message[name].clone()).collect()
}

/// Sends over HTTP; the answer's `data`.
async fn post(tenant: &Tenant, id: &str, to: &str, kind: &str, content: &str) -> Value {
    let body = json!({"id": id, "fromId": tenant.id, "toId": to, "chatType": kind, "content": content});
    tenant.client.post("/api/message/send", &body).await.expect(200)["data"].clone()
}

/// Waits until the user's conversation with `chat` has come to its message `seq`: what is done behind a message is done.
async fn listed(tenant: &Tenant, chat: &str, seq: u64) -> Value {
    eventually(&format!("message {seq} of {chat} in the list"), async || {
        let page = tenant.client.get("/api/conversations").await.expect(200);
        let all = page["data"]["conversations"].as_array().expect("conversations").clone();
        all.into_iter().find(|one| one["chatId"] == chat && one["lastSeq"] == seq)
    })
    .await
}
