//! Processes that tests start: found, signalled, and taken along when the test process ends, however it ends.

use super::tools::root;
use rustix::process::{Pid, kill_process};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

pub use rustix::process::Signal;

/// The binary of that name: in the folder `TRUNKLINE_BINS`, else the development build.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(path.exists(), "{} is missing: tests/run --prepare builds it", path.display());
    path
}

/// The same, if it is there.
#[must_use]
pub fn binary_if_built(name: &str) -> Option<PathBuf> {
    Some(folder().join(name)).filter(|path| path.exists())
}

fn folder() -> PathBuf {
    std::env::var_os("TRUNKLINE_BINS").map_or_else(|| root().join("target/debug"), PathBuf::from)
}

/// Sends a signal. A process that has ended in the meantime is none to complain about.
pub fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let _ended = kill_process(pid, signal);
}

/// Kills what it was told of when its standard input closes: the other end is in the test process only.
const KEEPER: &str = r#"
pids=" "
while read -r sign pid; do
  case $sign in
    +) pids="$pids$pid " ;;
    -) case $pids in *" $pid "*) pids="${pids%% $pid *} ${pids#* $pid }" ;; esac ;;
  esac
done
[ "$pids" = " " ] || kill -9 $pids 2>/dev/null
"#;

fn tell(line: &str) {
    static KEEPERS: OnceLock<Mutex<(ChildStdin, Child)>> = OnceLock::new();
    let keeper = KEEPERS.get_or_init(|| {
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("sh runs");
        Mutex::new((child.stdin.take().expect("a pipe"), child))
    });
    let mut keeper = keeper.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(keeper.0, "{line}").expect("the keeper reads");
}

/// From now on the process dies with the test process.
pub fn watch(pid: u32) {
    tell(&format!("+ {pid}"));
}

/// The process has ended.
pub fn unwatch(pid: u32) {
    tell(&format!("- {pid}"));
}
