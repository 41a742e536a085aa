//! What a payload says: WuKongIM's content JSON on one side, seed 004's fields and the gateway's [`Content`] on the other.
//!
//! Text is `{"type":1,"content"}`, an image `{"type":2,"url"}`; a quoted message is `reply.message_id`. Anything else is shown
//! as `custom`.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::domain::content::Content;

/// What seed 004 calls `contentType`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Text {
        content: String,
    },
    /// `content` beside the picture, usually `""`.
    Image {
        url: String,
        content: String,
    },
    Custom,
}

/// A message as seed 004 has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    pub said: Said,
    /// Id of the quoted message; `""` without one.
    pub reply_to: String,
}

impl Chat {
    pub fn content_type(&self) -> &'static str {
        match self.said {
            Said::Text { .. } => "text",
            Said::Image { .. } => "image",
            Said::Custom => "custom",
        }
    }

    pub fn content(&self) -> &str {
        match &self.said {
            Said::Text { content } | Said::Image { content, .. } => content,
            Said::Custom => "",
        }
    }

    pub fn image_url(&self) -> &str {
        match &self.said {
            Said::Image { url, .. } => url,
            Said::Text { .. } | Said::Custom => "",
        }
    }

    /// As a payload, base64.
    pub fn payload(&self) -> String {
        let mut body = match &self.said {
            Said::Text { content } => json!({ "type": 1, "content": content }),
            Said::Image { url, content } if content.is_empty() => json!({ "type": 2, "url": url }),
            Said::Image { url, content } => json!({ "type": 2, "url": url, "content": content }),
            Said::Custom => json!({ "type": 99 }),
        };
        if !self.reply_to.is_empty() {
            body["reply"] = json!({ "message_id": self.reply_to });
        }
        base64::engine::general_purpose::STANDARD.encode(body.to_string())
    }
}

/// Reads a payload, base64. What is not understood is [`Said::Custom`].
pub fn read(payload: &str) -> Chat {
    let body = base64::engine::general_purpose::STANDARD
        .decode(payload)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .unwrap_or(Value::Null);
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let said = match body["type"].as_u64() {
        Some(1) => text("content").map(|content| Said::Text { content }),
        Some(2) => text("url").map(|url| Said::Image { url, content: text("content").unwrap_or_default() }),
        _ => None,
    };
    let reply = &body["reply"]["message_id"];
    let reply_to = reply.as_str().map(str::to_owned).or_else(|| reply.as_i64().map(|id| id.to_string()));
    Chat { said: said.unwrap_or(Said::Custom), reply_to: reply_to.unwrap_or_default() }
}

/// A payload as the gateway's other platforms have it. A picture is known by its address only.
pub fn gateway(payload: &str) -> Content {
    match read(payload).said {
        Said::Text { content } => Content::Text { text: content },
        Said::Image { .. } => Content::Other { name: "image".into() },
        Said::Custom => Content::Other { name: "custom".into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let all = [
            Chat { said: Said::Text { content: "你好 \"x\"".into() }, reply_to: String::new() },
            Chat {
                said: Said::Image { url: "https://example.com/a.png".into(), content: String::new() },
                reply_to: "7".into(),
            },
        ];
        for chat in all {
            assert_eq!(read(&chat.payload()), chat);
        }
    }

    #[test]
    fn strange_payloads_are_custom() {
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        for strange in ["", "***", &encode("no json"), &encode("{\"type\":5}"), &encode("{\"type\":1}"), &encode("[1]")]
        {
            let chat = read(strange);
            assert_eq!((chat.content_type(), chat.content()), ("custom", ""), "{strange}");
        }
    }
}
