//! The README's quickstart and its other samples, their very lines, in a shell.

use crate::harness::server::{ADMIN_API_KEY, ADMIN_EMAIL, ADMIN_PASSWORD, free_port};
use crate::harness::tools::{root, stdout};
use crate::harness::{Server, eventually_within};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The address in the README, which the test replaces by the server's.
const ADDRESS: &str = "127.0.0.1:8070";
/// Where the README's own receiver listens.
const RECEIVER: &str = "127.0.0.1:8071";

/// The lines between "```bash <name>" and the next fence.
fn block(name: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let lines: Vec<&str> = readme
        .lines()
        .skip_while(|line| *line != format!("```bash {name}"))
        .skip(1)
        .take_while(|line| *line != "```")
        .collect();
    assert!(!lines.is_empty(), "README.md has no block that begins with ```bash {name}");
    lines.join("\n") + "\n"
}

/// Runs a block in a folder against a server of its own, and gives what it printed. No line of it may fail.
async fn run(name: &str, folder: &Path) -> String {
    let server = Server::start();
    let address = server.url().replace("http://", "");
    let receiver = format!("127.0.0.1:{}", free_port());
    let script = block(name).replace(ADDRESS, &address).replace(RECEIVER, &receiver);
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &script]).current_dir(folder).stdin(Stdio::null());
    shell.env("ADMIN_API_KEY", ADMIN_API_KEY).env("ADMIN_EMAIL", ADMIN_EMAIL).env("ADMIN_PASSWORD", ADMIN_PASSWORD);
    shell.env("API_KEY", ADMIN_API_KEY).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = tokio::task::spawn_blocking(move || shell.output().expect("bash runs"));
    let output = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it ends").expect("no panic");
    stdout(&output)
}

#[tokio::test]
async fn the_samples_of_the_chat_do_what_the_readme_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let printed = run("chat", folder.path()).await;
    let last = printed.rfind("{\"data\":").map(|start| &printed[start..]).expect("an answer");
    let synced: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(synced["data"][0]["messageSeq"], 1, "{printed}");
    assert_eq!(synced["data"][0]["clientMsgNo"], "7f0c8a52-9d6e-4a8e-9a3e-0d1f6f1b2c3d");
}

#[tokio::test]
async fn the_readmes_lines_do_what_the_readme_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let printed = run("quickstart", folder.path()).await;
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
