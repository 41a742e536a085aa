//! What the platform does not let the account do for a while: shown with the instance, and told of once.

use serde_json::json;

use super::Owner;
use crate::{
    clock::Millis,
    connector::Closed,
    domain::{
        event::Kind,
        instance::{Instance, Restriction},
    },
    error::Error,
    store::{Change, CommitError},
};

impl Owner {
    /// The account may do less until then. The same again is no news.
    pub async fn restricted(&self, reason: &str, until: Millis) -> Result<(), CommitError> {
        let now = self.app.clock.now();
        let before =
            self.instance().restriction.clone().filter(|before| before.reason == reason && !before.is_over(now));
        if before.as_ref().is_some_and(|before| before.until == until) {
            return Ok(());
        }
        let since = before.map_or(now, |before| before.since);
        let restriction = Restriction { reason: reason.to_owned(), since, until };
        let change = Change::default().set("restriction", serde_json::to_value(&restriction).map_err(Error::internal)?);
        let entry = self.entry(Kind::AccountRestricted, json!({ "reason": reason, "until": until.iso() }));
        self.turn(change, Vec::new(), Some(entry), None).await?;
        self.edit(|instance| instance.restriction = Some(restriction));
        Ok(())
    }
}

/// Whether what was known of a restriction says nothing any more once the account got in.
pub(super) fn ends_with_a_login(instance: &Instance, now: Millis) -> bool {
    let restriction = instance.restriction.as_ref();
    restriction.is_some_and(|it| it.reason == Closed::Banned.name() || it.is_over(now))
}
