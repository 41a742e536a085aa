//! What an endpoint asks for now, and switching it off on the receiver's behalf.

use serde_json::{Value, json};

use super::{
    health::{State, probe_timer, took_place},
    lane, metric,
};
use crate::{
    app::App,
    domain::{
        activity::{self, Action},
        endpoint::{Endpoint, Pacing, WEBHOOK},
        event::Kind,
        forwarder::Forwarder,
        instance::{self, Instance},
        timer,
    },
    error::Result,
    id::InstanceId,
    store::{Change, Cond, Unit, Write, keys, log::Entry},
};

/// Why we switched an endpoint off.
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

/// One that is gone is off.
pub(crate) fn is_on(app: &App, instance: &Instance, endpoint: &str) -> bool {
    Endpoint::find(app, instance, endpoint).is_some_and(Endpoint::is_on)
}

/// Whether the entry is an event that goes to the endpoint, as its settings are now.
pub(crate) fn wants(app: &App, instance: &Instance, endpoint: &str, entry: &Entry) -> bool {
    let Some(kind) = Kind::parse(&entry.body.kind) else { return false };
    Endpoint::find(app, instance, endpoint).is_some_and(|found| found.wants(kind, &entry.body.data))
}

pub(super) fn pacing(app: &App, instance: &Instance, endpoint: &str) -> Pacing {
    Endpoint::find(app, instance, endpoint).map(Endpoint::pacing).unwrap_or_default()
}

/// What becomes of the row when an endpoint is switched off.
struct Off {
    change: Change,
    action: Action,
    details: Value,
}

/// `None`: it is off already, was given another URL since `seen` was read, or is not the instance's to switch off.
fn off(now: &mut Instance, seen: &Instance, endpoint: &str, reason: Reason) -> Result<Option<Off>> {
    if endpoint == WEBHOOK {
        if !now.webhook.enabled || now.webhook.url != seen.webhook.url {
            return Ok(None);
        }
        now.webhook.enabled = false;
        now.webhook.disabled_reason = Some(reason.name().into());
        let change = Change::default().set("webhook", serde_json::to_value(&now.webhook)?);
        let details = json!({ "reason": reason.name() });
        return Ok(Some(Off { change, action: Action::WebhookDisabled, details }));
    }
    let of = |instance: &Instance| instance.forwarders.iter().position(|forwarder| forwarder.endpoint() == endpoint);
    let (Some(at), Some(before)) = (of(now), of(seen)) else { return Ok(None) };
    let forwarder: &mut Forwarder = &mut now.forwarders[at];
    if !forwarder.enabled || forwarder.url != seen.forwarders[before].url {
        return Ok(None);
    }
    forwarder.enabled = false;
    forwarder.disabled_reason = Some(reason.name().into());
    let details = json!({ "reason": reason.name(), "forwarderId": forwarder.id, "name": forwarder.name });
    let change = Change::default().set("forwarders", serde_json::to_value(&now.forwarders)?);
    Ok(Some(Off { change, action: Action::ForwarderDisabled, details }))
}

/// Switches the endpoint off, unless it was given another URL meanwhile, and notes it in the instance's activity.
pub(crate) async fn switch_off(app: &App, seen: &Instance, endpoint: &str, reason: Reason) -> Result<()> {
    loop {
        let Some(mut now) = instance::find(app, &seen.id).await? else { return Ok(()) };
        let before = now.updated_at;
        let Some(off) = off(&mut now, seen, endpoint, reason)? else { return Ok(()) };
        // Two changes within a millisecond must differ, too: the other side goes by this.
        let change = off.change.set("updatedAt", app.clock.now().0.max(before.0 + 1));
        let writes = vec![
            Write::update(keys::instance(&now.id), change).only_if(Cond::eq("updatedAt", before.0)),
            activity::note(app, &now.id, off.action, off.details)?,
            Write::delete(keys::endpoint_state(&now.id, endpoint)),
        ];
        let unit = Unit { writes, ..Unit::default() };
        if took_place(app.store.commit(unit).await)? {
            metric::disabled();
            tracing::warn!(instance = %now.id, endpoint, reason = reason.name(), "an endpoint was switched off");
            // What is blocked ends now, not at its next timer.
            return lane::wake_all(app, &now.id, endpoint).await;
        }
    }
}

/// To be called after the settings of an endpoint have changed: what waits for it tries the new ones at once.
pub async fn settings_changed(app: &App, instance: &InstanceId, endpoint: &str) -> Result<()> {
    probe_now(app, instance, endpoint).await?;
    lane::wake_all(app, instance, endpoint).await
}

/// To be called after an endpoint was removed: ends what waits for it.
pub async fn removed(app: &App, instance: &InstanceId, endpoint: &str) -> Result<()> {
    app.store.commit(Unit::write(Write::delete(keys::endpoint_state(instance, endpoint)))).await?;
    lane::wake_all(app, instance, endpoint).await
}

/// Probes an endpoint that is down without waiting for its timer.
pub(crate) async fn probe_now(app: &App, instance: &InstanceId, endpoint: &str) -> Result<()> {
    let now = app.clock.now();
    let change = Change::default().set("probeAt", now.0).add("rev", 1);
    let down = Cond::eq("state", State::Down.name());
    let write = Write::update(keys::endpoint_state(instance, endpoint), change).only_if(down);
    let mut unit = Unit::write(write);
    timer::schedule(app, &mut unit, now, probe_timer(instance, endpoint, 0))?;
    took_place(app.store.commit(unit).await).map(|_| ())
}
