//! The custom bot of Feishu and Lark (open.feishu.cn, "自定义机器人使用指南"): 100 messages a minute, five a second, bodies of 20 KB.
//! With a secret the body carries the time and a signature, good for an hour.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Outcome, Reading, code, cut};
use crate::{clock::Millis, redact::Secret, sign::hmac_sha256};

/// Bytes of a text: half of what a body may have, since escapes make it longer.
const MOST: usize = 9_000;
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn body(line: &str, secret: Option<&Secret>, at: Millis) -> Value {
    let mut body = json!({ "msg_type": "text", "content": { "text": without_mentions(&cut(line, MOST)) } });
    if let Some(secret) = secret {
        let time = at.seconds().to_string();
        body["sign"] = signature(secret, &time).into();
        body["timestamp"] = time.into();
    }
    body
}

/// A text may mention people with `<at …>`, everybody at once too: who wrote the message has no such right in the group. A space
/// without width keeps it readable.
fn without_mentions(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        out.push(c);
        if c == '<' && text.get(at + 1..at + 3).is_some_and(|tag| tag.eq_ignore_ascii_case("at")) {
            out.push('\u{200b}');
        }
    }
    out
}

/// Base64 of HMAC-SHA256 over nothing; the key is the time in seconds, a line feed and the secret.
fn signature(secret: &Secret, time: &str) -> String {
    let key = format!("{time}\n{}", secret.reveal());
    STANDARD.encode(hmac_sha256(key.as_bytes(), []))
}

/// The meaning of `code`; older robots say `StatusCode`.
pub(super) fn read(body: &[u8]) -> Reading {
    match code(body, "code").or_else(|| code(body, "StatusCode")) {
        Some(0) => Outcome::Delivered.into(),
        // Over the limit: the robot's, or the platform's at a full hour.
        Some(9499 | 11232) => Reading::throttled(MINUTE),
        // Malformed, no such robot; signature, address, keywords.
        Some(19001 | 19002 | 19021 | 19022 | 19024) => Outcome::Rejected.into(),
        Some(_) => Outcome::Throttled.into(),
        None => Outcome::Protocol.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_signed_the_vendors_way() {
        // The vendor's Python sample with this time.
        assert_eq!(
            body("你好", Some(&Secret::new("demo")), Millis(1_599_360_473_500)),
            json!({
                "timestamp": "1599360473",
                "sign": "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8=",
                "msg_type": "text",
                "content": { "text": "你好" },
            })
        );
        assert_eq!(body("x", None, Millis(0)), json!({ "msg_type": "text", "content": { "text": "x" } }));
    }

    #[test]
    fn nobody_is_mentioned() {
        assert_eq!(
            without_mentions("<at user_id=\"all\">x</at> <At> <b"),
            "<\u{200b}at user_id=\"all\">x</at> <\u{200b}At> <b"
        );
    }

    #[test]
    fn codes_have_their_meanings() {
        let outcome = |body: &str| read(body.as_bytes()).outcome;
        assert_eq!(
            outcome(r#"{"StatusCode":0,"StatusMessage":"success","code":0,"msg":"success"}"#),
            Outcome::Delivered
        );
        assert_eq!(outcome(r#"{"Extra":null,"StatusCode":0,"StatusMessage":"success"}"#), Outcome::Delivered);
        assert_eq!(outcome(r#"{"code":19021,"msg":"sign match fail"}"#), Outcome::Rejected);
        assert_eq!(read(br#"{"code":9499,"msg":"too many request"}"#), Reading::throttled(MINUTE));
        assert_eq!(read(br#"{"code":11232,"msg":"frequency limited"}"#), Reading::throttled(MINUTE));
    }
}
