//! HTTP to WhatsApp's media hosts, as the crate wants it: whole, or read and written in a thread that may block.

use std::{
    io::{self, Read},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use reqwest::redirect;
use tokio::{
    runtime::Handle,
    sync::{OnceCell, mpsc},
    time::timeout,
};
use tokio_util::io::{StreamReader, SyncIoBridge};
use url::Url;
use whatsapp_rust::wacore::net::{HttpClient, HttpRequest, HttpResponse, StreamingHttpResponse, UploadBody};

use super::{Kind, Road, is_loopback};

/// Until the connection, the headers, and the next piece of a body, in either direction.
const PAUSE: Duration = Duration::from_secs(30);
/// From the last piece of a body that was handed over to the whole answer: what lies in buffers must still go out.
const LAST: Duration = Duration::from_secs(120);
/// Redirects that are followed, all of them on the same host.
const REDIRECTS: usize = 3;
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
                .redirect(redirects())
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
        // The path comes from whoever sent the message.
        anyhow::ensure!(url.username().is_empty() && url.password().is_none(), "a path that would be another host");
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

/// Only within a host: where a request leads carries the account's key to the media.
fn redirects() -> redirect::Policy {
    redirect::Policy::custom(|attempt| {
        let same = attempt.previous().last().is_some_and(|last| last.origin() == attempt.url().origin());
        if same && attempt.previous().len() <= REDIRECTS { attempt.follow() } else { attempt.stop() }
    })
}

/// A step of a request, bounded. Its error is without the URL, which carries the account's key to the media.
async fn soon<T>(step: impl Future<Output = reqwest::Result<T>>) -> Result<T> {
    let done = timeout(PAUSE, step).await.context("the media host does not answer")?;
    done.map_err(|error| error.without_url().into())
}

async fn whole(mut answer: reqwest::Response) -> Result<HttpResponse> {
    let status_code = answer.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = soon(answer.chunk()).await? {
        anyhow::ensure!(body.len() + chunk.len() <= MAX_ANSWER, "an answer is too large");
        body.extend_from_slice(&chunk);
    }
    Ok(HttpResponse { status_code, body })
}

#[async_trait]
impl HttpClient for Http {
    async fn execute(&self, request: HttpRequest) -> Result<HttpResponse> {
        whole(soon(self.request(request).await?.send()).await?).await
    }

    fn supports_streaming(&self) -> bool {
        true
    }

    /// In a thread that may block.
    fn execute_streaming(&self, request: HttpRequest) -> Result<StreamingHttpResponse> {
        let runtime = Handle::current();
        let answer = runtime.block_on(async { soon(self.request(request).await?.send()).await })?;
        let status_code = answer.status().as_u16();
        let chunks = Box::pin(stream::try_unfold(answer, async |mut answer: reqwest::Response| {
            let chunk = soon(answer.chunk()).await.map_err(io::Error::other)?;
            Ok::<_, io::Error>(chunk.map(|chunk| (chunk, answer)))
        }));
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
            // However long the body takes, as long as it goes on: see `feed`.
            whole(sending.await.map_err(reqwest::Error::without_url)?).await
        });
        let fed = feed(body, &sender, &runtime);
        drop(sender);
        let stop = sending.abort_handle();
        let answer = fed.and_then(|()| runtime.block_on(timeout(LAST, sending))??);
        stop.abort();
        answer
    }
}

/// Hands chunks over until the body ends or nobody wants them. Errors: the body cannot be read; nothing goes on.
fn feed(mut body: UploadBody, sender: &mpsc::Sender<io::Result<Bytes>>, runtime: &Handle) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = body.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let chunk = Ok(Bytes::copy_from_slice(&buffer[..count]));
        let handed = runtime.block_on(timeout(PAUSE, sender.send(chunk)));
        if handed.context("the media host takes nothing more")?.is_err() {
            // It has answered before the end.
            return Ok(());
        }
    }
}

impl From<Http> for Arc<dyn HttpClient> {
    fn from(http: Http) -> Self {
        Arc::new(http)
    }
}
