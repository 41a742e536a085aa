//! Endpoints that are down: the one probe, and what happens when it succeeds.
//!
//! A probe runs the lane that has waited longest, as its timer would; if there is none it makes one of the first event that was
//! passed over. So probing costs each event no more than its own attempts, and an event that nobody could accept does not keep
//! the endpoint down: the next probe takes another lane.

use std::time::Duration;

use super::{
    Courier,
    health::{Health, State, probe_timer, took_place},
    lane::{self, Lane, Place, full_endpoint},
    retry,
    run::{Ran, Why},
    settings, source,
};
use crate::{
    clock::Millis,
    domain::{
        event,
        instance::{self, Instance},
        timer,
    },
    error::Result,
    id::InstanceId,
    store::{Cause, Change, Cond, Receipt, Unit, Write, keys},
};

/// Events dispatched again at a time.
const PAGE: usize = 100;
/// After that the rest of a recovery is left to another run.
const BUDGET: Duration = Duration::from_secs(30);
/// How early a timer may come.
const EARLY: Duration = Duration::from_secs(1);
/// Between looks at an endpoint that has enough to do.
const PACE: Duration = Duration::from_millis(50);

/// What a probe has found.
enum Found {
    Answers,
    Fails,
    /// There is nothing to deliver, so nothing to learn: the next event is the probe.
    Nothing,
    /// Somebody else is posting the event.
    Busy,
}

impl Courier {
    /// Sets the probe timer of an endpoint that is down once more: the first run of a message that was received again may
    /// have opened the breaker and died before it set the timer. One too many does nothing.
    pub(super) async fn restore_probe(&self, place: &Place, health: &Health) -> Result<()> {
        if health.state != State::Down {
            return Ok(());
        }
        let mut unit = Unit::default();
        timer::schedule(&self.app, &mut unit, health.probe_at, probe_timer(&place.instance, &place.endpoint, 0))?;
        self.app.store.commit(unit).await?;
        Ok(())
    }

    /// Runs the probe timer of an endpoint, or goes on with its recovery. `redelivered`: see [`Self::restore_probe`].
    pub(crate) async fn probe(
        &self,
        id: &InstanceId,
        endpoint: &str,
        redelivered: bool,
        receipt: Option<Receipt>,
    ) -> Result<()> {
        let instance = instance::find(&self.app, id).await?;
        let health = Health::load(&self.app, id, endpoint).await?;
        let Some(instance) = instance else { return self.acknowledge(receipt).await };
        let now = self.app.clock.now();
        match health.state {
            State::Up => self.acknowledge(receipt).await,
            _ if !settings::is_on(&self.app, &instance, endpoint) => {
                let row = Write::delete(keys::endpoint_state(id, endpoint));
                self.app.store.commit(Unit::write(row)).await?;
                lane::wake_all(&self.app, id, endpoint).await?;
                self.acknowledge(receipt).await
            }
            State::Recovering => self.recover(&instance, endpoint, health, receipt).await,
            // Another timer will come.
            State::Down if now.plus(EARLY) < health.probe_at => {
                if redelivered {
                    self.restore_probe(&Place::new(id, endpoint, ""), &health).await?;
                }
                self.acknowledge(receipt).await
            }
            State::Down => match self.ask(&instance, endpoint, &health).await? {
                Found::Answers => self.begin_recovery(&instance, endpoint, true, receipt).await,
                Found::Nothing => self.begin_recovery(&instance, endpoint, false, receipt).await,
                Found::Fails => {
                    let probes = health.probes + 1;
                    let due = retry::next_probe(
                        settings::pacing(&self.app, &instance, endpoint),
                        probes,
                        self.app.clock.now(),
                    );
                    self.probe_later(&instance, endpoint, &health, probes, due, receipt).await
                }
                Found::Busy => {
                    let due = self.app.clock.now().plus(Duration::from_secs(15));
                    self.probe_later(&instance, endpoint, &health, health.probes, due, receipt).await
                }
            },
        }
    }

    /// Sets the next timer, unless another run of the same timer has done so.
    async fn probe_later(
        &self,
        instance: &Instance,
        endpoint: &str,
        health: &Health,
        probes: u32,
        due: Millis,
        receipt: Option<Receipt>,
    ) -> Result<()> {
        let same = Cond::All(vec![
            Cond::eq("state", State::Down.name()),
            Cond::eq("round", health.round),
            Cond::eq("probeAt", health.probe_at.0),
        ]);
        let change = Change::default().set("probes", probes).set("probeAt", due.0).add("rev", 1);
        let write = Write::update(keys::endpoint_state(&instance.id, endpoint), change).only_if(same);
        let mut unit = Unit { writes: vec![write], done: receipt.clone().map(Cause::Message), ..Unit::default() };
        timer::schedule(&self.app, &mut unit, due, probe_timer(&instance.id, endpoint, probes))?;
        if took_place(self.app.store.commit(unit).await)? { Ok(()) } else { self.acknowledge(receipt).await }
    }

    async fn ask(&self, instance: &Instance, endpoint: &str, health: &Health) -> Result<Found> {
        let id = &instance.id;
        // A lane may turn out to hold nothing that is still to be delivered; then the next one is asked.
        for _ in 0..PAGE {
            let place = match lane::longest_waiting(&self.app, id, endpoint).await? {
                Some(lane) => Place::new(id, endpoint, &lane.chat),
                None => match self.first_passed_over(instance, endpoint, health).await? {
                    Some(place) => place,
                    None => return Ok(Found::Nothing),
                },
            };
            match self.run_lane(&place, Why::Probe, false, None).await? {
                Ran::Worked { delivered: true, .. } => return Ok(Found::Answers),
                Ran::Worked { failed: true, .. } => return Ok(Found::Fails),
                Ran::Worked { .. } => {}
                Ran::AlreadyDone | Ran::InProgress => return Ok(Found::Busy),
            }
        }
        Ok(Found::Busy)
    }

    /// Makes a lane of the first event in the range that was passed over.
    async fn first_passed_over(&self, instance: &Instance, endpoint: &str, health: &Health) -> Result<Option<Place>> {
        let store = self.app.store.as_ref();
        let mut after = health.from.saturating_sub(1);
        while health.from > 0 && after < health.upto {
            let page = source::page(store, instance.id.as_str(), after, PAGE).await?;
            let Some(last) = page.last().map(|entry| entry.seq) else { break };
            for entry in page.iter().filter(|entry| entry.seq <= health.upto) {
                if !settings::wants(&self.app, instance, endpoint, entry) {
                    continue;
                }
                let known = super::delivery::load(&self.app, &instance.id, endpoint, entry.seq, entry.body.at).await?;
                if known.is_some_and(|row| row.is_final()) {
                    continue;
                }
                let chat = source::chat_of(entry);
                let place = Place::new(&instance.id, endpoint, chat);
                let lane = Lane::new(chat, entry.seq, entry.body.at, self.app.clock.now());
                // Somebody else may have made it: all the better.
                took_place(self.app.store.commit(Unit::write(lane.create(&place)?)).await)?;
                return Ok(Some(place));
            }
            after = last;
        }
        Ok(None)
    }

    /// Down → recovering, unless somebody else has done it. `proven`: the endpoint has accepted something.
    async fn begin_recovery(
        &self,
        instance: &Instance,
        endpoint: &str,
        proven: bool,
        receipt: Option<Receipt>,
    ) -> Result<()> {
        loop {
            let health = Health::load(&self.app, &instance.id, endpoint).await?;
            if health.state != State::Down {
                return self.acknowledge(receipt).await;
            }
            let recovering = health.recovering(proven);
            if self.replace_health(instance, endpoint, &health, &recovering).await? {
                tracing::info!(instance = %instance.id, endpoint, proven, "an endpoint is back in service");
                return self.recover(instance, endpoint, recovering, receipt).await;
            }
        }
    }

    async fn replace_health(&self, instance: &Instance, endpoint: &str, old: &Health, new: &Health) -> Result<bool> {
        let item = crate::store::Item::new(keys::endpoint_state(&instance.id, endpoint), new)?;
        let write = Write::put(item).only_if(Cond::eq("rev", old.rev));
        took_place(self.app.store.commit(Unit::write(write)).await)
    }

    /// Dispatches again what was passed over, up to the tail of the log; then the endpoint is up.
    async fn recover(
        &self,
        instance: &Instance,
        endpoint: &str,
        mut health: Health,
        receipt: Option<Receipt>,
    ) -> Result<()> {
        let begun = self.app.clock.monotonic();
        if health.done < health.from.max(1) {
            // At the beginning, so that a crash repeats it: the lanes sleep until they are woken.
            lane::wake_all(&self.app, &instance.id, endpoint).await?;
        }
        loop {
            while self.slots.is_busy(&full_endpoint(&instance.id, endpoint)) {
                if self.app.clock.monotonic().saturating_sub(begun) > BUDGET {
                    break;
                }
                tokio::time::sleep(PACE).await;
            }
            if self.app.clock.monotonic().saturating_sub(begun) > BUDGET {
                let mut unit = Unit { done: receipt.map(Cause::Message), ..Unit::default() };
                timer::schedule(&self.app, &mut unit, self.app.clock.now(), probe_timer(&instance.id, endpoint, 0))?;
                self.app.store.commit(unit).await?;
                return Ok(());
            }
            let mut next = health.clone();
            next.rev += 1;
            let page = if health.from == 0 {
                Vec::new()
            } else {
                source::page(self.app.store.as_ref(), instance.id.as_str(), health.done, PAGE).await?
            };
            if let Some(last) = page.last() {
                let again: Vec<_> = page
                    .iter()
                    .filter(|entry| settings::wants(&self.app, instance, endpoint, entry))
                    .map(|entry| {
                        let tag = format!("round-{}", health.round);
                        let chat = entry.body.chat.as_deref();
                        event::dispatch_again(&instance.id, endpoint, chat, entry.seq, &tag, Some(health.round))
                    })
                    .collect();
                self.app.queues.send(again).await?;
                next.done = last.seq;
            } else {
                next.state = State::Up;
            }
            if self.replace_health(instance, endpoint, &health, &next).await? {
                health = next;
                if health.state == State::Up {
                    break;
                }
                continue;
            }
            // Something was noted meanwhile, or the endpoint is down again.
            let fresh = Health::load(&self.app, &instance.id, endpoint).await?;
            if fresh.state != State::Recovering {
                return self.acknowledge(receipt).await;
            }
            let same = (fresh.round, fresh.from) == (health.round, health.from);
            health = fresh;
            if same {
                health.done = next.done;
            }
        }
        self.acknowledge(receipt).await
    }
}
