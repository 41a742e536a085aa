//! One queue in memory: who is waiting in which line, what is in flight, and when what becomes due. Knows no SQL and does not
//! wait; bodies are here only as long as there is room.
//!
//! A FIFO queue has a line a group, a standard queue a line a message. A line is *ready* when nothing of it is in flight and
//! its head is visible; ready lines are in a list, so a blocked line of any length never slows a receive down.
//!
//! Times are of the monotonic clock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use shared::{
    clock::Millis,
    store::{Depth, Doc, Queue},
};

/// Bytes of bodies to keep in memory, over all queues, as JSON; parsed they take a few times that.
const CACHE_BYTES: usize = 16 << 20;

/// Room for bodies, shared by all queues.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cache(Arc<AtomicUsize>);

/// A body in the cache; gives its room back when it goes.
#[derive(Debug)]
pub(crate) struct Body {
    doc: Doc,
    bytes: usize,
    cache: Cache,
}

impl Cache {
    /// Keeps the document if there is room.
    pub(crate) fn keep(&self, doc: Doc, bytes: usize) -> Option<Body> {
        if self.0.load(Ordering::Relaxed) + bytes > CACHE_BYTES {
            return None;
        }
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Some(Body { doc, bytes, cache: self.clone() })
    }
}

impl Body {
    pub(crate) fn take(mut self) -> Doc {
        std::mem::take(&mut self.doc)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.cache.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: i64,
    pub(crate) group: Arc<str>,
    pub(crate) sent_at: Millis,
    /// Deliveries so far, and how many of them the table knows of.
    pub(crate) receives: u32,
    pub(crate) stored: u32,
    /// Not visible before.
    pub(crate) due: Option<Duration>,
    /// `None`: read it from the table.
    pub(crate) body: Option<Body>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Line {
    Group(Arc<str>),
    Single(i64),
}

#[derive(Debug, Default)]
struct Waiting {
    /// By id, which is the order of sending.
    messages: VecDeque<Message>,
    in_flight: usize,
    /// In the list of ready lines.
    listed: bool,
}

impl Waiting {
    fn find(&self, id: i64) -> Option<usize> {
        let at = self.messages.partition_point(|message| message.id < id);
        self.messages.get(at).is_some_and(|message| message.id == id).then_some(at)
    }
}

#[derive(Debug)]
struct Flight {
    message: Message,
    expires: Duration,
}

/// A message as it is handed out.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) id: i64,
    pub(crate) group: Arc<str>,
    pub(crate) sent_at: Millis,
    pub(crate) receives: u32,
    pub(crate) body: Option<Doc>,
    /// The table should learn of earlier deliveries: they ended without a release.
    pub(crate) unrecorded: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) messages: Vec<Handed>,
    /// Received too often: now dead letters, with their number of receives.
    pub(crate) dead: Vec<(i64, u32)>,
    /// When something becomes due, if nothing else happens.
    pub(crate) next: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Lines {
    queue: Queue,
    lines: HashMap<Line, Waiting>,
    ready: VecDeque<Line>,
    delayed: BTreeMap<(Duration, i64), Line>,
    flights: HashMap<i64, Flight>,
    expiring: BTreeSet<(Duration, i64)>,
    /// Messages that were handed out and wait again.
    returned: HashMap<i64, Line>,
    dead: BTreeSet<i64>,
    waiting: u64,
}

impl Lines {
    pub(crate) fn new(queue: Queue) -> Self {
        Self {
            queue,
            lines: HashMap::new(),
            ready: VecDeque::new(),
            delayed: BTreeMap::new(),
            flights: HashMap::new(),
            expiring: BTreeSet::new(),
            returned: HashMap::new(),
            dead: BTreeSet::new(),
            waiting: 0,
        }
    }

    fn line_of(&self, message: &Message) -> Line {
        if self.queue.is_fifo() { Line::Group(Arc::clone(&message.group)) } else { Line::Single(message.id) }
    }

    /// A new message, or at start an old one.
    pub(crate) fn push(&mut self, message: Message) {
        let line = self.line_of(&message);
        self.wait(line, message);
    }

    pub(crate) fn push_dead(&mut self, id: i64) {
        self.dead.insert(id);
    }

    fn wait(&mut self, line: Line, message: Message) {
        if let Some(due) = message.due {
            self.delayed.insert((due, message.id), line.clone());
        }
        let waiting = self.lines.entry(line.clone()).or_default();
        // New ones go to the end; returned ones are among the first.
        match waiting.messages.back() {
            Some(last) if last.id > message.id => {
                let at = waiting.messages.partition_point(|other| other.id < message.id);
                waiting.messages.insert(at, message);
            }
            _ => waiting.messages.push_back(message),
        }
        self.waiting += 1;
        self.list(line);
    }

    /// Lists the line if it is ready, forgets it if it is empty.
    fn list(&mut self, line: Line) {
        let Some(waiting) = self.lines.get_mut(&line) else { return };
        if waiting.in_flight > 0 || waiting.listed {
            return;
        }
        match waiting.messages.front() {
            None => {
                self.lines.remove(&line);
            }
            Some(head) if head.due.is_none() => {
                waiting.listed = true;
                self.ready.push_back(line);
            }
            Some(_) => {}
        }
    }

    /// Lets the time pass: ends expired flights and delays.
    fn settle(&mut self, now: Duration) {
        while let Some(&(at, id)) = self.expiring.first().filter(|(at, _)| *at <= now) {
            self.expiring.remove(&(at, id));
            self.come_back(id, None);
        }
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, id), line) = entry.remove_entry();
            if let Some(waiting) = self.lines.get_mut(&line)
                && let Some(at) = waiting.find(id)
            {
                waiting.messages[at].due = None;
            }
            self.list(line);
        }
    }

    /// From flight back into its line.
    fn come_back(&mut self, id: i64, due: Option<Duration>) {
        let Some(Flight { mut message, .. }) = self.flights.remove(&id) else { return };
        message.due = due;
        let line = self.line_of(&message);
        if let Some(waiting) = self.lines.get_mut(&line) {
            waiting.in_flight -= 1;
        }
        self.returned.insert(id, line.clone());
        self.wait(line, message);
    }

    /// Hands out up to `max` messages: as many of a line as there are, in order, before the next line.
    pub(crate) fn take(&mut self, max: usize, now: Duration) -> Taken {
        self.settle(now);
        let mut taken = Taken::default();
        while taken.messages.len() < max
            && let Some(line) = self.ready.pop_front()
        {
            self.take_line(line, max, now, &mut taken);
        }
        let due = self.delayed.first_key_value().map(|((at, _), _)| *at);
        let expiring = self.expiring.first().map(|(at, _)| *at);
        taken.next = match (due, expiring) {
            (Some(due), Some(expiring)) => Some(due.min(expiring)),
            (due, expiring) => due.or(expiring),
        };
        taken
    }

    fn take_line(&mut self, line: Line, max: usize, now: Duration, taken: &mut Taken) {
        let Some(waiting) = self.lines.get_mut(&line) else { return };
        waiting.listed = false;
        if waiting.in_flight > 0 {
            return;
        }
        while taken.messages.len() < max
            && waiting.messages.front().is_some_and(|head| head.due.is_none())
            && let Some(mut message) = waiting.messages.pop_front()
        {
            self.waiting -= 1;
            self.returned.remove(&message.id);
            if message.receives >= self.queue.max_receives() {
                self.dead.insert(message.id);
                taken.dead.push((message.id, message.receives));
                continue;
            }
            let unrecorded = message.stored < message.receives;
            message.stored = message.receives;
            message.receives += 1;
            taken.messages.push(Handed {
                id: message.id,
                group: Arc::clone(&message.group),
                sent_at: message.sent_at,
                receives: message.receives,
                body: message.body.take().map(Body::take),
                unrecorded,
            });
            waiting.in_flight += 1;
            let expires = now + self.queue.visibility();
            self.expiring.insert((expires, message.id));
            self.flights.insert(message.id, Flight { message, expires });
        }
        self.list(line);
    }

    /// Whether the message has not been handed out again since it was for the `receives`th time. Such a receipt may delete,
    /// even when its time is over: nobody else has begun.
    pub(crate) fn is_current(&self, id: i64, receives: u32) -> bool {
        let message = match (self.flights.get(&id), self.returned.get(&id)) {
            (Some(flight), _) => Some(&flight.message),
            (None, Some(line)) => {
                self.lines.get(line).and_then(|waiting| waiting.find(id).map(|at| &waiting.messages[at]))
            }
            (None, None) => None,
        };
        message.is_some_and(|message| message.receives == receives)
    }

    /// When the message was sent, if it is there and was handed out.
    pub(crate) fn sent_at(&self, id: i64) -> Option<Millis> {
        let waits = || {
            let waiting = self.lines.get(self.returned.get(&id)?)?;
            waiting.find(id).map(|at| waiting.messages[at].sent_at)
        };
        self.flights.get(&id).map(|flight| flight.message.sent_at).or_else(waits)
    }

    /// Deliveries that the table does not know of: (id, receives).
    pub(crate) fn unrecorded(&self) -> Vec<(i64, u32)> {
        let waiting = |(id, line): (&i64, &Line)| {
            let waiting = self.lines.get(line)?;
            waiting.find(*id).map(|at| &waiting.messages[at])
        };
        self.flights
            .values()
            .map(|flight| &flight.message)
            .chain(self.returned.iter().filter_map(waiting))
            .filter(|message| message.stored < message.receives)
            .map(|message| (message.id, message.receives))
            .collect()
    }

    /// The message is gone from the table.
    pub(crate) fn remove(&mut self, id: i64) {
        if let Some(flight) = self.flights.remove(&id) {
            self.expiring.remove(&(flight.expires, id));
            let line = self.line_of(&flight.message);
            if let Some(waiting) = self.lines.get_mut(&line) {
                waiting.in_flight -= 1;
            }
            self.list(line);
        } else if let Some(line) = self.returned.remove(&id)
            && let Some(waiting) = self.lines.get_mut(&line)
            && let Some(at) = waiting.find(id)
            && let Some(message) = waiting.messages.remove(at)
        {
            self.waiting -= 1;
            if let Some(due) = message.due {
                self.delayed.remove(&(due, id));
            }
            self.list(line);
        }
    }

    pub(crate) fn remove_dead(&mut self, id: i64) {
        self.dead.remove(&id);
    }

    fn in_flight(&mut self, id: i64, receives: u32) -> Option<&mut Flight> {
        self.flights.get_mut(&id).filter(|flight| flight.message.receives == receives)
    }

    /// In flight until `until`. `false` if that delivery is over.
    pub(crate) fn extend(&mut self, id: i64, receives: u32, now: Duration, until: Duration) -> bool {
        self.settle(now);
        let Some(flight) = self.in_flight(id, receives) else { return false };
        let before = std::mem::replace(&mut flight.expires, until);
        self.expiring.remove(&(before, id));
        self.expiring.insert((until, id));
        true
    }

    /// Ends the delivery; visible again at `due`. `false` if it is over already.
    pub(crate) fn release(&mut self, id: i64, receives: u32, now: Duration, due: Duration) -> bool {
        let Some(flight) = self.in_flight(id, receives) else { return false };
        flight.message.stored = receives;
        let expires = flight.expires;
        self.expiring.remove(&(expires, id));
        self.come_back(id, (due > now).then_some(due));
        true
    }

    pub(crate) fn depth(&mut self, now: Duration) -> Depth {
        self.settle(now);
        let delayed = self.delayed.len() as u64;
        Depth {
            visible: self.waiting - delayed,
            delayed,
            in_flight: self.flights.len() as u64,
            dead: self.dead.len() as u64,
        }
    }

    /// The oldest dead letters.
    pub(crate) fn dead(&self, max: usize) -> Vec<i64> {
        self.dead.iter().take(max).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn message(id: i64, group: &str) -> Message {
        Message { id, group: group.into(), sent_at: Millis(0), receives: 0, stored: 0, due: None, body: None }
    }

    fn ids(taken: &Taken) -> Vec<i64> {
        taken.messages.iter().map(|message| message.id).collect()
    }

    #[test]
    fn a_group_has_one_receiver_and_keeps_its_order() {
        let mut lines = Lines::new(Queue::Jobs);
        for (id, group) in [(1, "a"), (2, "b"), (3, "a"), (4, "a")] {
            lines.push(message(id, group));
        }
        assert_eq!(ids(&lines.take(2, NOW)), [1, 3]);
        assert_eq!(ids(&lines.take(9, NOW)), [2]);
        lines.remove(1);
        assert!(ids(&lines.take(9, NOW)).is_empty(), "3 is in flight, so 4 waits");
        assert!(lines.release(3, 1, NOW, NOW));
        assert_eq!(ids(&lines.take(9, NOW)), [3, 4]);
    }

    #[test]
    fn a_released_head_blocks_its_group_until_it_is_due() {
        let mut lines = Lines::new(Queue::Jobs);
        lines.push(message(1, "a"));
        lines.push(message(2, "a"));
        assert_eq!(ids(&lines.take(1, NOW)), [1]);
        assert!(lines.release(1, 1, NOW, NOW + Duration::from_secs(5)));
        let taken = lines.take(9, NOW);
        assert_eq!((ids(&taken), taken.next), (vec![], Some(NOW + Duration::from_secs(5))));
        assert_eq!(ids(&lines.take(9, NOW + Duration::from_secs(5))), [1, 2]);
    }

    #[test]
    fn an_expired_receipt_still_deletes_until_the_next_delivery() {
        let mut lines = Lines::new(Queue::Jobs);
        lines.push(message(1, "a"));
        lines.take(1, NOW);
        let later = NOW + Queue::Jobs.visibility();
        assert_eq!(lines.depth(later).visible, 1);
        assert!(lines.is_current(1, 1) && !lines.extend(1, 1, later, later));
        let taken = lines.take(1, later);
        assert!(taken.messages[0].unrecorded && taken.messages[0].receives == 2);
        assert!(!lines.is_current(1, 1) && lines.is_current(1, 2));
        lines.remove(1);
        assert_eq!(lines.depth(later), Depth::default());
        assert!(lines.lines.is_empty() && lines.expiring.is_empty());
    }

    #[test]
    fn too_many_receives_make_a_dead_letter_and_free_the_group() {
        let mut lines = Lines::new(Queue::Timers);
        let spent = Message { receives: 20, ..message(1, "") };
        lines.push(spent);
        lines.push(message(2, ""));
        let taken = lines.take(9, NOW);
        assert_eq!((ids(&taken), taken.dead), (vec![2], vec![(1, 20)]));
        assert_eq!(lines.dead(5), [1]);
    }
}
