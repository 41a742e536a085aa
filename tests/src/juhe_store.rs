//! Synchronisation directly on the stores: the corpus of `seed003` ends in the same state on SQLite and on the emulator of
//! DynamoDB and SQS, also when both lose answers and break off. What that state must be, the black-box test of the
//! corpus knows.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use shared::{
    app::{App, AppState, Parts},
    clock::Clock as _,
    config::{Config, Source},
    domain::{
        job::{Body, Work},
        juhe::{
            Callback, apply,
            device::{self, Device, Found},
            intake,
            query::{self, Paging, Wanted},
        },
        user,
    },
    error::{Kind, Result},
    media::Media,
    store::{Queue, meter::Meter},
};

use crate::contract::{Backend, Home, Weather};
use crate::seed003::corpus::{
    PERSONAL, WECOM,
    made::{Dice, personal, the_rest, wecom},
};

/// One after the other until it succeeds, as the service repeats a callback and the queue a job.
async fn insist<T>(what: &str, mut attempt: impl AsyncFnMut() -> Result<T>) -> T {
    for _ in 0..500 {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => assert!(error.is_temporary(), "{what}: {error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} never succeeded");
}

async fn device(app: &App, guid: &str) -> Result<Device> {
    match device::find(app, guid).await? {
        Found::Device(device) => Ok(*device),
        Found::Nobody | Found::Between => device::register(app, guid).await,
    }
}

/// Works the job queue off.
async fn work(app: &App) {
    let mut empty = 0;
    while empty < 3 {
        let batch =
            insist("a receive", async || app.queues.receive(Queue::Jobs, 10, Duration::from_millis(200)).await).await;
        empty = if batch.is_empty() { empty + 1 } else { 0 };
        for message in batch {
            let body: Body = message.decode().expect("a body");
            insist("a job", async || match &body.work {
                Work::Juhe(delivery) => apply::run(app, &[(**delivery).clone()]).await,
                Work::JuheOwn { instance, own, after } => apply::claim_own(app, instance, own, after.clone()).await,
                other => panic!("{other:?}"),
            })
            .await;
            // Gone: deleted the time before, and the answer was lost.
            insist("a deletion", async || match app.queues.delete(&message.receipt).await {
                Err(error) if error.kind == Kind::Gone => Ok(()),
                other => other,
            })
            .await;
        }
    }
}

/// What the queries tell.
async fn state(app: &App, guid: &str) -> Value {
    let device = device(app, guid).await.expect("is there");
    let paging = Paging { page: 1, limit: 200 };
    let messages = query::messages(app, &device, &Wanted::default(), paging).await.expect("messages");
    let found = Wanted { keyword: Some("好".into()), ..Wanted::default() };
    let found = query::messages(app, &device, &found, paging).await.expect("finds");
    let contacts = query::contacts(app, &device, None, paging).await.expect("contacts");
    let rooms = query::rooms(app, &device, paging).await.expect("rooms");
    let sync = query::sync(app, &device).await.expect("status");
    json!({
        "messages": [messages.total, by_id(messages.rows)],
        "found": [found.total, by_id(found.rows)],
        "contacts": [contacts.total, by_id(contacts.rows)],
        "rooms": [rooms.total, by_id(rooms.rows)],
        "sync": [sync.status, sync.contacts, sync.messages, sync.rooms],
    })
}

/// Ids of ours, which decide among equals, differ from home to home; so do the times of what carries none.
fn by_id(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(|row| row["id"].to_string());
    let today = shared::clock::SystemClock::default().now().iso()[..10].to_owned();
    for row in &mut rows {
        if row["timestamp"].as_str().is_some_and(|at| at.starts_with(&today)) {
            row["timestamp"] = "now".into();
        }
    }
    rows
}

async fn scene(home: Home, weather: Weather, test: &str) -> (AppState, tempfile::TempDir, Backend) {
    let backend = Backend::new(home, weather, test);
    let meter = Arc::new(Meter::default());
    let (store, queues) = backend.open(&meter).await;
    let folder = tempfile::tempdir().expect("a folder");
    let source = Source::new(Some("ENCRYPTION_KEY = 'a key for tests only'")).expect("reads");
    let media = Media::local(folder.path()).expect("a folder");
    let parts = Parts { store, queues, media, clock: backend.clock(), meter, realtime: None, secrets: None };
    let app = App::build(Config::load(&source).expect("loads"), parts).await.expect("builds");
    user::bootstrap(&app).await.expect("an administrator");
    (app, folder, backend)
}

/// The state after the corpus: on each home, the same.
async fn ends(home: Home, weather: Weather, test: &str) -> Value {
    let (app, _folder, _backend) = scene(home, weather, test).await;
    let mut dice = Dice(0x0dd_ba11);
    let mut corpus = Vec::new();
    wecom(&mut dice, &mut corpus);
    personal(&mut dice, &mut corpus);
    the_rest(&mut dice, &mut corpus);
    for callback in &corpus {
        let Ok(callback) = Callback::read(callback.to_string().as_bytes()) else { continue };
        insist("a callback", async || {
            let device = device(&app, &callback.guid).await?;
            intake::accept(&app, &device, callback.clone()).await
        })
        .await;
    }
    work(&app).await;
    json!({ "wecom": state(&app, WECOM).await, "personal": state(&app, PERSONAL).await })
}

async fn agree(weather: Weather, test: &str) {
    let mut sqlite = ends(Home::Sqlite, weather, &format!("{test}_sqlite")).await;
    assert!(sqlite["wecom"]["messages"][0].as_u64() > Some(100), "{sqlite}");
    let mut aws = ends(Home::Aws, weather, &format!("{test}_aws")).await;
    if weather == Weather::Chaos {
        // Whether a line is open is what was last heard of it, and in bad weather conversations overtake each other.
        for state in [&mut sqlite, &mut aws] {
            for form in ["wecom", "personal"] {
                let status = state[form]["sync"][0].take();
                assert!(["synced", "syncing", "error"].contains(&status.as_str().unwrap_or_default()), "{status}");
            }
        }
    }
    for part in ["messages", "found", "contacts", "rooms", "sync"] {
        for form in ["wecom", "personal"] {
            assert_eq!(aws[form][part], sqlite[form][part], "{form} {part}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_homes_end_in_the_same_state() {
    agree(Weather::Fair, "juhe").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_homes_end_in_the_same_state_while_everything_goes_wrong() {
    agree(Weather::Chaos, "juhe_goes_wrong").await;
}
