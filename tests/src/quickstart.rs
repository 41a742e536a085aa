//! The README's quickstart, its very lines, in a shell.

use crate::harness::server::{ADMIN_API_KEY, ADMIN_EMAIL, ADMIN_PASSWORD, free_port};
use crate::harness::tools::{root, stdout};
use crate::harness::{Server, eventually_within};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The address in the README, which the test replaces by the server's.
const ADDRESS: &str = "127.0.0.1:8070";
/// Where the README's own receiver listens.
const RECEIVER: &str = "127.0.0.1:8071";

/// The lines between "```bash quickstart" and the next fence.
fn block() -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let lines: Vec<&str> = readme
        .lines()
        .skip_while(|line| *line != "```bash quickstart")
        .skip(1)
        .take_while(|line| *line != "```")
        .collect();
    assert!(!lines.is_empty(), "README.md has no block that begins with ```bash quickstart");
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn the_readmes_lines_do_what_the_readme_says() {
    let server = Server::start();
    let address = server.url().replace("http://", "");
    let receiver = format!("127.0.0.1:{}", free_port());
    let script = block().replace(ADDRESS, &address).replace(RECEIVER, &receiver);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut shell = Command::new("bash");
    // In a process group of its own, and no line of it may fail.
    shell.args(["-euo", "pipefail", "-c", &script]).current_dir(folder.path()).stdin(Stdio::null());
    shell.env("ADMIN_API_KEY", ADMIN_API_KEY).env("ADMIN_EMAIL", ADMIN_EMAIL).env("ADMIN_PASSWORD", ADMIN_PASSWORD);
    shell.env("API_KEY", ADMIN_API_KEY).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = tokio::task::spawn_blocking(move || shell.output().expect("bash runs"));
    let output = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it ends").expect("no panic");
    let printed = stdout(&output);
    for wanted in ["message_sent", "message_status", "message_received"] {
        assert!(printed.contains(wanted), "no {wanted} in what it printed:\n{printed}");
    }
    let png = eventually_within(Duration::from_secs(1), "a PNG in the folder", async || {
        let mut entries = std::fs::read_dir(folder.path()).expect("the folder").filter_map(Result::ok);
        entries.find(|entry| entry.path().extension().is_some_and(|extension| extension == "png"))
    })
    .await;
    assert!(std::fs::read(png.path()).expect("the picture").starts_with(b"\x89PNG"));
}
