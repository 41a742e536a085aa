//! `trunkline admin`: what an operator does beside the HTTP API.

use std::path::PathBuf;

use clap::Subcommand;
use shared::{
    Error, Result,
    config::{Config, StoreKind},
    crypto,
    domain::{
        rotation,
        user::{self, User},
    },
    redact::Secret,
};

use crate::home;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sets a new password (a generated one, unless TRUNKLINE_PASSWORD gives it) and ends all logins. The server must be
    /// stopped.
    ResetPassword {
        /// E-mail or username; the first administrator if none is given.
        #[arg(long)]
        user: Option<String>,
    },
    /// Makes a new API key for an account and ends the one before. The server must be stopped.
    RotateKey {
        #[arg(long)]
        user: Option<String>,
    },
    /// Adds new keys to the keyring: they encrypt credentials and sign tokens from ten minutes later on, when every process
    /// knows them. On SQLite the server must be stopped; on DynamoDB nothing need be.
    RotateKeys,
    /// Copies the database to a file, also while the server is running.
    Backup {
        /// Must not exist yet.
        to: PathBuf,
    },
}

pub(crate) async fn run(config: Config, command: Command) -> Result<()> {
    // A wrong folder must not become a second deployment.
    let missing = !config.data_dir.join(shared_local::NAME).exists();
    if config.store == StoreKind::Sqlite && missing {
        return Err(Error::invalid(
            "DATA_DIR",
            format!("There is no {} in {}", shared_local::NAME, config.data_dir.display()),
        ));
    }
    match command {
        Command::ResetPassword { user } => reset_password(config, user).await,
        Command::RotateKey { user } => rotate_key(config, user).await,
        Command::RotateKeys => {
            rotation::rotate(&home::open(config).await?.app).await?;
            say("new keys are stored, and used from ten minutes from now on");
            Ok(())
        }
        Command::Backup { to } => {
            shared_local::backup(&config.data_dir, &to)?;
            say(&format!("saved {}; keep {} with it", to.display(), config.data_dir.join("encryption.key").display()));
            Ok(())
        }
    }
}

async fn reset_password(config: Config, name: Option<String>) -> Result<()> {
    let home = home::open(config).await?;
    let user = account(&home.app, name).await?;
    let given = std::env::var("TRUNKLINE_PASSWORD").ok();
    let password = match &given {
        Some(text) => text.clone(),
        None => crypto::random_text()?[..20].to_owned(),
    };
    user::check_password("TRUNKLINE_PASSWORD", &password)?;
    user::set_password(&home.app, &user, &Secret::new(&password)).await?;
    say(&format!("user      {}", user.email));
    if given.is_none() {
        say(&format!("password  {password}"));
    }
    Ok(())
}

async fn rotate_key(config: Config, name: Option<String>) -> Result<()> {
    let home = home::open(config).await?;
    let user = account(&home.app, name).await?;
    let user = user::rotate_api_key(&home.app, &user).await?;
    say(&format!("user     {}", user.email));
    say(&format!("API key  {}", user.api_key(&home.app).reveal()));
    Ok(())
}

async fn account(app: &shared::app::App, name: Option<String>) -> Result<User> {
    let found = match &name {
        Some(name) => user::find_by_name(app, name).await?,
        None => user::first_admin(app).await?,
    };
    found.ok_or_else(|| Error::not_found("There is no such user"))
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
fn say(text: &str) {
    println!("{text}");
}
