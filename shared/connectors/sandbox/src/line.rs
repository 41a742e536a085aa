//! The line of one sandbox account: what a connector's line must do, over the rows of the network.

use std::{
    collections::HashSet,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};
use shared::{
    Error, Result,
    connector::{Emit, Line, Outgoing, Request, Sent, SessionStore, unsupported},
};
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    later::{self, Later},
    magic::{self, Behaviour},
    network::{Network, Phone},
    pairing,
};

/// Where the secret of the linked device lies in the session.
pub(crate) const DEVICE: &str = "device";
/// Where the number and the name of its phone lie.
pub(crate) const OWN: &str = "own";

/// Pause before an update that could not be made durable is emitted again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the tasks of a line share.
pub(crate) struct Inner {
    pub(crate) network: Network,
    pub(crate) session: Arc<dyn SessionStore>,
    pub(crate) emit: Arc<dyn Emit>,
    /// Wakes whoever waits for something to happen.
    pub(crate) wake: Notify,
    up: AtomicBool,
    later: Mutex<Later>,
    /// Messages that were put off once by the rate limit.
    put_off: Mutex<HashSet<String>>,
    /// The number that a pairing code was asked for.
    pub(crate) code_for: Mutex<Option<String>>,
    /// Ended when the line goes. Empty on an idle line.
    tasks: Mutex<JoinSet<()>>,
}

impl Inner {
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    pub(crate) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Release);
        self.wake.notify_one();
    }

    pub(crate) fn later(&self) -> MutexGuard<'_, Later> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    pub(crate) fn end_tasks(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    pub(crate) fn not_ready(&self) -> Error {
        Error::conflict("INSTANCE_NOT_READY", format!("Instance {} not ready", self.network.instance))
    }

    /// The linked device. One that the network does not know comes with an imported session.
    async fn linked(&self) -> Result<Link> {
        let (device, phone) = (self.session.get(DEVICE).await?, self.network.phone().await?);
        Ok(match device {
            None => Link::None,
            Some(device) if phone.device.as_deref().map(str::as_bytes) == Some(device.as_slice()) => {
                Link::Linked(phone)
            }
            Some(device) if phone.removed.as_deref().map(str::as_bytes) == Some(device.as_slice()) => Link::Removed,
            Some(device) => Link::Linked(pairing::adopt(self, text_of(device)?).await?),
        })
    }
}

fn text_of(device: Vec<u8>) -> Result<String> {
    String::from_utf8(device).map_err(Error::internal)
}

/// What the session says, compared with the network.
enum Link {
    None,
    Linked(Phone),
    /// The phone has removed the device meanwhile.
    Removed,
}

/// Dropping it ends its tasks.
pub(crate) struct SandboxLine {
    inner: Arc<Inner>,
}

impl Drop for SandboxLine {
    fn drop(&mut self) {
        self.inner.set_up(false);
        self.inner.end_tasks();
    }
}

impl SandboxLine {
    /// Reads what is linked and goes on by itself from there.
    pub(crate) async fn open(network: Network, session: Arc<dyn SessionStore>, emit: Arc<dyn Emit>) -> Result<Self> {
        let inner = Arc::new(Inner {
            network,
            session,
            emit,
            wake: Notify::new(),
            up: AtomicBool::new(false),
            later: Mutex::default(),
            put_off: Mutex::default(),
            code_for: Mutex::default(),
            tasks: Mutex::new(JoinSet::new()),
        });
        let link = inner.linked().await?;
        let task = Arc::clone(&inner);
        inner.spawn(async move {
            // Until it is durable: closing the line ends this task.
            while let Err(error) = match &link {
                Link::None => pairing::show_codes(&task).await,
                Link::Linked(phone) => pairing::come_up(&task, phone).await,
                Link::Removed => pairing::removed(&task).await,
            } {
                tracing::warn!(instance = %task.network.instance, %error, "a sandbox line could not tell");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        });
        Ok(Self { inner })
    }
}

#[async_trait]
impl Line for SandboxLine {
    async fn send(&self, outgoing: &Outgoing) -> Sent {
        let inner = &self.inner;
        if !inner.is_up() {
            return Sent::NoLine;
        }
        if outgoing.typing_ms > 0 {
            tokio::time::sleep(Duration::from_millis(outgoing.typing_ms)).await;
        }
        let behaviour = magic::behaviour(&outgoing.to);
        match behaviour {
            Behaviour::DoesNotExist => return Sent::Rejected { reason: "number does not exist".into() },
            Behaviour::RateLimited => {
                let mut put_off = inner.put_off.lock().unwrap_or_else(PoisonError::into_inner);
                if put_off.insert(outgoing.id.clone()) {
                    return Sent::Later { after: magic::RATE_LIMIT };
                }
            }
            Behaviour::Slow => tokio::time::sleep(magic::SLOW).await,
            Behaviour::Ordinary | Behaviour::NeverDelivered | Behaviour::Echo | Behaviour::NeverRead => {}
        }
        match inner.network.take(outgoing, behaviour).await {
            Ok(taken) => {
                later::add(inner, taken.due);
                Sent::Accepted { id: taken.id, at: taken.at }
            }
            Err(error) => {
                tracing::warn!(instance = %inner.network.instance, %error, "the sandbox did not take a message");
                Sent::Unknown
            }
        }
    }

    async fn ask(&self, request: Request) -> Result<Value> {
        let inner = &self.inner;
        match request {
            Request::Sandbox { play } => return pairing::play(inner, play).await,
            Request::PairingCode { phone } => return pairing::code(inner, &phone).await,
            _ if !inner.is_up() => return Err(inner.not_ready()),
            _ => {}
        }
        let can = &inner.network.capability;
        match request {
            Request::Check { phones } => Ok(crate::people::check(&inner.network, &phones)),
            Request::ProfilePicture { address } => Ok(crate::people::picture(&address)),
            Request::SyncContacts => crate::people::sync(inner).await,
            Request::Lid { address } => crate::people::lid(&inner.network, &address),
            Request::WatchPresence { .. } if !can.typing => Err(unsupported("watching presence")),
            // Nobody comes or goes there.
            Request::WatchPresence { .. } => Ok(json!({ "success": true, "seconds": 3600 })),
            Request::MarkRead { .. } if !can.mark_read => Err(unsupported("marking as read")),
            Request::Typing { .. } if !can.typing => Err(unsupported("typing")),
            Request::MarkRead { .. } | Request::Typing { .. } => Ok(json!({ "success": true })),
            Request::Groups
            | Request::GroupCreate { .. }
            | Request::GroupParticipants { .. }
            | Request::GroupSubject { .. }
            | Request::GroupInvite { .. }
            | Request::GroupLeave { .. } => crate::groups::ask(inner, request).await,
            Request::Sandbox { .. } | Request::PairingCode { .. } => Err(Error::internal("answered above")),
        }
    }

    async fn logout(&self) -> Result<()> {
        self.inner.set_up(false);
        pairing::unlink(&self.inner).await
    }

    async fn close(&self) {
        self.inner.set_up(false);
        self.inner.end_tasks();
    }
}
