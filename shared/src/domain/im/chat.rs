//! Sending the way seed 004's clients do, over HTTP and over the socket: one set of rules, one result.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Channel, NewMessage, Numbers, Posted, Type,
    content::{Chat, Said},
    message, people,
};
use crate::{
    app::App,
    domain::{
        access::{Caller, Scope},
        user::User,
    },
    error::{Error, Result},
};

/// Characters of a content at the most.
pub const MAX_CONTENT: usize = 10_000;
/// Bytes of a content at the most (UTF-8).
pub const MAX_CONTENT_BYTES: usize = 30 * 1024;
/// Bytes of a picture's address at the most.
const MAX_URL: usize = 2048;

/// A message as a client writes it: the body of `POST /api/message/send`, and the data of a `message` frame.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Draft {
    /// The client's own id, meant to be a UUID: the same one again, from the same sender, is the same message.
    pub id: String,
    /// The caller if it is absent.
    #[serde(default)]
    pub from_id: Option<String>,
    pub to_id: String,
    /// `single` or `group`.
    pub chat_type: String,
    /// At most [`MAX_CONTENT`] characters; may be empty or absent beside a picture.
    #[serde(default)]
    pub content: Option<String>,
    /// `text` (the default) or `image`.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Id of the quoted message.
    #[serde(default)]
    pub reply_to: Option<String>,
    /// Of an image: where it is.
    #[serde(default)]
    pub image_url: Option<String>,
}

/// A draft that was found in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub id: String,
    pub from: Option<String>,
    pub to: String,
    pub kind: Type,
    pub chat: Chat,
}

/// A message that was sent, or had been sent under the same id before.
#[derive(Debug, Clone)]
pub struct Sent {
    pub sender: User,
    pub channel: Channel,
    /// The client's.
    pub id: String,
    pub posted: Posted,
}

impl Sent {
    /// `{id, messageId, messageSeq, timestamp}`, as HTTP answers it.
    pub fn data(&self) -> Value {
        json!({
            "id": self.id,
            "messageId": self.posted.message_id,
            "messageSeq": self.posted.seq,
            "timestamp": self.posted.at.0,
        })
    }
}

impl Draft {
    /// Errors: 400 that names the field.
    pub fn check(self) -> Result<Checked> {
        message::check_client_no("id", &self.id)?;
        if self.to_id.is_empty() || self.from_id.as_deref() == Some("") {
            let field = if self.to_id.is_empty() { "toId" } else { "fromId" };
            return Err(Error::invalid(field, format!("{field} must not be empty")));
        }
        let kind = kind("chatType", &self.chat_type)?;
        let content = self.content.unwrap_or_default();
        if content.chars().count() > MAX_CONTENT || content.len() > MAX_CONTENT_BYTES {
            let message = format!("content must have at most {MAX_CONTENT} characters and {MAX_CONTENT_BYTES} bytes");
            return Err(Error::invalid("content", message));
        }
        let url = self.image_url.unwrap_or_default();
        let said = match self.content_type.as_deref().unwrap_or("text") {
            "text" if content.is_empty() => return Err(Error::invalid("content", "content is required")),
            "text" if !url.is_empty() => {
                return Err(Error::invalid("imageUrl", "imageUrl belongs to contentType image"));
            }
            "text" => Said::Text { content },
            "image" => {
                check_url("imageUrl", &url)?;
                Said::Image { url, content }
            }
            _ => return Err(Error::invalid("contentType", "contentType must be text or image")),
        };
        let reply_to = self.reply_to.unwrap_or_default();
        if !reply_to.is_empty() {
            message::check_client_no("replyTo", &reply_to)?;
        }
        Ok(Checked { id: self.id, from: self.from_id, to: self.to_id, kind, chat: Chat { said, reply_to } })
    }
}

/// `single` or `group`.
pub fn kind(field: &'static str, text: &str) -> Result<Type> {
    match text {
        "single" => Ok(Type::Person),
        "group" => Ok(Type::Group),
        _ => Err(Error::invalid(field, format!("{field} must be single or group"))),
    }
}

fn check_url(field: &'static str, text: &str) -> Result<()> {
    let good = text.len() <= MAX_URL
        && url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if good { Ok(()) } else { Err(Error::invalid(field, format!("{field} must be an http or https URL"))) }
}

/// Checks and sends. Durable when it returns; a repeat answers what the first did.
///
/// Errors: 400 for the draft; 403 without the scope `messages:send`, for a sender that is not the caller's
/// (`NOT_YOUR_SENDER`) or a group without the sender (`NOT_A_MEMBER`); 404 `USER_NOT_FOUND`, `GROUP_NOT_FOUND`.
pub async fn send(app: &App, caller: &Caller, draft: Draft) -> Result<Sent> {
    caller.require_account(Scope::MessagesSend)?;
    let Checked { id, from, to, kind, chat } = draft.check()?;
    let sender = people::sender(app, caller, "fromId", from.as_deref()).await?;
    let channel = super::channel(app, &sender, kind, &to).await.map_err(|error| error.field("toId"))?;
    let new = NewMessage {
        from: sender.id.clone(),
        client_no: Some(id.clone()),
        numbers: Numbers::OfSender,
        payload: chat.payload(),
        via: None,
    };
    let posted = app.im.post(app, &channel, new).await?;
    Ok(Sent { sender, channel, id, posted })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(more: Value) -> Draft {
        let mut all = json!({ "id": "5b1c", "toId": "bob", "chatType": "single", "content": "hi" });
        if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
            all.extend(more);
        }
        serde_json::from_value(all).expect("a draft")
    }

    #[test]
    fn the_defaults_are_a_text_from_oneself() {
        let checked = draft(json!({ "replyTo": "", "imageUrl": "" })).check().expect("in order");
        assert_eq!((checked.kind, checked.from), (Type::Person, None));
        assert_eq!(checked.chat, Chat { said: Said::Text { content: "hi".into() }, reply_to: String::new() });
    }

    #[test]
    fn an_image_needs_its_address_and_no_text() {
        let image = json!({ "contentType": "image", "content": null, "imageUrl": "https://example.com/a.png" });
        let checked = draft(image).check().expect("in order");
        assert_eq!(checked.chat.image_url(), "https://example.com/a.png");
    }

    #[test]
    fn errors_name_the_field() {
        for (more, field) in [
            (json!({ "id": "" }), "id"),
            (json!({ "id": "x".repeat(129) }), "id"),
            (json!({ "toId": "" }), "toId"),
            (json!({ "fromId": "" }), "fromId"),
            (json!({ "chatType": "channel" }), "chatType"),
            (json!({ "content": "" }), "content"),
            (json!({ "content": "x".repeat(MAX_CONTENT + 1) }), "content"),
            (json!({ "content": "\u{1f600}".repeat(MAX_CONTENT_BYTES / 4 + 1) }), "content"),
            (json!({ "contentType": "video" }), "contentType"),
            (json!({ "contentType": "image" }), "imageUrl"),
            (json!({ "contentType": "image", "imageUrl": "javascript:alert(1)" }), "imageUrl"),
            (json!({ "imageUrl": "https://example.com/a.png" }), "imageUrl"),
            (json!({ "replyTo": "a\nb" }), "replyTo"),
        ] {
            let error = draft(more.clone()).check().expect_err(&more.to_string());
            assert_eq!(error.field.as_deref(), Some(field), "{more}");
        }
        assert!(
            draft(json!({ "content": "汉".repeat(MAX_CONTENT) })).check().is_ok(),
            "10,000 characters of three bytes"
        );
    }
}
