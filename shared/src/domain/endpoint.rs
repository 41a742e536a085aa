//! Endpoints: where events of an instance go. The webhook, the forwarders ([`super::forwarder`]), and for what a user hands
//! over to be forwarded, the deployment's own robot. Here also the webhook's settings: which events, how often to try, and
//! the secrets that sign.

use glob::Pattern;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    app::App,
    clock::Millis,
    domain::{event::Kind, forwarder::Forwarder, instance::Instance},
    error::Result,
    id::InstanceId,
    redact::{self, Secret},
};

/// The name of the one endpoint that seed 001 gives an instance.
pub const WEBHOOK: &str = "webhook";
/// The name of the WeCom robot of the deployment (`WECOM_ROBOT_KEY`).
pub const ROBOT: &str = "robot";

/// How long an old secret still signs after a rotation.
pub const OLD_SECRET_MS: i64 = 86_400_000;

/// How often to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// Attempts after the first: 0–20.
    pub max_retries: u32,
    /// Milliseconds before the first of them, doubling: 1,000–86,400,000.
    pub retry_interval: u64,
}

impl Default for Pacing {
    fn default() -> Self {
        Self { max_retries: 3, retry_interval: 60_000 }
    }
}

/// What an endpoint's name stands for.
#[derive(Debug, Clone, Copy)]
pub enum Endpoint<'a> {
    Webhook(&'a Webhook),
    Forwarder(&'a Forwarder),
    /// The robot's URL, key included.
    Robot(&'a Secret),
}

impl<'a> Endpoint<'a> {
    /// `None`: there is no such endpoint, or no more.
    pub fn find(app: &'a App, instance: &'a Instance, name: &str) -> Option<Self> {
        match name {
            WEBHOOK => Some(Self::Webhook(&instance.webhook)),
            ROBOT => app.config.wecom_robot.as_ref().map(Self::Robot),
            _ => {
                let id = Forwarder::id_of(name)?;
                instance.forwarders.iter().find(|forwarder| forwarder.id == id).map(Self::Forwarder)
            }
        }
    }

    pub fn is_on(self) -> bool {
        match self {
            Self::Webhook(webhook) => webhook.enabled && webhook.url.is_some(),
            Self::Forwarder(forwarder) => forwarder.enabled,
            Self::Robot(_) => true,
        }
    }

    pub fn wants(self, kind: Kind, data: &Value) -> bool {
        match self {
            Self::Webhook(webhook) => webhook.wants(kind, data),
            Self::Forwarder(forwarder) => forwarder.wants(kind, data),
            Self::Robot(_) => is_for_robot(kind, data),
        }
    }

    pub fn pacing(self) -> Pacing {
        match self {
            Self::Webhook(webhook) => webhook.pacing(),
            Self::Forwarder(forwarder) => forwarder.pacing(),
            Self::Robot(_) => Pacing::default(),
        }
    }

    /// Scheme and host; `""` without a URL.
    pub fn shown_url(self) -> String {
        let shown = |text: &str| text.parse().ok().as_ref().map(redact::url).unwrap_or_default();
        match self {
            Self::Webhook(webhook) => webhook.url.as_deref().map(shown).unwrap_or_default(),
            Self::Forwarder(forwarder) => forwarder.shown_url.clone(),
            Self::Robot(url) => shown(url.reveal()),
        }
    }
}

fn is_for_robot(kind: Kind, data: &Value) -> bool {
    kind == Kind::ForwardedMessage && data["endpoint"] == ROBOT
}

/// Names of the endpoints that an event goes to, as the settings are now.
pub fn wanting(instance: &Instance, kind: Kind, data: &Value) -> Vec<String> {
    let webhook = instance.webhook.wants(kind, data).then(|| WEBHOOK.to_owned());
    let robot = is_for_robot(kind, data).then(|| ROBOT.to_owned());
    let forwarders =
        instance.forwarders.iter().filter(|forwarder| forwarder.wants(kind, data)).map(Forwarder::endpoint);
    webhook.into_iter().chain(forwarders).chain(robot).collect()
}

/// Whether one of the globs names the event. Of a history of thousands of pages no endpoint is told.
pub(super) fn any_glob(globs: &[String], kind: Kind) -> bool {
    kind != Kind::HistorySynced
        && globs
            .iter()
            .any(|glob| glob == kind.name() || Pattern::new(glob).is_ok_and(|glob| glob.matches(kind.name())))
}

/// A signing secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SealedSecret {
    /// Sealed (`Keyring::seal`, context `{instance}/webhook`).
    pub sealed: String,
    /// Set when a newer one took over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Millis>,
}

/// Webhook settings, part of the instance's row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    #[serde(default)]
    pub url: Option<String>,
    pub enabled: bool,
    pub notify_received: bool,
    pub notify_sent: bool,
    pub notify_delivery: bool,
    pub notify_read: bool,
    /// Attempts after the first: 0–20.
    pub max_retries: u32,
    /// Milliseconds before the first of them, doubling: 1,000–86,400,000.
    pub retry_interval: u64,
    /// Globs over event names; absent: the events of seed 001.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<String>>,
    /// Newest first.
    #[serde(default)]
    pub secrets: Vec<SealedSecret>,
    /// Why we switched it off (410, five days of failures only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled_reason: Option<String>,
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            url: None,
            enabled: false,
            notify_received: true,
            notify_sent: true,
            notify_delivery: false,
            notify_read: false,
            max_retries: Pacing::default().max_retries,
            retry_interval: Pacing::default().retry_interval,
            events: None,
            secrets: Vec::new(),
            disabled_reason: None,
        }
    }
}

impl Webhook {
    /// Whether an event goes to this endpoint: the notify flags and the globs must both allow it (spec/http.md,
    /// "Webhooks out").
    pub fn wants(&self, kind: Kind, data: &Value) -> bool {
        if !self.enabled || self.url.is_none() {
            return false;
        }
        let flag = match kind {
            Kind::MessageReceived => self.notify_received,
            Kind::MessageSent => self.notify_sent,
            Kind::MessageStatus if data["status"] == "read" => self.notify_read,
            Kind::MessageStatus => self.notify_delivery,
            _ => true,
        };
        flag && match &self.events {
            None => kind.in_seed(),
            Some(globs) => any_glob(globs, kind),
        }
    }

    pub fn pacing(&self) -> Pacing {
        Pacing { max_retries: self.max_retries, retry_interval: self.retry_interval }
    }

    /// The secrets that sign now, newest first.
    pub fn live_secrets(&self, app: &App, instance: &InstanceId) -> Result<Vec<Secret>> {
        let now = app.clock.now();
        self.secrets
            .iter()
            .filter(|secret| secret.until.is_none_or(|until| now < until))
            .map(|secret| app.keyring.open_text(&format!("{instance}/webhook"), &secret.sealed))
            .collect()
    }

    /// Puts a new secret in front; the one before signs for another day.
    pub fn rotate(&mut self, app: &App, instance: &InstanceId, secret: &str) -> Result<()> {
        let now = app.clock.now();
        let sealed = app.keyring.seal(&format!("{instance}/webhook"), secret)?;
        self.secrets.truncate(1);
        for old in &mut self.secrets {
            old.until = Some(Millis(now.0 + OLD_SECRET_MS));
        }
        self.secrets.insert(0, SealedSecret { sealed, until: None });
        Ok(())
    }
}
