//! The line of one account: it opens by asking who the account is, sends, and answers questions.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use shared::{
    Error, Result,
    address::Jid,
    app::AppState,
    connector::{Account, Closed, Emit, Line, Outgoing, Request, Sent, Update, unsupported},
    domain::content::Content,
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    failure::{Failure, Meaning, Refusal},
    graph::Graph,
    media::{NoUpload, Uploads},
    message,
    pace::Pace,
};

/// Pause before an update that could not be made durable is emitted again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Pause of a message after an attempt that did not get to the platform.
const NOT_SENT: Duration = Duration::from_secs(5);
/// Pause of a message while the platform says that it cannot.
const BUSY: Duration = Duration::from_secs(10);
/// A limit of the account that ends that soon is waited for on the line; others in the message's lane.
const WAIT_HERE: Duration = Duration::from_secs(2);
/// Messages that are marked as read at the same time.
const MARK_AT_ONCE: usize = 8;

/// What the line's tasks share.
struct Inner {
    app: AppState,
    account: Account,
    graph: Graph,
    emit: Arc<dyn Emit>,
    up: AtomicBool,
    pace: Pace,
    uploads: Uploads,
    /// The account's own address, once it is known.
    own: Mutex<Option<String>>,
    /// Ended when the line goes. Empty on an idle line.
    tasks: Mutex<JoinSet<()>>,
}

/// Dropping it ends its tasks.
pub(crate) struct CloudLine(Arc<Inner>);

impl Drop for CloudLine {
    fn drop(&mut self) {
        self.0.up.store(false, Ordering::Release);
        self.0.end_tasks();
    }
}

impl CloudLine {
    pub(crate) fn open(app: AppState, account: Account, graph: Graph, emit: Arc<dyn Emit>) -> Self {
        let inner = Arc::new(Inner {
            app,
            account,
            graph,
            emit,
            up: AtomicBool::new(false),
            pace: Pace::default(),
            uploads: Uploads::default(),
            own: Mutex::default(),
            tasks: Mutex::new(JoinSet::new()),
        });
        let task = Arc::clone(&inner);
        inner.spawn(async move { task.come_up().await });
        Self(inner)
    }
}

impl Inner {
    fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    fn end_tasks(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// Until it is durable: closing the line ends this.
    async fn tell(&self, update: Update) {
        while let Err(error) = self.emit.emit(update.clone()).await {
            tracing::warn!(instance = %self.account.instance, %error, "a cloud line could not tell");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn come_up(&self) {
        let update = match self.graph.about().await {
            Ok(about) => self.opened(&about),
            Err(failure) => self.not_opened(failure),
        };
        // Before anybody hears of it: then messages come.
        self.up.store(matches!(update, Update::Opened { .. }), Ordering::Release);
        self.tell(update).await;
    }

    fn opened(&self, about: &Value) -> Update {
        let text = |name: &str| about[name].as_str().unwrap_or_default().to_owned();
        let digits: String = text("display_phone_number").chars().filter(char::is_ascii_digit).collect();
        match digits.parse::<Jid>() {
            Ok(own) => {
                *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Some(own.to_string());
                let aliases = vec![self.graph.number().to_owned()];
                Update::Opened { address: own.to_string(), aliases, name: text("verified_name") }
            }
            Err(_) => Update::Unauthorized {
                reason: "phone_number_unknown",
                detail: "the platform tells no phone number of this id".into(),
            },
        }
    }

    fn not_opened(&self, failure: Failure) -> Update {
        match failure {
            Failure::Refused(refusal) => match refusal.meaning() {
                Meaning::Unauthorized(reason) => Update::Unauthorized { reason, detail: refusal.text },
                Meaning::Banned => Update::Closed { reason: Closed::Banned },
                // To the API an object that one may not see does not exist.
                Meaning::No => Update::Unauthorized { reason: "phone_number_unknown", detail: refusal.text },
                Meaning::AccountLimit | Meaning::PairLimit | Meaning::Busy | Meaning::Unknown => {
                    self.unreachable(&refusal.text)
                }
            },
            Failure::NotSent(text) | Failure::Unknown(text) | Failure::Broken(text) => self.unreachable(&text),
        }
    }

    fn unreachable(&self, why: &str) -> Update {
        tracing::warn!(instance = %self.account.instance, why, "the Cloud API does not answer as it should");
        Update::Closed { reason: Closed::Unreachable }
    }

    /// The platform does not take the credentials any more: no other attempt is to be made with them.
    fn go_down(self: &Arc<Self>, update: Update) {
        if self.up.swap(false, Ordering::AcqRel) {
            let task = Arc::clone(self);
            self.spawn(async move { task.tell(update).await });
        }
    }

    async fn send(self: &Arc<Self>, outgoing: &Outgoing) -> Sent {
        let wait = self.pace.wait(&outgoing.to, Instant::now());
        if wait > WAIT_HERE {
            return Sent::Later { after: wait };
        }
        tokio::time::sleep(wait).await;
        let media = match &outgoing.content {
            Content::Media { media, .. } => {
                match self.uploads.id(&self.app, &self.graph, &self.account.instance, media).await {
                    Ok(id) => Some(id),
                    Err(NoUpload::Platform(failure)) => return self.not_taken(outgoing, failure, Doubt::Harmless),
                    Err(NoUpload::Missing(reason)) => return Sent::Rejected { reason },
                    Err(NoUpload::Storage) => return Sent::Later { after: NOT_SENT },
                    Err(NoUpload::UnderWay) => return Sent::Later { after: Duration::from_secs(1) },
                }
            }
            _ => None,
        };
        let body = match message::body(outgoing, media.as_deref()) {
            Ok(body) => body,
            Err(reason) => return Sent::Rejected { reason: reason.to_owned() },
        };
        match self.graph.messages(body).await {
            Ok(answer) => self.taken(outgoing, &answer).await,
            Err(failure) => {
                if let (Failure::Refused(refusal), Content::Media { media, .. }) = (&failure, &outgoing.content)
                    && refusal.is_about_media()
                {
                    self.uploads.forget(media);
                }
                self.not_taken(outgoing, failure, Doubt::MayHaveBeenSent)
            }
        }
    }

    async fn taken(&self, outgoing: &Outgoing, answer: &Value) -> Sent {
        self.pace.went(&outgoing.to, Instant::now());
        let Some(id) = answer["messages"][0]["id"].as_str().filter(|id| !id.is_empty()) else { return Sent::Unknown };
        // The number that people write to is not always the one that they have: what comes from there is the same chat.
        let theirs = answer["contacts"][0]["wa_id"].as_str().and_then(|number| number.parse::<Jid>().ok());
        if let Some(theirs) = theirs.map(|jid| jid.to_string()).filter(|theirs| *theirs != outgoing.to) {
            let same = Update::SameChat { address: outgoing.to.clone(), also: theirs };
            if let Err(error) = self.emit.emit(same).await {
                tracing::warn!(instance = %self.account.instance, %error, "a chat's other address was not noted");
            }
        }
        Sent::Accepted { id: Some(id.to_owned()), at: self.app.clock.now() }
    }

    fn not_taken(self: &Arc<Self>, outgoing: &Outgoing, failure: Failure, doubt: Doubt) -> Sent {
        let doubtful = |after| if doubt == Doubt::Harmless { Sent::Later { after } } else { Sent::Unknown };
        let refusal = match failure {
            Failure::Refused(refusal) => refusal,
            Failure::NotSent(why) => {
                tracing::debug!(instance = %self.account.instance, why, "a request did not get to the Cloud API");
                return Sent::Later { after: NOT_SENT };
            }
            Failure::Unknown(why) | Failure::Broken(why) => {
                tracing::warn!(instance = %self.account.instance, why, "the outcome of a request is not known");
                return doubtful(NOT_SENT);
            }
        };
        let Refusal { retry_after, .. } = refusal;
        match refusal.meaning() {
            Meaning::No => Sent::Rejected { reason: refusal.text },
            Meaning::AccountLimit => Sent::Later { after: self.pace.account_limit(retry_after, Instant::now()) },
            Meaning::PairLimit => {
                Sent::Later { after: self.pace.pair_limit(&outgoing.to, retry_after, Instant::now()) }
            }
            Meaning::Busy => Sent::Later { after: retry_after.unwrap_or(BUSY) },
            Meaning::Unknown => doubtful(retry_after.unwrap_or(BUSY)),
            Meaning::Unauthorized(reason) => {
                self.go_down(Update::Unauthorized { reason, detail: refusal.text });
                Sent::NoLine
            }
            Meaning::Banned => {
                self.go_down(Update::Closed { reason: Closed::Banned });
                Sent::NoLine
            }
        }
    }

    /// The other side sees that these were read, and all before them.
    async fn mark_read(self: &Arc<Self>, messages: Vec<String>, typing: bool) -> Result<Value> {
        if messages.is_empty() {
            return Err(Error::invalid(
                "messageIds",
                "messageIds is required: the Cloud API marks messages, not chats",
            ));
        }
        let marks = messages.into_iter().map(|id| {
            let mut mark = json!({ "status": "read", "message_id": id });
            if typing {
                mark["typing_indicator"] = json!({ "type": "text" });
            }
            self.graph.messages(mark)
        });
        let mut marked = stream::iter(marks).buffer_unordered(MARK_AT_ONCE);
        while let Some(answer) = marked.next().await {
            answer.map_err(|failure| self.asked(failure))?;
        }
        Ok(json!({ "success": true }))
    }

    async fn own_picture(self: &Arc<Self>) -> Result<Value> {
        let profile = self.graph.profile().await.map_err(|failure| self.asked(failure))?;
        Ok(json!({ "url": profile["data"][0]["profile_picture_url"] }))
    }

    /// A question shows as well as a message that the credentials are no longer taken.
    fn asked(self: &Arc<Self>, failure: Failure) -> Error {
        if let Failure::Refused(refusal) = &failure
            && let Meaning::Unauthorized(reason) = refusal.meaning()
        {
            self.go_down(Update::Unauthorized { reason, detail: refusal.text.clone() });
        }
        failure.into_error()
    }
}

/// Whether a request whose outcome is not known may have sent a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    Harmless,
    MayHaveBeenSent,
}

#[async_trait]
impl Line for CloudLine {
    async fn send(&self, outgoing: &Outgoing) -> Sent {
        if !self.0.is_up() {
            return Sent::NoLine;
        }
        if outgoing.typing_ms > 0 {
            tokio::time::sleep(Duration::from_millis(outgoing.typing_ms)).await;
        }
        self.0.send(outgoing).await
    }

    async fn ask(&self, request: Request) -> Result<Value> {
        let inner = &self.0;
        let own = inner.own.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match request {
            _ if !inner.is_up() => {
                let text = format!("Instance {} not ready", inner.account.instance);
                Err(Error::conflict("INSTANCE_NOT_READY", text))
            }
            Request::MarkRead { messages, typing, .. } => inner.mark_read(messages, typing).await,
            Request::ProfilePicture { address } if Some(&address) == own.as_ref() => inner.own_picture().await,
            Request::ProfilePicture { .. } => Err(unsupported("Asking for other people's pictures")),
            Request::Typing { .. } => Err(unsupported("Typing without a message that was read")),
            Request::PairingCode { .. } => Err(unsupported("Pairing")),
            Request::Check { .. } => Err(unsupported("Checking numbers")),
            Request::SyncContacts => Err(unsupported("A contact list")),
            Request::WatchPresence { .. } => Err(unsupported("Watching presence")),
            Request::Lid { .. } => Err(unsupported("Looking up LIDs")),
            Request::Groups
            | Request::GroupCreate { .. }
            | Request::GroupParticipants { .. }
            | Request::GroupSubject { .. }
            | Request::GroupInvite { .. }
            | Request::GroupLeave { .. } => Err(unsupported("Groups")),
            Request::Sandbox { .. } => Err(unsupported("Playing the phone network")),
        }
    }

    /// The platform knows of no session; callbacks are refused from now on, by the instance's status.
    async fn logout(&self) -> Result<()> {
        self.close().await;
        Ok(())
    }

    async fn close(&self) {
        self.0.up.store(false, Ordering::Release);
        self.0.end_tasks();
    }
}
