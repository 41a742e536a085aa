//! Working off a lane: under a lease, from its head on through the log, as long as the receiver accepts.

use std::time::Duration;

use super::{
    Courier, Outcome, Status,
    attempt::{self, Judgement},
    delivery::{self, Delivery},
    health::{self, After, Health, State, took_place},
    lane::{self, Lane, Place, update},
    metric, settings,
    source::{self, Scan},
    tally,
};
use crate::{
    clock::Millis,
    domain::{instance::Instance, timer},
    error::Result,
    store::{Cause, Change, Cond, Receipt, Unit, Write, log::Entry},
};

/// Longer than an attempt and a renewal take.
const LEASE: Duration = Duration::from_secs(30);
/// The lease is renewed when that much of it is over.
const RENEW: Duration = Duration::from_secs(10);
/// After that the rest is left to another run, so that no queue message is held for long.
const BUDGET: Duration = Duration::from_secs(30);
/// How early a timer may come.
const EARLY: Duration = Duration::from_secs(1);
const PARK: Duration = Duration::from_secs(5);
const LONGEST_PARK: Duration = Duration::from_secs(300);

/// What a run has come to. Unless it is `InProgress`, its queue message is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ran {
    /// There is no lane, or it is not due: another run has done it, or another timer will come.
    AlreadyDone,
    /// Somebody else is at it. Come back later, since they may have died.
    InProgress,
    Worked {
        delivered: bool,
        failed: bool,
    },
}

/// Why a lane is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Timer,
    /// To see whether the endpoint is up again: one delivery is enough.
    Probe,
}

/// How long a chat is put off when too much waits for its endpoint already.
pub(super) fn park_pause(parks: u32) -> Duration {
    PARK.saturating_mul(2u32.saturating_pow(parks.min(16))).min(LONGEST_PARK)
}

impl Courier {
    /// Runs the lane, if it is there, due and free. `redelivered`: the first run of the timer may have died before it set
    /// the timers that are to come.
    pub(crate) async fn run_lane(
        &self,
        place: &Place,
        why: Why,
        redelivered: bool,
        receipt: Option<Receipt>,
    ) -> Result<Ran> {
        let Some(_slot) = self.slots.acquire(&place.full_endpoint()).await else {
            return self.put_off(place, receipt).await;
        };
        let (instance, health, lane) = self.look(place).await?;
        let Some(lane) = lane else { return self.nothing(receipt).await };
        let now = self.app.clock.now();
        if lane.lease > now {
            return Ok(Ran::InProgress);
        }
        // While the endpoint is down its lanes sleep; the recovery wakes them all.
        let early = now.plus(EARLY) < lane.due;
        if why == Why::Timer && (early || health.state == State::Down) {
            if redelivered {
                self.restore_probe(place, &health).await?;
                let mut unit = Unit::default();
                timer::schedule(&self.app, &mut unit, lane.due, place.timer(0))?;
                self.app.store.commit(unit).await?;
            }
            return self.nothing(receipt).await;
        }
        let Some(instance) = instance else {
            let gone = Write::delete(place.key()).only_if(Cond::eq("rev", lane.rev));
            let unit = Unit { writes: vec![gone], done: receipt.map(Cause::Message), ..Unit::default() };
            return Ok(if took_place(self.app.store.commit(unit).await)? { Ran::AlreadyDone } else { Ran::InProgress });
        };
        let mut run = Run {
            courier: self,
            place,
            why,
            off: !settings::is_on(&self.app, &instance, &place.endpoint),
            instance,
            health,
            position: lane.start(),
            lane,
            delivered: false,
            failed: false,
            begun: self.app.clock.monotonic(),
            renewed: self.app.clock.monotonic(),
        };
        if !run.lease(run.position).await? {
            return Ok(Ran::InProgress);
        }
        if run.off && redelivered {
            // Perhaps the first run has switched the endpoint off, and did not get to the other lanes.
            lane::wake_all(&self.app, &place.instance, &place.endpoint).await?;
        }
        let ran = run.work(receipt).await;
        if ran.is_err() {
            // Ours to mend: whoever comes next need not wait for the lease to end. If this fails too, they do.
            let free = update(place, &run.lane, Change::default().set("lease", 0));
            if let Err(error) = self.app.store.commit(Unit::write(free)).await {
                tracing::debug!(instance = %place.instance, %error, "a lane keeps its lease");
            }
        }
        ran
    }

    async fn nothing(&self, receipt: Option<Receipt>) -> Result<Ran> {
        self.acknowledge(receipt).await?;
        Ok(Ran::AlreadyDone)
    }

    async fn put_off(&self, place: &Place, receipt: Option<Receipt>) -> Result<Ran> {
        let Some(lane) = lane::load(&self.app, place).await? else { return self.nothing(receipt).await };
        let due = self.app.clock.now().plus(park_pause(lane.parks));
        let change = Change::default().set("due", due.0).set("parks", lane.parks + 1);
        let mut unit =
            Unit { writes: vec![update(place, &lane, change)], done: receipt.map(Cause::Message), ..Unit::default() };
        timer::schedule(&self.app, &mut unit, due, place.timer(0))?;
        Ok(if took_place(self.app.store.commit(unit).await)? { Ran::AlreadyDone } else { Ran::InProgress })
    }
}

/// What an entry has come to.
enum Step {
    /// Nothing more to do about it.
    Passed,
    Blocked(Box<Delivery>, Millis),
}

struct Run<'a> {
    courier: &'a Courier,
    place: &'a Place,
    why: Why,
    instance: Instance,
    health: Health,
    lane: Lane,
    /// The next event to look at.
    position: u64,
    /// The endpoint is switched off: what was begun is ended.
    off: bool,
    delivered: bool,
    failed: bool,
    begun: Duration,
    renewed: Duration,
}

impl Run<'_> {
    /// Takes or renews the lease, and takes over what `again` asks for. `head`: an event of this chat before which nothing is
    /// left to do. `false`: the row has changed or gone.
    async fn lease(&mut self, head: u64) -> Result<bool> {
        let now = self.courier.app.clock.now();
        let lease = now.plus(LEASE);
        let change = Change::default().set("lease", lease.0).set("head", head).set("parks", 0).remove("again");
        let write = update(self.place, &self.lane, change);
        let taken = took_place(self.courier.app.store.commit(Unit::write(write)).await)?;
        if taken {
            self.lane.rev += 1;
            self.lane.head = head;
            self.lane.again = None;
            self.renewed = self.courier.app.clock.monotonic();
        }
        Ok(taken)
    }

    async fn work(&mut self, receipt: Option<Receipt>) -> Result<Ran> {
        self.end_expired_head().await?;
        loop {
            let log = self.place.instance.as_str();
            let mut scan = Scan::new(log, &self.place.chat, self.position, self.lane.upto);
            while let Some(entry) = scan.next(self.courier.app.store.as_ref()).await? {
                self.position = entry.seq;
                let tired = self.courier.app.clock.monotonic().saturating_sub(self.begun) > BUDGET;
                if tired || self.why == Why::Probe && self.delivered {
                    return self.hand_over(&entry, receipt).await;
                }
                match self.deliver(&entry).await? {
                    Step::Passed => self.position = entry.seq + 1,
                    Step::Blocked(row, due) => return self.block(&entry, &row, due, receipt).await,
                }
            }
            self.position = self.lane.upto + 1;
            let end = Write::delete(self.place.key()).only_if(Cond::eq("rev", self.lane.rev));
            let unit = Unit { writes: vec![end], done: receipt.clone().map(Cause::Message), ..Unit::default() };
            if took_place(self.courier.app.store.commit(unit).await)? {
                return Ok(self.ran());
            }
            // More has joined meanwhile.
            if !self.catch_up().await? {
                self.courier.acknowledge(receipt).await?;
                return Ok(self.ran());
            }
        }
    }

    fn ran(&self) -> Ran {
        Ran::Worked { delivered: self.delivered, failed: self.failed }
    }

    /// Reads the row again and goes on from what was added to it. `false`: it is gone.
    async fn catch_up(&mut self) -> Result<bool> {
        loop {
            let Some(fresh) = lane::load(&self.courier.app, self.place).await? else { return Ok(false) };
            if let Some(again) = fresh.again {
                self.position = self.position.min(again);
            }
            let head = fresh.start();
            self.lane = fresh;
            if self.lease(head).await? {
                return Ok(true);
            }
        }
    }

    /// A head that has left the log can only be told of as expired.
    async fn end_expired_head(&self) -> Result<()> {
        let app = &self.courier.app;
        let seq = self.lane.head;
        if source::entry(app.store.as_ref(), self.place.instance.as_str(), seq).await?.is_some() {
            return Ok(());
        }
        let known = delivery::load(app, &self.place.instance, &self.place.endpoint, seq, self.lane.at).await?;
        if known.as_ref().is_some_and(Delivery::is_final) {
            return Ok(());
        }
        let now = app.clock.now();
        let mut row =
            known.unwrap_or_else(|| Delivery::of_expired(app, &self.instance, &self.place.endpoint, seq, now));
        row.end(Status::Dead, Outcome::Expired, now);
        self.save(&row).await
    }

    async fn save(&self, row: &Delivery) -> Result<()> {
        self.courier.app.store.commit(Unit::write(row.write()?)).await?;
        tally::changed(&self.courier.app, row).await
    }

    async fn deliver(&mut self, entry: &Entry) -> Result<Step> {
        let app = &self.courier.app;
        let endpoint = &self.place.endpoint;
        let row = delivery::load(app, &self.place.instance, endpoint, entry.seq, entry.body.at).await?;
        if row.as_ref().is_some_and(Delivery::is_final) {
            return Ok(Step::Passed);
        }
        let wanted = settings::wants(app, &self.instance, endpoint, entry);
        if self.off || !wanted {
            let (status, outcome) =
                if self.off { (Status::Dead, Outcome::Disabled) } else { (Status::Skipped, Outcome::Unwanted) };
            if let Some(mut row) = row {
                row.end(status, outcome, app.clock.now());
                metric::ended(status);
                self.save(&row).await?;
            }
            return Ok(Step::Passed);
        }
        let used = app.clock.monotonic().saturating_sub(self.renewed);
        if used > RENEW && !self.lease(entry.seq).await? && !self.catch_up_here().await? {
            return Ok(Step::Passed);
        }
        let mut row = row.unwrap_or_else(|| Delivery::of_entry(app, &self.instance, endpoint, entry));
        let judgement = attempt::deliver(app, &self.courier.cancel, &self.instance, entry, &mut row).await?;
        match judgement {
            Judgement::Delivered => {
                self.delivered = true;
                if self.health.has_failed() {
                    health::succeeded(app, &self.place.instance, endpoint).await?;
                    self.health = Health::default();
                }
            }
            Judgement::Retry(due) => {
                self.charge(true).await?;
                if !self.off {
                    return Ok(Step::Blocked(Box::new(row), due));
                }
                row.give_up();
            }
            Judgement::Dead { transient } => self.charge(transient).await?,
            Judgement::Disable => {
                self.failed = true;
                settings::switch_off(app, &self.instance, endpoint, settings::Reason::Gone).await?;
                self.off = true;
            }
        }
        self.save(&row).await?;
        Ok(Step::Passed)
    }

    /// The lease could not be renewed because something has joined: takes it anew, and stays where it is. What asks for an
    /// earlier event is looked at in the end.
    async fn catch_up_here(&mut self) -> Result<bool> {
        loop {
            let Some(fresh) = lane::load(&self.courier.app, self.place).await? else { return Ok(false) };
            let change = Change::default().set("lease", self.courier.app.clock.now().plus(LEASE).0);
            let write = update(self.place, &fresh, change);
            if took_place(self.courier.app.store.commit(Unit::write(write)).await)? {
                // The old `upto` and `rev` stay: the end of the run finds them outdated, and catches up.
                self.renewed = self.courier.app.clock.monotonic();
                return Ok(true);
            }
        }
    }

    async fn charge(&mut self, transient: bool) -> Result<()> {
        let app = &self.courier.app;
        self.failed = true;
        let after = health::failed(app, &self.instance, &self.place.endpoint, &self.place.chat, transient).await?;
        self.health = Health::load(app, &self.place.instance, &self.place.endpoint).await?;
        if after == After::TooLong {
            settings::switch_off(app, &self.instance, &self.place.endpoint, settings::Reason::Failing).await?;
            self.off = true;
        }
        Ok(())
    }

    /// The entry blocks the chat until `due`.
    async fn block(&mut self, entry: &Entry, row: &Delivery, due: Millis, receipt: Option<Receipt>) -> Result<Ran> {
        let ran = self.ran();
        self.leave(entry, Some(row), due, row.tries, receipt).await?;
        Ok(ran)
    }

    /// Another run goes on with the entry at once.
    async fn hand_over(&mut self, entry: &Entry, receipt: Option<Receipt>) -> Result<Ran> {
        let ran = self.ran();
        self.leave(entry, None, self.courier.app.clock.now(), 0, receipt).await?;
        Ok(ran)
    }

    /// Gives the lease back, with the entry as the head.
    async fn leave(
        &mut self,
        entry: &Entry,
        row: Option<&Delivery>,
        due: Millis,
        attempt: u32,
        receipt: Option<Receipt>,
    ) -> Result<()> {
        let app = &self.courier.app;
        loop {
            let change =
                Change::default().set("head", entry.seq).set("at", entry.body.at.0).set("due", due.0).set("lease", 0);
            let mut unit = Unit {
                writes: vec![update(self.place, &self.lane, change)],
                done: receipt.clone().map(Cause::Message),
                ..Unit::default()
            };
            if let Some(row) = row {
                unit.writes.push(row.write()?);
            }
            // After a probe, too, though the lane will find its endpoint down and sleep: somebody else may just have woken all.
            timer::schedule(app, &mut unit, due, self.place.timer(attempt))?;
            if took_place(app.store.commit(unit).await)? {
                return Ok(());
            }
            // What has joined stays; only the view of the row was outdated.
            match lane::load(app, self.place).await? {
                Some(fresh) => self.lane = fresh,
                None => {
                    // Somebody else has ended the lane, after a lease that ran out: the attempt is still to be told of.
                    if let Some(row) = row {
                        self.courier.block_chat(self.place, entry, row, due, receipt).await?;
                    }
                    return Ok(());
                }
            }
        }
    }
}

impl Courier {
    /// A chat becomes blocked by this entry: its lane, the record, the timer, and then the acknowledgement. `false`: it has a
    /// lane already.
    pub(super) async fn block_chat(
        &self,
        place: &Place,
        entry: &Entry,
        row: &Delivery,
        due: Millis,
        receipt: Option<Receipt>,
    ) -> Result<bool> {
        let lane = Lane::new(&place.chat, entry.seq, entry.body.at, due);
        let mut unit = Unit {
            writes: vec![lane.create(place)?, row.write()?],
            done: receipt.map(Cause::Message),
            ..Unit::default()
        };
        timer::schedule(&self.app, &mut unit, due, place.timer(row.tries))?;
        took_place(self.app.store.commit(unit).await)
    }
}
