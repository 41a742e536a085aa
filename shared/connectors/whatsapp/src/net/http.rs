//! HTTP to WhatsApp's media hosts, as the crate wants it: whole, or read and written in a thread that may block.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use tokio::{
    runtime::Handle,
    sync::{OnceCell, mpsc},
};
use tokio_util::io::{StreamReader, SyncIoBridge};
use url::Url;
use whatsapp_rust::wacore::net::{HttpClient, HttpRequest, HttpResponse, StreamingHttpResponse, UploadBody};

use super::{Kind, Road, is_loopback};

/// Until the headers, and between two reads.
const PAUSE: Duration = Duration::from_secs(30);
/// Answers that are held in memory: never media, which is streamed.
const MAX_ANSWER: usize = 16 << 20;
const CHUNK: usize = 64 << 10;

/// Made at the first request: an account that only sends texts needs none.
pub(crate) struct Http {
    road: Road,
    client: OnceCell<reqwest::Client>,
    /// The socket is not encrypted, and so are the media hosts on this machine: for tests.
    plain: bool,
}

impl Http {
    pub(crate) fn new(road: Road, web: &Url) -> Self {
        Self { road, client: OnceCell::new(), plain: web.scheme() == "ws" }
    }

    async fn client(&self) -> Result<&reqwest::Client> {
        let make = || async {
            let mut builder = reqwest::Client::builder()
                .no_proxy()
                .connect_timeout(PAUSE)
                .read_timeout(PAUSE)
                .redirect(reqwest::redirect::Policy::limited(3))
                .pool_max_idle_per_host(1);
            if let Some(proxy) = &self.road.proxy {
                // The proxy's name leads to what the guard allows, whatever it resolves to later.
                let addresses = self.road.proxy_addresses(proxy).await?;
                let host = proxy.url.host_str().unwrap_or_default();
                let addresses: Vec<_> = addresses.into_iter().map(|ip| (ip, proxy.port()).into()).collect();
                let mut url = proxy.url.clone();
                if proxy.kind == Kind::Socks && url.set_scheme("socks5h").is_err() {
                    anyhow::bail!("the proxy's URL has a scheme that stays");
                }
                builder = builder.resolve_to_addrs(host, &addresses).proxy(reqwest::Proxy::all(url)?);
            }
            Ok::<_, anyhow::Error>(builder.build()?)
        };
        self.client.get_or_try_init(make).await
    }

    async fn request(&self, request: HttpRequest) -> Result<reqwest::RequestBuilder> {
        let mut url = Url::parse(&request.url).context("no URL")?;
        if self.plain && is_loopback(&url) && url.scheme() == "https" {
            url = Url::parse(&request.url.replacen("https://", "http://", 1))?;
        }
        let method = reqwest::Method::from_bytes(request.method.as_bytes())?;
        let mut builder = self.client().await?.request(method, url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        Ok(match request.body {
            Some(body) => builder.body(body),
            None => builder,
        })
    }
}

async fn whole(answer: reqwest::Response) -> Result<HttpResponse> {
    let status_code = answer.status().as_u16();
    let mut chunks = answer.bytes_stream();
    let mut body = Vec::new();
    while let Some(chunk) = chunks.try_next().await? {
        anyhow::ensure!(body.len() + chunk.len() <= MAX_ANSWER, "an answer is too large");
        body.extend_from_slice(&chunk);
    }
    Ok(HttpResponse { status_code, body })
}

#[async_trait]
impl HttpClient for Http {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse> {
        whole(self.request(request).await?.send().await?).await
    }

    fn supports_streaming(&self) -> bool {
        true
    }

    /// In a thread that may block.
    fn execute_streaming(&self, request: HttpRequest) -> Result<StreamingHttpResponse> {
        let runtime = Handle::current();
        let answer = runtime.block_on(async { anyhow::Ok(self.request(request).await?.send().await?) })?;
        let status_code = answer.status().as_u16();
        let chunks = Box::pin(answer.bytes_stream().map_err(io::Error::other));
        Ok(StreamingHttpResponse {
            status_code,
            body: Box::new(SyncIoBridge::new_with_handle(StreamReader::new(chunks), runtime)),
        })
    }

    fn supports_upload_streaming(&self) -> bool {
        true
    }

    /// In a thread that may block: it reads the body while the runtime sends it.
    fn execute_upload(&self, request: HttpRequest, body: UploadBody, content_length: u64) -> Result<HttpResponse> {
        let runtime = Handle::current();
        let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
        let chunks = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
        let builder = runtime.block_on(self.request(request))?;
        let sending = runtime.spawn(async move {
            let sending = builder
                .header(reqwest::header::CONTENT_LENGTH, content_length)
                .body(reqwest::Body::wrap_stream(chunks))
                .send();
            whole(sending.await?).await
        });
        feed(body, &sender);
        drop(sender);
        runtime.block_on(sending)?
    }
}

/// Hands chunks over until the body ends or nobody wants them.
fn feed(mut body: UploadBody, sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut buffer = vec![0; CHUNK];
    loop {
        let chunk = match body.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => Ok(Bytes::copy_from_slice(&buffer[..count])),
            Err(error) => Err(error),
        };
        let failed = chunk.is_err();
        if sender.blocking_send(chunk).is_err() || failed {
            return;
        }
    }
}

impl From<Http> for Arc<dyn HttpClient> {
    fn from(http: Http) -> Self {
        Arc::new(http)
    }
}
