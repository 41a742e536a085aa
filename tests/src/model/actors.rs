//! What a process does: take over and work as the owner, or work as anybody else. And the jobs that both take.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use shared::store::log::Writer;

use super::{
    place::{Place, Trouble, Who},
    schedule::Pace,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    /// With somebody, who may be dead, and may not be the only one.
    InHand,
    Done,
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) name: String,
    /// The log entries that it must leave.
    pub(super) keys: Vec<String>,
    /// For the owner, or for anybody.
    pub(super) for_owner: bool,
    pub(super) state: State,
}

/// A queue that delivers at least once.
#[derive(Debug, Clone)]
pub(super) struct Jobs(pub(super) Rc<RefCell<Vec<Job>>>);

impl Jobs {
    /// `count` jobs of one to three entries; every other one for the owner.
    pub(super) fn new(count: usize) -> Self {
        let job = |n: usize| Job {
            name: format!("job{n}"),
            keys: (0..=n % 3).map(|k| format!("job{n}/{k}")).collect(),
            for_owner: n.is_multiple_of(2),
            state: State::Waiting,
        };
        Self(Rc::new(RefCell::new((0..count).map(job).collect())))
    }

    fn take(&self, for_owner: bool) -> Option<(usize, Job)> {
        let mut jobs = self.0.borrow_mut();
        let waiting = |job: &Job| job.for_owner == for_owner && job.state == State::Waiting;
        let at = jobs.iter().position(waiting)?;
        jobs[at].state = State::InHand;
        Some((at, jobs[at].clone()))
    }

    pub(super) fn set(&self, at: usize, state: State) {
        self.0.borrow_mut()[at].state = state;
    }

    pub(super) fn all_done(&self, for_owner: bool) -> bool {
        self.0.borrow().iter().all(|job| job.for_owner != for_owner || job.state == State::Done)
    }

    /// What is in a hand comes again, though the hand may still be at it.
    pub(super) fn show_again(&self, mut which: impl FnMut() -> bool) {
        for job in self.0.borrow_mut().iter_mut().filter(|job| job.state == State::InHand) {
            if which() {
                job.state = State::Waiting;
            }
        }
    }
}

/// Works on jobs until all are done, or somebody else has taken over.
async fn work(place: &dyn Place, jobs: &Jobs, pace: &Pace, who: &Who) {
    let for_owner = matches!(who.writer, Writer::Owner { .. });
    while !jobs.all_done(for_owner) {
        let Some((at, job)) = jobs.take(for_owner) else {
            pace.step().await;
            continue;
        };
        if place.acknowledges_early() {
            jobs.set(at, State::Done);
        }
        // Whoever lost an answer tries the same job again, unless it is killed first.
        loop {
            match place.deliver(who, &job.name, &job.keys).await {
                Ok(()) => {
                    pace.step().await;
                    jobs.set(at, State::Done);
                    break;
                }
                Err(Trouble::Lost) => {
                    who.tail.set(None);
                    pace.step().await;
                }
                Err(Trouble::Fenced) => {
                    jobs.set(at, State::Waiting);
                    return;
                }
            }
        }
    }
}

/// Takes over, marks the log, and works under the new epoch.
pub(super) async fn owner(place: Rc<dyn Place>, jobs: Jobs, pace: Pace, remembers: bool) {
    let epoch = loop {
        match place.take_over().await {
            Ok(epoch) => break epoch,
            Err(_) => pace.step().await,
        }
    };
    let who = Who { writer: Writer::Owner { epoch }, remembers, tail: Cell::new(None) };
    let mark = format!("owner/{epoch}");
    loop {
        match place.deliver(&who, &mark, std::slice::from_ref(&mark)).await {
            Ok(()) => break,
            Err(Trouble::Fenced) => return,
            Err(Trouble::Lost) => pace.step().await,
        }
    }
    work(&*place, &jobs, &pace, &who).await;
}

/// An HTTP function, a job runner: appends to a log that is not its own.
pub(super) async fn foreigner(place: Rc<dyn Place>, jobs: Jobs, pace: Pace, remembers: bool) {
    let who = Who { writer: Writer::Foreign, remembers, tail: Cell::new(None) };
    work(&*place, &jobs, &pace, &who).await;
}
