//! Lambda as a function sees it: the runtime API (`/2018-06-01/runtime/…`), and one process per execution environment. An
//! environment starts when an event finds none that is idle, works on one event at a time, and is frozen (SIGSTOP) in between,
//! so that nothing which a function leaves for "afterwards" goes unnoticed.

use super::super::process::{Signal, binary, signal, unwatch, watch};
use super::{Env, runtime};
use axum::extract::{Path as Segments, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// Environments of one function at the most; more events wait.
const MOST: usize = 8;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// The function answered with an error; its document.
    Error(String),
    /// Its process ended, or could not start.
    Ended,
    /// It took too long, and was ended.
    TimedOut,
}

struct Invocation {
    id: u64,
    event: Bytes,
    limit: Duration,
    answer: oneshot::Sender<Result<Bytes, Failed>>,
}

#[derive(Default)]
struct Function {
    waiting: VecDeque<Invocation>,
    /// Idle environments, the latest to become idle last, each with what its next event goes through.
    idle: Vec<(u64, oneshot::Sender<Invocation>)>,
    /// Processes that have not yet asked for their first event.
    starting: usize,
    running: usize,
}

struct Environment {
    function: String,
    pid: u32,
    /// When it was started, until it has asked for its first event; then, when it got the event that it works on.
    since: Instant,
    asked: bool,
    working: Option<(u64, oneshot::Sender<Result<Bytes, Failed>>)>,
}

/// What a function took of Lambda's time, in the order in which it happened.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    /// From the start of a process to its first question for an event.
    pub inits: Vec<Duration>,
    /// From an event to its answer.
    pub events: Vec<Duration>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    functions: HashMap<String, Function>,
    environments: HashMap<u64, Environment>,
    /// Invocations that were begun, by function.
    calls: HashMap<String, u64>,
    spans: HashMap<String, Spans>,
}

/// All functions of a bundle.
pub struct Environments {
    env: Env,
    log: PathBuf,
    port: u16,
    /// Whether an environment is stopped while it has nothing to do.
    freeze: bool,
    inner: Mutex<Inner>,
}

impl Environments {
    pub(super) fn new(env: Env, log: &Path) -> Arc<Environments> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("a bound address").port();
        listener.set_nonblocking(true).expect("a socket");
        let all = Arc::new(Environments { env, log: log.to_owned(), port, freeze: true, inner: Mutex::default() });
        let routes = axum::Router::new()
            .route("/{environment}/2018-06-01/runtime/invocation/next", get(next))
            .route("/{environment}/2018-06-01/runtime/invocation/{id}/response", post(answered))
            .route("/{environment}/2018-06-01/runtime/invocation/{id}/error", post(failed))
            .route("/{environment}/2018-06-01/runtime/init/error", post(unstarted))
            .layer(axum::extract::DefaultBodyLimit::max(8 << 20))
            .with_state(Arc::downgrade(&all));
        runtime().spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
            axum::serve(listener, routes).await
        });
        all
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the event to a function, and waits for its answer.
    ///
    /// # Errors
    /// [`Failed`]: as Lambda would tell.
    pub async fn invoke(self: &Arc<Self>, function: &str, event: &Value, limit: Duration) -> Result<Value, Failed> {
        let bytes = self.invoke_bytes(function, serde_json::to_vec(event).expect("JSON").into(), limit).await?;
        serde_json::from_slice(&bytes).map_err(|error| Failed::Error(error.to_string()))
    }

    /// The same with the event and the answer as JSON text.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn invoke_bytes(
        self: &Arc<Self>,
        function: &str,
        event: Bytes,
        limit: Duration,
    ) -> Result<Bytes, Failed> {
        let (answer, answered) = oneshot::channel();
        let id = {
            let mut inner = self.inner();
            inner.next += 1;
            let id = inner.next;
            *inner.calls.entry(function.to_owned()).or_default() += 1;
            let mut invocation = Invocation { id, event, limit, answer };
            let all = inner.functions.entry(function.to_owned()).or_default();
            loop {
                let Some((_, next)) = all.idle.pop() else {
                    all.waiting.push_back(invocation);
                    if all.starting < all.waiting.len() && all.running < MOST {
                        all.starting += 1;
                        all.running += 1;
                        self.start(&mut inner, function);
                    }
                    break;
                };
                match next.send(invocation) {
                    Ok(()) => break,
                    Err(back) => invocation = back,
                }
            }
            id
        };
        // Waiting for an environment counts, too: nobody waits for ever.
        match tokio::time::timeout(limit + Duration::from_secs(30), answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failed::Ended),
            Err(_) => {
                self.end(id);
                Err(Failed::TimedOut)
            }
        }
    }

    /// How often a function was called.
    #[must_use]
    pub fn calls(&self, function: &str) -> u64 {
        self.inner().calls.get(function).copied().unwrap_or(0)
    }

    /// The time that a function took until now.
    #[must_use]
    pub fn spans(&self, function: &str) -> Spans {
        self.inner().spans.get(function).cloned().unwrap_or_default()
    }

    /// Process ids of a function's environments.
    #[must_use]
    pub fn pids(&self, function: &str) -> Vec<u32> {
        let inner = self.inner();
        inner.environments.values().filter(|one| one.function == function).map(|one| one.pid).collect()
    }

    /// Those of them that are working on an event.
    #[must_use]
    pub fn working(&self, function: &str) -> Vec<u32> {
        let inner = self.inner();
        let working = |one: &&Environment| one.function == function && one.working.is_some();
        inner.environments.values().filter(working).map(|one| one.pid).collect()
    }

    /// `kill -9` of all environments.
    pub fn kill_all(&self) {
        let mut inner = self.inner();
        for all in inner.functions.values_mut() {
            all.waiting.clear();
            all.idle.clear();
        }
        for environment in inner.environments.values() {
            signal(environment.pid, Signal::KILL);
        }
    }

    /// Ends the environment that works on the invocation.
    fn end(&self, invocation: u64) {
        let inner = self.inner();
        let at_work = |one: &&Environment| one.working.as_ref().is_some_and(|(id, _)| *id == invocation);
        if let Some(environment) = inner.environments.values().find(at_work) {
            signal(environment.pid, Signal::KILL);
        }
    }

    fn start(self: &Arc<Self>, inner: &mut Inner, function: &str) {
        inner.next += 1;
        let id = inner.next;
        // Its folder goes with the test.
        let Ok(log) = File::options().create(true).append(true).open(&self.log) else { return };
        let mut command = Command::new(binary(function));
        command.env_clear().envs(self.env.iter().cloned());
        command
            .env("AWS_LAMBDA_RUNTIME_API", format!("http://127.0.0.1:{}/{id}", self.port))
            .env("AWS_LAMBDA_FUNCTION_NAME", function)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{function}"))
            .env("AWS_LAMBDA_LOG_STREAM_NAME", id.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        let since = Instant::now();
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{function}: {error}"));
        let pid = child.id();
        watch(pid);
        let environment = Environment { function: function.to_owned(), pid, since, asked: false, working: None };
        inner.environments.insert(id, environment);
        let all = Arc::downgrade(self);
        runtime().spawn_blocking(move || {
            drop(child.wait());
            unwatch(pid);
            if let Some(all) = all.upgrade() {
                all.ended(id);
            }
        });
    }

    fn ended(self: &Arc<Self>, id: u64) {
        let mut inner = self.inner();
        let Some(environment) = inner.environments.remove(&id) else { return };
        if let Some((_, answer)) = environment.working {
            drop(answer.send(Err(Failed::Ended)));
        }
        let all = inner.functions.entry(environment.function.clone()).or_default();
        all.running -= 1;
        all.idle.retain(|(one, _)| *one != id);
        if !environment.asked {
            all.starting -= 1;
            // It did not come up: whoever waited longest hears of it, instead of everybody waiting for ever.
            if let Some(invocation) = all.waiting.pop_front() {
                drop(invocation.answer.send(Err(Failed::Ended)));
            }
        }
        if all.starting < all.waiting.len() && all.running < MOST {
            all.starting += 1;
            all.running += 1;
            self.start(&mut inner, &environment.function);
        }
    }

    /// The environment has nothing to do: gives it the next event, now or later.
    fn asks(&self, id: u64) -> Option<Result<Invocation, (u32, oneshot::Receiver<Invocation>)>> {
        let mut inner = self.inner();
        let environment = inner.environments.get_mut(&id)?;
        let (first, pid) = (!std::mem::replace(&mut environment.asked, true), environment.pid);
        let (function, since) = (environment.function.clone(), environment.since);
        if first {
            inner.spans.entry(function.clone()).or_default().inits.push(since.elapsed());
        }
        let all = inner.functions.entry(function).or_default();
        if first {
            all.starting -= 1;
        }
        Some(match all.waiting.pop_front() {
            Some(invocation) => Ok(invocation),
            None => {
                let (sender, receiver) = oneshot::channel();
                all.idle.push((id, sender));
                // Under the lock, so that it cannot be woken before it sleeps.
                if self.freeze {
                    signal(pid, Signal::STOP);
                }
                Err((pid, receiver))
            }
        })
    }

    fn finish(&self, environment: u64, id: u64, answer: Result<Bytes, Failed>) -> StatusCode {
        let mut inner = self.inner();
        let Some(one) = inner.environments.get_mut(&environment) else { return StatusCode::BAD_REQUEST };
        let (working, took, function) = (one.working.take(), one.since.elapsed(), one.function.clone());
        match working {
            Some((at_work, sender)) if at_work == id => {
                inner.spans.entry(function).or_default().events.push(took);
                drop(sender.send(answer));
                StatusCode::ACCEPTED
            }
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

type All = State<std::sync::Weak<Environments>>;

async fn next(State(all): All, Segments(id): Segments<u64>) -> Response {
    let gone = || StatusCode::GONE.into_response();
    let Some(asked) = all.upgrade().and_then(|all| all.asks(id)) else { return gone() };
    let invocation = match asked {
        Ok(invocation) => invocation,
        Err((pid, later)) => {
            let Ok(invocation) = later.await else { return gone() };
            signal(pid, Signal::CONT);
            invocation
        }
    };
    let Some(all) = all.upgrade() else { return gone() };
    let Invocation { id: request, event, limit, answer } = invocation;
    match all.inner().environments.get_mut(&id) {
        Some(environment) => {
            environment.working = Some((request, answer));
            environment.since = Instant::now();
        }
        None => {
            drop(answer.send(Err(Failed::Ended)));
            return gone();
        }
    }
    let late = Arc::downgrade(&all);
    runtime().spawn(async move {
        tokio::time::sleep(limit).await;
        if let Some(all) = late.upgrade() {
            all.end(request);
        }
    });
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + limit;
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", request.to_string()),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:000000000000:function:suite".to_owned()),
        ("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000;Sampled=0".to_owned()),
    ];
    (headers, event).into_response()
}

async fn answered(State(all): All, Segments((environment, id)): Segments<(u64, u64)>, body: Bytes) -> StatusCode {
    all.upgrade().map_or(StatusCode::GONE, |all| all.finish(environment, id, Ok(body)))
}

async fn failed(State(all): All, Segments((environment, id)): Segments<(u64, u64)>, body: Bytes) -> StatusCode {
    let text = String::from_utf8_lossy(&body).into_owned();
    all.upgrade().map_or(StatusCode::GONE, |all| all.finish(environment, id, Err(Failed::Error(text))))
}

/// The process ends by itself after that.
async fn unstarted(_headers: HeaderMap) -> StatusCode {
    StatusCode::ACCEPTED
}
