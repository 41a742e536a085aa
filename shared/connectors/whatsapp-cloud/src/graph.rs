//! Requests to the Graph API, and its answers. What an error of it means is said in [`crate::failure`].

use std::time::Duration;

use bytes::BytesMut;
use reqwest::{Client, Method, Proxy, RequestBuilder, Response, header::RETRY_AFTER, multipart::Form, redirect};
use serde_json::{Value, json};
use shared::{Error, Result, app::App, connector::Account, domain::cloud::Credentials, guard::Guard, redact::Secret};
use url::{Origin, Url};

use crate::failure::Failure;

const CONNECT: Duration = Duration::from_secs(10);
/// From the start of a request to the end of its answer.
const WHOLE: Duration = Duration::from_secs(30);
/// The same where media goes up or down.
pub(crate) const WHOLE_MEDIA: Duration = Duration::from_secs(120);
/// Shorter than servers keep idle connections: one that is just being closed would leave a send with an unknown outcome.
const IDLE: Duration = Duration::from_secs(20);
/// Bytes of an answer that are read at the most.
const MAX_ANSWER: usize = 1024 * 1024;
const PRODUCT: &str = "whatsapp";

/// Longest pause that the platform may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// A client that follows nobody anywhere, through the account's own proxy if it has one. The proxy's address is a user's: the
/// guard resolves it, at each connection.
///
/// Errors: there are no certificates to trust; the proxy's URL is not one, or its host may not be reached.
pub(crate) fn client(proxy: Option<(&Secret, &Guard)>) -> Result<Client> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .user_agent(concat!("Trunkline/", env!("CARGO_PKG_VERSION")));
    builder = match proxy {
        None => builder.no_proxy(),
        Some((url, guard)) => {
            let mut url = Url::parse(url.reveal()).map_err(|_| Error::invalid("proxyUrl", "proxyUrl is no URL"))?;
            let host = url.host_str().unwrap_or_default();
            guard.check_host(host).map_err(|failure| failure.into_error("proxyUrl"))?;
            // The platform's name is the proxy's to resolve: the guard's rules are for the proxy's own.
            if url.scheme() == "socks5" && url.set_scheme("socks5h").is_err() {
                return Err(Error::invalid("proxyUrl", "proxyUrl has a scheme that cannot be used"));
            }
            let proxy = Proxy::all(url.as_str()).map_err(|error| Error::invalid("proxyUrl", error.to_string()))?;
            builder.proxy(proxy).dns_resolver(guard.resolver())
        }
    };
    builder.build().map_err(Error::internal)
}

/// The Graph API as one account sees it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Graph {
    client: Client,
    base: Url,
    version: String,
    number: String,
    token: Secret,
}

impl Graph {
    /// For an account, with its proxy if it has one.
    ///
    /// Errors: credentials that are not complete; a proxy that may not be reached.
    pub(crate) fn of(app: &App, account: &Account, shared: &Client) -> Result<Self> {
        let none = || Error::invalid("credentials", "The account has no credentials");
        let credentials = Credentials::parse(account.credentials.as_ref().ok_or_else(none)?)?;
        let client = match &account.proxy {
            None => shared.clone(),
            Some(proxy) => client(Some((proxy, &app.guard)))?,
        };
        Ok(Self {
            client,
            base: Url::parse(&app.config.whatsapp_cloud_url).map_err(Error::internal)?,
            version: credentials.api_version,
            number: credentials.phone_number_id,
            token: credentials.access_token,
        })
    }

    /// The id of the account's number.
    pub(crate) fn number(&self) -> &str {
        &self.number
    }

    /// `{base}/{version}/{path…}?{query…}`.
    fn url(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().push(&self.version).extend(path);
            }
            Err(()) => return Err(Failure::Broken("the address of the API has no path".into())),
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.client.request(method, url).bearer_auth(self.token.reveal()).timeout(WHOLE)
    }

    /// What the platform says of the account's number.
    pub(crate) async fn about(&self) -> Result<Value, Failure> {
        let fields = [("fields", "id,display_phone_number,verified_name,quality_rating")];
        answer(self.request(Method::GET, self.url(&[&self.number], &fields)?)).await
    }

    /// The account's business profile.
    pub(crate) async fn profile(&self) -> Result<Value, Failure> {
        let fields = [("fields", "about,profile_picture_url")];
        answer(self.request(Method::GET, self.url(&[&self.number, "whatsapp_business_profile"], &fields)?)).await
    }

    /// `POST /{number}/messages`: a message, or that one was read. `message` is an object.
    pub(crate) async fn messages(&self, mut message: Value) -> Result<Value, Failure> {
        message["messaging_product"] = json!(PRODUCT);
        let request = self.request(Method::POST, self.url(&[&self.number, "messages"], &[])?);
        answer(request.json(&message)).await
    }

    /// `POST /{number}/media`: the platform's id of what the form holds as `file`.
    pub(crate) async fn upload(&self, form: Form) -> Result<String, Failure> {
        let form = form.text("messaging_product", PRODUCT);
        let request = self.request(Method::POST, self.url(&[&self.number, "media"], &[])?).timeout(WHOLE_MEDIA);
        let uploaded = answer(request.multipart(form)).await?;
        let id = uploaded["id"].as_str().filter(|id| !id.is_empty());
        id.map(str::to_owned).ok_or_else(|| Failure::Broken("an upload was answered without an id".into()))
    }

    /// Where media is, as `{url, mime_type, sha256, file_size}`.
    pub(crate) async fn media(&self, id: &str) -> Result<Value, Failure> {
        answer(self.request(Method::GET, self.url(&[id], &[("phone_number_id", &self.number)])?)).await
    }

    /// The content of media, from where [`Graph::media`] says that it is. The token goes there, too: only over HTTPS, or to where
    /// the API itself is.
    pub(crate) async fn content(&self, url: &str) -> Result<Response, Failure> {
        let url = Url::parse(url).map_err(|_| Failure::Broken("media is at something that is no URL".into()))?;
        if url.scheme() != "https" && !same_origin(&url.origin(), &self.base.origin()) {
            return Err(Failure::Broken("media is at an address that a token must not be sent to".into()));
        }
        let response = self.request(Method::GET, url).timeout(WHOLE_MEDIA).send().await.map_err(Failure::of_client)?;
        let status = response.status();
        if status.is_success() { Ok(response) } else { Err(Failure::of_answer(status.as_u16(), None, None)) }
    }
}

fn same_origin(one: &Origin, other: &Origin) -> bool {
    one.is_tuple() && one == other
}

/// Sends, and reads the answer: JSON of a 2xx.
async fn answer(request: RequestBuilder) -> Result<Value, Failure> {
    let mut response = request.send().await.map_err(Failure::of_client)?;
    let status = response.status();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| pause(value.to_str().ok()?));
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(Failure::of_client)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(Failure::Broken("an answer is too long".into()));
        }
        body.extend_from_slice(&chunk);
    }
    let parsed: Option<Value> = serde_json::from_slice(&body).ok();
    match parsed {
        Some(value) if status.is_success() => Ok(value),
        _ if status.is_success() => Err(Failure::Broken("an answer is not JSON".into())),
        value => Err(Failure::of_answer(status.as_u16(), value.as_ref(), retry_after)),
    }
}

/// The seconds of a `Retry-After`. A message is not held back for longer than an hour, whatever somebody's clock or proxy says.
fn pause(value: &str) -> Option<Duration> {
    let seconds = value.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use shared::guard::Policy;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn a_pause_has_an_end() {
        let seconds = |text: &str| pause(text).map(|pause| pause.as_secs());
        assert_eq!(seconds(" 90 "), Some(90));
        assert_eq!(seconds("3601"), Some(3600));
        assert_eq!(seconds("18446744073709551615"), Some(3600));
        assert_eq!(seconds("soon"), None);
    }

    /// A proxy that answers everything with a 204; how often it was connected to is in what its second part says.
    async fn proxy() -> (u16, Arc<AtomicUsize>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let (port, count) = (listener.local_addr().expect("an address").port(), Arc::new(AtomicUsize::new(0)));
        let seen = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                seen.fetch_add(1, Ordering::Relaxed);
                let mut request = [0; 1024];
                assert!(socket.read(&mut request).await.is_ok_and(|bytes| bytes > 0), "a request");
                let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                let written = socket.write_all(answer).await;
                assert!(written.is_ok(), "{written:?}");
            }
        });
        (port, count)
    }

    #[tokio::test]
    async fn a_proxy_that_becomes_a_private_address_is_not_connected_to_again() {
        let (port, connected) = proxy().await;
        // The first answer is allowed, all later ones are not.
        let asked = AtomicUsize::new(0);
        let lookup = move |name: &str| {
            assert_eq!(name, "proxy.example", "nothing but the proxy is resolved here");
            let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
            Ok(vec![IpAddr::V4(if first { Ipv4Addr::LOCALHOST } else { Ipv4Addr::new(10, 0, 0, 1) })])
        };
        let guard = Guard::with_lookup("loopback".parse::<Policy>().expect("a policy"), Arc::new(lookup));
        let proxied = client(Some((&Secret::new(format!("http://proxy.example:{port}")), &guard))).expect("a client");
        let get = async || proxied.get("http://graph.example/").send().await;
        assert_eq!(get().await.expect("is answered").status(), 204);
        assert!(get().await.expect_err("is refused").is_connect());
        assert_eq!(connected.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn addresses_of_proxies_are_checked_without_a_name() {
        let guard = Guard::new(Policy::default());
        for (proxy, allowed) in [
            ("http://127.0.0.1:1", false),
            ("socks5://[::1]:1", false),
            ("https://169.254.169.254", false),
            ("socks5://93.184.216.34:1080", true),
            ("socks5h://proxy.example:1080", true),
        ] {
            let made = client(Some((&Secret::new(proxy), &guard)));
            assert_eq!(made.is_ok(), allowed, "{proxy}");
            let field = made.err().and_then(|error| error.field).map(std::borrow::Cow::into_owned);
            assert_eq!(field.as_deref(), (!allowed).then_some("proxyUrl"), "{proxy}");
        }
    }
}
