//! The worker of a fleet: holds its part of the accounts' lines.
//!
//! `worker` runs until SIGTERM. `worker health` asks the running one whether it is up, for a container that has no other program
//! to ask with, and says so by its exit status.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1).as_deref() {
        None => worker::serve().await,
        Some("health") => worker::health().await,
        Some(_) => Err(shared::Error::invalid("command", "worker takes no argument but `health`")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, cause = ?error.source, "the worker has ended");
            ExitCode::FAILURE
        }
    }
}
