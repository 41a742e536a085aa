//! What a supervisor lets happen, and when: sends chat by chat, questions at once, and what changes the line alone.
//!
//! A send is in one of three places. In the *queue*, and in memory because it was received; *parked*, in a row of its own, and in
//! memory; or parked only (`stored`). It is parked when there is no line, when it takes long, or when others are before it for
//! long: then it is counted, and the queue can hand out what is behind it. While something is parked only, nothing overtakes
//! it: what comes from the queue waits, and is parked behind it in the end.

use std::{collections::HashSet, pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    callbacks::Callback,
    commands::{self, Turn},
    lanes::After,
    parking::{self, Found, Moved, To},
    sending::{self, Send, Went},
    supervisor::Supervisor,
};

/// Chats of an instance that are worked on at the same time. Fewer of them are on the line: see [`crate::port::Port::slots`].
const AT_ONCE: usize = 64;
/// The same while the queue is far behind.
const AT_ONCE_BEHIND: usize = 8;
/// How often sends are looked for that wait for long.
const COUNT_EVERY: Duration = Duration::from_millis(500);
/// After an attempt found no line although it should be up.
const NO_LINE: Duration = Duration::from_secs(2);
/// After the store did not answer, or nothing could be taken out of the parked rows.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Parked sends that are taken into memory at once.
const TAKE: usize = 200;

/// What a piece of work says when it is done.
pub(crate) enum Done {
    Attempt { chat: String, send: Box<Send>, went: Went },
    Moved(Vec<Moved>),
    Found(Found),
    Ask,
    Callback { callback: Callback, heard: bool },
}

pub(crate) type Work = Pin<Box<dyn Future<Output = Done> + std::marker::Send>>;

/// The state of the sends of an instance, beside those in hand.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Parked sends may be there that are not in memory: they go before all that is still in the queue.
    pub(crate) stored: bool,
    /// Parked rows are being written, or read: not at the same time, so that a reader finds them in their order.
    moving: bool,
    /// More became parked only while rows were read: what the reader says of the rest is not the last word.
    forgot: bool,
    /// Not before that.
    move_after: Option<Instant>,
    find_after: Option<Instant>,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Self { stored: true, moving: false, forgot: false, move_after: None, find_after: None }
    }

    /// There may be more parked rows than those in memory.
    pub(crate) fn forget(&mut self) {
        (self.stored, self.forgot) = (true, true);
    }

    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.move_after.into_iter().chain(self.find_after).min()
    }
}

impl Supervisor {
    /// Begins whatever may run now.
    pub(crate) async fn begin_work(&mut self) {
        loop {
            if self.gone || self.port.is_fenced() {
                return;
            }
            let now = Instant::now();
            self.lanes.wake(now);
            self.traffic.move_after.take_if(|at| *at <= now);
            self.traffic.find_after.take_if(|at| *at <= now);
            let up = self.port.line_up().is_some();
            // Without a session sends only fail, so they need no line.
            let paired = self.port.owner.instance().paired;
            if self.timers.hold.is_none() {
                self.ask();
            }
            self.hear();
            if up || !paired {
                let behind = self.commands.is_behind(self.port.app().clock.now());
                self.find(up, behind);
                if behind {
                    // The queue is emptied as fast as rows can be written, without a look at who could begin.
                    self.park_late();
                }
                self.admit(paired);
                self.attempt(behind);
            } else if self.timers.hold.is_none() {
                self.park_all();
            }
            if !self.commands.turn_is_next() || !self.work.is_empty() || self.lanes.could_begin(true) {
                break;
            }
            let Some(Turn(receipt, control)) = self.commands.next_turn() else { break };
            Box::pin(self.control(receipt, control)).await;
        }
        if self.timers.count.is_none() && (self.commands.any_sends() || self.lanes.any_queued()) {
            self.timers.count = Some(Instant::now() + COUNT_EVERY);
        }
    }

    /// Gives sends from the queue to their chats, while there is room and nothing parked is before them.
    fn admit(&mut self, paired: bool) {
        while (!self.traffic.stored || !paired) && !self.traffic.moving && self.lanes.has_room() {
            match self.commands.next_send() {
                Some(send) => self.lanes.push(send),
                None => return,
            }
        }
    }

    fn ask(&mut self) {
        for question in self.commands.questions() {
            let port = Arc::clone(&self.port);
            self.work.push(Box::pin(async move {
                commands::ask(port, question).await;
                Done::Ask
            }));
        }
    }

    /// `behind`: what is in the queue is to be counted; that comes before more is sent.
    fn attempt(&mut self, behind: bool) {
        // What waits to change the line is not held up by what is parked, and safe.
        let only_queued = self.commands.turn_is_next();
        let most = if behind { AT_ONCE_BEHIND } else { AT_ONCE };
        while let Some(send) = self.lanes.next(most, only_queued) {
            let port = Arc::clone(&self.port);
            self.work.push(Box::pin(async move {
                let chat = send.chat();
                let (send, went) = sending::attempt(&port, send).await;
                Done::Attempt { chat, send: Box::new(send), went }
            }));
        }
    }

    /// Takes parked sends into memory.
    fn find(&mut self, up: bool, behind: bool) {
        let traffic = &mut self.traffic;
        let may = up && traffic.stored && !traffic.moving && traffic.find_after.is_none();
        let wanted = if behind { self.lanes.is_empty() } else { self.lanes.is_low() };
        if !may || !wanted || self.commands.turn_is_next() {
            return;
        }
        (traffic.moving, traffic.forgot) = (true, false);
        let held: HashSet<String> = self.lanes.names().map(str::to_owned).collect();
        let full = self.lanes.full();
        let port = Arc::clone(&self.port);
        self.work.push(Box::pin(async move { Done::Found(parking::find(port, held, full, TAKE).await) }));
    }

    /// Without a line: everything that is in the queue moves into rows, and nothing stays in memory.
    fn park_all(&mut self) {
        if self.lanes.forget_parked() {
            self.traffic.forget();
        }
        self.park(|_| true);
    }

    /// Counts what has been waiting for long, by parking it.
    pub(crate) fn park_late(&mut self) {
        let now = self.port.app().clock.now();
        self.park(|send| send.is_late(now));
    }

    fn park(&mut self, due: impl Fn(&Send) -> bool) {
        if self.traffic.moving || self.traffic.move_after.is_some() {
            return;
        }
        let mut sends = self.lanes.moving(&due);
        sends.extend(self.commands.sends_up_to(&due));
        if sends.is_empty() {
            return;
        }
        self.traffic.moving = true;
        let port = Arc::clone(&self.port);
        self.work.push(Box::pin(async move { Done::Moved(parking::park(port, sends).await) }));
    }

    pub(crate) async fn finished(&mut self, done: Done) {
        match done {
            Done::Attempt { chat, send, went } => match went {
                Went::Settled => self.lanes.done(&chat, After::Settled),
                Went::Parked => self.lanes.done(&chat, After::Again(send, Instant::now() + NO_LINE)),
                Went::Again(pause) => self.lanes.done(&chat, After::Again(send, Instant::now() + pause)),
                Went::Stop => {
                    self.lanes.done(&chat, After::Settled);
                    self.give_back().await;
                }
            },
            Done::Moved(moved) => self.moved(moved),
            Done::Found(found) => {
                self.traffic.moving = false;
                self.traffic.stored = !found.all || self.traffic.forgot;
                if !found.all && found.sends.is_empty() {
                    self.traffic.find_after = Some(Instant::now() + LOOK_AGAIN);
                }
                for send in found.sends {
                    self.lanes.push(send);
                }
            }
            Done::Ask => {}
            Done::Callback { callback, heard } => self.heard(callback, heard).await,
        }
        if self.port.owner.mark_is_behind() {
            self.save_soon();
        }
    }

    fn moved(&mut self, moved: Vec<Moved>) {
        self.traffic.moving = false;
        for Moved { chat, message, to } in moved {
            let to = match to {
                To::Row(to) => Some(to),
                To::Nowhere => None,
                To::Stays => {
                    self.traffic.move_after = Some(Instant::now() + LOOK_AGAIN);
                    continue;
                }
            };
            if self.commands.remove_send(&message) {
                self.traffic.stored |= to.is_some();
            } else {
                self.lanes.moved(&chat, &message, to);
            }
        }
        self.lanes.moving_ended();
    }

    /// The lease is over: what is in hand is for whoever comes next.
    async fn give_back(&mut self) {
        self.lanes.clear();
        self.commands.clear();
        self.traffic.forget();
        self.port.in_hand.give_back(self.port.app()).await;
    }
}
