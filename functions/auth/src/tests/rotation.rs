//! Keys that are exchanged while processes run.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use shared::{
    app::{self, App, AppState, Parts},
    clock::{ManualClock, Millis},
    config::{Config, Source},
    domain::{
        access::{self, Presented, token},
        rotation::{self, FRESH, LEAD, Secrets},
        user::{self, User},
    },
    error::Result,
    store::meter::Meter,
};

/// A secret store that an operator writes to.
#[derive(Default)]
struct Shelf(Mutex<BTreeMap<String, String>>);

impl Shelf {
    fn set(&self, settings: &[(&str, &str)]) {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }
}

#[async_trait::async_trait]
impl Secrets for Shelf {
    async fn load(&self) -> Result<BTreeMap<String, String>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

struct World {
    shelf: Arc<Shelf>,
    clock: Arc<ManualClock>,
    store: Arc<shared_local::Sqlite>,
    folder: tempfile::TempDir,
}

const FIRST: &str = "the first encryption key";
const SECOND: &str = "the second encryption key";

impl World {
    fn new(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::at(Millis(1_672_574_400_000)));
        let store =
            shared_local::Sqlite::open(folder.path(), clock.clone(), Arc::new(Meter::default())).expect("opens");
        let shelf = Arc::new(Shelf::default());
        shelf.set(settings);
        Self { shelf, clock, store, folder }
    }

    /// Another process of the deployment.
    async fn start(&self) -> Result<AppState> {
        let source = Source::new(None)?.with(self.shelf.load().await?)?;
        let config = Config { data_dir: self.folder.path().to_owned(), ..Config::load(&source)? };
        let media = app::local_media(&config)?;
        let (store, secrets) = (self.store.clone(), Some(self.shelf.clone() as Arc<dyn Secrets>));
        let (clock, meter) = (self.clock.clone(), Arc::new(Meter::default()));
        let parts = Parts { store: store.clone(), queues: store, media, clock, meter, realtime: None, secrets };
        let app = App::build(config, parts).await?;
        user::bootstrap(&app).await?;
        Ok(app)
    }
}

async fn admin(app: &App) -> User {
    user::first_admin(app).await.expect("reads").expect("is there")
}

/// Whether a process takes a token.
async fn takes(app: &App, token: &shared::redact::Secret) -> bool {
    access::authenticate(app, &Presented::Bearer(token.clone()), None).await.is_ok()
}

#[tokio::test]
async fn tokens_outlive_a_new_jwt_secret_and_nobody_restarts() {
    let world = World::new(&[("ENCRYPTION_KEY", FIRST), ("JWT_SECRET", "the first jwt secret")]);
    let (one, other) = (world.start().await.expect("starts"), world.start().await.expect("starts"));
    let user = admin(&one).await;
    let old = token::issue(&one, &user).expect("a token");
    world.clock.advance(Duration::from_secs(60));
    world.shelf.set(&[("ENCRYPTION_KEY", FIRST), ("JWT_SECRET", "the second jwt secret,the first jwt secret")]);
    rotation::look_if_due(&one).await;
    let same = token::issue(&one, &user).expect("a token");
    world.clock.advance(FRESH);
    rotation::look_if_due(&one).await;
    let new = token::issue(&one, &user).expect("a token");
    // The other one has not looked, and does when it meets the new key.
    for token in [&old, &same, &new] {
        assert!(takes(&one, token).await && takes(&other, token).await);
    }
    world.shelf.set(&[("ENCRYPTION_KEY", FIRST), ("JWT_SECRET", "the second jwt secret")]);
    world.clock.advance(FRESH);
    rotation::look_if_due(&other).await;
    assert!(takes(&other, &new).await);
    assert!(!takes(&other, &old).await, "the old secret is gone, and with it what it signed");
}

#[tokio::test]
async fn the_encryption_key_is_exchanged_by_whoever_looks_first() {
    let world = World::new(&[("ENCRYPTION_KEY", FIRST)]);
    let one = world.start().await.expect("starts");
    let sealed = one.keyring.seal("test", "a credential").expect("seals");
    world.shelf.set(&[("ENCRYPTION_KEY", SECOND)]);
    assert!(world.start().await.is_err(), "without the old key nothing is exchanged");
    world.shelf.set(&[("ENCRYPTION_KEY", SECOND), ("ENCRYPTION_KEY_OLD", FIRST)]);
    world.clock.advance(FRESH);
    rotation::look_if_due(&one).await;
    world.shelf.set(&[("ENCRYPTION_KEY", SECOND)]);
    let other = world.start().await.expect("the new key opens it");
    for app in [&one, &other] {
        assert_eq!(app.keyring.open_text("test", &sealed).expect("opens").reveal(), "a credential");
    }
    world.shelf.set(&[("ENCRYPTION_KEY", FIRST)]);
    assert!(world.start().await.is_err(), "the old key opens nothing any more");
    world.clock.advance(FRESH);
    rotation::look_if_due(&one).await;
    assert!(one.keyring.open("test", &sealed).is_ok(), "who cannot look keeps what it knows");
}

#[tokio::test]
async fn new_keys_are_used_when_everybody_knows_them() {
    let world = World::new(&[("ENCRYPTION_KEY", FIRST)]);
    let (one, other) = (world.start().await.expect("starts"), world.start().await.expect("starts"));
    let user = admin(&one).await;
    let (old_token, old) = (token::issue(&one, &user).expect("a token"), one.keyring.seal("t", "old").expect("seals"));
    rotation::rotate(&one).await.expect("rotates");
    world.clock.advance(FRESH);
    rotation::look_if_due(&one).await;
    assert!(one.keyring.seal("t", "x").expect("seals").starts_with("1."), "not yet");
    // By now everybody has looked who does anything.
    rotation::look_if_due(&other).await;
    world.clock.advance(LEAD - FRESH);
    rotation::look_if_due(&one).await;
    let (token, sealed) = (token::issue(&one, &user).expect("a token"), one.keyring.seal("t", "new").expect("seals"));
    assert!(sealed.starts_with("2."), "{sealed}");
    assert_eq!(other.keyring.open_text("t", &sealed).expect("knows the key").reveal(), "new");
    assert_eq!(other.keyring.open_text("t", &old).expect("knows the old key").reveal(), "old");
    assert!(takes(&other, &token).await && takes(&other, &old_token).await);
    assert_eq!(one.keyring.index("e", "x"), other.keyring.index("e", "x"), "rows are found as before");
}
