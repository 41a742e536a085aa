//! The exclusive lock on `DATA_DIR`: the lease of the local home. The system drops it with the process, however that ends,
//! so a restart after a crash never waits.

use std::{
    fs::{self, File, TryLockError},
    path::Path,
};

use shared::{
    Error, Result,
    error::{Kind, Retry},
};

/// Held while this value lives.
#[derive(Debug)]
pub struct DataDirLock {
    _file: File,
}

impl DataDirLock {
    /// Creates the directory if need be and takes `DATA_DIR/lock`, without waiting.
    ///
    /// Errors: `DATA_DIR_LOCKED` (persistent) when another process has it; unavailable when the directory cannot be written.
    pub fn acquire(dir: &Path) -> Result<Self> {
        let fault = |error| Error::unavailable(format!("{}: {error}", dir.join("lock").display()));
        fs::create_dir_all(dir).map_err(fault)?;
        let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(fault)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::new(
                Kind::Conflict,
                "DATA_DIR_LOCKED",
                format!("{} is in use by another process: only one may run on a data directory", dir.display()),
            )
            .retry(Retry::Persistent)),
            Err(TryLockError::Error(error)) => Err(fault(error)),
        }
    }
}
