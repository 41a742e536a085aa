//! The IM's channels directly on the stores: 64 senders at once, and every place where a process may stop. On SQLite, and on the
//! emulator of DynamoDB and SQS; in fair weather and under the chaos layer, whose lost answers senders meet as clients do: they
//! try again under the same client number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use shared::{
    app::{App, AppState, Parts},
    config::{Config, Source},
    domain::{
        im::{Channel, Message, NewMessage, Numbers, Posted, group},
        user::{self, NewUser, Role, User},
    },
    media::Media,
    redact::Secret,
    store::{
        Queue,
        chaos::{Chaos, Fault, Faults},
        meter::Meter,
    },
};

use crate::contract::{Backend, Home, Weather};
use crate::harness::person::encoded;

const SENDERS: usize = 64;
const PEOPLE: usize = 4;

/// A group of a few people on one back end.
struct Scene {
    app: AppState,
    chaos: Arc<Chaos>,
    people: Vec<User>,
    channel: Channel,
    folder: tempfile::TempDir,
    _backend: Backend,
}

impl Scene {
    async fn new(home: Home, faults: Faults, test: &str) -> Self {
        let backend = Backend::new(home, Weather::Fair, test);
        let meter = Arc::new(Meter::default());
        let (store, queues) = backend.open_bare(&meter).await;
        let chaos = Chaos::new(store, queues, faults, backend.seed());
        chaos.calm(true);
        let folder = tempfile::tempdir().expect("a folder");
        let source = Source::new(Some("ENCRYPTION_KEY = 'a key for tests only'")).expect("reads");
        let parts = Parts {
            store: chaos.clone(),
            queues: chaos.clone(),
            media: Media::local(folder.path()).expect("a folder"),
            clock: backend.clock(),
            meter,
            realtime: None,
            secrets: None,
        };
        let app = App::build(Config::load(&source).expect("loads"), parts).await.expect("builds");
        let mut people = Vec::new();
        for n in 0..PEOPLE {
            let new = NewUser {
                id: None,
                email: String::new(),
                username: Some(format!("person {n}")),
                password: Secret::new("a password of a test"),
                first_name: String::new(),
                last_name: String::new(),
                role: Role::User,
            };
            people.push(user::create(&app, new, Vec::new()).await.expect("creates"));
        }
        let (group, _) = group::save(&app, &people[0], "a group", None, None).await.expect("saves");
        let ids: Vec<_> = people.iter().map(|one| one.id.clone()).collect();
        assert_eq!(group::add(&app, &group, &ids).await.expect("adds"), PEOPLE - 1);
        chaos.calm(false);
        Self { app, chaos, people, channel: Channel::of_group(group), folder, _backend: backend }
    }

    fn message(&self, person: usize, number: &str) -> NewMessage {
        NewMessage {
            from: self.people[person].id.clone(),
            client_no: Some(number.to_owned()),
            numbers: Numbers::OfChannel,
            payload: encoded(number),
            via: None,
        }
    }

    /// Posts under a client number until there is an answer, as a client does.
    async fn insist(&self, person: usize, number: &str) -> Posted {
        for _ in 0..500 {
            match self.app.im.post(&self.app, &self.channel, self.message(person, number)).await {
                Ok(posted) => return posted,
                Err(error) => assert!(error.is_temporary(), "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{number} got no answer");
    }

    /// Everything in the channel, after a look at its numbers.
    async fn stored(&self) -> Vec<Message> {
        self.chaos.calm(true);
        let all = self.app.im.after(&self.app, &self.channel.key, 0, 10_000).await.expect("reads");
        let seqs: Vec<_> = all.iter().map(|one| one.seq).collect();
        assert_eq!(seqs, (1..=all.len() as u64).collect::<Vec<_>>(), "gaps");
        all
    }

    /// The numbers of messages that work is queued for.
    async fn queued(&self) -> BTreeSet<u64> {
        self.chaos.calm(true);
        let (mut seqs, mut empty) = (BTreeSet::new(), 0);
        while empty < 3 {
            let batch = self.app.queues.receive(Queue::Jobs, 10, Duration::from_millis(100)).await.expect("receives");
            empty = if batch.is_empty() { empty + 1 } else { 0 };
            for message in batch {
                seqs.extend(message.body.get("seq").and_then(Value::as_u64));
                self.app.queues.delete(&message.receipt).await.expect("deletes");
            }
        }
        seqs
    }
}

/// 64 senders at once: each message has one place, and the answer names it.
async fn senders(home: Home, faults: Faults, each: usize, test: &str) -> Arc<Scene> {
    let scene = Arc::new(Scene::new(home, faults, test).await);
    let tasks: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let scene = Arc::clone(&scene);
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for n in 0..each {
                    let number = format!("{sender}-{n}");
                    answers.push((number.clone(), scene.insist(sender % PEOPLE, &number).await));
                }
                answers
            })
        })
        .collect();
    let mut answers = BTreeMap::new();
    for task in tasks {
        answers.extend(task.await.expect("a sender"));
    }
    let stored = scene.stored().await;
    assert_eq!(stored.len(), SENDERS * each, "lost or doubled");
    for one in &stored {
        let number = one.body.client_no.as_deref().expect("a number");
        let posted = answers.remove(number).unwrap_or_else(|| panic!("{number} is there twice"));
        let place = (posted.message_id.as_str(), posted.seq, posted.at);
        assert_eq!(place, (one.body.id.as_str(), one.seq, one.at), "{number}");
        assert_eq!(one.body.payload, encoded(number));
    }
    assert_eq!(scene.queued().await, (1..=stored.len() as u64).collect(), "what follows a message is queued for each");
    // A retry long after: the same answer.
    let late = scene.insist(0, "0-0").await;
    assert_eq!(stored[usize::try_from(late.seq).expect("small") - 1].body.id, late.message_id);
    scene
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_up_with_many_senders() {
    senders(Home::Sqlite, Faults::none(), 20, "sqlite_keeps_up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamodb_keeps_up_with_many_senders() {
    senders(Home::Aws, Faults::none(), 4, "dynamodb_keeps_up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_keeps_up_while_everything_goes_wrong() {
    let scene = senders(Home::Sqlite, Faults::all(), 8, "sqlite_goes_wrong").await;
    for fault in [Fault::Throttle, Fault::Applied] {
        assert!(scene.chaos.injected().contains_key(&fault), "{fault:?} did not happen");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamodb_keeps_up_while_everything_goes_wrong() {
    let scene = senders(Home::Aws, Faults::all(), 3, "dynamodb_goes_wrong").await;
    for fault in [Fault::Throttle, Fault::Applied] {
        assert!(scene.chaos.injected().contains_key(&fault), "{fault:?} did not happen");
    }
}

/// A sender that stops after each step in turn: somebody else goes on, then the client tries again, and then there is one.
async fn stops(home: Home, test: &str) {
    let scene = Scene::new(home, Faults { serial: true, ..Faults::none() }, test).await;
    let mut wanted = BTreeMap::new();
    for k in 0.. {
        let number = format!("stopped after {k}");
        scene.chaos.stop_after(Some(k));
        let first = scene.app.im.post(&scene.app, &scene.channel, scene.message(0, &number)).await;
        let stopped = scene.chaos.is_stopped();
        assert_eq!(first.is_err(), stopped, "{number}");
        scene.chaos.resume();
        let between = format!("between {k}");
        wanted.insert(between.clone(), scene.insist(1, &between).await);
        let again = scene.insist(0, &number).await;
        // Once more: nothing changes any more.
        assert_eq!(scene.insist(0, &number).await, again);
        wanted.insert(number, again);
        if !stopped {
            assert!(k >= 3, "a client number, an entry, a queue message: only {k} steps");
            break;
        }
    }
    let stored = scene.stored().await;
    let found: BTreeMap<_, _> = stored
        .iter()
        .map(|one| {
            let posted = Posted { message_id: one.body.id.clone(), seq: one.seq, at: one.at };
            (one.body.client_no.clone().expect("a number"), posted)
        })
        .collect();
    assert_eq!(found.len(), stored.len(), "doubled");
    assert_eq!(found, wanted);
    assert_eq!(scene.queued().await, (1..=stored.len() as u64).collect());
    drop(scene.folder);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stop_heals_on_sqlite() {
    stops(Home::Sqlite, "every_im_stop_sqlite").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stop_heals_on_dynamodb() {
    stops(Home::Aws, "every_im_stop_aws").await;
}

/// Members that are added and removed while answers get lost: the list of each agrees with the group at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn membership_heals_by_repetition() {
    use shared::domain::im::{With, conversation};
    let scene = Scene::new(Home::Sqlite, Faults { serial: true, ..Faults::none() }, "membership").await;
    let With::Group(group) = &scene.channel.with else { panic!("a group") };
    let ids = [scene.people[1].id.clone()];
    for k in 1..3 {
        for joins in [false, true] {
            scene.chaos.stop_after(Some(k));
            let change = async || match joins {
                true => group::add(&scene.app, group, &ids).await,
                false => group::remove(&scene.app, group, &ids).await,
            };
            assert!(change().await.is_err(), "stopped after {k}");
            scene.chaos.resume();
            assert_eq!(change().await.expect("again"), 0, "it had happened");
            assert_eq!(group::is_member(&scene.app, &group.key, &ids[0]).await.expect("reads"), joins);
            let listed = conversation::find(&scene.app, &ids[0], &group.key).await.expect("reads");
            assert_eq!(listed.is_some(), joins, "stopped after {k}");
        }
    }
}
