//! A server of a test's own, killed and restarted at will: the local binary on a free port with a data folder, or, with
//! `TRUNKLINE_HOME=aws`, the bundle with a table and queues.

use super::bundle::Bundle;
use super::client::{Answer, Client, Credential};
use super::process::{Signal, binary, signal, unwatch, watch};
use shared_aws::Aws;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The administrator that every server of the suite starts with.
pub const ADMIN_EMAIL: &str = "admin@example.com";
/// His password.
pub const ADMIN_PASSWORD: &str = "correct horse battery staple";
/// His API key.
pub const ADMIN_API_KEY: &str = "suite-admin-key-2f1c7a90d4e84b6c";

/// A start, a restart or a graceful stop may take this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// One running server. Dropping it kills its processes and deletes its data.
pub struct Server {
    port: u16,
    folder: TempDir,
    env: Vec<(String, String)>,
    home: Home,
    /// The local binary, or the bundle's worker.
    program: &'static str,
    /// From the start of the process to the first answer of `/ready`, of the latest start.
    pub started_in: Duration,
}

/// What runs, if it does.
enum Home {
    Local(Option<Child>),
    Bundle(Box<Bundle>, Running),
}

#[derive(PartialEq)]
enum Running {
    Yes,
    No,
}

/// Whether servers are bundles.
#[must_use]
pub fn on_aws() -> bool {
    std::env::var("TRUNKLINE_HOME").is_ok_and(|home| home == "aws")
}

/// Whether an answer says no more than that a process ended in the middle: 503, and the 500 of API Gateway itself, whose
/// function was killed. A 500 of ours is a bug.
#[must_use]
pub fn cut_off(answer: &Answer) -> bool {
    answer.status == 503 || (answer.status == 500 && &answer.body[..] == br#"{"message":"Internal Server Error"}"#)
}

impl Server {
    /// Starts a server of its own with the suite's configuration.
    #[must_use]
    pub fn start() -> Server {
        Server::start_with(&[])
    }

    /// The same with more, or other, environment variables.
    ///
    /// # Panics
    /// When the server does not answer `/ready` in time; with what it logged.
    #[must_use]
    pub fn start_with(env: &[(&str, &str)]) -> Server {
        if on_aws() { Server::start_bundle(env) } else { Server::start_program("trunkline", env) }
    }

    /// The same with another program in place of the local binary, whatever `TRUNKLINE_HOME` says.
    ///
    /// # Panics
    /// When it does not start in time.
    #[must_use]
    pub fn start_program(program: &'static str, env: &[(&str, &str)]) -> Server {
        Server::start_at_home(program, env, false)
    }

    /// The same, and a bundle whatever `TRUNKLINE_HOME` says. `AWS_ENDPOINT_URL` may name what stands in front of the emulator.
    ///
    /// # Panics
    /// When it does not start in time.
    #[must_use]
    pub fn start_bundle(env: &[(&str, &str)]) -> Server {
        Server::start_bundle_of("worker", env)
    }

    /// The same with another program in place of the worker.
    ///
    /// # Panics
    /// When it does not start in time.
    #[must_use]
    pub fn start_bundle_of(worker: &'static str, env: &[(&str, &str)]) -> Server {
        Server::start_at_home(worker, env, true)
    }

    /// `program`: the local binary, or the workers' of a bundle.
    fn start_at_home(program: &'static str, env: &[(&str, &str)], bundle: bool) -> Server {
        let folder = tempfile::Builder::new().prefix("trunkline-").tempdir().expect("a temporary folder");
        let port = free_port();
        let mut all: Vec<(String, String)> = [
            ("ADMIN_EMAIL", ADMIN_EMAIL),
            ("ADMIN_PASSWORD", ADMIN_PASSWORD),
            ("ADMIN_API_KEY", ADMIN_API_KEY),
            ("LOG_FORMAT", "json"),
            ("RATE_LIMIT", "off"),
            // Nobody: tests talk to this machine only.
            ("WHATSAPP_WEB_URL", "ws://127.0.0.1:9/ws/chat"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        all.extend(env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        let home = if bundle {
            Home::Bundle(Box::new(Bundle::new(port, &folder.path().join("server.log"), &all, program)), Running::No)
        } else {
            Home::Local(None)
        };
        let mut server = Server { port, folder, env: all, home, program, started_in: Duration::ZERO };
        server.launch();
        server
    }

    /// `http://127.0.0.1:<port>`; stays the same over restarts.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client without credentials.
    #[must_use]
    pub fn anonymous(&self) -> Client {
        Client::new(&self.url(), Credential::None)
    }

    /// Who needs no credentials on a developer's machine; elsewhere the administrator's client, since nothing is open there.
    #[must_use]
    pub fn developer(&self) -> Client {
        match self.home {
            Home::Local(_) => self.anonymous(),
            Home::Bundle(..) => self.admin(),
        }
    }

    /// The administrator's client.
    #[must_use]
    pub fn admin(&self) -> Client {
        Client::new(&self.url(), Credential::ApiKey(ADMIN_API_KEY.to_owned()))
    }

    /// The folder that holds `trunkline.db`, on the local home.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Whether it is a bundle.
    #[must_use]
    pub fn is_bundle(&self) -> bool {
        matches!(self.home, Home::Bundle(..))
    }

    /// The bundle, for what only that has.
    ///
    /// # Panics
    /// On the local home.
    #[must_use]
    pub fn bundle(&mut self) -> &mut Bundle {
        match &mut self.home {
            Home::Bundle(bundle, _) => bundle,
            Home::Local(_) => panic!("this is not the bundle: TRUNKLINE_HOME=aws"),
        }
    }

    /// The bundle's table and queues.
    ///
    /// # Panics
    /// On the local home.
    #[must_use]
    pub fn store(&self) -> &Arc<Aws> {
        match &self.home {
            Home::Bundle(bundle, _) => bundle.aws(),
            Home::Local(_) => panic!("this is not the bundle: TRUNKLINE_HOME=aws"),
        }
    }

    /// `kill -9` of everything, at once.
    ///
    /// # Panics
    /// When the server is not running.
    pub fn kill(&mut self) {
        match &mut self.home {
            Home::Local(child) => {
                let mut child = child.take().expect("the server runs");
                child.kill().expect("the child is ours to kill");
                child.wait().expect("the child is ours to wait for");
                unwatch(child.id());
            }
            Home::Bundle(bundle, running) => {
                assert!(std::mem::replace(running, Running::No) == Running::Yes, "the server runs");
                bundle.kill();
            }
        }
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// When the server is not running, or does not end in time.
    pub fn stop(&mut self) -> ExitStatus {
        let child = match &mut self.home {
            Home::Local(child) => child,
            Home::Bundle(bundle, running) => {
                assert!(std::mem::replace(running, Running::No) == Running::Yes, "the server runs");
                return bundle.stop();
            }
        };
        let mut child = child.take().expect("the server runs");
        signal(child.id(), Signal::TERM);
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("the child is ours to wait for") {
                unwatch(child.id());
                return status;
            }
            if start.elapsed() > PATIENCE {
                drop(child.kill());
                panic!("no end within {PATIENCE:?} of SIGTERM; it logged:\n{}", self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts again on the same data and the same port.
    ///
    /// # Panics
    /// When the server runs.
    pub fn restart(&mut self) {
        self.launch();
    }

    /// [`Server::kill`] and [`Server::restart`], away from the runtime's threads: other tasks go on meanwhile.
    ///
    /// # Panics
    /// When it does not start again in time.
    pub async fn killed_and_restarted(self) -> Server {
        self.ended_and_restarted(Server::kill).await
    }

    /// [`Server::stop`], which must succeed, and [`Server::restart`], likewise.
    ///
    /// # Panics
    /// When it does not end well, or does not start again in time.
    pub async fn stopped_and_restarted(self) -> Server {
        self.ended_and_restarted(|server| assert!(server.stop().success(), "a stop in good order")).await
    }

    async fn ended_and_restarted(mut self, end: impl FnOnce(&mut Server) + Send + 'static) -> Server {
        let restarting = tokio::task::spawn_blocking(move || {
            end(&mut self);
            self.restart();
            self
        });
        restarting.await.expect("the server starts again")
    }

    /// Resident memory in KiB, as the kernel counts it; of the local home's process.
    ///
    /// # Panics
    /// When the server is not running, or this is not Linux.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let Home::Local(Some(child)) = &self.home else { panic!("there is no one process to measure") };
        let pid = child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc, on Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS in /proc/…/status");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("VmRSS in KiB")
    }

    /// Processor time that the local server has used so far, to a hundredth of a second.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    pub fn cpu_time(&self) -> Duration {
        let Home::Local(Some(child)) = &self.home else { panic!("there is no one process to measure") };
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("/proc, on Linux");
        // Behind the name, which may hold anything: the 14th and the 15th field, in hundredths of a second.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        Duration::from_millis(fields.map(|field| 10 * field.parse::<u64>().expect("a number of ticks")).sum())
    }

    /// Everything the server printed since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Runs another command of the local binary (`admin`, `doctor`) with the server's configuration and more.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn command_with(&self, arguments: &[&str], env: &[(&str, &str)]) -> std::process::Output {
        let mut command = self.configured();
        command.args(arguments).envs(env.iter().copied()).stdin(Stdio::null());
        command.output().expect("the binary runs")
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn configured(&self) -> Command {
        let mut command = Command::new(binary(self.program));
        // Nothing of the caller's environment: what a test configures is all there is.
        command.env_clear().current_dir(self.folder.path());
        command.envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME"));
        command.env("LISTEN_ADDR", format!("127.0.0.1:{}", self.port)).env("DATA_DIR", self.data_dir());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn launch(&mut self) {
        let start = Instant::now();
        let child = match &mut self.home {
            Home::Bundle(bundle, running) => {
                assert!(std::mem::replace(running, Running::Yes) == Running::No, "stop or kill the server first");
                bundle.launch();
                self.started_in = start.elapsed();
                return;
            }
            Home::Local(Some(_)) => panic!("stop or kill the server first"),
            Home::Local(None) => {
                let log = File::options().create(true).append(true).open(self.log_path()).expect("the log file");
                let mut command = self.configured();
                command.arg("serve").stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
                command.spawn().unwrap_or_else(|error| panic!("trunkline: {error}"))
            }
        };
        watch(child.id());
        self.home = Home::Local(Some(child));
        let Home::Local(Some(child)) = &mut self.home else { return };
        let mut failure = None;
        while !answers(self.port, "/ready") {
            if let Some(status) = child.try_wait().expect("the child is ours to wait for") {
                failure = Some(format!("the server ended with {status}"));
            } else if start.elapsed() > PATIENCE {
                failure = Some(format!("the server was not ready within {PATIENCE:?}"));
            }
            if failure.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.started_in = start.elapsed();
        if let Some(failure) = failure {
            panic!("{failure}; it logged:\n{}", self.log_tail());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the end of the log of {}\n{}", self.url(), self.log_tail());
        }
        if let Home::Local(Some(child)) = &mut self.home {
            // It may have ended by itself: nothing is left to kill then.
            drop(child.kill());
            drop(child.wait());
            unwatch(child.id());
        }
    }
}

/// The server that tests share when they need none of their own: tenants keep them apart. It ends with the test process.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start)
}

/// Ports that nobody listens on at the moment; distinct within this process.
#[must_use]
pub fn free_port() -> u16 {
    use std::collections::HashSet;
    use std::sync::Mutex;
    static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let taken = taken.get_or_insert_default();
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let port = listener.local_addr().expect("a bound address").port();
        if taken.insert(port) {
            return port;
        }
    }
}

/// Whether `GET path` answers 200, asked with as little machinery as possible.
pub(super) fn answers(port: u16, path: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(&head == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
