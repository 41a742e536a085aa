//! What every route and consumer works with: one [`App`] of traits, made by one builder that the binaries and the tests share.

use std::{
    io::{Read as _, Write as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    config::Config,
    crypto::{self, Keyring},
    domain::{
        calls::Calls,
        im,
        login::Passwords,
        rotation::{self, Given, Looked, Secrets},
    },
    edge::rate::RateLimiter,
    error::{Error, Result},
    guard::{Guard, Policy},
    id::Ids,
    media::Media,
    realtime::{Hub, Realtime},
    redact::Secret,
    store::{DynQueues, DynStore, meter::Meter},
};

/// What handlers get through axum's state.
pub type AppState = Arc<App>;

/// The parts that the whole program shares. Cheap to hold: hand it around as [`AppState`].
pub struct App {
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub ids: Ids,
    pub store: DynStore,
    pub queues: DynQueues,
    pub keyring: Keyring,
    pub secrets: Option<Arc<dyn Secrets>>,
    /// When the keyring was last looked at.
    pub looked: Looked,
    pub media: Media,
    /// The one door out, for URLs that users gave.
    pub guard: Guard,
    /// What the store and the queues were asked for so far, in DynamoDB's units.
    pub meter: Arc<Meter>,
    /// Hashes passwords, few at a time.
    pub passwords: Passwords,
    /// `RATE_LIMIT`, per credential, for this process.
    pub rate: RateLimiter,
    /// API calls to count, until they are written down.
    pub calls: Calls,
    /// What IM channels lie in.
    pub im: Box<dyn im::Backend>,
    /// Pushes to open sockets.
    pub realtime: Arc<dyn Realtime>,
    /// The sockets that this process holds.
    pub hub: Arc<Hub>,
    /// When this run began, by the monotonic clock.
    pub started: Duration,
    /// Names this run of the program.
    pub run: String,
    /// Cancelled when the process is to end: whoever waits long listens to it.
    pub closing: CancellationToken,
}

/// What differs between the homes, and between them and tests.
pub struct Parts {
    pub store: DynStore,
    pub queues: DynQueues,
    pub media: Media,
    pub clock: Arc<dyn Clock>,
    /// The meter that store and queues report to.
    pub meter: Arc<Meter>,
    /// Pushes to sockets that a gateway holds; `None`: this process holds them.
    pub realtime: Option<Arc<dyn Realtime>>,
    /// Where settings that may change come from; `None`: they do not.
    pub secrets: Option<Arc<dyn Secrets>>,
}

impl App {
    /// Builds the app, and with it the deployment's keyring if there is none yet.
    ///
    /// Errors: `ENCRYPTION_KEY` missing, or not the one that the stored keyring was wrapped with; `OUTBOUND_ALLOW` wrong; the
    /// store does not answer.
    pub async fn build(config: Config, parts: Parts) -> Result<AppState> {
        let Parts { store, queues, media, clock, meter, realtime, secrets } = parts;
        let keyring = rotation::open(&store, &Given::of(&config)?, clock.now()).await?;
        let policy: Policy = config.outbound_allow().parse().map_err(|error: Error| error.field("OUTBOUND_ALLOW"))?;
        let guard = Guard::new(policy);
        let rate = RateLimiter::new(config.rate_limit);
        let ids = Ids::default();
        let started = clock.monotonic();
        let hub = Arc::new(Hub::default());
        Ok(Arc::new(Self {
            config,
            started,
            clock,
            run: ids.ulid(),
            ids,
            store,
            queues,
            keyring,
            secrets,
            looked: Looked::at(started),
            media,
            guard,
            meter,
            passwords: Passwords::default(),
            rate,
            calls: Calls::default(),
            im: Box::new(im::backend::Embedded),
            realtime: realtime.unwrap_or_else(|| Arc::clone(&hub) as Arc<dyn Realtime>),
            hub,
            closing: CancellationToken::new(),
        }))
    }

    /// Where the WebSocket is: `PUBLIC_WS_URL`, or `PUBLIC_URL` with its scheme exchanged, and `/ws`.
    pub fn realtime_url(&self) -> String {
        if let Some(url) = &self.config.public_ws_url {
            return url.clone();
        }
        let url = self.config.public_url();
        // `http` → `ws`, `https` → `wss`.
        let socket = url.strip_prefix("http").map_or_else(|| url.clone(), |rest| format!("ws{rest}"));
        format!("{socket}/ws")
    }
}

/// For the local home: without `ENCRYPTION_KEY`, takes the key from `DATA_DIR/encryption.key`, which is made (readable by its
/// owner only) if it is not there. `DATA_DIR` must exist.
pub fn use_local_encryption_key(config: &mut Config) -> Result<()> {
    if config.encryption_key.is_none() {
        let path = config.data_dir.join("encryption.key");
        config.encryption_key =
            Some(local_key(&path).map_err(|error| {
                Error::invalid("ENCRYPTION_KEY", format!("{}: {error}", path.display())).source(error)
            })?);
    }
    Ok(())
}

/// Media in a folder: `MEDIA_URL=file:///path`, or `DATA_DIR/media`.
pub fn local_media(config: &Config) -> Result<Media> {
    let wrong = || Error::invalid("MEDIA_URL", "MEDIA_URL must be file:///path with STORE=sqlite");
    match &config.media_url {
        None => Media::local(&config.data_dir.join("media")),
        Some(url) => {
            let url: url::Url = url.parse().map_err(|_| wrong())?;
            let path = Some(&url).filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok());
            Media::local(&path.ok_or_else(wrong)?)
        }
    }
}

fn local_key(path: &Path) -> std::io::Result<Secret> {
    if !path.exists() {
        let text = crypto::random_text().map_err(std::io::Error::other)?;
        // A complete file appears under its name or none does: a torn key would make all data unreadable.
        let draft = path.with_extension(format!("key.{}", std::process::id()));
        write_private(&draft, &text)?;
        let linked = std::fs::hard_link(&draft, path);
        std::fs::remove_file(&draft)?;
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if let Some(folder) = path.parent() {
            std::fs::File::open(folder)?.sync_all()?;
        }
    }
    let mut text = String::new();
    std::fs::File::open(path)?.read_to_string(&mut text)?;
    let text = text.trim();
    if text.len() < 16 {
        return Err(std::io::Error::other("the file holds no key of at least 16 characters"));
    }
    Ok(Secret::new(text))
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_key_is_made_once_and_is_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("encryption.key");
        let first = local_key(&path).expect("makes a key");
        assert_eq!(local_key(&path).expect("reads it").reveal(), first.reveal());
        assert_eq!(std::fs::read_dir(folder.path()).expect("lists").count(), 1, "no draft is left behind");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(&path).expect("is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn an_empty_key_file_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("encryption.key");
        std::fs::write(&path, "\n").expect("writes");
        assert!(local_key(&path).is_err());
    }
}
