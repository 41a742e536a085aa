//! The group robot of WeCom (developer.work.weixin.qq.com, "群机器人配置说明"): 20 messages a minute, texts of 2,048 bytes.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Outcome, Reading, code, cut};

/// Bytes of a text.
const MOST: usize = 2048;
const MINUTE: Duration = Duration::from_secs(60);

pub(super) fn body(line: &str) -> Value {
    json!({ "msgtype": "text", "text": { "content": cut(line, MOST) } })
}

/// The meaning of `errcode`.
pub(super) fn read(body: &[u8]) -> Reading {
    match code(body, "errcode") {
        Some(0) => Outcome::Delivered.into(),
        // Over the limit, or too many calls at once.
        Some(45009 | 45033) => Reading::throttled(MINUTE),
        // Malformed, unknown type, empty, too long; 93000 and 93008: no such robot, or it was removed from its group.
        Some(40008 | 40035 | 40058 | 44004 | 45002 | 47001 | 93000 | 93004 | 93008) => Outcome::Rejected.into(),
        // -1 is "busy".
        Some(_) => Outcome::Throttled.into(),
        None => Outcome::Protocol.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_the_seeds() {
        assert_eq!(
            body("[IM消息] 爱丽丝: 你好").to_string(),
            r#"{"msgtype":"text","text":{"content":"[IM消息] 爱丽丝: 你好"}}"#
        );
        let long = body(&"长".repeat(10_000));
        assert!(long["text"]["content"].as_str().is_some_and(|text| text.len() <= MOST && text.ends_with("长…")));
    }

    #[test]
    fn codes_have_their_meanings() {
        let outcome = |body: &str| read(body.as_bytes()).outcome;
        assert_eq!(outcome(r#"{"errcode":0,"errmsg":"ok"}"#), Outcome::Delivered);
        assert_eq!(outcome(r#"{"errcode":93000,"errmsg":"invalid webhook url, hint: [1]"}"#), Outcome::Rejected);
        assert_eq!(outcome(r#"{"errcode":-1,"errmsg":"system busy"}"#), Outcome::Throttled);
        assert_eq!(outcome(r#"{"errcode":"0"}"#), Outcome::Protocol);
        let limited = read(br#"{"errcode":45009,"errmsg":"api freq out of limit"}"#);
        assert_eq!(limited, Reading::throttled(MINUTE));
    }
}
