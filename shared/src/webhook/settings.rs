//! What an instance's webhook asks for now, and switching it off on the receiver's behalf.

use serde_json::json;

use super::{
    health::{State, probe_timer, took_place},
    lane, metric,
};
use crate::{
    app::App,
    domain::{
        activity::{self, Action},
        endpoint::WEBHOOK,
        event::Kind,
        instance::{self, Instance},
        timer,
    },
    error::Result,
    store::{Change, Cond, Unit, Write, keys, log::Entry},
};

/// Why we switched a webhook off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The receiver answered 410.
    Gone,
    /// Five days of failures only.
    Failing,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

pub(crate) fn is_on(instance: &Instance) -> bool {
    instance.webhook.enabled && instance.webhook.url.is_some()
}

/// Whether the entry is an event that goes to the webhook, as its settings are now.
pub(crate) fn wants(instance: &Instance, entry: &Entry) -> bool {
    Kind::parse(&entry.body.kind).is_some_and(|kind| instance.webhook.wants(kind, &entry.body.data))
}

/// Switches the webhook off, unless it was given another URL meanwhile, and notes it in the instance's activity.
pub(crate) async fn switch_off(app: &App, seen: &Instance, reason: Reason) -> Result<()> {
    loop {
        let Some(mut now) = instance::find(app, &seen.id).await? else { return Ok(()) };
        if !now.webhook.enabled || now.webhook.url != seen.webhook.url {
            return Ok(());
        }
        let before = now.updated_at;
        now.webhook.enabled = false;
        now.webhook.disabled_reason = Some(reason.name().into());
        // Two changes within a millisecond must differ, too: the other side goes by this.
        let updated_at = app.clock.now().0.max(before.0 + 1);
        let change = Change::default().set("webhook", serde_json::to_value(&now.webhook)?).set("updatedAt", updated_at);
        let writes = vec![
            Write::update(keys::instance(&now.id), change).only_if(Cond::eq("updatedAt", before.0)),
            activity::note(app, &now.id, Action::WebhookDisabled, json!({ "reason": reason.name() }))?,
            Write::delete(keys::endpoint_state(&now.id, WEBHOOK)),
        ];
        let unit = Unit { writes, ..Unit::default() };
        if took_place(app.store.commit(unit).await)? {
            metric::disabled();
            tracing::warn!(instance = %now.id, reason = reason.name(), "a webhook was switched off");
            // What is blocked ends now, not at its next timer.
            return lane::wake_all(app, &now.id, WEBHOOK).await;
        }
    }
}

/// To be called after the settings of a webhook have changed: what waits for the endpoint tries the new ones at once.
pub async fn settings_changed(app: &App, instance: &Instance) -> Result<()> {
    probe_now(app, instance).await?;
    lane::wake_all(app, &instance.id, WEBHOOK).await
}

/// Probes an endpoint that is down without waiting for its timer.
pub(crate) async fn probe_now(app: &App, instance: &Instance) -> Result<()> {
    let now = app.clock.now();
    let change = Change::default().set("probeAt", now.0).add("rev", 1);
    let down = Cond::eq("state", State::Down.name());
    let write = Write::update(keys::endpoint_state(&instance.id, WEBHOOK), change).only_if(down);
    let mut unit = Unit::write(write);
    timer::schedule(app, &mut unit, now, probe_timer(&instance.id, WEBHOOK, 0))?;
    took_place(app.store.commit(unit).await).map(|_| ())
}
