//! The custom robot of DingTalk (open.dingtalk.com, "自定义机器人接入"): 20 messages a minute, then none for ten; bodies of 20,000
//! bytes. With a secret the URL carries the time and a signature, good for an hour.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use url::Url;

use super::{Outcome, Reading, code, cut};
use crate::{clock::Millis, redact::Secret, sign::hmac_sha256};

/// Bytes of a text: half of what a body may have, since escapes make it longer.
const MOST: usize = 9_000;
const TEN_MINUTES: Duration = Duration::from_secs(600);

pub(super) fn body(line: &str) -> Value {
    json!({ "msgtype": "text", "text": { "content": cut(line, MOST) } })
}

/// Adds `timestamp` (milliseconds) and `sign`: Base64 of HMAC-SHA256 under the secret, over the time, a line feed and the
/// secret.
pub(super) fn sign(url: &mut Url, secret: &Secret, at: Millis) {
    let time = at.0.to_string();
    let secret = secret.reveal();
    let mac = hmac_sha256(secret.as_bytes(), [time.as_bytes(), b"\n", secret.as_bytes()]);
    url.query_pairs_mut().append_pair("timestamp", &time).append_pair("sign", &STANDARD.encode(mac));
}

/// The meaning of `errcode`.
pub(super) fn read(body: &[u8]) -> Reading {
    match code(body, "errcode") {
        Some(0) => Outcome::Delivered.into(),
        // Too fast; two generations of the same code.
        Some(130_101 | 410_100) => Reading::throttled(TEN_MINUTES),
        Some(
            // Malformed.
            40035 | 43004 | 400_105 | 460_101
            // No such token, robot or group, or switched off.
            | 300_001 | 300_005 | 400_013 | 400_101 | 400_102 | 400_106
            // The robot's own rules: keywords, signature, addresses.
            | 310_000
            // Contents that are not allowed.
            | 430_101 | 430_102 | 430_103 | 430_104,
        ) => Outcome::Rejected.into(),
        // -1 is "busy".
        Some(_) => Outcome::Throttled.into(),
        None => Outcome::Protocol.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_vendors() {
        let mut url: Url = "https://oapi.dingtalk.com/robot/send?access_token=x".parse().expect("a URL");
        sign(&mut url, &Secret::new("this is secret"), Millis(1_700_000_000_000));
        // The vendor's Python sample with this time.
        assert_eq!(
            url.as_str(),
            "https://oapi.dingtalk.com/robot/send?access_token=x&timestamp=1700000000000&sign=sSFWELbV2YwjdDQhWZwTcWlX5BWUx5J6TPpsZmuPii0%3D"
        );
    }

    #[test]
    fn codes_have_their_meanings() {
        let outcome = |body: &str| read(body.as_bytes()).outcome;
        assert_eq!(outcome(r#"{"errcode":0,"errmsg":"ok"}"#), Outcome::Delivered);
        assert_eq!(outcome(r#"{"errcode":310000,"errmsg":"sign not match"}"#), Outcome::Rejected);
        assert_eq!(outcome(r#"{"errcode":-1}"#), Outcome::Throttled);
        let fast = r#"{"status":1111,"wait":5,"punish":"deny","errcode":130101,"errmsg":"send too fast"}"#;
        assert_eq!(read(fast.as_bytes()), Reading::throttled(TEN_MINUTES));
    }
}
