//! A deployment in a temporary folder.

use std::{sync::Arc, time::Duration};

use serde_json::Value;
use shared::{
    address::{self, Platform},
    app::{App, AppState, Parts},
    capability::{Transport, default_transport},
    clock::{Clock, ManualClock, Millis, SystemClock},
    config::{Config, Source},
    connector::{Action, Command, Play, Request},
    domain::{
        content::Content,
        endpoint::Webhook,
        instance::{self, Instance, Mode, Status},
        job::{self, Answer},
        message::{self, Message},
        send::{self, Draft},
    },
    id::{InstanceId, UserId},
    media::Media,
    store::{
        DynQueues, DynStore, Queue, Unit, Write,
        chaos::{Chaos, Faults},
        log::{self, Entry},
        meter::Meter,
    },
};
use shared_local::Sqlite;
use tempfile::TempDir;

use crate::{LocalLease, Settings, Worker, connectors};

pub(super) struct Bed {
    _dir: TempDir,
    pub(super) app: AppState,
    pub(super) chaos: Arc<Chaos>,
    worker: Option<Worker>,
}

impl Bed {
    /// Units happen step by step, as on AWS; nothing fails until a test says so.
    pub(super) async fn serial() -> Self {
        Self::with(Faults { serial: true, ..Faults::none() }).await
    }

    pub(super) async fn new() -> Self {
        Self::with(Faults::none()).await
    }

    /// Time stands still.
    pub(super) async fn still() -> Self {
        Self::with_clock(Faults::none(), Arc::new(ManualClock::at(Millis(1_700_000_000_000)))).await
    }

    async fn with(faults: Faults) -> Self {
        Self::with_clock(faults, Arc::new(SystemClock::default())).await
    }

    async fn with_clock(faults: Faults, clock: Arc<dyn Clock>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let meter = Arc::new(Meter::default());
        let sqlite = Sqlite::open(dir.path(), clock.clone(), meter.clone()).expect("opens");
        let chaos = Chaos::new(sqlite.clone(), sqlite, faults, 1);
        let source = Source::new(Some("ENCRYPTION_KEY = \"a key for tests only\"")).expect("parses");
        let config = Config::load(&source).expect("is valid");
        let (store, queues): (DynStore, DynQueues) = (chaos.clone(), chaos.clone());
        let media = Media::local(&dir.path().join("media")).expect("a folder");
        let app = App::build(config, Parts { store, queues, media, clock, meter, realtime: None, secrets: None })
            .await
            .expect("builds");
        Self { _dir: dir, app, chaos, worker: None }
    }

    pub(super) fn start(&mut self) {
        let settings = Settings {
            first_open: Duration::from_secs(1),
            reopen: (Duration::from_millis(100), Duration::from_secs(1)),
            poll: Duration::from_secs(1),
            ..Settings::default()
        };
        let all = connectors(&self.app).expect("connectors");
        self.worker = Some(Worker::start(self.app.clone(), all, Arc::new(LocalLease::new(1)), settings));
    }

    pub(super) async fn stop(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.stop().await;
        }
    }

    /// A sandbox instance, as its creation leaves it; all its events go to a webhook.
    pub(super) async fn instance(&self, platform: Platform) -> Instance {
        let transport = default_transport(platform);
        self.instance_of(platform, transport).await
    }

    async fn instance_of(&self, platform: Platform, transport: Transport) -> Instance {
        let now = self.app.clock.now();
        let instance = Instance {
            v: instance::VERSION,
            id: InstanceId::new(self.app.ids.short()),
            user_id: UserId::new("01k0000000000000"),
            platform,
            transport,
            mode: Mode::Sandbox,
            name: "test".into(),
            description: None,
            shard: 0,
            created_at: now,
            updated_at: now,
            webhook: Webhook {
                url: Some("https://example.com/".into()),
                enabled: true,
                notify_delivery: true,
                notify_read: true,
                events: Some(vec!["message_*".into()]),
                ..Webhook::default()
            },
            credentials: None,
            proxy: None,
            limits: None,
            watched_until: None,
            reconnect_asked_at: None,
            imported_by: None,
            deleting: false,
            epoch: 0,
            status: Status::Connecting,
            reason: None,
            status_at: now,
            paired: false,
            address: None,
            aliases: Vec::new(),
            forwarders: Vec::new(),
            account_name: None,
            qr: None,
            last_seen_at: None,
            history_sync: None,
            restriction: None,
        };
        let start = Command::new(instance.id.clone(), Action::Start);
        let unit = Unit {
            writes: vec![
                Write::create(instance::item(&instance).expect("encodes")),
                Write::create(instance::placement(&instance).expect("encodes")),
            ],
            enqueue: vec![job::command_message(&instance, &start, &format!("{}/start", instance.id)).expect("encodes")],
            ..Unit::default()
        };
        self.app.store.commit(unit).await.expect("is created");
        instance
    }

    /// An instance that is paired, without a worker: for tests that call the owner's functions themselves.
    pub(super) async fn paired(&self, platform: Platform) -> Instance {
        let mut instance = self.instance(platform).await;
        instance.paired = true;
        let write = Write::put(instance::item(&instance).expect("encodes"));
        self.app.store.commit(Unit::write(write)).await.expect("is written");
        // The `Start` is nobody's in these tests.
        for message in self.app.queues.receive(Queue::Commands(0), 10, Duration::ZERO).await.expect("receives") {
            self.app.queues.delete(&message.receipt).await.expect("deletes");
        }
        instance
    }

    /// An instance that the running worker has connected.
    pub(super) async fn connected(&self, platform: Platform, phone: &str) -> Instance {
        let instance = self.instance(platform).await;
        self.until(&instance, |now| now.status == Status::QrReceived).await;
        self.play(&instance, Play::Scan { phone: Some(phone.into()), name: Some("Tester".into()) }).await;
        self.until(&instance, |now| now.status == Status::Connected).await
    }

    pub(super) async fn command(&self, instance: &Instance, action: Action) {
        let command = Command::new(instance.id.clone(), action);
        let message = job::command_message(instance, &command, &self.app.ids.ulid()).expect("encodes");
        self.app.queues.send(vec![message]).await.expect("is queued");
    }

    pub(super) async fn play(&self, instance: &Instance, play: Play) -> Value {
        self.ask(instance, Request::Sandbox { play }).await.expect("plays")
    }

    pub(super) async fn ask(&self, instance: &Instance, request: Request) -> shared::Result<Value> {
        match job::ask(&self.app, instance, "ask", request, job::WAIT).await? {
            Answer::Done(value) => Ok(value),
            Answer::Later(job) => panic!("{job} takes too long"),
        }
    }

    pub(super) async fn read(&self, id: &InstanceId) -> Option<Instance> {
        instance::find(&self.app, id).await.expect("reads")
    }

    pub(super) async fn until(&self, instance: &Instance, holds: impl Fn(&Instance) -> bool) -> Instance {
        for _ in 0..1000 {
            let now = self.read(&instance.id).await.expect("is there");
            if holds(&now) {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never was so: {:?}", self.read(&instance.id).await);
    }

    pub(super) async fn accept(&self, instance: &Instance, to: &str, text: &str) -> Message {
        self.accept_typing(instance, to, text, Duration::ZERO).await
    }

    pub(super) async fn accept_typing(&self, instance: &Instance, to: &str, text: &str, typing: Duration) -> Message {
        let instance = self.read(&instance.id).await.expect("is there");
        let to = address::canonical(instance.platform, "to", to, true).expect("an address");
        let draft = Draft { typing, ..Draft::new(to, Content::Text { text: text.into() }) };
        send::accept(&self.app, &instance, draft, &self.app.ids.ulid()).await.expect("is accepted")
    }

    pub(super) async fn message(&self, message: &Message) -> Message {
        let found = message::load_many(&self.app, &message.instance_id, &[&message.sort()]).await.expect("reads");
        found.into_iter().flatten().next().expect("is there")
    }

    pub(super) async fn until_status(&self, message: &Message, status: message::Status) -> Message {
        for _ in 0..1000 {
            let now = self.message(message).await;
            if now.status == status {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never was {status:?}: {:?}", self.message(message).await);
    }

    pub(super) async fn log(&self, instance: &Instance) -> Vec<Entry> {
        log::read(&*self.app.store, instance.id.as_str(), 0, 1000).await.expect("reads")
    }

    /// Keys of the log's entries about a message.
    pub(super) async fn told(&self, message: &Message) -> Vec<String> {
        let entries = log::read(&*self.app.store, message.instance_id.as_str(), 0, 10_000).await.expect("reads");
        let sort = message.sort();
        entries
            .into_iter()
            .filter(|entry| entry.body.message.as_deref() == Some(&sort))
            .map(|entry| entry.body.key.replace(&sort, "*"))
            .collect()
    }

    /// Messages that the log has counted as sent.
    pub(super) async fn counted(&self, instance: &Instance) -> i64 {
        let entries = log::read(&*self.app.store, instance.id.as_str(), 0, 10_000).await.expect("reads");
        entries.iter().filter_map(|entry| entry.body.delta).map(|delta| delta.messages_sent).sum()
    }

    pub(super) async fn outbox(&self, instance: &Instance) -> Vec<String> {
        let rows = connector_sandbox::outbox(&*self.app.store, &instance.id, 1000, 0).await.expect("reads");
        rows.iter().map(|row| row["text"].as_str().unwrap_or_default().to_owned()).collect()
    }

    pub(super) fn incoming(&self, id: &str, text: &str) -> shared::connector::Incoming {
        shared::connector::Incoming {
            id: id.into(),
            chat: "15550100001@s.whatsapp.net".into(),
            sender: "15550100001@s.whatsapp.net".into(),
            from_me: false,
            push_name: "Ada".into(),
            is_group: false,
            content: Content::Text { text: text.into() },
            quoted: None,
            at: Millis(self.app.clock.now().0),
            facts: serde_json::Value::Null,
        }
    }
}
