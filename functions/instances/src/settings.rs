//! The settings of an instance as POST and PUT take them: seed 001's flat webhook fields and its nested `webhookSettings`
//! both, in both.

use glob::Pattern;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use shared::{
    Error, Result,
    app::App,
    domain::{
        compose,
        instance::{Instance, Limits},
    },
    edge::object,
};

/// An explicit `null` is not the same as nothing.
pub(crate) fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Settings {
    #[serde(deserialize_with = "nullable")]
    pub(crate) name: Option<Option<String>>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) description: Option<Option<String>>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) webhook_url: Option<Option<String>>,
    pub(crate) webhook_enabled: Option<bool>,
    notify_received: Option<bool>,
    notify_sent: Option<bool>,
    notify_delivery: Option<bool>,
    notify_read: Option<bool>,
    max_retries: Option<u32>,
    retry_interval: Option<u64>,
    pub(crate) webhook_secret: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) webhook_events: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "object::optional")]
    pub(crate) webhook_settings: Option<Nested>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) credentials: Option<Option<Value>>,
    #[serde(deserialize_with = "nullable")]
    pub(crate) proxy_url: Option<Option<String>>,
    #[serde(deserialize_with = "object::nullable")]
    pub(crate) limits: Option<Option<Limits>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Nested {
    notify_received: Option<bool>,
    notify_sent: Option<bool>,
    notify_delivery: Option<bool>,
    notify_read: Option<bool>,
    max_retries: Option<u32>,
    retry_interval: Option<u64>,
    secret: Option<String>,
    events: Option<Vec<String>>,
}

/// What both spellings have in common.
struct Flags {
    notify_received: Option<bool>,
    notify_sent: Option<bool>,
    notify_delivery: Option<bool>,
    notify_read: Option<bool>,
    max_retries: Option<u32>,
    retry_interval: Option<u64>,
}

impl Flags {
    fn apply(&self, instance: &mut Instance) -> Result<()> {
        let webhook = &mut instance.webhook;
        let set = |flag: &mut bool, value: Option<bool>| *flag = value.unwrap_or(*flag);
        set(&mut webhook.notify_received, self.notify_received);
        set(&mut webhook.notify_sent, self.notify_sent);
        set(&mut webhook.notify_delivery, self.notify_delivery);
        set(&mut webhook.notify_read, self.notify_read);
        if let Some(given) = self.max_retries {
            webhook.max_retries = retries(given)?;
        }
        if let Some(given) = self.retry_interval {
            webhook.retry_interval = retry_interval(given)?;
        }
        Ok(())
    }
}

/// Attempts after the first.
pub(crate) fn retries(given: u32) -> Result<u32> {
    if given > 20 {
        return Err(Error::invalid("maxRetries", "maxRetries must be 0 to 20"));
    }
    Ok(given)
}

/// Milliseconds before the first of them.
pub(crate) fn retry_interval(given: u64) -> Result<u64> {
    if !(1_000..=86_400_000).contains(&given) {
        return Err(Error::invalid("retryInterval", "retryInterval must be 1000 to 86400000 milliseconds"));
    }
    Ok(given)
}

impl Settings {
    /// Checks everything that is given and puts it into the instance. What is not given stays.
    pub(crate) fn apply(self, app: &App, instance: &mut Instance) -> Result<()> {
        if let Some(name) = &self.name {
            instance.name = name_of(name.as_deref().unwrap_or_default())?;
        }
        if let Some(description) = self.description {
            instance.description = compose::optional("description", description, 1000)?;
        }
        if let Some(url) = self.webhook_url {
            instance.webhook.url = match url.filter(|url| !url.is_empty()) {
                Some(url) => Some(app.guard.check_url(&url, "webhookUrl")?.to_string()),
                None => None,
            };
            // A new address is a new chance; without one there is nothing to enable.
            instance.webhook.enabled = instance.webhook.url.is_some();
            instance.webhook.disabled_reason = None;
        }
        if let Some(enabled) = self.webhook_enabled {
            instance.webhook.enabled = enabled;
            if enabled {
                instance.webhook.disabled_reason = None;
            }
        }
        Flags {
            notify_received: self.notify_received,
            notify_sent: self.notify_sent,
            notify_delivery: self.notify_delivery,
            notify_read: self.notify_read,
            max_retries: self.max_retries,
            retry_interval: self.retry_interval,
        }
        .apply(instance)?;
        let mut secret = self.webhook_secret;
        if let Some(nested) = self.webhook_settings {
            Flags {
                notify_received: nested.notify_received,
                notify_sent: nested.notify_sent,
                notify_delivery: nested.notify_delivery,
                notify_read: nested.notify_read,
                max_retries: nested.max_retries,
                retry_interval: nested.retry_interval,
            }
            .apply(instance)?;
            secret = nested.secret.or(secret);
            if let Some(events) = nested.events {
                instance.webhook.events = Some(globs("webhookEvents", events)?);
            }
        }
        if let Some(events) = self.webhook_events {
            instance.webhook.events = events.map(|events| globs("webhookEvents", events)).transpose()?;
        }
        // An empty secret keeps the old one, as in the original.
        if let Some(secret) = compose::optional("webhookSecret", secret, 255)? {
            instance.webhook.rotate(app, &instance.id.clone(), &secret)?;
        }
        if let Some(credentials) = self.credentials {
            instance.credentials = match credentials {
                Some(Value::Object(credentials)) => {
                    let text = Value::Object(credentials).to_string();
                    if text.len() > 16_384 {
                        return Err(Error::invalid("credentials", "credentials must have at most 16 KiB"));
                    }
                    Some(app.keyring.seal(&format!("{}/credentials", instance.id), text)?)
                }
                Some(_) => return Err(Error::invalid("credentials", "credentials must be an object")),
                None => None,
            };
        }
        if let Some(proxy) = self.proxy_url {
            instance.proxy = match proxy.filter(|url| !url.is_empty()) {
                Some(url) => Some(app.keyring.seal(&format!("{}/proxy", instance.id), proxy_of(&url)?)?),
                None => None,
            };
        }
        if let Some(limits) = self.limits {
            if limits
                .as_ref()
                .and_then(|limits| limits.time_window_hours)
                .is_some_and(|hours| !(1..=720).contains(&hours))
            {
                return Err(Error::invalid("limits.timeWindowHours", "timeWindowHours must be 1 to 720"));
            }
            instance.limits = limits;
        }
        Ok(())
    }
}

/// A name: 1 to 100 characters.
fn name_of(text: &str) -> Result<String> {
    let name = text.trim();
    if name.is_empty() {
        return Err(Error::invalid("name", "Name is required"));
    }
    compose::text("name", name, 100)
}

/// Globs over event names.
pub(crate) fn globs(field: &'static str, globs: Vec<String>) -> Result<Vec<String>> {
    if globs.len() > 50 {
        return Err(Error::invalid(field, format!("{field} must have at most 50 entries")));
    }
    for glob in &globs {
        if glob.is_empty() || glob.len() > 100 || Pattern::new(glob).is_err() {
            return Err(Error::invalid(field, format!("{field} must be event names or globs such as message_*")));
        }
    }
    Ok(globs)
}

fn proxy_of(text: &str) -> Result<String> {
    let url = url::Url::parse(text).map_err(|_| Error::invalid("proxyUrl", "proxyUrl must be a URL"))?;
    if !matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h") || url.host().is_none() || text.len() > 2048 {
        return Err(Error::invalid("proxyUrl", "proxyUrl must be http, https, socks5 or socks5h"));
    }
    Ok(url.to_string())
}
