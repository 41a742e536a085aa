//! Delivering events to webhooks and forwarders: at least once, in order within a chat, and so that no receiver harms another.
//!
//! A dispatch message ([`crate::domain::event::Dispatch`]) is queued for each event and endpoint, in a FIFO group per endpoint and chat. The log is
//! the backlog: what cannot be delivered now is not kept in the queue but remembered as a range of the log, in one of two forms.
//!
//! # A chat that is blocked: its lane
//!
//! When an attempt fails, the chat gets a *lane* (a row with the event that blocks, `head`, and the last one that is known to
//! wait, `upto`) and a timer, in one unit with the acknowledgement. Later dispatch messages of the chat raise `upto` and are
//! acknowledged. The timer runs the lane: under a lease it posts the head and goes on through the chat's entries in the log
//! until `upto`, looking at each event's record first, so that what is done is not repeated. Then it deletes the lane.
//!
//! Nothing is lost between the two sides because every change of the row is made to the revision that was read: a dispatch
//! message whose lane has gone meanwhile looks again and delivers by itself, and a run whose lane has grown goes on.
//!
//! # An endpoint that is down: the breaker
//!
//! After 20 failures in a row over at least 3 chats the endpoint is *down* ([`health`]). Nothing is posted to it but the probe;
//! lanes whose timers fire go to sleep. A dispatch message of a chat without a lane widens the range `from..=upto` on the
//! endpoint's row, under the condition that the state is still the one that was read, and is acknowledged.
//!
//! The probe ([`probe`]) is an attempt for the lane that has waited longest. When it succeeds the endpoint is *recovering*: all
//! lanes are woken, and the log is gone through once, from `from` to its tail, dispatching each event again. Only when
//! everything up to the tail is in the queue, and nothing was noted meanwhile, the endpoint is *up*. Therefore
//!
//! * nothing is lost: a message is acknowledged either inside a range that a recovery will go through to its end, or after
//!   an attempt, or joined to a lane;
//! * the order within a chat holds: copies are queued in the order of the log and before any event behind the tail. While
//!   the endpoint recovers only the copies of this recovery (`round`) are delivered; originals that lie in the range are
//!   dropped, for their copies stand behind those of earlier events;
//! * little is repeated: for everything that is dispatched `again` the event's record is read first.
//!
//! A unit of work is not atomic everywhere: its writes come first, then its queue messages, then the acknowledgement. So whoever
//! receives a message for the second time sets the timers again that the first run may not have come to; timers that come
//! too early, or twice, find nothing due and do nothing.
//!
//! # What is written
//!
//! A delivery that succeeds at once costs one write, its record, in one unit with the acknowledgement; no other state is
//! touched. Records ([`Delivery`]) also carry the number of attempts, so lanes need not.
//!
//! # Endpoints
//!
//! An instance has several, each with a queue group per chat, lanes, breaker and records of its own: its webhook, its
//! forwarders, and what it has on the deployment's robot ([`crate::domain::endpoint`]). What is posted to them, and what
//! their answers mean, is in [`format`]; everything else treats them alike.
//!
//! # What fails is charged to whom it belongs
//!
//! Outcomes are typed ([`Outcome`]) up to the retry decision. What is our fault (the store does not answer, no sockets left,
//! shutdown) is an error: nothing is recorded and the message is given back.
//!
//! What must not live here: receiving from queues (`functions/deliver-webhooks`), HTTP, and the decision which addresses may
//! be reached ([`crate::guard`]).

mod attempt;
mod delivery;
mod dispatch;
mod format;
mod health;
mod lane;
mod list;
mod metric;
mod outcome;
mod probe;
mod replay;
mod retry;
mod run;
mod settings;
mod slots;
mod source;
mod tally;

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

pub use self::{
    attempt::DEADLINE,
    delivery::{Attempt, Delivery, Status, id_of},
    format::check_template,
    list::{Page, get, list},
    outcome::Outcome,
    replay::{Progress, Wanted, replay, replay_range, test},
    retry::{LONGEST_PAUSE, LONGEST_SPAN},
    settings::{removed, settings_changed},
    slots::{PER_ENDPOINT, POSTS, Slots},
    tally::{delivered_count, delivered_counts},
};
use self::{
    health::Health,
    lane::{Lane, Place},
    run::{Ran, Why},
};
use crate::{
    app::AppState,
    domain::{
        instance::Instance,
        send,
        timer::{self, Timer, Waiting},
    },
    error::Result,
    store::{Cause, Item, Read, Receipt, Unit, keys},
};

/// How early a timer may come.
const EARLY: Duration = Duration::from_secs(1);
/// When to come back to a lane that somebody else works on.
const BUSY: Duration = Duration::from_secs(15);

/// What became of a queue message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    Done,
    /// Give it back, for that long.
    Later(Duration),
}

/// Delivers. One a process: it holds the limits on what is under way at once.
#[derive(Clone)]
pub struct Courier {
    app: AppState,
    slots: Arc<Slots>,
    cancel: CancellationToken,
}

impl std::fmt::Debug for Courier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Courier").field("slots", &self.slots).finish_non_exhaustive()
    }
}

impl Courier {
    /// `cancel`: breaks off attempts that are under way; their messages are then to be given back.
    pub fn new(app: AppState, cancel: CancellationToken) -> Self {
        Self { app, slots: Arc::default(), cancel }
    }

    pub fn app(&self) -> &AppState {
        &self.app
    }

    /// Does what a timer is for. When it returns `Done` the message is acknowledged; an error is ours.
    ///
    /// `receives`, `receipt`: see [`Courier::dispatch`].
    pub async fn timer(&self, waiting: &Waiting, receives: u32, receipt: Option<Receipt>) -> Result<Handled> {
        let redelivered = receives > 1;
        let now = self.app.clock.now();
        if now.plus(EARLY) < waiting.due {
            // The sweep takes rows out of their buckets up to half an hour early.
            let mut unit = Unit { done: receipt.map(Cause::Message), ..Unit::default() };
            timer::schedule(&self.app, &mut unit, waiting.due, waiting.timer.clone())?;
            self.app.store.commit(unit).await?;
            return Ok(Handled::Done);
        }
        match &waiting.timer {
            Timer::Lane { instance, endpoint, chat, .. } => {
                let place = Place::new(instance, endpoint, chat);
                match self.run_lane(&place, Why::Timer, redelivered, receipt).await? {
                    Ran::InProgress => return Ok(Handled::Later(BUSY)),
                    Ran::AlreadyDone | Ran::Worked { .. } => {}
                }
            }
            Timer::Probe { instance, endpoint, .. } => self.probe(instance, endpoint, redelivered, receipt).await?,
            Timer::Send { instance, message } => {
                send::release(&self.app, instance, message).await?;
                self.acknowledge(receipt).await?;
            }
            Timer::Work { group, work } => {
                let mut unit = Unit { done: receipt.map(Cause::Message), ..Unit::default() };
                timer::begin(&self.app, &mut unit, group, work)?;
                self.app.store.commit(unit).await?;
            }
        }
        Ok(Handled::Done)
    }

    /// The rows that decide what to do with an event of a chat, in one read: the instance (`None` if it is gone), the health
    /// of the endpoint, the lane.
    async fn look(&self, place: &Place) -> Result<(Option<Instance>, Health, Option<Lane>)> {
        let keys =
            [keys::instance(&place.instance), keys::endpoint_state(&place.instance, &place.endpoint), place.key()];
        let mut rows = self.app.store.batch_get(&keys, Read::Strong).await?.into_iter();
        let mut next = || rows.next().flatten();
        let instance = next().map(Item::into::<Instance>).transpose()?.filter(|instance| !instance.deleting);
        let health = Health::of(next())?;
        let lane = next().map(Item::into).transpose()?;
        Ok((instance, health, lane))
    }

    async fn acknowledge(&self, receipt: Option<Receipt>) -> Result<()> {
        match receipt {
            Some(receipt) => self.app.queues.delete(&receipt).await,
            None => Ok(()),
        }
    }
}
