//! Open mode: what is open on a developer's machine and closed everywhere else (spec/http.md, "Open mode").

use std::{convert::Infallible, net::IpAddr};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, Uri, header, request::Parts},
};

use super::auth::peer_ip;
use crate::{app::AppState, config::Config};

/// Whether this request comes from the developer's own machine, to a server that only listens there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenMode(pub bool);

impl FromRequestParts<AppState> for OpenMode {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Infallible> {
        let near = peer_ip(&parts.extensions).is_none_or(|peer| peer.to_canonical().is_loopback());
        Ok(Self(near && is_open(&app.config, &parts.uri, &parts.headers)))
    }
}

/// The server listens on loopback only, and the request has a loopback `Host`, no `Forwarded` or `X-Forwarded-*` header, and
/// no `Origin` but the server's own. So neither a proxy on the same machine nor a web page in the developer's browser, be it
/// by DNS rebinding, is let in.
pub fn is_open(config: &Config, uri: &Uri, headers: &HeaderMap) -> bool {
    if !config.listens_on_loopback() {
        return false;
    }
    let forwarded = headers.keys().any(|name| name == header::FORWARDED || name.as_str().starts_with("x-forwarded-"));
    let host = match (uri.authority(), headers.get(header::HOST)) {
        (Some(authority), _) => authority.as_str(),
        (None, Some(host)) => host.to_str().unwrap_or_default(),
        (None, None) => "",
    };
    let own_origin = headers.get_all(header::ORIGIN).iter().all(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        origin.strip_prefix("http://").is_some_and(|rest| rest.eq_ignore_ascii_case(host))
    });
    !forwarded && is_loopback_host(host) && own_origin
}

/// `localhost` or a loopback address, with or without a port.
fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;
    use crate::config::Source;

    fn open(listen: &str, pairs: &[(&'static str, &'static str)]) -> bool {
        let source = Source::new(Some(&format!("LISTEN_ADDR = '{listen}'"))).expect("reads");
        let config = Config::load(&source).expect("loads");
        let headers = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        is_open(&config, &Uri::from_static("/x"), &headers)
    }

    #[test]
    fn only_the_developer_is_let_in() {
        let local = "127.0.0.1:8070";
        for host in ["localhost:8070", "127.0.0.1:8070", "[::1]:8070", "LOCALHOST", "127.1.2.3"] {
            assert!(open(local, &[("host", host)]), "{host}");
        }
        for host in ["example.com", "localhost.example.com", "10.0.0.1:8070", "", "[::2]:1"] {
            assert!(!open(local, &[("host", host)]), "{host}");
        }
        assert!(!open("0.0.0.0:8070", &[("host", "localhost")]));
        assert!(!open(local, &[("host", "localhost"), ("x-forwarded-for", "127.0.0.1")]));
        assert!(!open(local, &[("host", "localhost"), ("forwarded", "for=127.0.0.1")]));
        assert!(!open(local, &[("host", "localhost:8070"), ("origin", "https://example.com")]));
        assert!(!open(local, &[("host", "localhost:8070"), ("origin", "null")]));
        assert!(!open(local, &[("host", "localhost:8070"), ("origin", "http://localhost:3000")]));
        assert!(open(local, &[("host", "localhost:8070"), ("origin", "http://localhost:8070")]));
    }
}
