//! The real binary, started on a free port with a data folder of its own, killed and restarted at will.

use super::client::{Client, Credential};
use super::tools::root;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
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

/// One running server. Dropping it kills the process and deletes its data.
pub struct Server {
    port: u16,
    home: TempDir,
    env: Vec<(String, String)>,
    running: Option<Running>,
    /// From the start of the process to the first answer of `/ready`, of the latest start.
    pub started_in: Duration,
}

struct Running {
    child: Child,
    /// Kills the server when the test process ends, however it ends: it waits on a pipe that only we hold.
    watchdog: Child,
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
        let env = env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let home = tempfile::Builder::new().prefix("trunkline-").tempdir().expect("a temporary folder");
        let mut server = Server { port: free_port(), home, env, running: None, started_in: Duration::ZERO };
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

    /// The administrator's client.
    #[must_use]
    pub fn admin(&self) -> Client {
        Client::new(&self.url(), Credential::ApiKey(ADMIN_API_KEY.to_owned()))
    }

    /// The folder that holds `trunkline.db`.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// `kill -9`, at once.
    ///
    /// # Panics
    /// When the server is not running.
    pub fn kill(&mut self) {
        let mut running = self.running.take().expect("the server runs");
        running.end_watchdog();
        running.child.kill().expect("the child is ours to kill");
        running.child.wait().expect("the child is ours to wait for");
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Panics
    /// When the server is not running, or does not end in time.
    pub fn stop(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("the server runs");
        signal(running.child.id(), "TERM");
        let start = Instant::now();
        loop {
            if let Some(status) = running.child.try_wait().expect("the child is ours to wait for") {
                running.end_watchdog();
                return status;
            }
            if start.elapsed() > PATIENCE {
                running.end_watchdog();
                drop(running.child.kill());
                panic!("no end within {PATIENCE:?} of SIGTERM; it logged:\n{}", self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Starts again on the same data and the same port.
    pub fn restart(&mut self) {
        assert!(self.running.is_none(), "stop or kill the server first");
        self.launch();
    }

    /// Resident memory in KiB, as the kernel counts it.
    ///
    /// # Panics
    /// When the server is not running, or this is not Linux.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let pid = self.running.as_ref().expect("the server runs").child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("/proc, on Linux");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS in /proc/…/status");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("VmRSS in KiB")
    }

    /// Everything the server printed since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(self.log_path()).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Runs another command of the binary (`admin`, `doctor`) with the server's configuration and more.
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
        self.home.path().join("server.log")
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    fn configured(&self) -> Command {
        let mut command = Command::new(binary("trunkline"));
        // Nothing of the caller's environment: what a test configures is all there is.
        command.env_clear().current_dir(self.home.path());
        command.envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME"));
        command.env("LISTEN_ADDR", format!("127.0.0.1:{}", self.port)).env("DATA_DIR", self.data_dir());
        command.env("ADMIN_EMAIL", ADMIN_EMAIL).env("ADMIN_PASSWORD", ADMIN_PASSWORD);
        command.env("ADMIN_API_KEY", ADMIN_API_KEY).env("LOG_FORMAT", "json").env("RATE_LIMIT", "off");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the log file");
        let start = Instant::now();
        let child = self
            .configured()
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", binary("trunkline").display()));
        let watchdog = Command::new("sh")
            .args(["-c", "cat >/dev/null; kill -9 \"$1\" 2>/dev/null", "watchdog", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        let mut running = Running { child, watchdog };
        let mut failure = None;
        while !answers(self.port, "/ready") {
            if let Some(status) = running.child.try_wait().expect("the child is ours to wait for") {
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
        self.running = Some(running);
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
        if let Some(mut running) = self.running.take() {
            running.end_watchdog();
            // It may have ended by itself: nothing is left to kill then.
            drop(running.child.kill());
            drop(running.child.wait());
        }
    }
}

impl Running {
    /// Before the server is reaped, so that the watchdog can never meet a reused process id.
    fn end_watchdog(&mut self) {
        drop(self.watchdog.kill());
        drop(self.watchdog.wait());
    }
}

/// The server that tests share when they need none of their own: tenants keep them apart. It ends with the test process.
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start)
}

/// The folder of the binaries under test: `TRUNKLINE_BINS`, else the development build.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let folder = std::env::var_os("TRUNKLINE_BINS").map_or_else(|| root().join("target/debug"), PathBuf::from);
    let path = folder.join(name);
    assert!(Path::new(&path).exists(), "{} is missing: tests/run --prepare builds it", path.display());
    path
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
fn answers(port: u16, path: &str) -> bool {
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

/// The `kill` of the shell: signals need `unsafe` or a crate otherwise.
fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "kill -{name} {pid}: {status}");
}
