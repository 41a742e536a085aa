//! The emulator of DynamoDB and SQS that the suite runs on: one `ministack` process for the whole test run, on a free port of
//! the loopback interface, from the Python environment `TRUNKLINE_TEST_VENV` (default: `.venv` beside the workspace's
//! `Cargo.toml`). It ends with the test process, however that ends.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Starts the emulator, holds on to it while standard input is open, and takes it along when that closes: the other end is
/// in the test process, and the system closes it even when that is killed.
const KEEPER: &str = r#"
"$0" </dev/null & emulator=$!
trap 'kill $emulator 2>/dev/null' EXIT
read -r _
"#;

struct Ministack {
    endpoint: String,
    /// Never waited for: it ends when its standard input closes.
    _keeper: Child,
}

/// `http://127.0.0.1:<port>` of the running emulator. Starts it at the first call.
///
/// # Panics
/// When it cannot run, with what is missing: a suite that skips its back ends proves nothing.
pub fn endpoint() -> &'static str {
    static ONE: OnceLock<Result<Ministack, String>> = OnceLock::new();
    match ONE.get_or_init(start) {
        Ok(ministack) => &ministack.endpoint,
        Err(why) => panic!("the home on AWS needs the emulator ministack: {why}"),
    }
}

fn program() -> PathBuf {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.venv");
    env::var_os("TRUNKLINE_TEST_VENV").map_or_else(default, PathBuf::from).join("bin/ministack")
}

fn start() -> Result<Ministack, String> {
    let program = program();
    if !program.is_file() {
        return Err(format!(
            "there is no {} (python -m venv .venv && .venv/bin/pip install 'ministack[full]', or point \
             TRUNKLINE_TEST_VENV at an environment that has it)",
            program.display()
        ));
    }
    let port = free_port().map_err(|error| format!("no free port: {error}"))?;
    let endpoint = format!("http://127.0.0.1:{port}");
    let log = env::temp_dir().join(format!("trunkline-ministack-{port}.log"));
    let output = fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let errors = output.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
    let keeper = Command::new("sh")
        .args(["-c", KEEPER])
        .arg(&program)
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("MINISTACK_REGION", "eu-west-1")
        // Without it, parts of the emulator would call the real AWS.
        .env("AWS_ENDPOINT_URL", &endpoint)
        // Fixed ports, which a second emulator on the machine may have.
        .env("IOT_MTLS_ENABLED", "0")
        .env("SFTP_ENABLED", "0")
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(|error| format!("sh: {error}"))?;
    let start = Instant::now();
    let mut running = answers(port);
    while !running && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(50));
        running = answers(port);
    }
    let said = fs::read_to_string(&log).unwrap_or_default();
    // It goes on writing to the file, which nobody reads any more.
    let removed = fs::remove_file(&log);
    if !running {
        return Err(format!("{} did not answer on {endpoint} within 30 s; it said:\n{said}", program.display()));
    }
    removed.map_err(|error| format!("{}: {error}", log.display()))?;
    Ok(Ministack { endpoint, _keeper: keeper })
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn answers(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) else { return false };
    let asked = stream.set_read_timeout(Some(Duration::from_secs(2))).and_then(|()| {
        stream.write_all(b"GET /_ministack/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    });
    let mut answer = [0; 12];
    asked.is_ok() && stream.read_exact(&mut answer).is_ok() && answer.starts_with(b"HTTP/1.1 200")
}
