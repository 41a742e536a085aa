//! `trunkline doctor`: what stands in the way of running well, in plain words. Fails if something is broken; warns of what is
//! only unwise.

use std::net::TcpListener;

use shared::{Error, Result, config::Config, guard::Policy};

use crate::home;

pub(crate) async fn run(config: &Config) -> Result<()> {
    let mut report = Report::default();
    report.good(&format!("trunkline {}", env!("CARGO_PKG_VERSION")));
    address(config, &mut report);
    secrets(config, &mut report);
    match config.outbound_allow().parse::<Policy>() {
        Ok(_) if config.outbound_allow().is_empty() => report.good("OUTBOUND_ALLOW: public addresses only"),
        Ok(_) => report.good(&format!("OUTBOUND_ALLOW: public addresses and {}", config.outbound_allow())),
        Err(error) => report.bad(&format!("OUTBOUND_ALLOW: {}", error.message)),
    }
    data(config, &mut report);
    keys(config, &mut report).await;
    if report.broken > 0 {
        return Err(Error::invalid("doctor", format!("{} of the checks failed", report.broken)));
    }
    Ok(())
}

#[derive(Default)]
struct Report {
    broken: usize,
}

#[expect(clippy::print_stdout, reason = "the answer of a command")]
impl Report {
    fn good(&self, text: &str) {
        println!("ok    {text}");
    }

    fn warn(&self, text: &str) {
        println!("warn  {text}");
    }

    fn bad(&mut self, text: &str) {
        self.broken += 1;
        println!("FAIL  {text}");
    }
}

fn address(config: &Config, report: &mut Report) {
    match TcpListener::bind(config.listen) {
        Ok(_) => report.good(&format!("LISTEN_ADDR: {} is free", config.listen)),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            report.warn(&format!("LISTEN_ADDR: {} is taken (by a running server?)", config.listen));
        }
        Err(error) => report.bad(&format!("LISTEN_ADDR: {}: {error}", config.listen)),
    }
    if config.listens_on_loopback() {
        report.good("open mode: registration and the like are open to this machine");
    } else if config.public_url.is_none() {
        report.warn("PUBLIC_URL is not set: links will show the listening address");
    }
}

fn secrets(config: &Config, report: &mut Report) {
    let file = config.data_dir.join("encryption.key");
    match (&config.encryption_key, file.exists()) {
        (Some(_), _) => report.good("ENCRYPTION_KEY: from the configuration"),
        (None, true) => report.good(&format!("ENCRYPTION_KEY: from {}; back it up with the database", file.display())),
        (None, false) => report.good("ENCRYPTION_KEY: will be generated at the first start"),
    }
}

/// Whether the keys open what is stored: by opening it, if nobody else has it open.
async fn keys(config: &Config, report: &mut Report) {
    if !config.data_dir.join(shared_local::NAME).exists() {
        return;
    }
    match home::open(config.clone()).await {
        Ok(_) => report.good("the stored keys open with this ENCRYPTION_KEY"),
        Err(error) if error.code == "DATA_DIR_LOCKED" => {
            report.warn("the data is in use by a running server: its keys were not tried");
        }
        Err(error) => report.bad(&error.message),
    }
}

fn data(config: &Config, report: &mut Report) {
    if !config.data_dir.join("trunkline.db").exists() {
        report.good(&format!("DATA_DIR: {} is new", config.data_dir.display()));
        return;
    }
    match shared_local::check(&config.data_dir) {
        Ok(check) => {
            for fault in &check.faults {
                report.bad(&format!("trunkline.db: {fault}"));
            }
            if check.is_sound() {
                report.good(&format!("trunkline.db: sound, {} bytes, schema {}", check.file_bytes, check.schema));
            }
            if check.wal_bytes > 512 * 1024 * 1024 {
                report.warn("trunkline.db-wal is large: does another program keep a read transaction open?");
            }
        }
        Err(error) => report.bad(&format!("trunkline.db: {}", error.message)),
    }
}
