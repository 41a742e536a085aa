//! Requests to the Graph API, and its answers. What an error of it means is said in [`crate::failure`].

use std::{net::SocketAddr, time::Duration};

use bytes::BytesMut;
use reqwest::{Client, Method, Proxy, RequestBuilder, Response, multipart::Form, redirect};
use serde_json::{Value, json};
use shared::{Error, Result, app::App, connector::Account, domain::cloud::Credentials, redact::Secret};
use url::{Host, Origin, Url};

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

/// A client that follows nobody anywhere, through the account's own proxy if it has one.
///
/// Errors: there are no certificates to trust; the proxy's URL is not one.
pub(crate) fn client(proxy: Option<(&Url, &[SocketAddr])>) -> Result<Client> {
    let mut builder = Client::builder()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .user_agent(concat!("Trunkline/", env!("CARGO_PKG_VERSION")));
    builder = match proxy {
        None => builder.no_proxy(),
        Some((url, addresses)) => {
            let proxy = Proxy::all(url.as_str()).map_err(|error| Error::invalid("proxyUrl", error.to_string()))?;
            match url.host() {
                Some(Host::Domain(name)) => builder.proxy(proxy).resolve_to_addrs(name, addresses),
                _ => builder.proxy(proxy),
            }
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
    /// For an account, with its proxy if it has one. The proxy's address is a user's: it goes through the guard.
    ///
    /// Errors: credentials that are not complete; a proxy that may not be reached.
    pub(crate) async fn of(app: &App, account: &Account, shared: &Client) -> Result<Self> {
        let none = || Error::invalid("credentials", "The account has no credentials");
        let credentials = Credentials::parse(account.credentials.as_ref().ok_or_else(none)?)?;
        let client = match &account.proxy {
            None => shared.clone(),
            Some(proxy) => {
                let url = Url::parse(proxy.reveal()).map_err(|_| Error::invalid("proxyUrl", "proxyUrl is no URL"))?;
                let host = url.host_str().unwrap_or_default();
                let found = app.guard.resolve(host).await.map_err(|failure| failure.into_error("proxyUrl"))?;
                let addresses: Vec<SocketAddr> = found.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
                client(Some((&url, &addresses)))?
            }
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
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
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
        value => Err(Failure::of_answer(status.as_u16(), value.as_ref(), retry_after.map(Duration::from_secs))),
    }
}
