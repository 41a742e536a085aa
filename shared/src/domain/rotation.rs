//! The deployment's keys over time: they are read at the start, looked at again every few minutes of use, and exchanged without
//! a restart.
//!
//! | what | how it is exchanged |
//! |---|---|
//! | `JWT_SECRET` | put the new secret in front of the old one; who meets a token of an unknown key looks at once |
//! | `ENCRYPTION_KEY` | set the new one, and the old one as `ENCRYPTION_KEY_OLD`: the first process that looks wraps the keyring anew |
//! | data keys, generated signing keys | [`rotate`]: new ones are stored, and used when every process must have seen them |
//!
//! Where the settings come from again is [`Secrets`]; a process whose settings cannot change looks at the stored keyring only.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    app::App,
    clock::Millis,
    config::{Config, Source},
    crypto::{Keyring, Wrapped},
    error::{Error, Result},
    redact::Secret,
    store::{CommitError, Cond, DynStore, Item, Read, Unit, Write, keys},
};

/// How old what is known of the keys may become while a process works.
pub const FRESH: Duration = Duration::from_secs(5 * 60);
/// New keys are used that long after they were stored: twice as long as anybody may not have seen them.
pub const LEAD: Duration = Duration::from_secs(10 * 60);
/// Strange tokens make a process look that often at the most.
const AT_MOST_EVERY: Duration = Duration::from_secs(10);

/// Settings that are kept outside the process, and may change there: AWS Secrets Manager.
#[async_trait]
pub trait Secrets: Send + Sync + 'static {
    /// Names of settings, and their values.
    async fn load(&self) -> Result<BTreeMap<String, String>>;
}

/// When the keys were last looked at (monotonic, ms).
#[derive(Debug, Default)]
pub struct Looked(AtomicU64);

/// What the keyring is opened with.
pub(crate) struct Given<'a> {
    pub(crate) encryption_key: &'a Secret,
    /// The one before, while it is being exchanged.
    pub(crate) old: Option<&'a Secret>,
    pub(crate) jwt: Option<&'a Secret>,
}

impl<'a> Given<'a> {
    /// Errors: there is no `ENCRYPTION_KEY`.
    pub(crate) fn of(config: &'a Config) -> Result<Self> {
        let missing =
            || Error::invalid("ENCRYPTION_KEY", "ENCRYPTION_KEY is required: it protects the stored credentials");
        Ok(Self {
            encryption_key: config.encryption_key.as_ref().ok_or_else(missing)?,
            old: config.encryption_key_old.as_ref(),
            jwt: config.jwt_secret.as_ref(),
        })
    }

    fn sign(&self, ring: Keyring) -> Keyring {
        let Some(secrets) = self.jwt else { return ring };
        let secrets: Vec<&str> = secrets.reveal().split(',').map(str::trim).collect();
        ring.with_jwt_secrets(&secrets)
    }
}

/// Opens the stored keyring, or makes and stores one. Several processes may start at once: the first to store wins.
pub(crate) async fn open(store: &DynStore, given: &Given<'_>, now: Millis) -> Result<Keyring> {
    if let Some(item) = store.get(&keys::keyring(), Read::Strong).await? {
        return unwrap(store, item, given, now).await;
    }
    let (ring, wrapped) = Keyring::generate(given.encryption_key)?;
    let item = Item::new(keys::keyring(), &wrapped)?;
    match store.commit(Unit::write(Write::create(item))).await {
        Ok(_) => Ok(given.sign(ring)),
        Err(CommitError::Conflict { .. }) => {
            let gone = || Error::unavailable("the keyring was there a moment ago");
            let item = store.get(&keys::keyring(), Read::Strong).await?.ok_or_else(gone)?;
            unwrap(store, item, given, now).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens it with the key, or with the one before; then it is wrapped anew.
async fn unwrap(store: &DynStore, item: Item, given: &Given<'_>, now: Millis) -> Result<Keyring> {
    let wrapped: Wrapped = item.into()?;
    let refused = match Keyring::unwrap(&wrapped, given.encryption_key, now) {
        Ok(ring) => return Ok(given.sign(ring)),
        Err(refused) => refused,
    };
    let Some(ring) = given.old.and_then(|old| Keyring::unwrap(&wrapped, old, now).ok()) else {
        return Err(Error::invalid(
            "ENCRYPTION_KEY",
            "ENCRYPTION_KEY is not the key that this deployment's data was encrypted with. Start with the original key, \
             or give it as ENCRYPTION_KEY_OLD to exchange it",
        )
        .source(refused));
    };
    match store_instead(store, &wrapped, &ring.wrap(given.encryption_key)?).await {
        Ok(()) => tracing::info!("the keyring is wrapped by the new ENCRYPTION_KEY"),
        // Somebody else was faster; with the same keys.
        Err(CommitError::Conflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(given.sign(ring))
}

/// Replaces the stored keyring, unless somebody else has meanwhile.
async fn store_instead(store: &DynStore, before: &Wrapped, after: &Wrapped) -> Result<(), CommitError> {
    // Sealing is never the same twice, so this text names the version.
    let same = Cond::eq("index", before.index.as_str());
    let write = Write::put(Item::new(keys::keyring(), after)?).only_if(same);
    store.commit(Unit::write(write)).await.map(drop)
}

/// Looks at the keys if what is known of them is too old. For whoever begins a piece of work; a failure keeps what is known.
pub async fn look_if_due(app: &App) {
    look_after(app, FRESH).await;
}

/// Looks at once, unless that has just been done: for a token of an unknown key.
pub(crate) async fn look(app: &App) {
    look_after(app, AT_MOST_EVERY).await;
}

async fn look_after(app: &App, age: Duration) {
    let now = u64::try_from(app.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
    let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let turn = app.looked.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
        (now.saturating_sub(before) >= age).then_some(now)
    });
    // Somebody else is just looking, or has looked.
    if turn.is_err() {
        return;
    }
    if let Err(error) = reload(app).await {
        tracing::warn!(code = %error.code, cause = ?error.source, "the keys could not be looked at; those that are known stay");
    }
}

impl Looked {
    pub(crate) fn at(now: Duration) -> Self {
        Self(AtomicU64::new(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)))
    }
}

async fn reload(app: &App) -> Result<()> {
    let now = app.clock.now();
    let ring = match &app.secrets {
        Some(secrets) => {
            let config = Config::load(&Source::new(None)?.with(secrets.load().await?)?)?;
            open(&app.store, &Given::of(&config)?, now).await?
        }
        None => open(&app.store, &Given::of(&app.config)?, now).await?,
    };
    app.keyring.replace(&ring);
    Ok(())
}

/// Adds a data key and a signing key to the stored keyring; they are used from [`LEAD`] on. What was encrypted or signed before
/// stays readable.
///
/// Errors: temporary, or somebody else rotates at the same time.
pub async fn rotate(app: &App) -> Result<()> {
    let gone = || Error::unavailable("there is no keyring");
    let wrapped: Wrapped = app.store.get(&keys::keyring(), Read::Strong).await?.ok_or_else(gone)?.into()?;
    let now = app.clock.now();
    let given = Given::of(&app.config)?;
    let ring = Keyring::unwrap(&wrapped, given.encryption_key, now)?.grown(now.plus(LEAD))?;
    store_instead(&app.store, &wrapped, &ring.wrap(given.encryption_key)?).await?;
    Ok(())
}
