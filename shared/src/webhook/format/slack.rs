//! Slack's incoming webhooks (api.slack.com, "Sending messages using incoming webhooks"): a text, answered with `ok`. Errors
//! have a status of their own and a word in the body.

use serde_json::{Value, json};

use super::{Outcome, Reading, cut};

/// Bytes of a text; Slack cuts off beyond 40,000 characters.
const MOST: usize = 39_000;
/// Words that a repetition does not change.
const NEVER: [&str; 12] = [
    "invalid_payload",
    "invalid_token",
    "no_text",
    "no_service",
    "no_service_id",
    "no_team",
    "team_disabled",
    "no_active_hooks",
    "user_not_found",
    "channel_not_found",
    "action_prohibited",
    "posting_to_general_channel_denied",
];

pub(super) fn body(line: &str) -> Value {
    // The three characters that mean something: `<!channel>` would call everybody.
    let line = cut(line, MOST).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({ "text": line })
}

pub(super) fn read(by_status: Outcome, body: &[u8]) -> Reading {
    let word = std::str::from_utf8(body).unwrap_or_default().trim();
    match by_status {
        Outcome::Delivered if word == "ok" => Outcome::Delivered,
        Outcome::Delivered | Outcome::ClientError if NEVER.contains(&word) => Outcome::Rejected,
        Outcome::Delivered => Outcome::Protocol,
        other => other,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_cannot_call_anybody() {
        assert_eq!(body("a & <!channel>"), json!({ "text": "a &amp; &lt;!channel&gt;" }));
    }

    #[test]
    fn words_have_their_meanings() {
        let outcome = |status: u16, body: &str| read(Outcome::of_status(status), body.as_bytes()).outcome;
        assert_eq!(outcome(200, "ok"), Outcome::Delivered);
        assert_eq!(outcome(200, "something else"), Outcome::Protocol);
        assert_eq!(outcome(400, "invalid_payload"), Outcome::Rejected);
        assert_eq!(outcome(404, "no_service\n"), Outcome::Rejected);
        assert_eq!(outcome(410, "channel_is_archived"), Outcome::Gone);
        assert_eq!(outcome(429, "rate_limited"), Outcome::ClientError);
        assert_eq!(outcome(500, "rollup_error"), Outcome::ServerError);
    }
}
