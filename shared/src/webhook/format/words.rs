//! What an event says in words: who, what, and the one line that robots post.

use serde_json::Value;

use crate::domain::{
    event::{Event, Kind},
    instance::Instance,
};

/// A fact longer than this is not shown in a line: QR codes, for example.
const FACT: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    /// Who wrote, as far as it is known.
    pub(super) from_name: String,
    /// What was written; for media `[image]` and the like.
    pub(super) content: String,
    /// Messages as in seed 004: `[IM消息] <fromName>: <content>`; anything else: `[<event>] <instance>: <facts>`.
    pub(super) line: String,
}

impl Words {
    pub(super) fn of(instance: &Instance, event: &Event) -> Self {
        let data = &event.data;
        let text = |names: &[&str]| {
            names.iter().find_map(|name| data[name].as_str().filter(|text| !text.is_empty())).map(str::to_owned)
        };
        let from_name = if is_own(&event.kind) {
            instance.name.clone()
        } else {
            let address =
                || text(&["from", "fromId"]).map(|from| from.split('@').next().unwrap_or_default().to_owned());
            text(&["fromName", "pushName"]).or_else(address).unwrap_or_default()
        };
        let content = text(&["content", "body", "message"])
            .or_else(|| text(&["contentType", "type"]).map(|kind| format!("[{kind}]")))
            .unwrap_or_default();
        let line = if is_message(&event.kind) {
            format!("[IM消息] {from_name}: {content}")
        } else {
            format!("[{}] {}: {}", event.kind, instance.name, facts(data))
        };
        Self { from_name, content, line }
    }
}

fn is_own(kind: &str) -> bool {
    matches!(Kind::parse(kind), Some(Kind::MessageSent | Kind::MessageQueued))
}

/// Whether it is about something that somebody wrote.
fn is_message(kind: &str) -> bool {
    let of_ours = Kind::parse(kind)
        .is_some_and(|kind| matches!(kind, Kind::MessageReceived | Kind::MessageEdited | Kind::ForwardedMessage));
    of_ours || is_own(kind) || kind == "new_message"
}

/// The simple facts of an event, in one line.
fn facts(data: &Value) -> String {
    let Some(data) = data.as_object() else { return String::new() };
    let mut facts = Vec::new();
    for (name, value) in data.iter().filter(|(name, _)| *name != "instanceId") {
        match value {
            Value::String(text) if name == "message" => facts.push(text.clone()),
            Value::String(text) if text.len() <= FACT => facts.push(format!("{name}={text}")),
            Value::Bool(_) | Value::Number(_) => facts.push(format!("{name}={value}")),
            _ => {}
        }
    }
    facts.join(" ")
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn instance() -> Instance {
        serde_json::from_value(json!({
            "v": 1, "id": "01instance000000", "userId": "01user0000000000", "platform": "whatsapp", "transport": "web",
            "mode": "sandbox", "name": "Support", "shard": 0, "createdAt": 0, "updatedAt": 0, "status": "connected",
            "webhook": { "enabled": false, "notifyReceived": true, "notifySent": true, "notifyDelivery": false,
                         "notifyRead": false, "maxRetries": 3, "retryInterval": 60000 },
        }))
        .expect("an instance")
    }

    pub(crate) fn event(kind: &str, data: Value) -> Event {
        let timestamp = "2023-11-14T12:00:00.000Z".into();
        Event { id: "01instance000000-000000000007".into(), seq: 7, kind: kind.into(), timestamp, data }
    }

    fn line(kind: &str, data: Value) -> String {
        Words::of(&instance(), &event(kind, data)).line
    }

    #[test]
    fn messages_read_as_in_the_seed() {
        let from = "79001234567@s.whatsapp.net";
        assert_eq!(
            line(
                "message_received",
                json!({ "from": from, "pushName": "伊万", "body": "你好", "type": "conversation" })
            ),
            "[IM消息] 伊万: 你好"
        );
        assert_eq!(
            line("message_received", json!({ "from": from, "pushName": "", "body": "", "type": "image" })),
            "[IM消息] 79001234567: [image]"
        );
        assert_eq!(line("forwarded_message", json!({ "fromName": "A", "content": "b" })), "[IM消息] A: b");
        assert_eq!(line("message_sent", json!({ "to": from, "body": "hello" })), "[IM消息] Support: hello");
    }

    #[test]
    fn other_events_tell_their_facts() {
        assert_eq!(
            line("connection_closed", json!({ "instanceId": "i", "reason": "logout", "willReconnect": false })),
            "[connection_closed] Support: reason=logout willReconnect=false"
        );
        assert_eq!(line("webhook_test", json!({ "message": "A test" })), "[webhook_test] Support: A test");
        assert_eq!(line("qr_received", json!({ "qr": "x".repeat(237) })), "[qr_received] Support: ");
    }
}
