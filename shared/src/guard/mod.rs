//! The one door out: every URL that a user gave (webhook, media) is checked and requested here, and nowhere else
//! (invariant 9). Scheme and literal addresses are checked when a URL is saved and again when it is used, names when they
//! are resolved for the connection, redirects hop by hop; the deadline covers all of it to the last byte, and no answer is
//! read beyond its cap. What an answer means, and whether to try again, is decided by the callers.

mod failure;
mod net;
mod policy;
mod resolve;
#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::{HeaderMap, header};
use reqwest::redirect;
use tokio::time::{Instant as Deadline, timeout_at};
use url::{Host, Url};

use self::resolve::Resolver;
pub use self::{
    failure::Failure,
    net::{Class, classify},
    policy::{Policy, Rule},
    resolve::Lookup,
};
use crate::{
    clock::Millis,
    error::{Error, Result},
};

/// Longest URL taken, in bytes: room for a pre-signed link with a session token in it.
pub const MAX_URL: usize = 8_192;
/// Most headers of an answer, and most bytes in them.
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Redirects followed by `fetch`, each checked like the first URL.
const MAX_HOPS: usize = 3;
/// An idle connection was checked when it was opened; it is not kept for much longer than a DNS answer would be.
const IDLE: Duration = Duration::from_secs(30);
const IDLE_PER_HOST: usize = 4;

/// A POST to a user's server.
#[derive(Debug, Clone)]
pub struct Request {
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// From now to the last byte of the answer.
    pub deadline: Duration,
    /// Bytes of the answer's body that are read at most; after them the connection is dropped.
    pub max_answer: usize,
    /// Bytes of the answer's body that are kept.
    pub keep: usize,
}

/// What came back, whatever its status: a 3xx is an answer like any other.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// `Retry-After`, as a time from now.
    pub retry_after: Option<Duration>,
    /// The first `keep` bytes of the body.
    pub body: Bytes,
    /// There was more than `max_answer` bytes of it.
    pub cut_off: bool,
    /// From the start of the request to the end of the answer.
    pub duration: Duration,
}

/// Content that is being downloaded.
pub struct Fetched {
    /// The `Content-Type` header, if it is readable.
    pub content_type: Option<String>,
    /// The declared length in bytes. Not to be relied on.
    pub length: Option<u64>,
    /// The content. Ends with an error if the deadline passes, the cap is reached, or the connection is cut.
    pub content: BoxStream<'static, Result<Bytes, Failure>>,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetched")
            .field("content_type", &self.content_type)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// The guarded client. Cloning shares its connections.
#[derive(Clone)]
pub struct Guard {
    policy: Arc<Policy>,
    resolver: Resolver,
    /// Made when it is needed: reading the system's certificates takes milliseconds, which not every function should take to
    /// start.
    client: Arc<OnceLock<reqwest::Client>>,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Guard {
    pub fn new(policy: Policy) -> Self {
        Self::with_lookup(policy, resolve::system())
    }

    /// With a resolver other than the system's.
    pub fn with_lookup(policy: Policy, lookup: Lookup) -> Self {
        let policy = Arc::new(policy);
        let resolver = Resolver::new(Arc::clone(&policy), lookup);
        Self { policy, resolver, client: Arc::default() }
    }

    /// Makes ready what the first call would have to wait for.
    ///
    /// Errors if the system has no certificates to trust.
    pub fn warm(&self) -> Result<()> {
        self.client().map(drop).map_err(Error::internal)
    }

    fn client(&self) -> Result<&reqwest::Client, reqwest::Error> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // Compression stays off: a small answer could unpack to a large one. HTTP/1 only: one exchange a connection at a
        // time, which can be dropped without hurting others.
        let client = reqwest::Client::builder()
            .dns_resolver(self.resolver.clone())
            .redirect(redirect::Policy::none())
            .no_proxy()
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .http1_max_headers(MAX_HEADERS)
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .user_agent(concat!("Trunkline/", env!("CARGO_PKG_VERSION")))
            .build()?;
        // Of two that were made at the same time, one is enough.
        Ok(self.client.get_or_init(|| client))
    }

    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Checks a URL at the time it is saved: scheme, no credentials, literal addresses. Names are not resolved, since what
    /// they resolve to can change. The error names `field`.
    pub fn check_url(&self, text: &str, field: &'static str) -> Result<Url> {
        self.read_url(text).map_err(|failure| failure.into_error(field))
    }

    fn read_url(&self, text: &str) -> Result<Url, Failure> {
        if text.len() > MAX_URL {
            return Err(Failure::InvalidUrl("is too long"));
        }
        let url = Url::parse(text).map_err(|_| Failure::InvalidUrl("is not an absolute URL"))?;
        self.check(&url)?;
        Ok(url)
    }

    fn check(&self, url: &Url) -> Result<(), Failure> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Failure::InvalidUrl("must begin with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Failure::InvalidUrl("must not contain credentials"));
        }
        // The parser has turned decimal, octal and hexadecimal spellings of IPv4 into addresses already.
        let literal = match url.host() {
            None => return Err(Failure::InvalidUrl("has no host")),
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
        };
        self.policy.permits(None, literal).map_err(Failure::Forbidden)
    }

    /// For a client that is made elsewhere (one with a user's proxy): names lead to allowed addresses at each connection. An
    /// address in place of a name never gets to a resolver: [`Guard::check_host`] is for those.
    pub fn resolver(&self) -> impl reqwest::dns::Resolve + use<> {
        self.resolver.clone()
    }

    /// Checks a host without resolving it: an address must be an allowed one, a name may be any.
    pub fn check_host(&self, host: &str) -> Result<(), Failure> {
        match Host::parse(host).map_err(|_| Failure::InvalidUrl("has no valid host"))? {
            Host::Domain(_) => Ok(()),
            Host::Ipv4(address) => self.literal(address.into()).map(drop),
            Host::Ipv6(address) => self.literal(address.into()).map(drop),
        }
    }

    /// The allowed addresses of a host, for connections that are not made here (a user's proxy). Connect to these, not to
    /// the name.
    pub async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        match Host::parse(host).map_err(|_| Failure::InvalidUrl("has no valid host"))? {
            Host::Domain(name) => self.resolver.addresses(&name).await,
            Host::Ipv4(address) => self.literal(address.into()),
            Host::Ipv6(address) => self.literal(address.into()),
        }
    }

    fn literal(&self, address: IpAddr) -> Result<Vec<IpAddr>, Failure> {
        self.policy.permits(None, address).map_err(Failure::Forbidden)?;
        Ok(vec![address])
    }

    /// Posts, and reads the answer up to the request's cap. Redirects are not followed. An answer over the cap is cut off,
    /// which is no failure; one that ends before its declared length is.
    pub async fn post(&self, request: Request) -> Result<Answer, Failure> {
        let start = Instant::now();
        self.check(&request.url)?;
        let deadline = Deadline::now() + request.deadline;
        let Request { url, headers, body, max_answer, keep, .. } = request;
        let exchange = async {
            let call = self.client().map_err(Failure::from_client)?.post(url).headers(headers).body(body);
            let mut response = call.send().await.map_err(Failure::from_client)?;
            check_headers(response.headers())?;
            let mut kept = BytesMut::new();
            let (mut read, mut cut_off) = (0usize, false);
            while let Some(chunk) = response.chunk().await.map_err(Failure::from_client)? {
                let take = chunk.len().min(max_answer - read);
                let room = keep.saturating_sub(kept.len()).min(take);
                kept.extend_from_slice(&chunk[..room]);
                read += take;
                if take < chunk.len() {
                    cut_off = true;
                    break;
                }
            }
            Ok::<_, Failure>((response, kept.freeze(), cut_off))
        };
        let (response, body, cut_off) = timeout_at(deadline, exchange).await.map_err(|_| Failure::Timeout)??;
        let now = Millis(chrono::Utc::now().timestamp_millis());
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after: response.headers().get(header::RETRY_AFTER).and_then(|v| retry_after(v.to_str().ok()?, now)),
            headers: response.headers().clone(),
            body,
            cut_off,
            duration: start.elapsed(),
        })
    }

    /// Downloads. Any status but 2xx is a failure; up to three redirects are followed, each checked. A declared length over
    /// `max_bytes` is refused at once, an undeclared one when it is reached. `deadline`: from now to the last byte.
    pub async fn fetch(&self, url: &str, max_bytes: u64, deadline: Duration) -> Result<Fetched, Failure> {
        let deadline = Deadline::now() + deadline;
        let url = self.read_url(url)?;
        let response = timeout_at(deadline, self.follow(url)).await.map_err(|_| Failure::Timeout)??;
        let length = response.content_length();
        if length.is_some_and(|length| length > max_bytes) {
            return Err(Failure::TooLarge { limit: max_bytes });
        }
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let content = stream::try_unfold((response, 0u64), move |(mut response, read)| async move {
            let chunk = timeout_at(deadline, response.chunk()).await.map_err(|_| Failure::Timeout)?;
            let Some(chunk) = chunk.map_err(Failure::from_client)? else { return Ok(None) };
            let read = read.saturating_add(chunk.len() as u64);
            if read > max_bytes {
                return Err(Failure::TooLarge { limit: max_bytes });
            }
            Ok(Some((chunk, (response, read))))
        });
        Ok(Fetched { content_type, length, content: content.boxed() })
    }

    async fn follow(&self, mut url: Url) -> Result<reqwest::Response, Failure> {
        for _ in 0..=MAX_HOPS {
            let response = self
                .client()
                .map_err(Failure::from_client)?
                .get(url.clone())
                .send()
                .await
                .map_err(Failure::from_client)?;
            check_headers(response.headers())?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            let target = match status.as_u16() {
                301 | 302 | 303 | 307 | 308 => response.headers().get(header::LOCATION),
                _ => None,
            };
            let Some(target) = target else { return Err(Failure::Status(status.as_u16())) };
            let target = target.to_str().ok().and_then(|target| url.join(target).ok());
            url = target.ok_or(Failure::InvalidUrl("redirects to something that is not a URL"))?;
            self.check(&url)?;
        }
        Err(Failure::InvalidUrl("redirects too often"))
    }
}

/// The client bounds the number of headers and, at some 400 KiB, the buffer; this is the limit that we mean.
fn check_headers(headers: &HeaderMap) -> Result<(), Failure> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > MAX_HEADER_BYTES {
        return Err(Failure::Protocol(format!("{bytes} bytes of headers").into()));
    }
    Ok(())
}

/// Reads `Retry-After`: seconds, or an HTTP date (RFC 9110 §10.2.3), as a time from `now`.
fn retry_after(value: &str, now: Millis) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = chrono::DateTime::parse_from_rfc2822(value).ok()?;
    Some(now.until(Millis(at.timestamp_millis())))
}
