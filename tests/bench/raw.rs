//! The two things that sends are held against: a connection without a client library, and SQLite without a server.

use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// One keep-alive connection that spends as little as it can: what is measured is the server.
pub(crate) struct Line {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

impl Line {
    /// Connects to `http://host:port`.
    pub(crate) async fn open(base: &str) -> Line {
        let host = base.trim_start_matches("http://").to_owned();
        let stream = TcpStream::connect(&host).await.expect("the server listens");
        stream.set_nodelay(true).expect("a TCP option");
        Line { stream, host, buffer: vec![0; 16 * 1024] }
    }

    /// One request, one complete answer: the status.
    pub(crate) async fn ask(&mut self, method: &str, path: &str, key: &str, body: &str) -> u16 {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nx-api-key: {key}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await.expect("the server reads");
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await.expect("the server answers");
            assert!(read > 0, "the server closed the connection");
            filled += read;
            let head = &self.buffer[..filled];
            let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let text = String::from_utf8_lossy(&head[..end]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).expect("content-length");
            if filled >= end + 4 + length {
                return text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
            }
        }
    }
}

/// Message and queue row per unit, `batch` units a transaction, WAL and `synchronous=FULL`: units per second.
pub(crate) fn inserts_per_second(folder: &Path, batch: usize, span: Duration) -> f64 {
    let mut database = rusqlite::Connection::open(folder.join("raw.db")).expect("a database");
    database
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=20000;
             CREATE TABLE items (pk TEXT, sk TEXT, h TEXT, hs TEXT, doc TEXT, PRIMARY KEY (pk, sk)) WITHOUT ROWID;
             CREATE INDEX hist ON items (h, hs);
             CREATE TABLE queue (id INTEGER PRIMARY KEY, grp TEXT, due INTEGER, body TEXT);",
        )
        .expect("the tables");
    // The size of a stored message and of its command.
    let document = format!("{{\"text\":\"{}\"}}", "x".repeat(600));
    let command = format!("{{\"text\":\"{}\"}}", "x".repeat(300));
    let start = Instant::now();
    let mut units = 0_u32;
    while start.elapsed() < span {
        let transaction = database.transaction().expect("a transaction");
        {
            let mut item =
                transaction.prepare_cached("INSERT INTO items VALUES (?1, ?2, ?3, ?4, ?5)").expect("a statement");
            let mut queued = transaction
                .prepare_cached("INSERT INTO queue (grp, due, body) VALUES (?1, 0, ?2)")
                .expect("a statement");
            for _ in 0..batch {
                let id = format!("{:032x}", u64::from(units).wrapping_mul(0x9e37_79b9_7f4a_7c15));
                let hs = format!("{units:012}");
                item.execute((format!("M#instance#{}", &id[31..]), &id, "H#instance#chat", hs, &document))
                    .expect("a row");
                queued.execute(("instance", &command)).expect("a row");
                units += 1;
            }
        }
        transaction.commit().expect("a commit");
    }
    f64::from(units) / start.elapsed().as_secs_f64()
}
