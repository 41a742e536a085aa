//! Who goes next. Processes are futures that this module polls, one step at a time, in an order that follows from the seed; to
//! kill one is to drop it, to pause one is not to poll it.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use shared::store::chaos::Dice;

use super::{
    actors::{self, Job, Jobs, State},
    place::Place,
};

const JOBS: usize = 12;
/// Turns with kills, pauses and duplicates; after them all that is left is done in peace.
const WILD: u64 = 220;
/// Turns after which a run must have ended.
const END: u64 = 100_000;

/// Gives the turn away at a step. Shared by a run's processes and its schedule.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace(Rc<Cell<bool>>);

impl Pace {
    /// Ends the process's turn; returns when it gets the next one.
    pub(super) async fn step(&self) {
        let mut first = true;
        std::future::poll_fn(|_| {
            if std::mem::take(&mut first) {
                self.0.set(true);
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }
}

struct Process {
    future: Pin<Box<dyn Future<Output = ()>>>,
    owner: bool,
    /// Not before this turn.
    from: u64,
    /// Waits for a real store, not for its turn.
    waits: bool,
}

pub(super) struct Schedule {
    dice: Dice,
    pace: Pace,
    turn: u64,
    processes: Vec<Process>,
}

impl Schedule {
    pub(super) fn new(seed: u64, pace: Pace) -> Self {
        Self { dice: Dice::new(seed), pace, turn: 0, processes: Vec::new() }
    }

    /// Runs until every job is done, and tells the jobs. Processes go to the places in turn.
    pub(super) async fn run<P: Place + 'static>(mut self, places: Vec<Rc<P>>) -> Vec<Job> {
        let jobs = Jobs::new(JOBS);
        let mut spawned = 0;
        while !(jobs.all_done(true) && jobs.all_done(false) && self.processes.is_empty()) {
            self.turn += 1;
            assert!(self.turn < END, "the run does not end: {jobs:?}");
            let wild = self.turn < WILD;
            if wild {
                self.misfortune(&jobs);
            } else if self.turn == WILD {
                places.iter().for_each(|place| place.calm());
                self.processes.iter_mut().for_each(|process| process.from = 0);
            } else if self.turn.is_multiple_of(200) {
                jobs.show_again(|| true);
            }
            for owner in [true, false] {
                let alive = self.processes.iter().filter(|process| process.owner == owner).count();
                let overtakes = wild && alive < 3 && self.dice.chance(0.01);
                if overtakes || (alive == 0 && !jobs.all_done(owner)) || (!owner && alive == 1 && wild) {
                    let place: Rc<dyn Place> = places[spawned % places.len()].clone();
                    spawned += 1;
                    self.spawn(owner, place, jobs.clone());
                }
            }
            let went_on = self.go_on();
            // In memory nobody ever waits. Real stores need time to work.
            if !went_on {
                tokio::time::sleep(Duration::from_millis(1)).await;
            } else if self.processes.iter().any(|process| process.waits) {
                tokio::task::yield_now().await;
            }
        }
        jobs.0.borrow().clone()
    }

    fn spawn(&mut self, owner: bool, place: Rc<dyn Place>, jobs: Jobs) {
        let remembers = self.dice.chance(0.5);
        let pace = self.pace.clone();
        let future: Pin<Box<dyn Future<Output = ()>>> = if owner {
            Box::pin(actors::owner(place, jobs, pace, remembers))
        } else {
            Box::pin(actors::foreigner(place, jobs, pace, remembers))
        };
        self.processes.push(Process { future, owner, from: 0, waits: false });
    }

    fn misfortune(&mut self, jobs: &Jobs) {
        let dice = &mut self.dice;
        if !self.processes.is_empty() {
            let at = usize::try_from(dice.below(self.processes.len() as u64)).unwrap_or(0);
            if dice.chance(0.02) {
                drop(self.processes.swap_remove(at));
            } else if dice.chance(0.03) {
                self.processes[at].from = self.turn + 5 + dice.below(60);
            }
        }
        if dice.chance(0.05) {
            jobs.show_again(|| dice.chance(0.5));
        }
        if dice.chance(0.02) {
            let at = usize::try_from(dice.below(JOBS as u64)).unwrap_or(0);
            let done = jobs.0.borrow()[at].state == State::Done;
            if done {
                jobs.set(at, State::Waiting);
            }
        }
    }

    /// One step of one process. `false`: all that may go on wait for a real store.
    fn go_on(&mut self) -> bool {
        let turn = self.turn;
        let ready: Vec<usize> = (0..self.processes.len())
            .filter(|at| self.processes[*at].from <= turn && !self.processes[*at].waits)
            .collect();
        if ready.is_empty() {
            let mut waited = false;
            for process in &mut self.processes {
                waited |= std::mem::take(&mut process.waits);
            }
            return !waited;
        }
        let at = ready[usize::try_from(self.dice.below(ready.len() as u64)).unwrap_or(0)];
        self.pace.0.set(false);
        // Polled again without being woken, so nobody needs to wake it.
        match self.processes[at].future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(()) => drop(self.processes.swap_remove(at)),
            Poll::Pending => self.processes[at].waits = !self.pace.0.get(),
        }
        true
    }
}
