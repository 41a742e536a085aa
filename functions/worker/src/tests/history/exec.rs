//! Runs tasks in virtual time, one after the other: nobody waits for a real clock, and the order follows from the tasks alone.
//! A paused process's tasks are not polled; a killed one's are dropped.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

pub(super) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Number of a run of a process: a restarted one has another.
pub(super) type Pid = usize;

#[derive(Default)]
struct Inner {
    now: Duration,
    /// Time, order of registration → who waits.
    timers: BinaryHeap<Reverse<(Duration, u64)>>,
    sleepers: HashMap<u64, Waker>,
    registered: u64,
    spawned: Vec<(Option<Pid>, Work)>,
    ready: VecDeque<u64>,
    /// Processes that are paused, and until when.
    napping: HashMap<Pid, Duration>,
    /// Tasks that would run if their process was not paused.
    parked: Vec<u64>,
}

/// The world's clock, and where new tasks go. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Reactor(Arc<Mutex<Inner>>);

impl Reactor {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True time since the run began.
    pub(super) fn now(&self) -> Duration {
        self.inner().now
    }

    /// Begins a task of a process, or of the network.
    pub(super) fn spawn(&self, process: Option<Pid>, work: impl Future<Output = ()> + Send + 'static) {
        self.inner().spawned.push((process, Box::pin(work)));
    }

    /// Pauses a process.
    pub(super) fn nap(&self, process: Pid, span: Duration) {
        let end = {
            let mut inner = self.inner();
            let end = inner.now + span;
            let until = inner.napping.entry(process).or_default();
            *until = end.max(*until);
            end
        };
        let reactor = self.clone();
        self.spawn(None, async move {
            reactor.sleep_until(end).await;
            let over = reactor.inner().napping.get(&process).is_some_and(|until| *until <= end);
            if over {
                reactor.wake(process);
            }
        });
    }

    /// Ends a pause, if there is one.
    pub(super) fn wake(&self, process: Pid) {
        let mut inner = self.inner();
        inner.napping.remove(&process);
        let parked = std::mem::take(&mut inner.parked);
        inner.ready.extend(parked);
    }

    pub(super) fn naps(&self, process: Pid) -> bool {
        self.inner().napping.contains_key(&process)
    }

    pub(super) fn sleep_until(&self, at: Duration) -> Sleep {
        Sleep { reactor: self.clone(), at, number: None }
    }

    pub(super) fn sleep(&self, span: Duration) -> Sleep {
        self.sleep_until(self.now() + span)
    }
}

pub(super) struct Sleep {
    reactor: Reactor,
    at: Duration,
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let reactor = self.reactor.clone();
        let mut inner = reactor.inner();
        if inner.now >= self.at {
            return Poll::Ready(());
        }
        let number = self.number.unwrap_or_else(|| {
            inner.registered += 1;
            let number = inner.registered;
            inner.timers.push(Reverse((self.at, number)));
            number
        });
        inner.sleepers.insert(number, context.waker().clone());
        drop(inner);
        self.number = Some(number);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.reactor.inner().sleepers.remove(&number);
        }
    }
}

struct Bell {
    reactor: Reactor,
    task: u64,
    rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.reactor.inner().ready.push_back(self.task);
        }
    }
}

struct Task {
    process: Option<Pid>,
    work: Work,
    bell: Arc<Bell>,
}

/// The tasks of a run.
#[derive(Default)]
pub(super) struct Exec {
    pub(super) reactor: Reactor,
    tasks: BTreeMap<u64, Task>,
    begun: u64,
}

impl Exec {
    pub(super) fn kill(&mut self, process: Pid) {
        self.reactor.wake(process);
        let its = self.tasks.extract_if(.., |_, task| task.process == Some(process));
        // Dropped after they are out: what they drop may ring bells.
        drop(its.collect::<Vec<_>>());
        self.reactor.inner().spawned.retain(|(owner, _)| *owner != Some(process));
    }

    /// Runs everything that happens up to `end`; calls `look` whenever nothing more happens at a moment.
    pub(super) fn run_until(&mut self, end: Duration, mut look: impl FnMut(Duration)) {
        loop {
            self.drain();
            look(self.reactor.now());
            let mut inner = self.reactor.inner();
            let Some(Reverse((at, _))) = inner.timers.peek().copied().filter(|Reverse((at, _))| *at <= end) else {
                inner.now = end;
                return;
            };
            inner.now = inner.now.max(at);
            let mut woken = Vec::new();
            while let Some(Reverse((due, number))) = inner.timers.peek().copied()
                && due <= at
            {
                inner.timers.pop();
                woken.extend(inner.sleepers.remove(&number));
            }
            drop(inner);
            woken.into_iter().for_each(Waker::wake);
        }
    }

    fn drain(&mut self) {
        loop {
            let (spawned, next) = {
                let mut inner = self.reactor.inner();
                (std::mem::take(&mut inner.spawned), inner.ready.pop_front())
            };
            let nothing = spawned.is_empty() && next.is_none();
            for (process, work) in spawned {
                self.begun += 1;
                let bell = Bell { reactor: self.reactor.clone(), task: self.begun, rung: AtomicBool::new(false) };
                let bell = Arc::new(bell);
                self.tasks.insert(self.begun, Task { process, work, bell: Arc::clone(&bell) });
                bell.wake();
            }
            if let Some(task) = next {
                self.poll(task);
            }
            if nothing {
                return;
            }
        }
    }

    fn poll(&mut self, number: u64) {
        let Some(task) = self.tasks.get_mut(&number) else { return };
        if task.process.is_some_and(|process| self.reactor.naps(process)) {
            self.reactor.inner().parked.push(number);
            return;
        }
        task.bell.rung.store(false, Ordering::Release);
        let waker = Waker::from(Arc::clone(&task.bell));
        if task.work.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            drop(self.tasks.remove(&number));
        }
    }
}
