//! What stands between the processes of a bundle and the emulator, and does to their requests what networks and services do on
//! a bad day: throttled, failed, slow, carried out but not answered, not even accepted; and messages that are delivered again,
//! late, and in another order than they were sent (never within a FIFO group, whose order SQS guarantees).
//!
//! | file | subject |
//! |---|---|
//! | `refusals` | errors as DynamoDB and SQS phrase them, and batches that are carried out in part |
//! | `deliveries` | what happens to received messages |
//!
//! Requests without `X-Amz-Target` (the bucket's) pass. So does everything while it is calm.

mod deliveries;
mod refusals;

use super::bundle::{runtime, wait};
use super::ministack;
use axum::body::Body;
use bytes::Bytes;
use deliveries::Deliveries;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The longest that a request or an answer is held up.
const SLOWEST_MS: u64 = 3000;
/// How long an unanswered request may stay open: longer than one try of the program's clients takes.
const SILENCE_MS: u64 = 4000;
/// How long it is fair or squally at a time, per service.
const SPELL: Duration = Duration::from_secs(2);
/// Of a hundred requests, how many something happens to, between squalls and in one.
const FAIR: u64 = 8;
const SQUALL: u64 = 45;
/// One of so many spells is a squall.
const SQUALLS: u64 = 4;
/// One of so many batches is carried out in part.
const BATCHES: u64 = 4;
const MOST: usize = 16 << 20;

/// What was done to a request or to a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Refused with a throttling error, not carried out.
    Throttled,
    /// Refused with a server error, not carried out.
    Failed,
    /// Held up, before or after it was carried out.
    Slow,
    /// Carried out, and the connection closed without an answer.
    Unanswered,
    /// The connection closed before it was carried out.
    HungUp,
    /// A batch of which only a part was carried out, and the answer says so.
    Partial,
    /// A message that is delivered once more, although it was acknowledged.
    Again,
    /// Messages that were held back after the service had handed them out.
    Late,
    /// Messages in another order than they came.
    Shuffled,
}

/// A listening proxy; calm until told otherwise. Dropping it closes the port.
pub struct FaultProxy {
    url: String,
    sky: Arc<Sky>,
    accepting: JoinHandle<()>,
}

/// What all connections share.
struct Sky {
    http: reqwest::Client,
    storm: AtomicBool,
    seed: u64,
    start: Instant,
    dice: Mutex<u64>,
    counts: Mutex<BTreeMap<Fault, u64>>,
    deliveries: Deliveries,
}

/// The connection ends here.
#[derive(Debug)]
struct HangUp;

impl fmt::Display for HangUp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("hung up")
    }
}

impl std::error::Error for HangUp {}

/// One request, in full.
#[derive(Clone)]
struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    /// Service and operation: `DynamoDB_20120810.PutItem`, `AmazonSQS.ReceiveMessage`; `None` for other services.
    fn target(&self) -> Option<(&str, &str)> {
        self.headers.get("x-amz-target")?.to_str().ok()?.split_once('.')
    }

    fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    fn with(&self, body: &Value) -> Call {
        Call { body: body.to_string().into(), ..self.clone() }
    }
}

impl FaultProxy {
    /// Listens on a free loopback port in front of the suite's emulator. The seed decides what happens; in which order
    /// requests come is up to the processes.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn start(seed: u64) -> FaultProxy {
        let listener = wait(async { TcpListener::bind("127.0.0.1:0").await.expect("a loopback port") });
        let url = format!("http://{}", listener.local_addr().expect("a bound address"));
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build();
        let sky = Arc::new(Sky {
            http: http.expect("a client without special wishes"),
            storm: AtomicBool::new(false),
            seed,
            start: Instant::now(),
            dice: Mutex::new(seed | 1),
            counts: Mutex::default(),
            deliveries: Deliveries::default(),
        });
        let shared = Arc::clone(&sky);
        let accepting = runtime().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                runtime().spawn(connection(stream, Arc::clone(&shared)));
            }
        });
        FaultProxy { url, sky, accepting }
    }

    /// What `AWS_ENDPOINT_URL` is to be.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on things happen.
    pub fn storm(&self) {
        self.sky.storm.store(true, Ordering::Relaxed);
    }

    /// From now on everything passes; what is held up already still is.
    pub fn calm(&self) {
        self.sky.storm.store(false, Ordering::Relaxed);
    }

    /// How often what happened.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Fault, u64> {
        lock(&self.sky.counts).clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connection(stream: TcpStream, sky: Arc<Sky>) {
    // Small answers must not wait for company.
    drop(stream.set_nodelay(true));
    let service = service_fn(move |request: Request<Incoming>| {
        let sky = Arc::clone(&sky);
        async move { sky.serve(request).await }
    });
    // It ends with the client, or as the weather wants.
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

impl Sky {
    fn roll(&self, below: u64) -> u64 {
        let mut dice = lock(&self.dice);
        *dice ^= *dice << 13;
        *dice ^= *dice >> 7;
        *dice ^= *dice << 17;
        *dice % below
    }

    fn one_in(&self, times: u64) -> bool {
        self.roll(times) == 0
    }

    fn note(&self, fault: Fault) {
        *lock(&self.counts).entry(fault).or_default() += 1;
    }

    fn is_stormy(&self) -> bool {
        self.storm.load(Ordering::Relaxed)
    }

    /// Squalls hit one service at a time, long enough for all tries of a call to fail.
    fn is_squall(&self, service: &str) -> bool {
        let spell = u64::try_from(self.start.elapsed().as_millis() / SPELL.as_millis()).unwrap_or(0);
        let mixed = (self.seed ^ spell.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ service.len() as u64)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed >> 33).is_multiple_of(SQUALLS)
    }

    fn decide(&self, service: &str, operation: &str) -> Option<Fault> {
        if !self.is_stormy() {
            return None;
        }
        // There are few batches.
        if operation.contains("Batch") && self.one_in(BATCHES) {
            return Some(Fault::Partial);
        }
        let share = if self.is_squall(service) { SQUALL } else { FAIR };
        if self.roll(100) >= share {
            return None;
        }
        Some(match self.roll(10) {
            0..3 => Fault::Throttled,
            3..5 => Fault::Failed,
            5..7 => Fault::Slow,
            // What was handed out and got lost is out of sight for long, and its group with it: seldom, or nothing else happens.
            7..9 if operation == "ReceiveMessage" && !self.one_in(8) => Fault::HungUp,
            7..9 => Fault::Unanswered,
            _ => Fault::HungUp,
        })
    }

    async fn serve(self: &Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, HangUp> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(Body::new(body), MOST).await.map_err(|_| HangUp)?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let call = Call { method: parts.method, path, headers: parts.headers, body };
        let Some((service, operation)) = call.target() else { return self.forward(&call).await };
        match self.decide(service, operation) {
            Some(Fault::Throttled) => {
                self.note(Fault::Throttled);
                Ok(refusals::throttled(service, self.roll(3)))
            }
            Some(Fault::Failed) => {
                self.note(Fault::Failed);
                Ok(refusals::failed(service, self.roll(2)))
            }
            Some(Fault::HungUp) => {
                self.note(Fault::HungUp);
                Err(HangUp)
            }
            Some(Fault::Slow) => {
                self.note(Fault::Slow);
                let pause = Duration::from_millis(self.roll(SLOWEST_MS));
                if self.one_in(2) {
                    tokio::time::sleep(pause).await;
                    return self.pass(&call).await;
                }
                let answer = self.pass(&call).await;
                tokio::time::sleep(pause).await;
                answer
            }
            Some(Fault::Unanswered) => {
                self.note(Fault::Unanswered);
                let (sky, call) = (Arc::clone(self), call.clone());
                // A task of its own: it is carried out also when the client does not wait for it.
                drop(runtime().spawn(async move { drop(sky.pass(&call).await) }).await);
                if self.one_in(2) {
                    tokio::time::sleep(Duration::from_millis(self.roll(SILENCE_MS))).await;
                }
                Err(HangUp)
            }
            Some(Fault::Partial) => match refusals::divide(&call, |below| self.roll(below)) {
                Some((some, rest)) => {
                    self.note(Fault::Partial);
                    let answer = self.pass(&some).await?;
                    refusals::with_rest(answer, rest).await
                }
                None => self.pass(&call).await,
            },
            _ => self.pass(&call).await,
        }
    }

    /// Carries it out, with what happens to deliveries.
    async fn pass(self: &Arc<Self>, call: &Call) -> Result<Response<Body>, HangUp> {
        match call.target() {
            Some((_, "ReceiveMessage")) => self.receive(call).await,
            Some((_, "DeleteMessage" | "DeleteMessageBatch")) => self.delete(call).await,
            _ => self.forward(call).await,
        }
    }

    /// Carries it out.
    async fn forward(&self, call: &Call) -> Result<Response<Body>, HangUp> {
        let request = self.http.request(call.method.clone(), format!("{}{}", ministack::endpoint(), call.path));
        let headers = without(&call.headers, &[header::HOST, header::CONTENT_LENGTH, header::CONNECTION]);
        let answer = request.headers(headers).body(call.body.clone()).send().await.map_err(|_| HangUp)?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await.map_err(|_| HangUp)?;
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(status.as_u16()).map_err(|_| HangUp)?;
        *response.headers_mut() =
            without(&headers, &[header::CONTENT_LENGTH, header::CONNECTION, header::TRANSFER_ENCODING]);
        Ok(response)
    }
}

fn without(headers: &HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut headers = headers.clone();
    for name in names {
        headers.remove(name);
    }
    headers
}
