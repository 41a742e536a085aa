//! Trunkline in one process: every route group, every consumer and the worker, on one SQLite file.
//!
//! As a library, so that a test can link the same program with a peer that is not WhatsApp.

mod admin;
mod doctor;
mod home;
mod logging;
mod serve;
mod telemetry;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use shared::{
    Result,
    config::{Config, Source},
};

#[derive(Debug, Parser)]
#[command(name = "trunkline", version, about = "One gateway for many messengers")]
struct Cli {
    /// Settings beside the environment: `NAME = "value"` lines.
    #[arg(long, global = true, default_value = "trunkline.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts the gateway (the default).
    Serve,
    /// Manages users and data; the server may be running only where it says so.
    #[command(subcommand)]
    Admin(admin::Command),
    /// Checks the configuration, the data and what the gateway needs to run.
    Doctor,
}

/// The program: reads its arguments, runs, says what went wrong.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = configuration(&cli.config).and_then(|config| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(shared::Error::internal)?;
        match cli.command.unwrap_or(Command::Serve) {
            Command::Serve => runtime.block_on(serve::serve(config)),
            Command::Admin(command) => runtime.block_on(admin::run(config, command)),
            Command::Doctor => runtime.block_on(doctor::run(&config)),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn configuration(file: &std::path::Path) -> Result<Config> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && file == "trunkline.toml" => None,
        Err(error) => return Err(shared::Error::invalid("--config", format!("{}: {error}", file.display()))),
    };
    Config::load(&Source::new(text.as_deref())?)
}

/// What a person at the terminal reads: the message, and what is behind it.
#[expect(clippy::print_stderr, reason = "the last word of a command that failed")]
fn say_error(error: &shared::Error) {
    eprintln!("trunkline: {}", error.message);
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
}
