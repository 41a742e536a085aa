//! Forwarders: endpoints of an instance beside its webhook. What happens is told in the form that somebody else's software
//! takes: the group robots of WeCom, DingTalk and Feishu, Slack, or a body after a template of the user's.
//!
//! They go the way of every delivery ([`crate::webhook`]); how a call looks and what its answer means is in
//! `crate::webhook::format`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use crate::{
    app::App,
    clock::Millis,
    domain::{
        endpoint::{self, Pacing},
        event::Kind,
    },
    error::Result,
    id::InstanceId,
    redact::{self, Secret},
};

/// Forwarders of one instance at the most: they are part of its row, which every delivery reads.
pub const MOST: usize = 10;
/// Endpoint names of forwarders begin with this, followed by the id.
const PREFIX: &str = "fw-";

/// Whose form a forwarder uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Wecom,
    Dingtalk,
    Feishu,
    Slack,
    /// A body of the user's making.
    Template,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::Wecom => "wecom",
            Self::Dingtalk => "dingtalk",
            Self::Feishu => "feishu",
            Self::Slack => "slack",
            Self::Template => "template",
        }
    }

    /// Where a robot with this key is called; `None` where there is no such thing as a key. `base`: another address than
    /// the vendor's.
    pub fn url_of_key(self, base: Option<&Url>, key: &str) -> Option<Url> {
        let (vendor, parameter) = match self {
            Self::Wecom => ("https://qyapi.weixin.qq.com/cgi-bin/webhook/send", Some("key")),
            Self::Dingtalk => ("https://oapi.dingtalk.com/robot/send", Some("access_token")),
            Self::Feishu => ("https://open.feishu.cn/open-apis/bot/v2/hook/", None),
            Self::Slack | Self::Template => return None,
        };
        let mut url = match base {
            Some(base) => base.clone(),
            None => Url::parse(vendor).ok()?,
        };
        match parameter {
            Some(parameter) => {
                let rest: Vec<(String, String)> =
                    url.query_pairs().into_owned().filter(|(name, _)| name != parameter).collect();
                url.query_pairs_mut().clear().extend_pairs(rest).append_pair(parameter, key);
            }
            None => {
                url.path_segments_mut().ok()?.pop_if_empty().push(key);
            }
        }
        Some(url)
    }
}

/// A forwarder, part of the instance's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forwarder {
    pub id: String,
    #[serde(rename = "type")]
    pub format: Format,
    pub name: String,
    /// Sealed (`Keyring::seal`, context `{instance}/{endpoint}/url`): robots' URLs hold their keys.
    pub url: String,
    /// Scheme and host of it.
    pub shown_url: String,
    /// Sealed (`{instance}/{endpoint}/secret`): signs the calls, where the format has signatures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Globs over event names.
    pub events: Vec<String>,
    pub enabled: bool,
    /// Attempts after the first: 0–20.
    pub max_retries: u32,
    /// Milliseconds before the first of them, doubling: 1,000–86,400,000.
    pub retry_interval: u64,
    /// Why we switched it off (410, five days of failures only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
    /// Of the body, for a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    pub created_at: Millis,
    pub updated_at: Millis,
}

impl Forwarder {
    /// One that is on, with the usual settings; its URL is still to be set.
    pub fn new(id: String, format: Format, now: Millis) -> Self {
        let pacing = Pacing::default();
        Self {
            id,
            format,
            name: format.name().into(),
            url: String::new(),
            shown_url: String::new(),
            secret: None,
            events: vec![Kind::MessageReceived.name().into()],
            enabled: true,
            max_retries: pacing.max_retries,
            retry_interval: pacing.retry_interval,
            disabled_reason: None,
            content_type: None,
            template: None,
            created_at: now,
            updated_at: now,
        }
    }

    /// What dispatch messages and delivery records call it.
    pub fn endpoint(&self) -> String {
        format!("{PREFIX}{}", self.id)
    }

    /// The id in an endpoint's name; `None` for other endpoints.
    pub fn id_of(endpoint: &str) -> Option<&str> {
        endpoint.strip_prefix(PREFIX)
    }

    /// Whether an event goes there: its globs allow it, or it was made for this very forwarder.
    pub fn wants(&self, kind: Kind, data: &Value) -> bool {
        let made_for_it = || kind == Kind::ForwardedMessage && data["endpoint"] == self.endpoint();
        self.enabled && (endpoint::any_glob(&self.events, kind) || made_for_it())
    }

    pub fn pacing(&self) -> Pacing {
        Pacing { max_retries: self.max_retries, retry_interval: self.retry_interval }
    }

    pub fn set_url(&mut self, app: &App, instance: &InstanceId, url: &Url) -> Result<()> {
        self.url = app.keyring.seal(&self.context(instance, "url"), url.as_str())?;
        self.shown_url = redact::url(url);
        Ok(())
    }

    pub fn open_url(&self, app: &App, instance: &InstanceId) -> Result<Secret> {
        app.keyring.open_text(&self.context(instance, "url"), &self.url)
    }

    pub fn set_secret(&mut self, app: &App, instance: &InstanceId, secret: Option<&str>) -> Result<()> {
        let context = self.context(instance, "secret");
        self.secret = secret.map(|secret| app.keyring.seal(&context, secret)).transpose()?;
        Ok(())
    }

    pub fn open_secret(&self, app: &App, instance: &InstanceId) -> Result<Option<Secret>> {
        let context = self.context(instance, "secret");
        self.secret.as_deref().map(|sealed| app.keyring.open_text(&context, sealed)).transpose()
    }

    fn context(&self, instance: &InstanceId, what: &str) -> String {
        format!("{instance}/{}/{what}", self.endpoint())
    }

    /// As users see it: never the secret, and no more of the URL than its host.
    pub fn view(&self) -> Value {
        json!({
            "id": self.id,
            "type": self.format,
            "name": self.name,
            "endpoint": self.endpoint(),
            "url": self.shown_url,
            "hasSecret": self.secret.is_some(),
            "events": self.events,
            "enabled": self.enabled,
            "maxRetries": self.max_retries,
            "retryInterval": self.retry_interval,
            "disabledReason": self.disabled_reason,
            "contentType": self.content_type,
            "template": self.template,
            "createdAt": self.created_at.iso(),
            "updatedAt": self.updated_at.iso(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(format: Format, base: Option<&str>, key: &str) -> String {
        let base = base.map(|base| Url::parse(base).expect("a URL"));
        format.url_of_key(base.as_ref(), key).expect("has keys").into()
    }

    #[test]
    fn keys_make_urls() {
        assert_eq!(url(Format::Wecom, None, "a-b"), "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=a-b");
        assert_eq!(url(Format::Dingtalk, None, "x&y"), "https://oapi.dingtalk.com/robot/send?access_token=x%26y");
        assert_eq!(url(Format::Feishu, None, "t/1"), "https://open.feishu.cn/open-apis/bot/v2/hook/t%2F1");
        assert_eq!(url(Format::Wecom, Some("http://127.0.0.1:9/send?debug=1&key=old"), "new"), {
            "http://127.0.0.1:9/send?debug=1&key=new"
        });
        assert_eq!(Format::Slack.url_of_key(None, "x"), None);
    }

    #[test]
    fn events_are_wanted_by_glob_or_by_name() {
        let mut forwarder = Forwarder::new("1".into(), Format::Wecom, Millis(0));
        let to_it = json!({ "endpoint": "fw-1" });
        assert!(forwarder.wants(Kind::MessageReceived, &json!({})));
        assert!(!forwarder.wants(Kind::MessageSent, &json!({})));
        assert!(forwarder.wants(Kind::ForwardedMessage, &to_it));
        assert!(!forwarder.wants(Kind::ForwardedMessage, &json!({ "endpoint": "fw-2" })));
        assert!(!forwarder.wants(Kind::MessageSent, &to_it), "events of ours do not name their endpoints");
        forwarder.events = vec!["message_*".into()];
        assert!(forwarder.wants(Kind::MessageSent, &json!({})));
        forwarder.enabled = false;
        assert!(!forwarder.wants(Kind::MessageSent, &json!({})) && !forwarder.wants(Kind::ForwardedMessage, &to_it));
    }
}
