//! What the errors of the Graph API mean for a message and for the line. Told apart by their numbers, never by their texts.

use std::time::Duration;

use serde_json::Value;
use shared::{Error, error::Kind};

/// Characters of a reason at the most.
const LONGEST: usize = 300;

/// Why a request did not do what it should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It did not get there: nothing has happened.
    NotSent(String),
    /// Nobody knows whether anything has happened.
    Unknown(String),
    /// The platform said no.
    Refused(Refusal),
    /// It answered something that is not its API.
    Broken(String),
}

/// An error as the Graph API tells it, or an HTTP status without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// `error.code`; 0 where the answer had none.
    pub(crate) code: i64,
    pub(crate) text: String,
    pub(crate) retry_after: Option<Duration>,
}

/// What follows from a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The credentials are not taken. A word for why.
    Unauthorized(&'static str),
    /// The account is locked.
    Banned,
    /// Too much at a time, for the account as a whole.
    AccountLimit,
    /// Too much at a time, for this recipient.
    PairLimit,
    /// The platform cannot now, and says so: nothing has happened.
    Busy,
    /// A fault on the other side after which nobody knows what has happened.
    Unknown,
    /// This, and only this, is not wanted.
    No,
}

impl Failure {
    pub(crate) fn of_client(error: reqwest::Error) -> Self {
        // Without the URL, which holds ids.
        let error = error.without_url();
        if error.is_connect() || error.is_builder() {
            Self::NotSent(error.to_string())
        } else {
            Self::Unknown(error.to_string())
        }
    }

    pub(crate) fn of_answer(status: u16, body: Option<&Value>, retry_after: Option<Duration>) -> Self {
        let error = body.map(|body| &body["error"]).filter(|error| error.is_object());
        let code = error.and_then(|error| error["code"].as_i64()).unwrap_or(0);
        let subcode = error.and_then(|error| error["error_subcode"].as_i64());
        let text = error.map(|error| told(error, code)).unwrap_or_else(|| format!("HTTP {status}"));
        // A token that has run out has a number of its own below that of all bad tokens.
        let code = if code == 190 && subcode == Some(463) { EXPIRED } else { code };
        Self::Refused(Refusal { status, code, text, retry_after })
    }

    /// For whoever asked the platform something.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::NotSent(text) | Self::Unknown(text) | Self::Broken(text) => Error::unavailable(text),
            Self::Refused(refusal) => match refusal.meaning() {
                Meaning::AccountLimit | Meaning::PairLimit => {
                    let error = Error::new(Kind::RateLimited, "PLATFORM_RATE_LIMITED", refusal.text);
                    error.after(refusal.retry_after.unwrap_or(Duration::from_secs(60)))
                }
                Meaning::Busy | Meaning::Unknown => Error::unavailable(refusal.text),
                Meaning::Unauthorized(_) | Meaning::Banned => Error::conflict("PLATFORM_UNAUTHORIZED", refusal.text),
                Meaning::No => Error::new(Kind::Invalid, "PLATFORM_REFUSED", refusal.text),
            },
        }
    }
}

/// Ours for error 190 with subcode 463: the token was good, and its time is over.
const EXPIRED: i64 = -190;

impl Refusal {
    /// Whether it may be that the platform does not have the media that a message names.
    pub(crate) fn is_about_media(&self) -> bool {
        matches!(self.code, 100 | 131_009 | 131_053)
    }

    pub(crate) fn meaning(&self) -> Meaning {
        match self.code {
            EXPIRED => Meaning::Unauthorized("token_expired"),
            0 if self.status == 401 => Meaning::Unauthorized("token_invalid"),
            0 if self.status == 429 => Meaning::AccountLimit,
            0 if self.status == 503 => Meaning::Busy,
            0 if self.status >= 500 => Meaning::Unknown,
            190 => Meaning::Unauthorized("token_invalid"),
            3 | 10 | 131_005 | 200..=299 => Meaning::Unauthorized("permission_denied"),
            133_010 => Meaning::Unauthorized("number_not_registered"),
            368 | 131_031 => Meaning::Banned,
            4 | 80_007 | 130_429 => Meaning::AccountLimit,
            131_056 => Meaning::PairLimit,
            2 | 131_016 | 131_057 | 133_004 => Meaning::Busy,
            1 | 131_000 => Meaning::Unknown,
            // No matter of moments: the number's reputation.
            131_048 => Meaning::No,
            _ if self.status == 429 => Meaning::AccountLimit,
            _ if self.status >= 500 => Meaning::Unknown,
            _ => Meaning::No,
        }
    }
}

/// An error, as an answer or a status callback holds it, in a sentence that begins with its number.
pub(crate) fn told(error: &Value, code: i64) -> String {
    let said = match code {
        130_472 => "not sent, since the recipient is part of an experiment of the platform",
        130_497 => "the business must not write to people of that country",
        131_026 => "undeliverable: not on WhatsApp, has not accepted its terms, or uses an old version",
        131_030 => "the recipient is not in the list of numbers that this test number may write to",
        131_037 => "the number needs an approved display name first",
        131_042 => "there is a problem with the payment method of the business account",
        131_047 => "more than 24 hours have passed since the recipient wrote: only a template can be sent",
        131_048 => "the number may not send more for now, since too many messages were blocked or reported",
        131_049 => "not delivered, so that the recipient does not get too many marketing messages",
        131_050 => "the recipient does not want marketing messages of this business",
        // The platform's own words, with their details, say it better.
        _ => "",
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().trim().to_owned();
    let details = text(&error["error_data"]["details"]);
    let theirs = [details, text(&error["message"]), text(&error["title"])].into_iter().find(|text| !text.is_empty());
    let text = match (said, theirs) {
        ("", Some(theirs)) => format!("{code}: {theirs}"),
        ("", None) => code.to_string(),
        (said, _) => format!("{code}: {said}"),
    };
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn meaning(status: u16, code: i64) -> Meaning {
        let body = json!({ "error": { "message": "m", "type": "OAuthException", "code": code, "fbtrace_id": "x" } });
        match Failure::of_answer(status, Some(&body), None) {
            Failure::Refused(refusal) => refusal.meaning(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_decide() {
        for (status, code, expected) in [
            (401, 190, Meaning::Unauthorized("token_invalid")),
            (403, 10, Meaning::Unauthorized("permission_denied")),
            (403, 200, Meaning::Unauthorized("permission_denied")),
            (403, 368, Meaning::Banned),
            (400, 130_429, Meaning::AccountLimit),
            (400, 80_007, Meaning::AccountLimit),
            (400, 131_056, Meaning::PairLimit),
            (503, 131_016, Meaning::Busy),
            (500, 131_000, Meaning::Unknown),
            (500, 1, Meaning::Unknown),
            (400, 131_047, Meaning::No),
            (400, 131_026, Meaning::No),
            (404, 132_001, Meaning::No),
            (400, 100, Meaning::No),
            (429, 131_048, Meaning::No),
            (429, 7, Meaning::AccountLimit),
        ] {
            assert_eq!(meaning(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn what_is_no_error_of_the_api_goes_by_its_status() {
        for (status, expected) in [
            (401, Meaning::Unauthorized("token_invalid")),
            (429, Meaning::AccountLimit),
            (503, Meaning::Busy),
            (502, Meaning::Unknown),
            (504, Meaning::Unknown),
            (404, Meaning::No),
        ] {
            for body in [None, Some(json!("<html>")), Some(json!({ "error": "text" }))] {
                let failure = Failure::of_answer(status, body.as_ref(), None);
                assert!(matches!(&failure, Failure::Refused(refusal) if refusal.meaning() == expected), "{failure:?}");
            }
        }
    }

    #[test]
    fn an_expired_token_is_told_from_a_bad_one() {
        let body = json!({ "error": { "message": "Session has expired", "code": 190, "error_subcode": 463 } });
        let Failure::Refused(refusal) = Failure::of_answer(401, Some(&body), None) else { panic!("refused") };
        assert_eq!(refusal.meaning(), Meaning::Unauthorized("token_expired"));
        assert_eq!(refusal.text, "190: Session has expired");
    }

    #[test]
    fn reasons_are_readable_and_bounded() {
        let known = told(&json!({ "code": 131_047, "title": "Re-engagement message" }), 131_047);
        assert!(known.starts_with("131047: more than 24 hours"), "{known}");
        let details =
            json!({ "message": "(#100) Invalid parameter", "error_data": { "details": "Unsupported thing" } });
        assert_eq!(told(&details, 100), "100: Unsupported thing");
        assert_eq!(told(&json!({}), 7), "7");
        assert_eq!(told(&json!({ "message": "é".repeat(1000) }), 1).chars().count(), LONGEST);
    }
}
