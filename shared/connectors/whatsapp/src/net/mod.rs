//! The way to WhatsApp: sockets, the proxy of an instance, TLS.
//!
//! The address of WhatsApp is the deployment's configuration. A proxy is what a user gave, so its host goes through the guard.

mod http;
mod socket;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use hyper_util::{
    client::legacy::connect::proxy::{SocksV5, Tunnel},
    rt::TokioIo,
};
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use shared::{guard::Guard, redact::Secret};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tower::Service as _;
use url::{Host, Url};

pub(crate) use self::{http::Http, socket::Sockets};

/// From the first packet to the last of the handshake with proxy and TLS.
const CONNECT: Duration = Duration::from_secs(20);

/// A stream of bytes, whatever it goes through.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Https,
    Socks,
}

/// A user's proxy.
#[derive(Debug, Clone)]
struct Proxy {
    url: Url,
    kind: Kind,
}

/// How connections are made for one account. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Road {
    guard: Guard,
    proxy: Option<Proxy>,
    tls: Arc<rustls::ClientConfig>,
}

/// Trust of the system, made once for all accounts.
pub(crate) fn tls() -> Result<Arc<rustls::ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl Road {
    /// Errors: `proxy` is no URL of a proxy.
    pub(crate) fn new(guard: Guard, proxy: Option<&Secret>, tls: Arc<rustls::ClientConfig>) -> Result<Self> {
        let proxy = proxy.map(|proxy| Proxy::read(proxy.reveal())).transpose()?;
        Ok(Self { guard, proxy, tls })
    }

    /// A connection to this host, directly or through the proxy, encrypted if it shall be.
    pub(crate) async fn connect(&self, host: &str, port: u16, encrypted: bool) -> Result<Box<dyn Stream>> {
        let connecting = async {
            let stream: Box<dyn Stream> = match &self.proxy {
                None => Box::new(direct((host, port)).await?),
                Some(proxy) => self.through(proxy, host, port).await?,
            };
            if encrypted { self.encrypt(host, stream).await } else { Ok(stream) }
        };
        tokio::time::timeout(CONNECT, connecting).await.context("no connection in time")?
    }

    async fn encrypt(&self, host: &str, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>> {
        let name = ServerName::try_from(host.to_owned()).context("not a name that a certificate has")?;
        let stream = tokio_rustls::TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        Ok(Box::new(stream))
    }

    async fn through(&self, proxy: &Proxy, host: &str, port: u16) -> Result<Box<dyn Stream>> {
        let tcp = self.to_proxy(proxy).await?;
        let name = proxy.url.host_str().unwrap_or_default();
        let stream: Box<dyn Stream> =
            if proxy.kind == Kind::Https { self.encrypt(name, Box::new(tcp)).await? } else { Box::new(tcp) };
        // The connectors below connect by themselves; what they get is the connection that is there already.
        let mut ready = Some(TokioIo::new(stream));
        let connected = tower::service_fn(move |_: ::http::Uri| {
            let stream = ready.take().ok_or_else(|| std::io::Error::other("connected once"));
            std::future::ready(stream)
        });
        let unused: ::http::Uri = "http://proxy".parse()?;
        let target: ::http::Uri = format!("http://{host}:{port}").parse()?;
        let user = percent_encoding::percent_decode_str(proxy.url.username()).decode_utf8_lossy().into_owned();
        let password = proxy.url.password().unwrap_or_default();
        let password = percent_encoding::percent_decode_str(password).decode_utf8_lossy().into_owned();
        let stream = if proxy.kind == Kind::Socks {
            let mut socks = SocksV5::new(unused, connected);
            if !user.is_empty() {
                socks = socks.with_auth(user, password);
            }
            socks.call(target).await.map_err(|error| anyhow!("the proxy refused: {error}"))?
        } else {
            let mut tunnel = Tunnel::new(unused, connected);
            if !user.is_empty() {
                use base64::Engine as _;
                let basic = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                let mut value: ::http::HeaderValue = format!("Basic {basic}").parse()?;
                value.set_sensitive(true);
                tunnel = tunnel.with_auth(value);
            }
            tunnel.call(target).await.map_err(|error| anyhow!("the proxy refused: {error}"))?
        };
        Ok(Box::new(stream.into_inner()))
    }

    async fn to_proxy(&self, proxy: &Proxy) -> Result<TcpStream> {
        let addresses = self.proxy_addresses(proxy).await?;
        let addresses: Vec<SocketAddr> = addresses.into_iter().map(|ip| SocketAddr::new(ip, proxy.port())).collect();
        direct(&addresses[..]).await
    }

    async fn proxy_addresses(&self, proxy: &Proxy) -> Result<Vec<IpAddr>> {
        let host = proxy.url.host_str().unwrap_or_default();
        self.guard.resolve(host).await.map_err(|failure| anyhow!("the proxy may not be used: {failure}"))
    }
}

async fn direct(to: impl tokio::net::ToSocketAddrs) -> Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Proxy {
    fn read(text: &str) -> Result<Self> {
        let url = Url::parse(text).context("the proxy is no URL")?;
        let kind = match url.scheme() {
            "http" => Kind::Http,
            "https" => Kind::Https,
            "socks5" | "socks5h" => Kind::Socks,
            _ => bail!("the proxy is not http, https or socks5"),
        };
        if url.host().is_none() {
            bail!("the proxy has no host");
        }
        Ok(Self { url, kind })
    }

    fn port(&self) -> u16 {
        let usual = match self.kind {
            Kind::Http => 80,
            Kind::Https => 443,
            Kind::Socks => 1080,
        };
        self.url.port().unwrap_or(usual)
    }
}

/// Whether a host is this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}
