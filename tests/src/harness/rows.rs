//! What tests do to stored rows, on either home: look at what no route shows, and take away what time would have taken. The
//! local home's file is opened as any reader of its views would; the bundle's table by the store's own client.

use super::bundle::wait;
use super::server::Server;
use rusqlite::{Connection, OpenFlags};
use shared::store::{Item, Query, Store as _, Write};
use std::sync::Arc;

impl Server {
    fn file(&self, flags: OpenFlags) -> Connection {
        Connection::open_with_flags(self.data_dir().join("trunkline.db"), flags).expect("the database opens")
    }

    fn partition(&self, pk: String) -> Vec<Item> {
        let aws = Arc::clone(self.store());
        wait(async move {
            let mut query = Query::table(pk);
            query.limit = 1000;
            aws.query(query).await.expect("rows").items
        })
    }

    /// Notifications of a device that nothing could be done with: type and data, oldest first.
    ///
    /// # Panics
    /// When they cannot be read.
    #[must_use]
    pub fn unknown_notifications(&self, instance: &str) -> Vec<(Option<i64>, String)> {
        if self.is_bundle() {
            let rows = self.partition(format!("JK#{instance}"));
            return rows
                .iter()
                .map(|row| (row.doc["kind"].as_i64(), row.str("data").unwrap_or_default().to_owned()))
                .collect();
        }
        let database = self.file(OpenFlags::SQLITE_OPEN_READ_ONLY);
        let sql = "SELECT type, data FROM unknown_notifications WHERE instance_id = ?1 ORDER BY id";
        let mut rows = database.prepare(sql).expect("the view");
        let rows = rows.query_map([instance], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    }

    /// Takes the items of an instance's log away but for the newest ones, as thirty days would have; how many went. The server
    /// must not be running.
    ///
    /// # Panics
    /// When the rows cannot be had.
    #[must_use]
    pub fn forget_events(&self, instance: &str, keep: u32) -> usize {
        let pk = format!("E#{instance}#0");
        if self.is_bundle() {
            let mut rows = self.partition(pk);
            rows.truncate(rows.len().saturating_sub(keep as usize));
            let (gone, aws) = (rows.len(), Arc::clone(self.store()));
            let writes = rows.into_iter().map(|row| Write::delete(row.key)).collect();
            wait(async move { aws.write_many(writes).await.expect("the rows go") });
            return gone;
        }
        let database = self.file(OpenFlags::SQLITE_OPEN_READ_WRITE);
        let sql = "DELETE FROM items WHERE pk = ?1 AND sk NOT IN (SELECT sk FROM items WHERE pk = ?1 ORDER BY sk DESC LIMIT ?2)";
        database.execute(sql, rusqlite::params![pk, keep]).expect("the rows go")
    }
}
