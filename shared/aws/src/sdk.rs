//! Where the SDK finds region, credentials and endpoints: [`anywhere`] for workers and developers, [`environment`] for functions.

use std::{sync::OnceLock, time::Duration};

use aws_config::{BehaviorVersion, Region, SdkConfig, environment::EnvironmentVariableCredentialsProvider};
use aws_sdk_dynamodb::config::SharedCredentialsProvider;
use aws_smithy_http_client::{
    Connector,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};
use futures_util::future::BoxFuture;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_millis(1500);

/// One of the two.
pub(crate) type Load = fn() -> BoxFuture<'static, SdkConfig>;

/// Wherever the SDK knows to look: the environment, files, the container, the machine, other accounts' roles.
pub(crate) fn anywhere() -> BoxFuture<'static, SdkConfig> {
    Box::pin(aws_config::defaults(BehaviorVersion::latest()).http_client(http()).load())
}

/// In the environment only, since Lambda puts everything there. The other ways, with their services' clients, would be a good
/// part of a function.
pub(crate) fn environment() -> BoxFuture<'static, SdkConfig> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
        .region(variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION")).map(Region::new))
        .service_config(OfService)
        .http_client(http());
    if let Some(endpoint) = variable("AWS_ENDPOINT_URL") {
        config = config.endpoint_url(endpoint);
    }
    let config = config.build();
    Box::pin(async { config })
}

/// One connector for the clients of all services. Left alone, each client makes its own and one more to try it, and every one
/// of them reads all root certificates.
pub(crate) fn http() -> SharedHttpClient {
    let connector: OnceLock<SharedHttpConnector> = OnceLock::new();
    http_client_fn(move |_, components| {
        let make = || {
            let settings = HttpConnectorSettings::builder().connect_timeout(CONNECT).build();
            let mut builder = Connector::builder().connector_settings(settings);
            builder.set_sleep_impl(components.sleep_impl());
            SharedHttpConnector::new(builder.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build())
        };
        connector.get_or_init(make).clone()
    })
}

/// Settings of one service: `AWS_ENDPOINT_URL_DYNAMODB`.
#[derive(Debug)]
struct OfService;

impl LoadServiceConfig for OfService {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        std::env::var(variable(key.env(), key.service_id())).ok().filter(|value| !value.is_empty())
    }
}

fn variable(name: &str, service: &str) -> String {
    format!("{name}_{}", service.to_ascii_uppercase().replace(' ', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_variables_of_their_own() {
        assert_eq!(variable("AWS_ENDPOINT_URL", "DynamoDB"), "AWS_ENDPOINT_URL_DYNAMODB");
        assert_eq!(variable("AWS_ENDPOINT_URL", "Secrets Manager"), "AWS_ENDPOINT_URL_SECRETS_MANAGER");
    }
}
