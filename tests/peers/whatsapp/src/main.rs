//! `fake-whatsapp`: serves until it is killed. Prints one line of JSON when it is ready:
//! `{"socket":"127.0.0.1:…","control":"127.0.0.1:…"}`.

use std::io::Write as _;
use std::net::SocketAddr;

use anyhow::Result;
use clap::Parser;
use fake_whatsapp::Fake;
use tracing_subscriber::EnvFilter;

/// A fake of the WhatsApp Web server, with a simulated phone for each account.
#[derive(Parser)]
struct Arguments {
    /// Where clients connect.
    #[arg(long, default_value = "127.0.0.1:0")]
    socket: SocketAddr,
    /// Where the control API and the media are.
    #[arg(long, default_value = "127.0.0.1:0")]
    control: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let arguments = Arguments::parse();
    let fake = Fake::start(arguments.socket, arguments.control).await?;
    let line = serde_json::json!({
        "socket": fake.socket.to_string(),
        "control": fake.control.to_string(),
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    drop(out);
    fake.wait().await;
    Ok(())
}
