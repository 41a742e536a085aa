//! Settings that are kept in Secrets Manager: one secret, a JSON object of names and values.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use shared::{
    Error, Result,
    config::{self, Source},
    domain::rotation::Secrets,
};

use crate::{error, sdk::Load, timeouts};

/// The secret of `SECRETS_ID`.
pub(crate) struct Stored {
    client: aws_sdk_secretsmanager::Client,
    id: String,
}

/// The secret that the environment names, if it names one.
pub(crate) async fn stored(load: Load) -> Option<Arc<Stored>> {
    let id = config::secrets_id()?;
    let config = aws_sdk_secretsmanager::config::Builder::from(&load().await)
        .retry_config(RetryConfig::standard().with_max_attempts(4).with_initial_backoff(Duration::from_millis(50)))
        .timeout_config(timeouts(Duration::from_secs(3), Duration::from_secs(8)))
        .build();
    Some(Arc::new(Stored { client: aws_sdk_secretsmanager::Client::from_conf(config), id }))
}

/// All settings: the environment, behind it the secret.
pub(crate) async fn source(stored: Option<&Arc<Stored>>) -> Result<Source> {
    let source = Source::new(None)?;
    match stored {
        Some(stored) => source.with(stored.load().await?),
        None => Ok(source),
    }
}

#[async_trait]
impl Secrets for Stored {
    async fn load(&self) -> Result<BTreeMap<String, String>> {
        let got = self.client.get_secret_value().secret_id(&self.id).send().await;
        let got = got.map_err(|failed| error::failure("GetSecretValue", &failed))?;
        // The text is not quoted in the error: it is the secret.
        let wrong = |_| Error::invalid("SECRETS_ID", "the secret of SECRETS_ID must be a JSON object of texts");
        let settings: BTreeMap<String, String> =
            serde_json::from_str(got.secret_string().unwrap_or_default()).map_err(wrong)?;
        Ok(settings.into_iter().filter(|(_, value)| !value.is_empty()).collect())
    }
}
