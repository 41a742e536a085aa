//! The webhook of an instance: where events go, which of them, how often to try, and the secrets that sign.

use globset::GlobBuilder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{app::App, clock::Millis, domain::event::Kind, error::Result, id::InstanceId, redact::Secret};

/// The name of the one endpoint that seed 001 gives an instance.
pub const WEBHOOK: &str = "webhook";

/// How long an old secret still signs after a rotation.
pub const OLD_SECRET_MS: i64 = 86_400_000;

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
            max_retries: 3,
            retry_interval: 60_000,
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
            Some(globs) => globs.iter().any(|glob| {
                GlobBuilder::new(glob).build().is_ok_and(|glob| glob.compile_matcher().is_match(kind.name()))
            }),
        }
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
