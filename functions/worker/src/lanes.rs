//! Sends in hand: a lane for each chat, in which one goes out after the other, while chats do not wait for each other.
//!
//! Knows no store and no line: it says which send may begin, and is told how that went. What must not live here: why a send
//! is tried again, and what is durable of it.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use tokio::time::Instant;

use crate::sending::{From, Send};

/// Sends of an instance that are held in memory; more wait in the queue, or in their rows.
const HELD: usize = 500;
/// The same in bytes of what is to be sent, roughly.
const HELD_BYTES: usize = 2 << 20;
/// Sends of one chat that are held: a slow chat with a long backlog leaves room for the others.
const HELD_OF_CHAT: usize = 100;

#[derive(Debug, Default)]
struct Lane {
    /// In order. The head is taken out while it is attempted.
    waiting: VecDeque<Send>,
    /// Name of the message that is being attempted.
    busy: Option<String>,
    /// Its waiting sends are on their way from the queue into rows of their own: nothing begins meanwhile.
    moving: bool,
    rest: Option<Instant>,
    /// In the list of those that are ready.
    listed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Lanes {
    lanes: HashMap<String, Lane>,
    /// Chats that may begin, whoever came first first.
    ready: VecDeque<String>,
    resting: BTreeSet<(Instant, String)>,
    held: usize,
    bytes: usize,
    running: usize,
}

/// What became of an attempt, as far as its lane is concerned.
#[derive(Debug)]
pub(crate) enum After {
    /// The next one may begin.
    Settled,
    /// The same one again, not before that.
    Again(Box<Send>, Instant),
}

impl Lanes {
    /// Whether there is room for another send.
    pub(crate) fn has_room(&self) -> bool {
        self.held < HELD && self.bytes < HELD_BYTES
    }

    /// Whether nothing waits here.
    pub(crate) fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Whether there is room for many.
    pub(crate) fn is_low(&self) -> bool {
        self.held < HELD / 2 && self.bytes < HELD_BYTES / 2
    }

    /// Chats of which so many wait that no more of them are taken out of their rows.
    pub(crate) fn full(&self) -> HashSet<String> {
        let full = self.lanes.iter().filter(|(_, lane)| lane.waiting.len() >= HELD_OF_CHAT);
        full.map(|(chat, _)| chat.clone()).collect()
    }

    /// Adds a send behind those of its chat.
    pub(crate) fn push(&mut self, send: Send) {
        let chat = send.chat();
        self.held += 1;
        self.bytes += send.size();
        self.lanes.entry(chat.clone()).or_default().waiting.push_back(send);
        self.list(chat);
    }

    /// Lists the lane if its head may begin; forgets it if nothing is left of it.
    fn list(&mut self, chat: String) {
        let Some(lane) = self.lanes.get_mut(&chat) else { return };
        if lane.busy.is_some() || lane.moving || lane.listed {
            return;
        }
        if lane.waiting.is_empty() {
            if let Some(lane) = self.lanes.remove(&chat)
                && let Some(at) = lane.rest
            {
                self.resting.remove(&(at, chat));
            }
        } else if lane.rest.is_none() {
            lane.listed = true;
            self.ready.push_back(chat);
        }
    }

    /// Ends the pauses that are over.
    pub(crate) fn wake(&mut self, now: Instant) {
        while self.resting.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, chat)) = self.resting.pop_first()
        {
            if let Some(lane) = self.lanes.get_mut(&chat) {
                lane.rest = None;
            }
            self.list(chat);
        }
    }

    /// When the next pause is over.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        self.resting.first().map(|(at, _)| *at)
    }

    /// Takes out the next send to attempt, if one may begin and fewer than `most` are being attempted. `queued`: only of chats
    /// of which something is still in the queue.
    pub(crate) fn next(&mut self, most: usize, queued: bool) -> Option<Send> {
        if self.running >= most {
            return None;
        }
        for _ in 0..self.ready.len() {
            let chat = self.ready.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&chat) else { continue };
            lane.listed = false;
            if lane.busy.is_some() || lane.moving || lane.rest.is_some() {
                continue;
            }
            if queued && !lane.waiting.iter().any(Send::is_queued) {
                lane.listed = true;
                self.ready.push_back(chat);
                continue;
            }
            let Some(send) = lane.waiting.pop_front() else {
                self.list(chat);
                continue;
            };
            lane.busy = Some(send.message.clone());
            self.running += 1;
            self.held -= 1;
            self.bytes = self.bytes.saturating_sub(send.size());
            return Some(send);
        }
        None
    }

    /// Whether [`Lanes::next`] would find one if nothing else ran.
    pub(crate) fn could_begin(&self, queued: bool) -> bool {
        let mut lanes = self.ready.iter().filter_map(|chat| self.lanes.get(chat));
        lanes.any(|lane| lane.waiting.iter().any(|send| !queued || send.is_queued()))
    }

    /// An attempt in this chat is over.
    pub(crate) fn done(&mut self, chat: &str, after: After) {
        self.running = self.running.saturating_sub(1);
        let lane = self.lanes.entry(chat.to_owned()).or_default();
        lane.busy = None;
        if let After::Again(send, at) = after {
            self.held += 1;
            self.bytes += send.size();
            lane.waiting.push_front(*send);
            lane.rest = Some(at);
            self.resting.insert((at, chat.to_owned()));
        }
        self.list(chat.to_owned());
    }

    /// Names of the messages that are held or attempted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.lanes
            .values()
            .flat_map(|lane| lane.waiting.iter().map(|send| send.message.as_str()).chain(lane.busy.as_deref()))
    }

    /// Whether a send that is still in the queue waits here.
    pub(crate) fn any_queued(&self) -> bool {
        self.lanes.values().any(|lane| lane.waiting.iter().any(Send::is_queued))
    }

    /// Copies of the waiting sends that are still in the queue, of each lane up to the last one that `due` says; nothing of
    /// those lanes begins until [`Lanes::moved`].
    pub(crate) fn moving(&mut self, due: impl Fn(&Send) -> bool) -> Vec<Send> {
        let mut out = Vec::new();
        for lane in self.lanes.values_mut() {
            let Some(last) = lane.waiting.iter().rposition(|send| send.is_queued() && due(send)) else { continue };
            lane.moving = true;
            out.extend(lane.waiting.iter().take(last + 1).filter(|send| send.is_queued()).cloned());
        }
        out
    }

    /// The send has a row of its own now (`Some`), or needs nothing any more.
    pub(crate) fn moved(&mut self, chat: &str, message: &str, to: Option<From>) {
        let Some(lane) = self.lanes.get_mut(chat) else { return };
        let Some(at) = lane.waiting.iter().position(|send| send.message == message && send.is_queued()) else { return };
        match to {
            Some(to) => lane.waiting[at].from = to,
            None => {
                if let Some(send) = lane.waiting.remove(at) {
                    self.held -= 1;
                    self.bytes = self.bytes.saturating_sub(send.size());
                }
            }
        }
    }

    /// All that was being moved is done: the lanes may go on.
    pub(crate) fn moving_ended(&mut self) {
        let moving: Vec<String> =
            self.lanes.iter().filter(|(_, lane)| lane.moving).map(|(chat, _)| chat.clone()).collect();
        for chat in moving {
            if let Some(lane) = self.lanes.get_mut(&chat) {
                lane.moving = false;
            }
            self.list(chat);
        }
    }

    /// Forgets the lanes of which everything waits in rows of its own. Returns whether there were any.
    pub(crate) fn forget_parked(&mut self) -> bool {
        let before = self.held;
        let parked = |lane: &Lane| !lane.waiting.is_empty() && !lane.waiting.iter().any(Send::is_queued);
        let chats: Vec<String> =
            self.lanes.iter().filter(|(_, lane)| parked(lane)).map(|(chat, _)| chat.clone()).collect();
        for chat in chats {
            let Some(lane) = self.lanes.get_mut(&chat) else { continue };
            self.held -= lane.waiting.len();
            self.bytes = self.bytes.saturating_sub(lane.waiting.iter().map(Send::size).sum());
            lane.waiting.clear();
            self.list(chat);
        }
        self.held < before
    }

    /// Forgets everything that waits; what is attempted goes on.
    pub(crate) fn clear(&mut self) {
        self.ready.clear();
        self.resting.clear();
        self.lanes.retain(|_, lane| {
            lane.waiting.clear();
            (lane.listed, lane.rest, lane.moving) = (false, None, false);
            lane.busy.is_some()
        });
        (self.held, self.bytes) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::{
        clock::Millis,
        connector::Outgoing,
        domain::content::Content,
        store::{Key, Queue, Receipt},
    };

    use super::*;

    const AT_ONCE: usize = 10;

    fn send(chat: &str, name: &str) -> Send {
        let outgoing = Outgoing {
            id: name.into(),
            to: chat.into(),
            content: Content::Text { text: name.into() },
            quoted: None,
            mentions: Vec::new(),
            typing_ms: 0,
            link_preview: None,
            view_once: false,
            about: None,
        };
        Send {
            from: From::Queue(Receipt { queue: Queue::Commands(0), handle: name.into() }),
            message: format!("{name}#{chat}#me"),
            accepted: Millis(0),
            deadline: Millis(1),
            outgoing,
            tries: 0,
        }
    }

    fn begin(lanes: &mut Lanes) -> Option<String> {
        lanes.next(AT_ONCE, false).map(|send| send.outgoing.id)
    }

    #[test]
    fn a_chat_waits_for_itself_only() {
        let mut lanes = Lanes::default();
        for (chat, name) in [("a", "a1"), ("a", "a2"), ("b", "b1")] {
            lanes.push(send(chat, name));
        }
        assert_eq!((begin(&mut lanes).as_deref(), begin(&mut lanes).as_deref()), (Some("a1"), Some("b1")));
        assert_eq!(begin(&mut lanes), None, "a2 waits for a1");
        lanes.done("b", After::Settled);
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        lanes.done("a", After::Again(Box::new(send("a", "a1")), later));
        assert_eq!((begin(&mut lanes), lanes.next_wake()), (None, Some(later)));
        lanes.wake(later);
        assert_eq!(begin(&mut lanes).as_deref(), Some("a1"));
        lanes.done("a", After::Settled);
        assert_eq!(begin(&mut lanes).as_deref(), Some("a2"));
        lanes.done("a", After::Settled);
        assert!(lanes.lanes.is_empty() && lanes.held == 0 && lanes.bytes == 0 && lanes.running == 0);
    }

    #[test]
    fn only_so_many_are_attempted_at_once() {
        let mut lanes = Lanes::default();
        for n in 0..AT_ONCE + 5 {
            lanes.push(send(&format!("chat{n}"), "x"));
        }
        assert_eq!(std::iter::from_fn(|| begin(&mut lanes)).count(), AT_ONCE);
        lanes.done("chat3", After::Settled);
        assert!(begin(&mut lanes).is_some() && begin(&mut lanes).is_none());
    }

    #[test]
    fn what_moves_into_rows_keeps_its_place() {
        let mut lanes = Lanes::default();
        for name in ["1", "2", "3"] {
            lanes.push(send("a", name));
        }
        let first = lanes.next(AT_ONCE, false).expect("may begin");
        let moving: Vec<String> =
            lanes.moving(|send| send.outgoing.id == "2").into_iter().map(|send| send.message).collect();
        assert_eq!(moving, ["2#a#me"]);
        let now = Instant::now();
        lanes.done("a", After::Again(Box::new(first), now));
        lanes.wake(now);
        assert_eq!(begin(&mut lanes), None, "nothing begins meanwhile");
        lanes.moved("a", "2#a#me", Some(From::Parked(Key::new("O", "2"))));
        lanes.moving_ended();
        for name in ["1", "2", "3"] {
            assert_eq!(begin(&mut lanes).as_deref(), Some(name));
            lanes.done("a", After::Settled);
        }
        lanes.push(send("a", "4"));
        lanes.moving(|_| true);
        lanes.moved("a", "4#a#me", Some(From::Parked(Key::new("O", "4"))));
        lanes.moving_ended();
        assert!(lanes.forget_parked() && !lanes.could_begin(false) && lanes.lanes.len() <= 1);
        assert_eq!(begin(&mut lanes), None);
    }
}
