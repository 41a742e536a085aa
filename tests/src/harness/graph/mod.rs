//! A Graph API of our own: the part of it that WhatsApp's Cloud API is, on loopback, in a thread of its own. It keeps numbers, media
//! and messages, refuses what the platform refuses, misbehaves as told, and makes the callbacks that the platform would send.
//! `cloud::foreign` lets clients of other people use it, so that what it does is not only our idea of the platform.

mod api;
mod callback;

use axum::body::Bytes;
use base64::Engine as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use callback::{Number, Sender, Sent};

/// What the next request for a message meets.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, with an error of the API with this code.
    Error(u16, i64),
    /// The same, with more in `error`.
    ErrorWith(u16, i64, Value),
    /// This status, and a page of HTML.
    Page(u16),
    /// The message is taken, and the answer lost.
    Lost,
    /// The message is taken, and the answer never comes.
    Held,
}

#[derive(Clone, Debug)]
struct Media {
    mime: String,
    content: Bytes,
    name: String,
}

#[derive(Default)]
struct Kept {
    numbers: HashMap<String, Number>,
    media: HashMap<String, Media>,
    sent: Vec<(String, Sent)>,
    read: Vec<(String, Value)>,
    /// By number: one after the other.
    faults: HashMap<String, VecDeque<Fault>>,
    /// Errors of every request of a number, until told otherwise.
    down: HashMap<String, (u16, i64)>,
    /// How often a number was asked anything.
    asked: HashMap<String, usize>,
}

type Shared = Arc<(Mutex<Kept>, SocketAddr)>;

/// The fake. It ends with the test process.
pub struct Graph(Shared);

impl Graph {
    /// Listens on a free loopback port, in a thread of its own.
    ///
    /// # Panics
    /// When no port or thread can be had.
    #[must_use]
    pub fn start() -> Graph {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new((Mutex::new(Kept::default()), address));
        let state = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                drop(axum::serve(listener, api::router(state)).await);
            });
        });
        Graph(shared)
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.0.1)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.0)
    }

    /// A new number with a token of its own.
    #[must_use]
    pub fn number(&self) -> Number {
        let serial = serial();
        let number = Number {
            id: format!("10654{serial:010}"),
            phone: format!("1555{serial:07}"),
            token: format!("EAAJB{serial}ZD"),
            app_secret: format!("app-secret-{serial}"),
            verify_token: format!("verify-{serial}"),
        };
        self.kept().numbers.insert(number.id.clone(), number.clone());
        number
    }

    /// From now on the number has this token, and no other.
    pub fn change_token(&self, number: &Number, token: &str) {
        if let Some(known) = self.kept().numbers.get_mut(&number.id) {
            known.token = token.to_owned();
        }
    }

    /// The next messages of the number meet these, one after the other.
    pub fn script(&self, number: &Number, faults: impl IntoIterator<Item = Fault>) {
        self.kept().faults.insert(number.id.clone(), faults.into_iter().collect());
    }

    /// Every request of the number is answered with this status and error code; `None`: no more.
    pub fn break_down(&self, number: &Number, error: Option<(u16, i64)>) {
        let mut kept = self.kept();
        match error {
            Some(error) => kept.down.insert(number.id.clone(), error),
            None => kept.down.remove(&number.id),
        };
    }

    /// Media that somebody else has put there; its id, and what a callback says of it.
    #[must_use]
    pub fn media(&self, mime: &str, content: &[u8]) -> Value {
        let (id, sha256) = (self.keep(mime, Bytes::copy_from_slice(content), "file"), Sha256::digest(content));
        json!({"id": id, "mime_type": mime, "sha256": base64::engine::general_purpose::STANDARD.encode(sha256)})
    }

    fn keep(&self, mime: &str, content: Bytes, name: &str) -> String {
        api::keep(&self.0, Media { mime: mime.to_owned(), content, name: name.to_owned() })
    }

    /// The content of media, by its id.
    #[must_use]
    pub fn content(&self, id: &str) -> Option<Bytes> {
        self.kept().media.get(id).map(|media| media.content.clone())
    }

    /// Media is no longer there.
    pub fn forget(&self, id: &str) {
        self.kept().media.remove(id);
    }

    /// Uploads that it holds.
    #[must_use]
    pub fn uploads(&self) -> usize {
        self.kept().media.len()
    }

    /// What was taken from a number, oldest first.
    #[must_use]
    pub fn sent(&self, number: &Number) -> Vec<Sent> {
        self.kept().sent.iter().filter(|(id, _)| *id == number.id).map(|(_, sent)| sent.clone()).collect()
    }

    /// What a number has marked as read.
    #[must_use]
    pub fn read(&self, number: &Number) -> Vec<Value> {
        self.kept().read.iter().filter(|(id, _)| *id == number.id).map(|(_, body)| body.clone()).collect()
    }

    /// How often a number was asked anything.
    #[must_use]
    pub fn asked(&self, number: &Number) -> usize {
        self.kept().asked.get(&number.id).copied().unwrap_or_default()
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, Kept> {
    state.0.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
