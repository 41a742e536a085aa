//! Secrets that cannot be printed. Logs carry ids, never contents: no bodies, tokens, keys or phone numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A text that is never shown by `Debug` or `Display`; it serialises as itself, since configuration and stores need it.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A URL as logs may show it: scheme and host, without user, path and query, which often hold secrets.
pub fn url(url: &url::Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "[redacted]");
        let parsed: url::Url = "https://u:p@example.com/hook?token=1".parse().expect("a URL");
        assert_eq!(url(&parsed), "https://example.com");
    }
}
