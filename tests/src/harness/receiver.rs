//! A webhook receiver on loopback that records what reaches it and misbehaves as told, path by path.
//!
//! It speaks HTTP/1.1 by hand, since no server library lies about its length. It also serves files, for media by URL.

use bytes::Bytes;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::wait::{eventually_within, soon};

/// How a path answers.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// 200 `ok`, at once.
    Ok,
    /// This status, a short body.
    Status(u16),
    /// This status with `Retry-After` in seconds.
    RetryAfter(u16, u64),
    /// 200 after a while.
    Slow(Duration),
    /// The head at once, then a byte a second for as long as the caller listens.
    Drip,
    /// 302 to this URL.
    Redirect(String),
    /// 200 and a body without end.
    Huge,
    /// 200, announces 1,000,000 bytes, sends ten, closes.
    LyingLength,
    /// Reads the request, closes without an answer.
    Close,
    /// Answers with something that is not HTTP.
    Garbage,
    /// 200 with this body.
    Body(Bytes),
    /// 200 with a content type and a body: a file on the web.
    File(&'static str, Bytes),
}

/// One request that arrived.
#[derive(Clone, Debug)]
pub struct Hit {
    /// `POST`, mostly.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    /// The exact bytes.
    pub body: Bytes,
    /// When it was complete.
    pub at: Instant,
    /// The same by the wall clock.
    pub time: SystemTime,
}

impl Hit {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    /// `event` of the body.
    #[must_use]
    pub fn event(&self) -> String {
        self.json()["event"].as_str().unwrap_or_default().to_owned()
    }

    /// A header, `""` when absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

#[derive(Default)]
struct Paths {
    hits: Vec<Hit>,
    /// What a path does from now on.
    behaviours: HashMap<String, Behaviour>,
    /// What it does first, one after the other.
    scripts: HashMap<String, VecDeque<Behaviour>>,
    /// Bytes written as endless bodies before the caller hung up.
    endless: HashMap<String, u64>,
}

/// A listening receiver. Dropping it closes the port.
pub struct Receiver {
    address: SocketAddr,
    paths: Arc<Mutex<Paths>>,
    accepting: JoinHandle<()>,
}

impl Receiver {
    /// Listens on a free loopback port; every path answers 200 until told otherwise.
    ///
    /// # Panics
    /// When no port can be had.
    pub async fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let paths = Arc::new(Mutex::new(Paths::default()));
        let shared = Arc::clone(&paths);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let paths = Arc::clone(&shared);
                // A broken connection is the caller's business, or what the behaviour wanted.
                tokio::spawn(async move { drop(serve(stream, &paths).await) });
            }
        });
        Receiver { address, paths, accepting }
    }

    /// The URL of a path that begins with `/`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on `path` does this.
    pub fn behave(&self, path: &str, behaviour: Behaviour) {
        self.lock().behaviours.insert(path.to_owned(), behaviour);
    }

    /// The next requests to `path` get these, one after the other; then what [`Receiver::behave`] said.
    pub fn script(&self, path: &str, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.lock().scripts.insert(path.to_owned(), behaviours.into_iter().collect());
    }

    /// What reached `path` until now, in order.
    #[must_use]
    pub fn hits(&self, path: &str) -> Vec<Hit> {
        self.lock().hits.iter().filter(|hit| hit.path == path).cloned().collect()
    }

    /// How many requests reached `path`.
    #[must_use]
    pub fn count(&self, path: &str) -> usize {
        self.lock().hits.iter().filter(|hit| hit.path == path).count()
    }

    /// Everything that reached any path.
    #[must_use]
    pub fn all(&self) -> Vec<Hit> {
        self.lock().hits.clone()
    }

    /// The bytes of endless bodies that `path` got rid of.
    #[must_use]
    pub fn endless_bytes(&self, path: &str) -> u64 {
        self.lock().endless.get(path).copied().unwrap_or_default()
    }

    /// Waits for a request to `path` that `wanted` accepts.
    pub async fn wait(&self, path: &str, what: &str, wanted: impl Fn(&Hit) -> bool) -> Hit {
        self.wait_within(soon(), path, what, wanted).await
    }

    /// The same with another deadline.
    pub async fn wait_within(&self, limit: Duration, path: &str, what: &str, wanted: impl Fn(&Hit) -> bool) -> Hit {
        eventually_within(limit, &format!("{what} at {path}"), async || {
            self.hits(path).into_iter().find(|hit| wanted(hit))
        })
        .await
    }

    /// Waits for the first webhook of this event at `path`.
    pub async fn wait_for(&self, path: &str, event: &str) -> Hit {
        self.wait(path, event, |hit| hit.event() == event).await
    }

    /// Waits until `path` had `count` requests.
    pub async fn wait_count(&self, path: &str, count: usize) -> Vec<Hit> {
        eventually_within(soon(), &format!("{count} requests at {path}"), async || {
            let hits = self.hits(path);
            (hits.len() >= count).then_some(hits)
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, Paths> {
        lock(&self.paths)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(paths: &Mutex<Paths>) -> MutexGuard<'_, Paths> {
    paths.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Requests of one connection, one after the other.
async fn serve(stream: TcpStream, paths: &Mutex<Paths>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(hit) = read(&mut stream).await? {
        let path = hit.path.clone();
        let behaviour = {
            let mut paths = lock(paths);
            paths.hits.push(hit);
            let scripted = paths.scripts.get_mut(&path).and_then(VecDeque::pop_front);
            scripted.or_else(|| paths.behaviours.get(&path).cloned()).unwrap_or(Behaviour::Ok)
        };
        let out = stream.get_mut();
        match behaviour {
            Behaviour::Ok => answer(out, 200, "", b"ok").await?,
            Behaviour::Status(status) => answer(out, status, "", b"as told").await?,
            Behaviour::RetryAfter(status, seconds) => {
                answer(out, status, &format!("Retry-After: {seconds}\r\n"), b"later").await?;
            }
            Behaviour::Slow(pause) => {
                tokio::time::sleep(pause).await;
                answer(out, 200, "", b"at last").await?;
            }
            Behaviour::Redirect(target) => answer(out, 302, &format!("Location: {target}\r\n"), b"there").await?,
            Behaviour::Body(body) => answer(out, 200, "", &body).await?,
            Behaviour::File(mime, body) => answer(out, 200, &format!("Content-Type: {mime}\r\n"), &body).await?,
            Behaviour::LyingLength => {
                return out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nonly this.").await;
            }
            Behaviour::Close => return Ok(()),
            Behaviour::Garbage => return out.write_all(b"\x00\xffnot HTTP at all\r\n\r\n").await,
            Behaviour::Drip => {
                out.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
                loop {
                    out.write_all(b"1\r\n.\r\n").await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            Behaviour::Huge => {
                out.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n").await?;
                let block = [b'x'; 16 * 1024];
                loop {
                    out.write_all(&block).await?;
                    *lock(paths).endless.entry(path.clone()).or_default() += block.len() as u64;
                }
            }
        }
    }
    Ok(())
}

/// One request with a `Content-Length`, chunked, or without a body. `None` at the end of the connection.
async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Hit>> {
    let mut line = String::new();
    if stream.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).await?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).await?;
            if size == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    } else if let Some(length) = headers.get("content-length") {
        body.resize(length.parse().map_err(io::Error::other)?, 0);
        stream.read_exact(&mut body).await?;
    }
    let (at, time) = (Instant::now(), SystemTime::now());
    Ok(Some(Hit { method, path, headers, body: body.into(), at, time }))
}

async fn answer(out: &mut TcpStream, status: u16, headers: &str, body: &[u8]) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status} As Told\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    out.write_all(&[head.as_bytes(), body].concat()).await
}

#[cfg(test)]
mod tests {
    use super::{Behaviour, Receiver};
    use crate::harness::{Client, Credential};
    use http::Method;
    use serde_json::json;

    #[tokio::test]
    async fn it_records_and_does_as_told() {
        let receiver = Receiver::start().await;
        let client = Client::new(&receiver.url(""), Credential::None);
        receiver.script("/hook", [Behaviour::Status(500), Behaviour::RetryAfter(503, 7), Behaviour::Close]);
        let body = json!({"event": "x"});
        assert_eq!(client.post("/hook", &body).await.status, 500);
        assert_eq!(client.post("/hook", &body).await.header("retry-after"), "7");
        assert!(client.try_send(client.request(Method::POST, "/hook").json(&body)).await.is_err());
        assert_eq!(client.post("/hook", &body).await.status, 200);
        assert_eq!(receiver.hits("/hook").len(), 4);
        assert_eq!(receiver.hits("/hook")[0].event(), "x");
        for (path, behaviour) in [("/lies", Behaviour::LyingLength), ("/garbage", Behaviour::Garbage)] {
            receiver.behave(path, behaviour);
            assert!(client.try_send(client.request(Method::GET, path)).await.is_err(), "{path}");
        }
    }
}
