//! One dispatch message: one event for one endpoint.

use std::time::Duration;

use super::{
    Courier, Outcome, Status,
    attempt::{self, Judgement},
    delivery::{self, Delivery},
    health::{self, After, Health, Place as Where},
    lane::{self, Lane, Place},
    metric,
    run::park_pause,
    settings, source, tally,
};
use crate::{
    domain::{event::Dispatch, instance::Instance, timer},
    error::{Error, Result},
    store::{Cause, Receipt, Unit, log::Entry},
};

/// Lost races before the message is given back.
const ROUNDS: usize = 16;
/// What was read before waiting for a slot for longer than this is read again.
const STALE: Duration = Duration::from_millis(500);

impl Courier {
    /// Delivers the event, or hands it to whatever is responsible for it: its chat's lane, or the recovery of its endpoint.
    /// When it returns `Ok` the message is acknowledged; an error is ours, and the message is to be given back.
    ///
    /// `receives`: how often the message was received, 1 at first. `receipt`: `None` where an answer acknowledges (Lambda).
    pub async fn dispatch(&self, message: &Dispatch, receives: u32, receipt: Option<Receipt>) -> Result<()> {
        let place = Place::new(&message.instance, &message.endpoint, &message.chat);
        let mut slot = None;
        for _ in 0..ROUNDS {
            let (instance, health, lane) = self.look(&place).await?;
            let Some(instance) = instance.filter(|_| message.seq > 0) else { return self.acknowledge(receipt).await };
            if !settings::is_on(&self.app, &instance, &message.endpoint) {
                if receives > 1 {
                    // Perhaps it was switched off by the first run of this message, which did not get to the lanes.
                    lane::wake_all(&self.app, &message.instance, &message.endpoint).await?;
                }
                return self.end_replay(&instance, message, receipt).await;
            }
            if receives > 1 {
                self.restore_probe(&place, &health).await?;
            }
            if let Some(lane) = lane {
                if self.join(&place, &lane, message, receives).await? {
                    return self.acknowledge(receipt).await;
                }
                continue;
            }
            match health.place(message) {
                Where::Deliver => {}
                // The recovery may have passed it before the replay opened its record.
                Where::Covered if health.is_recovering() && self.is_reopened(message).await? => {}
                Where::Covered => return self.acknowledge(receipt).await,
                Where::Skip => {
                    let done = (message.again || receives > 1) && self.is_final(message).await?;
                    if done || health.skip(&self.app, &message.instance, &message.endpoint, message.seq).await? {
                        return self.acknowledge(receipt).await;
                    }
                    continue;
                }
            }
            if slot.is_none() {
                let start = tokio::time::Instant::now();
                slot = self.slots.acquire(&place.full_endpoint()).await;
                if slot.is_none() {
                    if self.park(&place, message, receipt.clone()).await? {
                        return Ok(());
                    }
                    continue;
                }
                if start.elapsed() > STALE {
                    continue;
                }
            }
            if self.deliver(&place, &instance, &health, message, receives, receipt.clone()).await? {
                return Ok(());
            }
        }
        Err(Error::unavailable("a webhook dispatch lost too many races"))
    }

    /// The chat is blocked: lets its lane deliver the event. `false`: look again.
    async fn join(&self, place: &Place, lane: &Lane, message: &Dispatch, receives: u32) -> Result<bool> {
        // An original inside the lane is on its way. Otherwise the record tells whether anything is left to do.
        let passed = lane.holds(message.seq) && !message.again && receives == 1;
        let open = message.seq <= lane.upto && !passed && !self.is_final(message).await?;
        lane.join(&self.app, place, message.seq, open, receives > 1).await
    }

    async fn is_final(&self, message: &Dispatch) -> Result<bool> {
        let log = message.instance.as_str();
        // What has expired is told of by whoever comes upon it; a lane would only pass over it.
        let Some(entry) = source::entry(self.app.store.as_ref(), log, message.seq).await? else { return Ok(true) };
        let row = self.row(message, &entry).await?;
        Ok(row.is_some_and(|row| row.is_final()))
    }

    /// Whether this is a replay that is still to be done.
    async fn is_reopened(&self, message: &Dispatch) -> Result<bool> {
        if !message.again || message.round.is_some() {
            return Ok(false);
        }
        let log = message.instance.as_str();
        let Some(entry) = source::entry(self.app.store.as_ref(), log, message.seq).await? else { return Ok(false) };
        Ok(self.row(message, &entry).await?.is_some_and(|row| !row.is_final()))
    }

    async fn row(&self, message: &Dispatch, entry: &Entry) -> Result<Option<Delivery>> {
        delivery::load(&self.app, &message.instance, &message.endpoint, entry.seq, entry.body.at).await
    }

    /// The endpoint is off: a replay that was waiting in the queue ends here. Anything else leaves no trace.
    async fn end_replay(&self, instance: &Instance, message: &Dispatch, receipt: Option<Receipt>) -> Result<()> {
        if message.again
            && let Some(entry) = source::entry(self.app.store.as_ref(), message.instance.as_str(), message.seq).await?
            && let Some(mut row) = self.row(message, &entry).await?.filter(|row| !row.is_final())
        {
            tracing::debug!(instance = %instance.id, seq = message.seq, "a replay ends: the endpoint is off");
            row.end(Status::Dead, Outcome::Disabled, self.app.clock.now());
            self.app.store.commit(Unit::write(row.write()?)).await?;
        }
        self.acknowledge(receipt).await
    }

    /// Too much waits for the endpoint: the chat becomes a lane that is due a little later. `false`: it has one already.
    async fn park(&self, place: &Place, message: &Dispatch, receipt: Option<Receipt>) -> Result<bool> {
        let now = self.app.clock.now();
        let due = now.plus(park_pause(0));
        let lane = Lane::new(&message.chat, message.seq, now, due);
        let mut unit = Unit { writes: vec![lane.create(place)?], done: receipt.map(Cause::Message), ..Unit::default() };
        timer::schedule(&self.app, &mut unit, due, place.timer(0))?;
        health::took_place(self.app.store.commit(unit).await)
    }

    /// `false`: the chat has become blocked meanwhile, look again.
    async fn deliver(
        &self,
        place: &Place,
        instance: &Instance,
        health: &Health,
        message: &Dispatch,
        receives: u32,
        receipt: Option<Receipt>,
    ) -> Result<bool> {
        let app = &self.app;
        let entry = source::entry(app.store.as_ref(), message.instance.as_str(), message.seq).await?;
        let Some(entry) = entry else {
            let mut row = Delivery::of_expired(app, instance, &message.endpoint, message.seq, app.clock.now());
            row.end(Status::Dead, Outcome::Expired, app.clock.now());
            metric::ended(Status::Dead);
            return self.finish(&row, receipt).await;
        };
        // The first time there is nothing to read: the usual delivery costs one write and no look at its record.
        let known = if message.again || receives > 1 { self.row(message, &entry).await? } else { None };
        if known.as_ref().is_some_and(Delivery::is_final) {
            self.acknowledge(receipt).await?;
            return Ok(true);
        }
        if !settings::wants(app, instance, &message.endpoint, &entry) {
            let Some(mut row) = known else {
                self.acknowledge(receipt).await?;
                return Ok(true);
            };
            row.end(Status::Skipped, Outcome::Unwanted, app.clock.now());
            metric::ended(Status::Skipped);
            return self.finish(&row, receipt).await;
        }
        let mut row = known.unwrap_or_else(|| Delivery::of_entry(app, instance, &message.endpoint, &entry));
        match attempt::deliver(app, &self.cancel, instance, &entry, &mut row).await? {
            Judgement::Delivered => {
                self.finish(&row, receipt).await?;
                if health.has_failed()
                    && let Err(error) = health::succeeded(app, &instance.id, &message.endpoint).await
                {
                    // The next success does it.
                    tracing::debug!(instance = %instance.id, %error, "an endpoint's failures were not reset");
                }
            }
            Judgement::Retry(due) => {
                if self.charge(place, instance, true).await? == After::TooLong {
                    row.give_up();
                    return self.finish(&row, receipt).await;
                }
                if !self.block_chat(place, &entry, &row, due, receipt).await? {
                    // The chat got a lane meanwhile: the record stays open, and the lane is made to see to it.
                    app.store.commit(Unit::write(row.write()?)).await?;
                    return Ok(false);
                }
            }
            Judgement::Dead { transient } => {
                self.charge(place, instance, transient).await?;
                self.finish(&row, receipt).await?;
            }
            Judgement::Disable => {
                settings::switch_off(app, instance, &message.endpoint, settings::Reason::Gone).await?;
                self.finish(&row, receipt).await?;
            }
        }
        Ok(true)
    }

    async fn charge(&self, place: &Place, instance: &Instance, transient: bool) -> Result<After> {
        let after = health::failed(&self.app, instance, &place.endpoint, &place.chat, transient).await?;
        if after == After::TooLong {
            settings::switch_off(&self.app, instance, &place.endpoint, settings::Reason::Failing).await?;
        }
        Ok(after)
    }

    /// Stores the record and acknowledges, in one unit.
    async fn finish(&self, row: &Delivery, receipt: Option<Receipt>) -> Result<bool> {
        let unit = Unit { writes: vec![row.write()?], done: receipt.map(Cause::Message), ..Unit::default() };
        self.app.store.commit(unit).await?;
        tally::changed(&self.app, row).await?;
        Ok(true)
    }
}
