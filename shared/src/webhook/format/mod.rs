//! What is posted to an endpoint, and what its answer means. Each vendor's form is a file of its own, made of plain values:
//! nothing here reads the store or the network.
//!
//! The robots of WeCom, DingTalk and Feishu answer 200 whatever has become of the message; the code in the body decides. A
//! code that can only mean "never" ends the delivery, every other one is tried again: whoever adds a code to a vendor's list
//! of those needs the vendor's word for it.

mod dingtalk;
mod feishu;
mod slack;
mod template;
mod wecom;
mod words;

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;
use url::Url;

pub use self::template::check as check_template;
use self::words::Words;
use super::Outcome;
use crate::{
    app::App,
    clock::Millis,
    domain::{
        endpoint::{Endpoint, Webhook},
        event::Event,
        forwarder::{Format, Forwarder},
        instance::Instance,
    },
    error::{Error, Result},
    redact::Secret,
    sign,
};

const JSON: &str = "application/json";

/// A POST to be made.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    pub(super) answers: Answers,
}

/// How the endpoint says what has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// By the status alone.
    Status,
    /// A 2xx says nothing yet: its body does, as robots of this format have it.
    Body(Format),
}

/// An answer, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) outcome: Outcome,
    /// The endpoint takes nothing before that.
    pub(super) pause: Option<Duration>,
}

impl From<Outcome> for Reading {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, pause: None }
    }
}

impl Reading {
    /// Too many messages: none is taken for that long.
    fn throttled(pause: Duration) -> Self {
        Self { outcome: Outcome::Throttled, pause: Some(pause) }
    }
}

impl Answers {
    /// `body`: the first 4 KiB of it, which is all that a robot ever says.
    pub(super) fn read(self, status: u16, body: &[u8]) -> Reading {
        let by_status = Outcome::of_status(status);
        match self {
            Self::Body(Format::Wecom) if by_status == Outcome::Delivered => wecom::read(body),
            Self::Body(Format::Dingtalk) if by_status == Outcome::Delivered => dingtalk::read(body),
            Self::Body(Format::Feishu) if by_status == Outcome::Delivered => feishu::read(body),
            Self::Body(Format::Slack) => slack::read(by_status, body),
            Self::Body(_) | Self::Status => by_status.into(),
        }
    }
}

/// The number under `name` in a JSON answer; `None` if there is none.
fn code(body: &[u8], name: &str) -> Option<i64> {
    serde_json::from_slice::<Value>(body).ok()?.get(name)?.as_i64()
}

/// The call that tells the endpoint of the event. `None`: there is no URL to call.
pub(super) fn call(app: &App, instance: &Instance, endpoint: &str, event: &Event, at: Millis) -> Result<Option<Call>> {
    match Endpoint::find(app, instance, endpoint) {
        Some(Endpoint::Webhook(webhook)) => to_webhook(app, instance, webhook, event, at),
        Some(Endpoint::Forwarder(forwarder)) => to_forwarder(app, instance, forwarder, event, at),
        Some(Endpoint::Robot(url)) => {
            // It was checked when the configuration was read; the guard checks it again.
            let Ok(url) = url.reveal().parse() else { return Ok(None) };
            to_robot(Format::Wecom, url, None, &Words::of(instance, event), at).map(Some)
        }
        None => Ok(None),
    }
}

fn to_webhook(app: &App, instance: &Instance, webhook: &Webhook, event: &Event, at: Millis) -> Result<Option<Call>> {
    // It was checked when it was saved; the guard checks it again.
    let Some(url) = webhook.url.as_deref().and_then(|url| url.parse().ok()) else { return Ok(None) };
    let body = serde_json::to_vec(&event.webhook_body(&instance.id))?;
    let secrets = webhook.live_secrets(app, &instance.id)?;
    signed(url, JSON, body, &secrets, &event.id, at).map(Some)
}

fn to_forwarder(
    app: &App,
    instance: &Instance,
    forwarder: &Forwarder,
    event: &Event,
    at: Millis,
) -> Result<Option<Call>> {
    let Ok(url) = forwarder.open_url(app, &instance.id)?.reveal().parse() else { return Ok(None) };
    let secret = forwarder.open_secret(app, &instance.id)?;
    let words = Words::of(instance, event);
    if forwarder.format != Format::Template {
        return to_robot(forwarder.format, url, secret.as_ref(), &words, at).map(Some);
    }
    let kind = forwarder.content_type.as_deref().unwrap_or(JSON);
    let variables = template::variables(instance, event, &words);
    let body = template::render(forwarder.template.as_deref().unwrap_or_default(), kind, &variables);
    signed(url, kind, body.into_bytes(), secret.as_slice(), &event.id, at).map(Some)
}

/// A call that carries our signatures, if there is a secret, and its answer by its status.
fn signed(url: Url, kind: &str, body: Vec<u8>, secrets: &[Secret], id: &str, at: Millis) -> Result<Call> {
    let mut headers = content_type(kind)?;
    for (name, value) in sign::headers(secrets, id, at.seconds(), &body) {
        let value = HeaderValue::from_str(&value).map_err(Error::internal)?;
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(Call { url, headers, body, answers: Answers::Status })
}

fn to_robot(format: Format, mut url: Url, secret: Option<&Secret>, words: &Words, at: Millis) -> Result<Call> {
    let body = match format {
        Format::Wecom => wecom::body(&words.line),
        Format::Dingtalk => {
            if let Some(secret) = secret {
                dingtalk::sign(&mut url, secret, at);
            }
            dingtalk::body(&words.line)
        }
        Format::Feishu => feishu::body(&words.line, secret, at),
        Format::Slack => slack::body(&words.line),
        Format::Template => return Err(Error::internal("a template is no robot")),
    };
    let body = serde_json::to_vec(&body)?;
    Ok(Call { url, headers: content_type(JSON)?, body, answers: Answers::Body(format) })
}

fn content_type(kind: &str) -> Result<HeaderMap> {
    let value = HeaderValue::from_str(kind).map_err(Error::internal)?;
    Ok(HeaderMap::from_iter([(header::CONTENT_TYPE, value)]))
}

/// As much of the text as fits into so many bytes: robots refuse longer ones altogether.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    const MARK: &str = "…";
    let end = (0..=most - MARK.len()).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
    format!("{}{MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_is_no_success_decides() {
        for format in [Format::Wecom, Format::Dingtalk, Format::Feishu] {
            let reading = Answers::Body(format).read(502, br#"{"errcode":0,"code":0}"#);
            assert_eq!(reading, Outcome::ServerError.into(), "{format:?}");
            let reading = Answers::Body(format).read(200, b"<html>a proxy has something to say</html>");
            assert_eq!(reading, Outcome::Protocol.into(), "{format:?}");
        }
        assert_eq!(Answers::Status.read(200, b"whatever"), Outcome::Delivered.into());
        assert_eq!(Answers::Body(Format::Template).read(204, b""), Outcome::Delivered.into());
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("短", 3), "短");
        assert_eq!(cut("一二三", 8), "一…");
        assert_eq!(cut("abcdef", 5), "ab…");
    }
}
