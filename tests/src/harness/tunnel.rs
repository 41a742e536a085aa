//! A proxy on this machine that takes connections anywhere and writes down who asked for what.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Whoever sends a longer head is none of ours.
const HEAD: usize = 16 * 1024;

/// A running proxy. Dropping it breaks every connection that goes through it.
pub struct Tunnel {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    _connections: JoinSet<()>,
}

impl Tunnel {
    /// Starts one.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Tunnel {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (mut connections, seen) = (JoinSet::new(), Arc::clone(&heads));
        connections.spawn(async move {
            let mut through = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                through.spawn(pass(stream, Arc::clone(&seen)));
            }
        });
        Tunnel { address, heads, _connections: connections }
    }

    /// `http://{user}@127.0.0.1:<port>`; `user` may have a password, as URLs have it.
    #[must_use]
    pub fn url(&self, user: &str) -> String {
        format!("http://{user}@{}", self.address)
    }

    /// The heads of all requests so far: the first of a connection only.
    #[must_use]
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many of them begin like this.
    #[must_use]
    pub fn count(&self, beginning: &str) -> usize {
        self.heads().iter().filter(|head| head.starts_with(beginning)).count()
    }
}

/// `CONNECT` opens a tunnel; whatever else names a whole URL goes to its host as it is.
async fn pass(mut client: TcpStream, seen: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD {
        let Ok(byte) = client.read_u8().await else { return };
        head.push(byte);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(text.clone());
    let target = text.split_whitespace().nth(1).unwrap_or_default();
    let tunnel = text.starts_with("CONNECT ");
    let host = target.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let Ok(mut server) = TcpStream::connect(host).await else { return };
    let begun = if tunnel { client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await } else { server.write_all(&head).await };
    if begun.is_ok() {
        // It ends when one of them goes, however that is.
        drop(copy_bidirectional(&mut client, &mut server).await);
    }
}
