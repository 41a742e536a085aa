//! The one place that touches the database file: takes away what time would have taken.

use std::path::Path;

/// Deletes the first entry of the instance's log; gives the number of rows that went.
pub(super) fn forget(data_dir: &Path, instance: &str) -> usize {
    let database = rusqlite::Connection::open(data_dir.join("trunkline.db")).expect("the database opens");
    let table: String = database
        .query_row("SELECT name FROM sqlite_master WHERE type = 'table' AND name IN ('items', 'item')", [], |row| {
            row.get(0)
        })
        .expect("the table of items");
    let sql = format!(
        "DELETE FROM {table} WHERE pk LIKE 'E#{instance}#%' AND sk < (SELECT max(sk) FROM {table} WHERE pk LIKE 'E#{instance}#%')"
    );
    database.execute(&sql, []).expect("the rows go")
}
