//! Logs: JSON lines for machines, a pretty form for a terminal. They carry ids, never contents.

use std::io::IsTerminal as _;

use shared::config::{Config, LogFormat};
use tracing_subscriber::{EnvFilter, fmt};

/// Starts logging to standard error. `RUST_LOG` filters; `info` by default.
pub(crate) fn start(config: &Config) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let pretty = LogFormat::Pretty;
    let json = LogFormat::Json;
    let format = config.log_format.unwrap_or(if std::io::stderr().is_terminal() { pretty } else { json });
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start within one process (tests) keeps the first subscriber.
    let started = match format {
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        LogFormat::Pretty => builder.compact().try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before");
    }
}
