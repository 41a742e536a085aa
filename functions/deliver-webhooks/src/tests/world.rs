//! A store in a temporary folder, a receiver that does what it is told, and the means to let time pass.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Body, extract::State, response::Response, routing::post};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use shared::{
    app::{App, AppState, Parts},
    clock::{Clock as _, ManualClock, Millis},
    config::{Config, Source},
    domain::{
        endpoint::Webhook,
        event::{self, Kind},
        instance::{self, Instance},
        timer,
    },
    id::InstanceId,
    media::Media,
    store::{
        Append, Depth, DynQueues, DynStore, Item, Query, Queue, Read, Unit, Write,
        chaos::{Chaos, Faults},
        keys,
        log::Writer,
        meter::Meter,
    },
    webhook::{self, Courier, Delivery, Status},
};
use shared_local::Sqlite;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::{batch, local};

/// 2023-11-14, in the middle of a day.
pub(super) const NOON: Millis = Millis(1_699_963_200_000);

/// A call that the receiver got.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) path: String,
    pub(super) event: String,
    pub(super) chat: String,
    pub(super) n: i64,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The answer it got.
    pub(super) status: u16,
}

/// What the receiver answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after: Option<&'static str>,
    pub(super) text: String,
    pub(super) after: Duration,
}

impl From<u16> for Reply {
    fn from(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

type Plan = Arc<Mutex<Box<dyn FnMut(&Call) -> Reply + Send>>>;

#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) url: String,
    calls: Arc<Mutex<Vec<Call>>>,
    plan: Plan,
}

async fn answer(State(receiver): State<Receiver>, uri: http::Uri, headers: HeaderMap, body: Bytes) -> Response {
    // Templates may make anything.
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut call = Call {
        path: uri.path().to_owned(),
        event: json["event"].as_str().unwrap_or_default().to_owned(),
        chat: json["data"]["c"].as_str().unwrap_or_default().to_owned(),
        n: json["data"]["n"].as_i64().unwrap_or_default(),
        headers,
        body,
        status: 0,
    };
    let reply = (receiver.plan.lock().expect("free"))(&call);
    tokio::time::sleep(reply.after).await;
    call.status = reply.status;
    receiver.calls.lock().expect("free").push(call);
    let mut response = Response::builder().status(StatusCode::from_u16(reply.status).expect("a status"));
    if let Some(retry_after) = reply.retry_after {
        response = response.header("retry-after", retry_after);
    }
    response.body(Body::from(reply.text)).expect("a response")
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
        let receiver = Self { url, calls: Arc::default(), plan: Arc::new(Mutex::new(Box::new(|_| 200.into()))) };
        let router = Router::new().route("/{*path}", post(answer)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub(super) fn plan(&self, plan: impl FnMut(&Call) -> Reply + Send + 'static) {
        *self.plan.lock().expect("free") = Box::new(plan);
    }

    pub(super) fn always(&self, status: u16) {
        self.plan(move |_| status.into());
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("free").clone()
    }

    /// Numbers of the events of a chat, with the answers.
    pub(super) fn of(&self, chat: &str) -> Vec<(i64, u16)> {
        self.calls().into_iter().filter(|call| call.chat == chat).map(|call| (call.n, call.status)).collect()
    }

    /// Per chat, the numbers in the order in which they were first accepted.
    pub(super) fn accepted(&self) -> BTreeMap<String, Vec<i64>> {
        let mut accepted: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for call in self.calls().into_iter().filter(|call| call.status < 300) {
            let numbers = accepted.entry(call.chat).or_default();
            if !numbers.contains(&call.n) {
                numbers.push(call.n);
            }
        }
        accepted
    }
}

pub(super) struct World {
    pub(super) app: AppState,
    pub(super) clock: Arc<ManualClock>,
    pub(super) receiver: Receiver,
    pub(super) id: InstanceId,
    pub(super) courier: Courier,
    pub(super) chaos: Option<Arc<Chaos>>,
    /// The store without the chaos.
    sqlite: Arc<Sqlite>,
    _folder: TempDir,
}

pub(super) fn settings(url: &str) -> Webhook {
    Webhook { url: Some(url.to_owned()), enabled: true, retry_interval: 10_000, ..Webhook::default() }
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(None).await
    }

    pub(super) async fn with(chaos: Option<(Faults, u64)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Source::new(Some("ENCRYPTION_KEY = 'of no use to anybody'")).expect("settings");
        let config = Config::load(&config).expect("settings");
        let clock = Arc::new(ManualClock::at(NOON));
        let meter = Arc::new(Meter::default());
        let sqlite = Sqlite::open(folder.path(), clock.clone(), meter.clone()).expect("opens");
        let chaos = chaos.map(|(faults, seed)| Chaos::new(sqlite.clone(), sqlite.clone(), faults, seed));
        let (store, queues): (DynStore, DynQueues) = match &chaos {
            Some(chaos) => (chaos.clone(), chaos.clone()),
            None => (sqlite.clone(), sqlite.clone()),
        };
        if let Some(chaos) = &chaos {
            chaos.calm(true);
        }
        let media = Media::local(&folder.path().join("media")).expect("a folder");
        let parts = Parts { store, queues, media, clock: clock.clone(), meter, realtime: None, secrets: None };
        let app = App::build(config, parts).await.expect("builds");
        let receiver = Receiver::start().await;
        let courier = Courier::new(app.clone(), CancellationToken::new());
        let id = InstanceId::new("01instance000000");
        let world = Self { app, clock, receiver, id, courier, chaos, sqlite, _folder: folder };
        world.instance(&world.id, settings(&world.receiver.url)).await;
        if let Some(chaos) = &world.chaos {
            chaos.calm(false);
        }
        world
    }

    /// Makes an instance.
    pub(super) async fn instance(&self, id: &InstanceId, webhook: Webhook) {
        let row: Instance = serde_json::from_value(json!({
            "v": 1, "id": id, "userId": "01user0000000000", "platform": "whatsapp", "transport": "web", "mode": "sandbox",
            "name": "test", "shard": 0, "createdAt": NOON.0 - 90 * 86_400_000, "updatedAt": NOON, "status": "connected",
            "webhook": webhook,
        }))
        .expect("an instance");
        let item = instance::item(&row).expect("an item");
        self.app.store.commit(Unit::write(Write::put(item))).await.expect("stores");
    }

    pub(super) async fn row(&self) -> Instance {
        instance::find(&self.app, &self.id).await.expect("reads").expect("is there")
    }

    /// Changes the webhook's settings, as a PUT would.
    pub(super) async fn set(&self, change: impl FnOnce(&mut Webhook)) {
        self.change(|row| change(&mut row.webhook)).await;
    }

    /// Changes the instance's row.
    pub(super) async fn change(&self, change: impl FnOnce(&mut Instance)) {
        let mut row = self.row().await;
        change(&mut row);
        row.updated_at = Millis(row.updated_at.0 + 1);
        let item = instance::item(&row).expect("an item");
        self.app.store.commit(Unit::write(Write::put(item))).await.expect("stores");
    }

    /// Something happens in a chat: an entry of the log, and its dispatch message. Returns the entry's number.
    pub(super) async fn happens(&self, chat: &str, n: i64) -> u64 {
        self.happens_to(&self.id, chat, n).await
    }

    pub(super) async fn happens_to(&self, id: &InstanceId, chat: &str, n: i64) -> u64 {
        let row = instance::find(&self.app, id).await.expect("reads").expect("is there");
        let mut entry = event::entry(Kind::MessageReceived, format!("{chat}/{n}"), self.clock.now());
        entry.chat = Some(chat.to_owned());
        entry.data = json!({ "c": chat, "n": n });
        let entries = vec![entry];
        let enqueue = event::dispatches(&row, &entries, 0);
        let append = Append { log: id.to_string(), writer: Writer::Foreign, entries, look_from: None };
        let unit = Unit { append: vec![append], enqueue, ..Unit::default() };
        self.app.store.commit(unit).await.expect("appends").first()
    }

    /// Works off what is in the queues now.
    pub(super) async fn pump(&self) {
        loop {
            let mut records = Vec::new();
            let mut failed = false;
            for queue in [Queue::Dispatch, Queue::Timers] {
                match self.app.queues.receive(queue, 10, Duration::ZERO).await {
                    Ok(received) => records.extend(received.into_iter().map(local::record)),
                    // Chaos: the queue does not answer this time.
                    Err(_) => failed = !self.is_stopped(),
                }
            }
            if records.is_empty() && !failed {
                return;
            }
            let groups = batch::groups(records).into_iter();
            join_all(groups.map(|group| local::work_off(self.courier.clone(), group, None))).await;
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.chaos.as_ref().is_some_and(|chaos| chaos.is_stopped())
    }

    pub(super) async fn depth(&self, queue: Queue) -> Depth {
        let queues: DynQueues = self.sqlite.clone();
        queues.depth(queue).await.expect("answers")
    }

    /// Lets time pass in steps, and does what becomes due.
    pub(super) async fn pass(&self, time: Duration, step: Duration) {
        let end = self.clock.now().plus(time);
        while self.clock.now() < end {
            self.clock.advance(step);
            // Chaos: the next one will do.
            drop(timer::sweep(&self.app).await);
            self.pump().await;
        }
    }

    /// Lets time pass until nothing waits any more.
    pub(super) async fn settle(&self) {
        for _ in 0..2000 {
            self.pump().await;
            if self.is_settled().await {
                return;
            }
            self.pass(Duration::from_secs(60), Duration::from_secs(60)).await;
        }
        panic!("something is left: {:?} {:?}", self.depth(Queue::Dispatch).await, self.lanes().await);
    }

    async fn is_settled(&self) -> bool {
        let mut busy = !self.lanes().await.is_empty();
        for queue in [Queue::Dispatch, Queue::Timers] {
            let depth = self.depth(queue).await;
            assert_eq!(depth.dead, 0, "dead letters in {queue:?}");
            busy |= depth.visible + depth.delayed + depth.in_flight > 0;
        }
        !busy
    }

    /// The rows of lanes, as they are stored.
    pub(super) async fn lanes(&self) -> Vec<Value> {
        let store: DynStore = self.sqlite.clone();
        let query = Query::table(keys::lanes(&format!("{}/webhook", self.id))).limit(1000);
        let page = store.query(query).await.expect("reads");
        page.items.into_iter().map(|item| Value::Object(item.doc)).collect()
    }

    /// The row of the endpoint's health, as it is stored.
    pub(super) async fn health(&self) -> Value {
        let store: DynStore = self.sqlite.clone();
        let item = store.get(&keys::endpoint_state(&self.id, "webhook"), Read::Strong).await.expect("reads");
        item.map_or(Value::Null, |item| Value::Object(item.doc))
    }

    /// The record of an event of today's.
    pub(super) async fn delivery(&self, seq: u64) -> Delivery {
        let key = keys::delivery(&self.id, NOON, seq, "webhook");
        let item = self.app.store.get(&key, Read::Strong).await.expect("reads").expect("is there");
        Item::into(item).expect("decodes")
    }

    pub(super) async fn listed(&self, status: Option<Status>) -> Vec<Delivery> {
        webhook::list(&self.app, &self.row().await, status, None, 100).await.expect("lists").deliveries
    }
}

/// A lock that a failed assertion elsewhere does not break.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
