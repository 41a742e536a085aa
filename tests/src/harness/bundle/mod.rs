//! The bundle on this machine: the functions' real binaries as processes under the Lambda runtime API, behind an HTTP API and
//! event sources that hand them the events AWS would, beside worker processes; state and queues in the emulator.
//!
//! | file | stands for |
//! |---|---|
//! | `environments` | Lambda: the runtime API, and execution environments that start when needed and are frozen in between |
//! | `gateway` | the HTTP API: requests as events of payload format 2.0 |
//! | `super::gateway_ws` | the WebSocket API |
//! | `sources` | the event source mappings from SQS, and the schedule |
//!
//! It exists because emulators of these need containers, or a tenth of a second an invocation; the template itself is deployed
//! into a foreign one elsewhere in the suite (`infra`).

mod environments;
mod gateway;
mod sources;

pub use environments::{Environments, Failed, Spans};

use super::gateway_ws::Sockets;
use super::ministack;
use super::process::{Signal, binary, signal, unwatch, watch};
use super::server::{answers, free_port};
use shared::clock::SystemClock;
use shared::store::meter::Meter;
use shared_aws::{Aws, Settings};
use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// Command queues of a bundle.
const SHARDS: u16 = 4;
/// Worker processes of a bundle.
const WORKERS: usize = 2;
/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Variables of a process.
pub type Env = Vec<(String, String)>;

/// A deployment of its own: table, queues, functions, workers.
pub struct Bundle {
    aws: Arc<Aws>,
    /// What the event sources receive with: through whatever stands before the emulator.
    polls: Arc<Aws>,
    environments: Arc<Environments>,
    /// The clients' connections outlive the functions.
    sockets: Arc<Sockets>,
    env: Env,
    log: PathBuf,
    port: u16,
    /// The workers' program.
    worker: &'static str,
    workers: Vec<Worker>,
    tasks: Vec<JoinHandle<()>>,
}

struct Worker {
    child: Child,
    /// Of its `/ready`.
    port: u16,
}

/// What the emulation itself runs on, whatever the test runs on.
pub fn runtime() -> &'static Runtime {
    static ONE: OnceLock<Runtime> = OnceLock::new();
    ONE.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    })
}

/// Runs it to its end, from wherever one is.
pub fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = std::sync::mpsc::channel();
    runtime().spawn(async move { sender.send(work.await) });
    receiver.recv().expect("the work ends with a result")
}

impl Bundle {
    /// Makes table and queues; the processes start with [`Bundle::launch`]. `env` goes to every process, above the defaults.
    /// An `AWS_ENDPOINT_URL` in it stands before the emulator, for the processes and for the event sources.
    ///
    /// # Panics
    /// When the emulator does not do what is asked.
    #[must_use]
    pub fn new(port: u16, log: &Path, env: &[(String, String)], worker: &'static str) -> Bundle {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("b{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let settings = Settings {
            table: name.clone(),
            queue_prefix: format!("{name}-"),
            shards: SHARDS,
            emulator: Some(ministack::endpoint().to_owned()),
        };
        let bucket = name.clone();
        let before = env.iter().rev().find(|(name, _)| name == "AWS_ENDPOINT_URL").map(|(_, url)| url.clone());
        let through = Settings { emulator: before.or_else(|| settings.emulator.clone()), ..settings.clone() };
        let (aws, polls) = wait(async move {
            let connect = async |settings| {
                let aws = Aws::connect(settings, Arc::new(SystemClock::default()), Arc::new(Meter::default())).await;
                aws.expect("clients")
            };
            let (aws, polls) = (connect(settings).await, connect(through).await);
            aws.create().await.expect("table and queues");
            sources::be_quick(&aws).await;
            let made = reqwest::Client::new().put(format!("{}/{bucket}", ministack::endpoint())).send().await;
            assert!(made.expect("an answer").status().is_success(), "no bucket was made");
            (aws, polls)
        });
        let mut all: Env = [
            ("STORE", "dynamodb".to_owned()),
            ("TABLE_NAME", name.clone()),
            ("QUEUE_PREFIX", format!("{name}-")),
            ("WORKER_SHARDS", SHARDS.to_string()),
            ("MEDIA_URL", format!("s3://{name}/media")),
            ("ENCRYPTION_KEY", "the suite's encryption key".to_owned()),
            ("PUBLIC_URL", format!("http://127.0.0.1:{port}")),
            ("PUBLIC_WS_URL", format!("ws://127.0.0.1:{port}/ws")),
            ("WEBSOCKET_MANAGEMENT_URL", format!("http://127.0.0.1:{port}/ws")),
            // What is open by itself on a developer's machine is not here, and receivers of the tests are on this machine.
            ("REGISTRATION", "open".to_owned()),
            ("THIRD_PARTY_AUTH", "off".to_owned()),
            ("JUHE_AUTO_REGISTER", "on".to_owned()),
            ("OUTBOUND_ALLOW", "loopback".to_owned()),
            ("AWS_ENDPOINT_URL", ministack::endpoint().to_owned()),
            ("AWS_REGION", "eu-west-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "000000000000".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "emulator".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        all.extend_from_slice(env);
        let environments = Environments::new(all.clone(), log);
        let sockets = gateway::sockets(&environments);
        let (workers, tasks) = (Vec::new(), Vec::new());
        Bundle { aws, polls, environments, sockets, env: all, log: log.to_owned(), port, worker, workers, tasks }
    }

    /// Opens the HTTP API, connects the queues, and starts the workers; returns when those are ready.
    ///
    /// # Panics
    /// When a worker does not become ready in time.
    pub fn launch(&mut self) {
        let (port, environments) = (self.port, Arc::clone(&self.environments));
        let sockets = Arc::clone(&self.sockets);
        let gateway = wait(gateway::open(port, environments, sockets));
        self.tasks.push(gateway);
        self.tasks.extend(sources::connect(&self.polls, &self.environments));
        for _ in 0..WORKERS {
            self.add_worker();
        }
        let start = Instant::now();
        for at in 0..self.workers.len() {
            while !answers(self.workers[at].port, "/ready") {
                let ended = self.workers[at].child.try_wait().expect("the child is ours");
                assert!(ended.is_none(), "a worker ended with {ended:?}");
                assert!(start.elapsed() < PATIENCE, "a worker was not ready within {PATIENCE:?}");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Starts another worker.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn add_worker(&mut self) {
        let port = free_port();
        let log = File::options().create(true).append(true).open(&self.log).expect("the log file");
        let mut command = Command::new(binary(self.worker));
        command.env_clear().envs(self.env.iter().cloned()).env("LISTEN_ADDR", format!("127.0.0.1:{port}"));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", self.worker));
        watch(child.id());
        self.workers.push(Worker { child, port });
    }

    /// `kill -9` of one worker, by its place among [`Bundle::workers`], and the start of another, as the service does it that
    /// keeps their number.
    ///
    /// # Panics
    /// When there is none at this place, or the other cannot be started.
    pub fn replace_worker(&mut self, at: usize) {
        let mut worker = self.workers.remove(at);
        drop(worker.child.kill());
        drop(worker.child.wait());
        unwatch(worker.child.id());
        self.add_worker();
    }

    /// Process ids of the workers, in the order of their start.
    #[must_use]
    pub fn workers(&self) -> Vec<u32> {
        self.workers.iter().map(|worker| worker.child.id()).collect()
    }

    /// The functions, to be called or killed.
    #[must_use]
    pub fn environments(&self) -> &Arc<Environments> {
        &self.environments
    }

    /// Its table and queues.
    #[must_use]
    pub fn aws(&self) -> &Arc<Aws> {
        &self.aws
    }

    /// `kill -9` of every process, at once. What is stored stays.
    pub fn kill(&mut self) {
        self.detach();
        self.environments.kill_all();
        for mut worker in self.workers.drain(..) {
            drop(worker.child.kill());
            drop(worker.child.wait());
            unwatch(worker.child.id());
        }
    }

    /// As a deployment that is scaled to nothing: SIGTERM for the workers; functions are merely no longer called.
    ///
    /// # Panics
    /// When a worker does not end, or ends badly.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        for worker in &self.workers {
            signal(worker.child.id(), Signal::TERM);
        }
        let mut status = std::process::ExitStatus::default();
        for mut worker in self.workers.drain(..) {
            let ended = worker.child.wait().expect("the child is ours");
            unwatch(worker.child.id());
            if !ended.success() {
                status = ended;
            }
        }
        self.detach();
        self.environments.kill_all();
        status
    }

    fn detach(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            // The port must be free when this returns.
            drop(wait(task));
        }
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        self.kill();
        let aws = Arc::clone(&self.aws);
        runtime().spawn(async move { aws.drop_all().await });
    }
}
