//! The local home: the folder, its lock, the store, the media, the app.

use std::sync::Arc;

use shared::{
    Error, Result,
    app::{self, App, AppState, Parts},
    clock::{Clock, SystemClock},
    config::{Config, StoreKind},
    store::meter::Meter,
};
use shared_aws::lambda;
use shared_local::{DataDirLock, Sqlite};

/// An opened home. The lock is held while it lives.
pub(crate) struct Home {
    pub(crate) app: AppState,
    /// `None` with STORE=dynamodb.
    pub(crate) sqlite: Option<Arc<Sqlite>>,
    _lock: DataDirLock,
}

/// Takes the folder and opens everything in it. Errors if another process has it.
pub(crate) async fn open(mut config: Config) -> Result<Home> {
    let lock = DataDirLock::acquire(&config.data_dir)?;
    private(&config.data_dir)?;
    app::use_local_encryption_key(&mut config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let meter = Arc::new(Meter::default());
    let (parts, sqlite) = match config.store {
        StoreKind::Sqlite => {
            let sqlite = Sqlite::open(&config.data_dir, Arc::clone(&clock), Arc::clone(&meter))?;
            let media = app::local_media(&config)?;
            (
                Parts {
                    store: sqlite.clone(),
                    queues: sqlite.clone(),
                    media,
                    clock,
                    meter,
                    realtime: None,
                    secrets: None,
                },
                Some(sqlite),
            )
        }
        // The same process on the other home's store: one worker, which the lock on the folder makes the only one here.
        StoreKind::DynamoDb => {
            let aws = lambda::connect(&config, Arc::clone(&clock), Arc::clone(&meter)).await?;
            let media = if config.media_url.is_some() { lambda::media(&config)? } else { app::local_media(&config)? };
            (Parts { store: aws.clone(), queues: aws, media, clock, meter, realtime: None, secrets: None }, None)
        }
    };
    let app = App::build(config, parts).await?;
    // A system without certificates shows now, and not at the first webhook.
    app.guard.warm()?;
    Ok(Home { app, sqlite, _lock: lock })
}

/// Everything in the folder is for its owner only.
fn private(folder: &std::path::Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(Error::unavailable)?;
    }
    Ok(())
}
