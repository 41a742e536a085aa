//! Open sockets: who has one, and how a frame gets to them. What is pushed here is not kept: whoever misses it reads the
//! channel or the event log.
//!
//! [`Hub`] knows the sockets that this process holds. [`remote`] is for sockets that a gateway holds: rows say who has one, and
//! each has a [`mailbox`] in the job queue.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use tokio::sync::{Notify, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::Millis,
    error::Result,
    id::{SocketId, UserId},
};

pub mod mailbox;
pub mod remote;

/// Frames that wait for one client at the most; a client that is further behind is disconnected.
pub const BACKLOG: usize = 256;

/// Where a message lies, so that a socket can tell what it has sent already and notice a gap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub channel: Arc<str>,
    pub seq: u64,
}

/// A frame for clients: JSON text, made once and shared by everybody who gets it.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Of a message: where it lies.
    pub place: Option<Place>,
    /// Of a message: the id that its sender's client gave it.
    pub client_id: Option<Arc<str>>,
    /// Of a message: who wrote it.
    pub from: Option<UserId>,
    /// The socket that is not to get it: what it tells came from there.
    pub except: Option<SocketId>,
    /// UTF-8.
    pub text: bytes::Bytes,
}

impl Frame {
    pub fn new(text: String) -> Self {
        Self { place: None, client_id: None, from: None, except: None, text: text.into() }
    }

    /// The same, for everybody but this socket.
    #[must_use]
    pub fn except(mut self, socket: Option<&SocketId>) -> Self {
        self.except = socket.cloned();
        self
    }

    pub fn message(place: Place, client_id: &str, from: &UserId, text: String) -> Self {
        let (client_id, from) = (Some(client_id.into()), Some(from.clone()));
        Self { place: Some(place), client_id, from, except: None, text: text.into() }
    }
}

/// What became of a frame that was handed to a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    Done,
    /// There is no such connection any more.
    Gone,
    /// The client does not take what waits for it, or the gateway is asked too often.
    Busy,
    /// The gateway carries no frame of this size.
    TooLarge,
}

/// A gateway that holds sockets for us.
#[async_trait]
pub trait Poster: Send + Sync + 'static {
    /// Hands a frame to the connection.
    ///
    /// Errors: the gateway does not answer; the frame may have gone out.
    async fn post(&self, socket: &SocketId, text: &str) -> Result<Posted>;

    /// Closes the connection. One that is gone is closed.
    async fn close(&self, socket: &SocketId) -> Result<()>;
}

/// Pushes to sockets, wherever they are held.
#[async_trait]
pub trait Realtime: Send + Sync + 'static {
    /// Hands the frame to every open socket of these users. Never waits for a client.
    async fn push(&self, users: &[UserId], frame: &Frame) -> Result<()>;

    /// Which of these users have an open socket, in order.
    async fn online(&self, users: &[UserId]) -> Result<Vec<bool>>;

    /// Has every open socket of the user look again, at once instead of within a minute, at whether its credential still holds
    /// (else it ends) and which instances it follows. Never fails: who does not hear of it looks a little later.
    async fn look(&self, user: &UserId);

    /// Until when a new instance of the user is to be watched (`domain::watch`); `None`: nobody follows the user's events, or
    /// whoever does waits for them by itself.
    async fn watches(&self, user: &UserId) -> Result<Option<Millis>>;

    /// Open sockets.
    async fn connections(&self) -> Result<u64>;
}

/// The sockets that this process holds.
#[derive(Debug, Default)]
pub struct Hub {
    users: Mutex<HashMap<UserId, Vec<Socket>>>,
    next: AtomicU64,
    /// Every socket, also those that nobody has signed on with yet: how many there are, and when the last has ended.
    pub sockets: TaskTracker,
}

#[derive(Debug)]
struct Socket {
    id: SocketId,
    frames: mpsc::Sender<Frame>,
    slow: CancellationToken,
    look: Arc<Notify>,
}

/// One socket's end of the hub. Dropping it signs the socket off.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    user: UserId,
    /// Names the socket within this process.
    pub id: SocketId,
    pub frames: mpsc::Receiver<Frame>,
    /// Cancelled when the socket fell too far behind: it is to be closed.
    pub slow: CancellationToken,
    /// Rings when the socket is to look again ([`Realtime::look`]).
    pub look: Arc<Notify>,
    /// How many the user has, this one included.
    pub count: usize,
}

impl Hub {
    /// Signs a socket of the user on.
    pub fn subscribe(self: &Arc<Self>, user: &UserId) -> Subscription {
        let (sender, frames) = mpsc::channel(BACKLOG);
        let slow = CancellationToken::new();
        let look = Arc::new(Notify::new());
        let id = SocketId::new(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let mut users = self.users();
        let sockets = users.entry(user.clone()).or_default();
        sockets.push(Socket { id: id.clone(), frames: sender, slow: slow.clone(), look: Arc::clone(&look) });
        let count = sockets.len();
        Subscription { hub: Arc::clone(self), user: user.clone(), id, frames, slow, look, count }
    }

    fn users(&self) -> std::sync::MutexGuard<'_, HashMap<UserId, Vec<Socket>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_online(&self, user: &UserId) -> bool {
        self.users().contains_key(user)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut users = self.hub.users();
        if let Some(sockets) = users.get_mut(&self.user) {
            sockets.retain(|socket| socket.id != self.id);
            if sockets.is_empty() {
                users.remove(&self.user);
            }
        }
    }
}

#[async_trait]
impl Realtime for Hub {
    async fn push(&self, users: &[UserId], frame: &Frame) -> Result<()> {
        let open = self.users();
        for socket in users.iter().filter_map(|user| open.get(user)).flatten() {
            if frame.except.as_ref() == Some(&socket.id) {
                continue;
            }
            if socket.frames.try_send(frame.clone()).is_err() {
                socket.slow.cancel();
            }
        }
        Ok(())
    }

    async fn online(&self, users: &[UserId]) -> Result<Vec<bool>> {
        let open = self.users();
        Ok(users.iter().map(|user| open.contains_key(user)).collect())
    }

    async fn look(&self, user: &UserId) {
        for socket in self.users().get(user).into_iter().flatten() {
            // Kept for a socket that is busy at the moment.
            socket.look.notify_one();
        }
    }

    async fn watches(&self, _user: &UserId) -> Result<Option<Millis>> {
        Ok(None)
    }

    async fn connections(&self) -> Result<u64> {
        Ok(self.users().values().map(|sockets| sockets.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_does_not_read_is_let_go() {
        let hub = Arc::new(Hub::default());
        let user = UserId::new("u");
        let mut socket = hub.subscribe(&user);
        assert!(socket.count == 1 && hub.is_online(&user));
        for n in 0..BACKLOG {
            hub.push(std::slice::from_ref(&user), &Frame::new(n.to_string())).await.expect("pushes");
        }
        assert!(!socket.slow.is_cancelled());
        let others = Frame::new("not for this one".into()).except(Some(&socket.id));
        hub.push(std::slice::from_ref(&user), &others).await.expect("pushes");
        assert!(!socket.slow.is_cancelled());
        hub.push(std::slice::from_ref(&user), &Frame::new("one more".into())).await.expect("pushes");
        assert!(socket.slow.is_cancelled(), "too far behind");
        assert_eq!(socket.frames.recv().await.map(|frame| frame.text), Some("0".into()));
        drop(socket);
        assert_eq!(hub.connections().await.expect("counts"), 0);
    }

    #[tokio::test]
    async fn a_look_is_kept_for_a_busy_socket() {
        let hub = Arc::new(Hub::default());
        let user = UserId::new("u");
        let socket = hub.subscribe(&user);
        hub.look(&UserId::new("another")).await;
        hub.look(&user).await;
        hub.look(&user).await;
        socket.look.notified().await;
        let again = tokio::time::timeout(std::time::Duration::from_millis(10), socket.look.notified()).await;
        assert!(again.is_err(), "once is enough");
    }
}
