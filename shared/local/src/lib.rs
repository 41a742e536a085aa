//! Store and queues of the local home: one SQLite file in `DATA_DIR`, one process.
//!
//! * Every change goes through one thread (`writer`) that takes what is waiting, up to a bound, into one transaction, and
//!   answers after the commit. So a unit of work is a transaction, and many units share one sync to disk.
//! * Reads go to read-only connections (`readers`). WAL mode: neither they nor foreign readers (`sqlite3 trunkline.db`, a
//!   BI tool) ever wait for the writer, nor it for them.
//! * Queues are a table, and in memory what is waiting, in flight and blocked (`lines`). Receiving writes nothing: this
//!   process is the only one ([`DataDirLock`]), and after a crash all that was not acknowledged is visible again.
//!
//! What must not live here: anything of the domain, except the read-only SQL views over its documents (`views`).

mod append;
mod bill;
mod cells;
mod dedup;
mod doctor;
mod file;
mod items;
mod lines;
mod lock;
mod messages;
mod query;
mod queues;
mod readers;
mod search;
mod sqlite;
mod store;
mod tails;
mod unit;
mod upkeep;
mod views;
mod writer;

#[cfg(test)]
mod tests;

pub use doctor::{Check, backup, check};
pub use file::NAME;
pub use lock::DataDirLock;
pub use sqlite::Sqlite;

use shared::Error;

/// A failure of SQLite is a dependency's: temporary, with the source for the log.
fn sql(error: rusqlite::Error) -> Error {
    Error::unavailable(error)
}
