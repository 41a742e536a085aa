//! The line of one account.
//!
//! A line is one client of the crate, and one login of it. The crate would reconnect by itself, for ever and without saying so;
//! here the supervisor does, by opening a new line: so the status tells the truth, pauses are staggered over all accounts, and nothing
//! of a client that lost its socket lives on. A line is over when the socket is gone after it was up, when there is no way to
//! WhatsApp, or when nothing came within [`FIRST_FRAME`]; while it is up the supervisor's watchdog watches its frames (the crate asks
//! for one every 15 to 30 seconds).
//!
//! Only pairing changes sockets within a line: WhatsApp closes the first one when the phone has scanned, and the device logs in on
//! the second.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use shared::{
    Error, Result,
    config::{History, Whatsapp},
    connector::{Account, Closed, Emit, Line, Outgoing, Request, Sent, SessionStore, Update},
    guard::Guard,
    id::InstanceId,
    media::Media,
};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::AbortHandle,
};
use tokio_util::sync::CancellationToken;
use url::Url;
use whatsapp_rust::{
    CacheConfig, Client, TokioRuntime,
    bot::{Bot, BotHandle},
    wacore::store::{DevicePropsOverride, device::default_history_sync_config},
    waproto::whatsapp::device_props::{HistorySyncConfig, PlatformType},
};

use crate::{
    account::{Accounts, OfAccount},
    acks::Acks,
    asks, events, history,
    hook::{Hook, tell},
    net::{Http, Road, Sockets},
    outgoing,
    people::Pairs,
    recent::Recent,
    store::Store,
    told::{Listener, Told},
};

/// How long WhatsApp may take for its first frame.
const FIRST_FRAME: Duration = Duration::from_secs(45);
/// Accounts of a process that log in at the same time: after a start, many want to.
const LOGINS: usize = 24;
/// For how long a login counts as one that is under way.
const LOGIN: Duration = Duration::from_secs(10);
/// How long the crate may take to write what it has when a line is closed.
const CLOSE: Duration = Duration::from_secs(10);
/// What the phone's list of linked devices shows.
const DEVICE: &str = "Trunkline";
/// How far back history goes with `WHATSAPP_HISTORY=full`.
const FULL_DAYS: u32 = 365;

/// What the tasks of a line share.
pub(crate) struct Inner {
    pub(crate) instance: InstanceId,
    pub(crate) settings: Whatsapp,
    pub(crate) store: Arc<Store>,
    pub(crate) emit: Arc<dyn Emit>,
    pub(crate) media: Media,
    pub(crate) acks: Arc<Acks>,
    pub(crate) pairs: Pairs,
    pub(crate) recent: Recent,
    pub(crate) account: Arc<OfAccount>,
    /// When the account was paired, in seconds since 1970.
    pub(crate) paired: i64,
    /// There may be pieces of history to store.
    pub(crate) pieces: Notify,
    /// How many the crate has handed over, and how many of these are kept.
    pub(crate) handed: Arc<AtomicU64>,
    pub(crate) kept: AtomicU64,
    /// It was up at some time.
    was_up: Arc<AtomicBool>,
    up: AtomicBool,
    /// The login has come to something.
    pub(crate) settled: Notify,
    /// Somebody sees to it that the account is not shown as online for ever (`watched`).
    pub(crate) watching: AtomicBool,
    /// The line is closed: nothing more is to be told.
    pub(crate) ended: CancellationToken,
}

impl Inner {
    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    pub(crate) fn set_up(&self) {
        self.was_up.store(true, Ordering::Release);
        self.up.store(true, Ordering::Release);
        self.settled.notify_one();
    }

    /// Tells that the line is over. The worker drops it then.
    pub(crate) async fn over(&self, reason: Closed) -> Result<()> {
        self.up.store(false, Ordering::Release);
        self.settled.notify_one();
        if reason == Closed::Logout {
            self.account.forget();
        }
        tell(self, Update::Closed { reason }).await
    }

    pub(crate) fn not_ready(&self) -> Error {
        Error::conflict("INSTANCE_NOT_READY", format!("Instance {} not ready", self.instance))
    }
}

/// What all lines of a worker share.
pub(crate) struct Common {
    pub(crate) settings: Whatsapp,
    pub(crate) guard: Guard,
    pub(crate) media: Media,
    pub(crate) tls: Arc<rustls::ClientConfig>,
    pub(crate) logins: Arc<Semaphore>,
    pub(crate) accounts: Accounts,
}

impl Common {
    pub(crate) fn new(settings: Whatsapp, guard: Guard, media: Media, tls: Arc<rustls::ClientConfig>) -> Self {
        Self { settings, guard, media, tls, logins: Arc::new(Semaphore::new(LOGINS)), accounts: Accounts::default() }
    }
}

/// The running client, once its turn to log in has come.
type Running = Arc<Mutex<Option<BotHandle>>>;

pub(crate) struct WhatsappLine {
    inner: Arc<Inner>,
    client: Arc<Client>,
    bot: Running,
    tasks: Vec<AbortHandle>,
}

impl Drop for WhatsappLine {
    fn drop(&mut self) {
        self.inner.ended.cancel();
        for task in &self.tasks {
            task.abort();
        }
        // Without it the crate's own tasks would keep the client, and with it the socket.
        self.client.signal_shutdown_sync();
        if let Some(bot) = self.take_bot() {
            bot.abort();
        }
    }
}

impl WhatsappLine {
    /// Reads the session and begins to connect; what happens is told as updates.
    ///
    /// Errors: the session cannot be read; the proxy is none.
    pub(crate) async fn open(
        common: &Common,
        account: &Account,
        session: Arc<dyn SessionStore>,
        emit: Arc<dyn Emit>,
    ) -> Result<Self> {
        let wrong = |error: anyhow::Error| Error::invalid("proxyUrl", error.to_string());
        let road = Road::new(common.guard.clone(), account.proxy.as_ref(), Arc::clone(&common.tls)).map_err(wrong)?;
        let url: Url = common.settings.web_url.parse().map_err(|_| Error::internal("a URL that was checked"))?;
        let store = Store::open(session).await?;
        let (told, hears) = mpsc::unbounded_channel();
        let was_up = Arc::new(AtomicBool::new(false));
        let inner = Arc::new(Inner {
            instance: account.instance.clone(),
            settings: common.settings.clone(),
            account: common.accounts.of(&account.instance, common.settings.pace),
            paired: store.paired_at().await?,
            store: Arc::clone(&store),
            emit: Arc::clone(&emit),
            media: common.media.clone(),
            acks: Arc::default(),
            pairs: Pairs::default(),
            recent: Recent::default(),
            pieces: Notify::new(),
            handed: Arc::default(),
            kept: AtomicU64::new(0),
            was_up: Arc::clone(&was_up),
            up: AtomicBool::new(false),
            settled: Notify::new(),
            watching: AtomicBool::new(false),
            ended: CancellationToken::new(),
        });
        let sockets = Sockets { road: road.clone(), url: url.clone(), emit, told: told.clone(), was_up };
        let listener =
            Listener { acks: Arc::clone(&inner.acks), handed: Arc::clone(&inner.handed), told: told.clone() };
        let builder = Bot::builder()
            .with_backend_arc(store)
            .with_transport_factory(sockets)
            .with_http_client(Http::new(road, &url))
            .with_runtime(TokioRuntime)
            .with_version(common.settings.version)
            .with_device_props(device(common.settings.history))
            .with_cache_config(CacheConfig {
                // A row for each message of months, for the few votes and edits that still come for one of them.
                seed_msg_secrets_from_history: false,
                ..CacheConfig::default()
            })
            .with_inbound_durability_hook(Hook { inner: Arc::clone(&inner) })
            .with_event_handler(listener);
        let builder = match common.settings.history {
            History::None => builder.skip_history_sync(),
            History::Recent | History::Full => builder,
        };
        let bot = builder.build().await.map_err(Error::unavailable)?;
        let (client, running) = (bot.client(), Running::default());
        let narrator = tokio::spawn(events::narrate(Arc::clone(&inner), Arc::clone(&client), hears));
        let begin = begin(bot, Arc::clone(&running), Arc::clone(&inner), Arc::clone(&common.logins), told);
        let history = tokio::spawn(history::store(Arc::clone(&inner), Arc::clone(&client)));
        let tasks = vec![narrator.abort_handle(), history.abort_handle(), tokio::spawn(begin).abort_handle()];
        Ok(Self { inner, client, bot: running, tasks })
    }

    fn take_bot(&self) -> Option<BotHandle> {
        self.bot.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What the phone is told of this device when it is linked. Who wants all of the history must look like the client that does.
fn device(history: History) -> DevicePropsOverride {
    let device = DevicePropsOverride::new().with_os(DEVICE);
    match history {
        History::None | History::Recent => device.with_platform_type(PlatformType::CHROME),
        History::Full => device
            .with_platform_type(PlatformType::UWP)
            .with_require_full_sync(true)
            .with_history_sync_config(HistorySyncConfig {
                full_sync_days_limit: Some(FULL_DAYS),
                on_demand_ready: Some(true),
                complete_on_demand_ready: Some(true),
                ..default_history_sync_config()
            }),
    }
}

/// Logs in, few accounts at a time.
async fn begin(
    bot: Bot,
    running: Running,
    inner: Arc<Inner>,
    logins: Arc<Semaphore>,
    told: mpsc::UnboundedSender<Told>,
) {
    let turn = logins.acquire_owned().await;
    let client = bot.client();
    let handle = bot.spawn();
    *running.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
    // A login that takes long makes room for others.
    drop(tokio::time::timeout(LOGIN, inner.settled.notified()).await);
    drop(turn);
    // A server that takes the connection and says nothing is none.
    if client.wait_for_socket(FIRST_FRAME).await.is_err() && !inner.is_up() {
        drop(told.send(Told::Lost));
    }
}

#[async_trait]
impl Line for WhatsappLine {
    async fn send(&self, outgoing: &Outgoing) -> Sent {
        if !self.inner.is_up() {
            return Sent::NoLine;
        }
        outgoing::send(&self.inner, &self.client, outgoing).await
    }

    async fn ask(&self, request: Request) -> Result<Value> {
        asks::ask(&self.inner, &self.client, request).await
    }

    async fn logout(&self) -> Result<()> {
        self.inner.up.store(false, Ordering::Release);
        // Nobody listens any more: what is being told must not hold up the logout.
        self.inner.ended.cancel();
        self.inner.account.forget();
        self.client.logout().await;
        Ok(())
    }

    async fn close(&self) {
        self.inner.up.store(false, Ordering::Release);
        self.inner.ended.cancel();
        for task in &self.tasks {
            task.abort();
        }
        if let Some(bot) = self.take_bot() {
            let client = bot.client();
            if tokio::time::timeout(CLOSE, bot.shutdown()).await.is_err() {
                tracing::warn!(instance = %self.inner.instance, "a line did not end in good order");
                client.signal_shutdown_sync();
            }
        }
        if let Err(error) = self.inner.store.flush().await {
            tracing::debug!(instance = %self.inner.instance, %error, "the last of the session was not written");
        }
    }
}
