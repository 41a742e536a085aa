//! The shell on SQLite, with a gateway that writes down what it is given. Work is done when a test says so, so that every order
//! of things can be had.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use aws_lambda_events::event::apigw::ApiGatewayWebsocketProxyRequest;
use serde_json::{Value, json};
use shared::{
    app::{self, App, Parts},
    clock::{Clock as _, ManualClock, Millis},
    config::{Config, Source},
    domain::{
        event,
        im::{self, fan_out},
        instance, job,
        timer::Waiting,
        user::{self, NewUser, Role, User},
    },
    id::{InstanceId, UserId},
    realtime::{Posted, remote::Remote},
    redact::Secret,
    store::{Append, Cause, Queue, Read, Unit, log::Writer, meter::Meter},
};

use super::*;

/// What clients got, and what is the matter with them.
#[derive(Default)]
struct Recorder {
    open: Mutex<HashMap<String, Vec<Value>>>,
    /// They take nothing any more.
    stuck: Mutex<HashSet<String>>,
}

impl Recorder {
    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<Value>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_open(&self, socket: &str) -> bool {
        self.open().contains_key(socket)
    }

    /// Takes what came.
    fn came(&self, socket: &str) -> Vec<Value> {
        self.open().get_mut(socket).map(std::mem::take).unwrap_or_default()
    }
}

#[async_trait]
impl Poster for Recorder {
    async fn post(&self, socket: &SocketId, text: &str) -> Result<Posted> {
        let stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner).contains(socket.as_str());
        match self.open().get_mut(socket.as_str()) {
            None => Ok(Posted::Gone),
            Some(_) if stuck => Ok(Posted::Busy),
            Some(frames) => {
                frames.push(serde_json::from_str(text).expect("frames are JSON"));
                Ok(Posted::Done)
            }
        }
    }

    async fn close(&self, socket: &SocketId) -> Result<()> {
        self.open().remove(socket.as_str());
        Ok(())
    }
}

struct World {
    app: AppState,
    clock: Arc<ManualClock>,
    clients: Arc<Recorder>,
    gateway: Gateway,
    _folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = "ENCRYPTION_KEY = 'only for this test'";
        let mut config = Config::load(&Source::new(Some(settings)).expect("reads")).expect("loads");
        config.data_dir = folder.path().to_owned();
        let clock = Arc::new(ManualClock::at(Millis(1_700_000_000_000)));
        let meter = Arc::new(Meter::default());
        let sqlite = shared_local::Sqlite::open(folder.path(), clock.clone(), meter.clone()).expect("opens");
        let media = app::local_media(&config).expect("a folder");
        let realtime = Remote::new(sqlite.clone(), sqlite.clone(), clock.clone());
        let parts = Parts {
            store: sqlite.clone(),
            queues: sqlite,
            media,
            clock: clock.clone(),
            meter,
            realtime: Some(realtime),
            secrets: None,
        };
        let app = App::build(config, parts).await.expect("builds");
        let clients = Arc::new(Recorder::default());
        let gateway = Gateway::new(Arc::clone(&app), clients.clone());
        Self { app, clock, clients, gateway, _folder: folder }
    }

    async fn person(&self, name: &str) -> (User, String) {
        let new = NewUser {
            id: None,
            email: String::new(),
            username: Some(name.to_owned()),
            password: Secret::new("a password of a test"),
            first_name: String::new(),
            last_name: String::new(),
            role: Role::User,
        };
        let user = user::create(&self.app, new, Vec::new()).await.expect("creates");
        let token = im::token::issue(&self.app, &user).reveal().to_owned();
        (user, token)
    }

    /// An event as API Gateway makes it; the answer's status.
    async fn tell(&self, socket: &str, kind: &str, more: Value) -> u64 {
        let mut event = json!({ "requestContext": { "connectionId": socket, "eventType": kind, "connectedAt": 1,
            "requestTimeEpoch": 1, "identity": { "sourceIp": "203.0.113.7" } } });
        if let (Value::Object(event), Value::Object(more)) = (&mut event, more) {
            event.extend(more);
        }
        let event: ApiGatewayWebsocketProxyRequest = serde_json::from_value(event).expect("an event");
        handle(&self.gateway, event).await["statusCode"].as_u64().expect("a status")
    }

    /// A client connects; it can be posted to when the function has answered.
    async fn connect(&self, socket: &str, query: Value) -> u64 {
        let status = self.tell(socket, "CONNECT", json!({ "queryStringParameters": query })).await;
        if status == 200 {
            self.clients.open().insert(socket.to_owned(), Vec::new());
        }
        status
    }

    async fn say(&self, socket: &str, frame: &Value) {
        assert_eq!(self.tell(socket, "MESSAGE", json!({ "body": frame.to_string() })).await, 200);
    }

    /// Does what is queued, timers that are due included.
    async fn work(&self) {
        loop {
            let timers = self.app.queues.receive(Queue::Timers, 10, std::time::Duration::ZERO).await.expect("timers");
            for timer in &timers {
                let Waiting { timer: Timer::Work { group, work }, .. } = timer.decode().expect("a timer") else {
                    panic!("another timer")
                };
                let mut unit = Unit { done: Some(Cause::Message(timer.receipt.clone())), ..Unit::default() };
                timer::begin(&self.app, &mut unit, &group, &work).expect("queues");
                self.app.store.commit(unit).await.expect("commits");
            }
            let jobs = self.app.queues.receive(Queue::Jobs, 10, std::time::Duration::ZERO).await.expect("jobs");
            if jobs.is_empty() && timers.is_empty() {
                return;
            }
            for message in jobs {
                let body: job::Body = message.decode().expect("a job");
                match body.work {
                    Work::ImFanOut { channel, seq } => fan_out::run(&self.app, &channel, &[seq]).await.expect("tells"),
                    work => self.gateway.work(work, message.receives).await.expect("works"),
                }
                self.app.queues.delete(&message.receipt).await.expect("acknowledges");
            }
        }
    }

    async fn online(&self, socket: &str, token: &str) {
        assert_eq!(self.connect(socket, json!({ "token": token })).await, 200);
        self.work().await;
        assert_eq!(kinds(&self.clients.came(socket)), ["auth_success"]);
    }

    async fn is_online(&self, user: &UserId) -> bool {
        self.app.realtime.online(std::slice::from_ref(user)).await.expect("looks") == [true]
    }
}

fn kinds(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().expect("a type")).collect()
}

fn message(id: &str, to: &User, text: &str) -> Value {
    json!({ "type": "message", "data": { "id": id, "toId": to.id, "chatType": "single", "content": text } })
}

#[tokio::test]
async fn what_is_said_behind_a_credential_waits_for_it() {
    let world = World::new().await;
    let ((_, token), (bob, _)) = (world.person("alice").await, world.person("bob").await);
    assert_eq!(world.connect("a", json!({ "token": token })).await, 200);
    world.say("a", &message("1", &bob, "hello")).await;
    assert_eq!(world.clients.came("a"), Vec::<Value>::new(), "nothing before the mailbox was read");
    world.work().await;
    assert_eq!(kinds(&world.clients.came("a")), ["auth_success", "ack"], "and not what was sent here");
}

#[tokio::test]
async fn credentials_are_kept_sealed_and_bad_ones_are_told() {
    let world = World::new().await;
    let (_, token) = world.person("alice").await;
    world.online("a", &token).await;
    let row = world.app.store.get(&keys::socket(&SocketId::new("a")), Read::Strong).await.expect("reads");
    assert!(!format!("{row:?}").contains(&token));
    assert_eq!(world.connect("b", json!({ "token": "nonsense" })).await, 200);
    world.work().await;
    assert!(!world.clients.is_open("b"));
    assert_eq!(world.connect("c", json!({ "after": "7" })).await, 400);
    // Nothing shown: a pong, an error, and the end after ten seconds.
    assert_eq!(world.connect("d", json!({})).await, 200);
    world.say("d", &json!({ "type": "ping" })).await;
    world.say("d", &json!({ "type": "read", "data": { "chatId": "x" } })).await;
    world.work().await;
    assert_eq!(kinds(&world.clients.came("d")), ["pong", "error"]);
    world.clock.advance(AUTH_WITHIN);
    world.work().await;
    assert!(!world.clients.is_open("d") && world.clients.is_open("a"));
}

#[tokio::test]
async fn messages_come_once_and_gaps_are_read() {
    let world = World::new().await;
    let ((alice, of_alice), (bob, of_bob)) = (world.person("alice").await, world.person("bob").await);
    world.online("a", &of_alice).await;
    world.online("b", &of_bob).await;
    world.say("a", &message("1", &bob, "one")).await;
    world.work().await;
    assert_eq!(kinds(&world.clients.came("a")), ["ack"]);
    let came = world.clients.came("b");
    assert_eq!((kinds(&came), &came[0]["data"]["messageSeq"]), (vec!["message"], &json!(1)));
    // What is told again is not sent again; what was not told is found by the next.
    let channel = im::ChannelKey::person(&alice.id, &bob.id);
    fan_out::run(&world.app, &channel, &[1]).await.expect("tells");
    world.say("a", &message("2", &bob, "two")).await;
    let lost = world.app.queues.receive(Queue::Jobs, 10, std::time::Duration::ZERO).await.expect("jobs");
    for message in lost {
        world.app.queues.delete(&message.receipt).await.expect("is lost");
    }
    world.say("a", &message("3", &bob, "three")).await;
    world.work().await;
    let seqs: Vec<Value> = world.clients.came("b").iter().map(|frame| frame["data"]["messageSeq"].clone()).collect();
    assert_eq!(seqs, [2, 3]);
    // Back to the beginning, without what this connection had.
    world.say("b", &json!({ "type": "sync", "data": { "after": { alice.id.as_str(): 0, "*": 0 } } })).await;
    world.work().await;
    assert_eq!(kinds(&world.clients.came("b")), ["synced"]);
    assert_eq!(world.connect("c", json!({ "token": of_bob, "after": json!({ "*": 1 }).to_string() })).await, 200);
    world.work().await;
    assert_eq!(kinds(&world.clients.came("c")), ["auth_success", "message", "message", "synced"]);
}

#[tokio::test]
async fn who_is_gone_is_forgotten() {
    let world = World::new().await;
    let ((alice, of_alice), (bob, of_bob)) = (world.person("alice").await, world.person("bob").await);
    world.online("a", &of_alice).await;
    world.online("b", &of_bob).await;
    world.say("a", &message("1", &bob, "one")).await;
    world.work().await;
    world.clients.came("b");
    assert!(world.is_online(&alice.id).await && world.is_online(&bob.id).await);
    assert_eq!(world.app.realtime.connections().await.expect("counts"), 2);
    // The gateway told nobody: 410 does.
    world.clients.open().remove("a");
    world.say("b", &message("2", &alice, "two")).await;
    world.work().await;
    assert!(!world.is_online(&alice.id).await);
    assert_eq!(kinds(&world.clients.came("b")), ["ack"]);
    world.clock.advance(presence::GRACE);
    world.work().await;
    let came = world.clients.came("b");
    assert_eq!((kinds(&came), &came[0]["data"]["online"]), (vec!["presence"], &json!(false)));
    // A frame of nobody we know closes it.
    world.clients.open().insert("z".into(), Vec::new());
    world.say("z", &json!({ "type": "ping" })).await;
    assert!(!world.clients.is_open("z"));
    assert_eq!(world.tell("b", "DISCONNECT", json!({})).await, 200);
    assert_eq!(world.app.realtime.connections().await.expect("counts"), 0);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let world = World::new().await;
    let ((_, of_alice), (bob, of_bob)) = (world.person("alice").await, world.person("bob").await);
    world.online("a", &of_alice).await;
    world.online("b", &of_bob).await;
    world.clients.stuck.lock().expect("no panic").insert("b".into());
    world.say("a", &message("1", &bob, "one")).await;
    world.work().await;
    assert!(!world.clients.is_open("b") && !world.is_online(&bob.id).await);
    assert_eq!(kinds(&world.clients.came("a")), ["ack"], "the others go on");
}

#[tokio::test]
async fn errors_of_many_frames_are_counted_together() {
    let world = World::new().await;
    let (_, token) = world.person("alice").await;
    world.online("a", &token).await;
    for _ in 0..31 {
        world.say("a", &json!({ "type": "dance" })).await;
    }
    assert!(!world.clients.is_open("a"));
}

#[tokio::test]
async fn events_cost_something_only_while_somebody_follows() {
    let world = World::new().await;
    let (alice, _) = world.person("alice").await;
    let key = format!("tk_{}_{}", alice.id, world.app.keyring.api_key(alice.id.as_str(), alice.api_key_version));
    let id = InstanceId::new("0123456789abcdef");
    let new = shared::domain::register::New {
        id: id.clone(),
        user: alice.id.clone(),
        platform: shared::address::Platform::Im,
        transport: shared::capability::Transport::Embedded,
        mode: instance::Mode::Live,
    };
    let row = shared::domain::register::row(&world.app, new);
    shared::domain::register::create(&world.app, row, None).await.expect("creates");
    append(&world, &id, "unseen").await;
    assert_eq!(jobs(&world).await, 0);
    world.online("a", &key).await;
    assert!(watched(&world, &id).await.is_some());
    append(&world, &id, "seen").await;
    world.work().await;
    let came = world.clients.came("a");
    assert_eq!((kinds(&came), &came[0]["data"]["seq"]), (vec!["event"], &json!(2)));
    // It leaves; the mark goes with the first event after its time.
    assert_eq!(world.tell("a", "DISCONNECT", json!({})).await, 200);
    world.clock.advance(watch::WRITTEN + std::time::Duration::from_secs(1));
    append(&world, &id, "nobody").await;
    world.work().await;
    assert_eq!(watched(&world, &id).await, None);
    append(&world, &id, "nothing").await;
    assert_eq!(jobs(&world).await, 0);
}

async fn watched(world: &World, id: &InstanceId) -> Option<Millis> {
    instance::find(&world.app, id).await.expect("reads").expect("is there").watched_until
}

async fn jobs(world: &World) -> u64 {
    world.app.queues.depth(Queue::Jobs).await.expect("counts").visible
}

async fn append(world: &World, id: &InstanceId, key: &str) {
    let instance = instance::find(&world.app, id).await.expect("reads").expect("is there");
    let entries = vec![event::entry(event::Kind::ContactsUpdated, key.into(), world.clock.now())];
    let unit = Unit {
        enqueue: event::dispatches(&instance, &entries, 0),
        append: vec![Append { log: id.to_string(), writer: Writer::Foreign, entries, look_from: None }],
        ..Unit::default()
    };
    world.app.store.commit(unit).await.expect("commits");
}
