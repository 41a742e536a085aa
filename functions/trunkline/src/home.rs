//! The local home: the folder, its lock, the store, the media, the app.

use std::sync::Arc;

use shared::{
    Error, Result,
    app::{self, App, AppState, Parts},
    clock::{Clock, SystemClock},
    config::{Config, StoreKind},
    store::meter::Meter,
};
use shared_local::{DataDirLock, Sqlite};

/// An opened home. The lock is held while it lives.
pub(crate) struct Home {
    pub(crate) app: AppState,
    pub(crate) sqlite: Arc<Sqlite>,
    _lock: DataDirLock,
}

/// Takes the folder and opens everything in it. Errors if another process has it.
pub(crate) async fn open(mut config: Config) -> Result<Home> {
    if config.store != StoreKind::Sqlite {
        return Err(Error::invalid(
            "STORE",
            "This binary keeps its state in SQLite (STORE=sqlite); DynamoDB is for the AWS bundle",
        ));
    }
    let lock = DataDirLock::acquire(&config.data_dir)?;
    private(&config.data_dir)?;
    app::use_local_encryption_key(&mut config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let meter = Arc::new(Meter::default());
    let sqlite = Sqlite::open(&config.data_dir, Arc::clone(&clock), Arc::clone(&meter))?;
    let media = app::local_media(&config)?;
    let parts = Parts { store: sqlite.clone(), queues: sqlite.clone(), media, clock, meter };
    let app = App::build(config, parts).await?;
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
