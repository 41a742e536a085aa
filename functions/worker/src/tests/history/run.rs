//! One run: a fleet, misfortunes, a calm end.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use shared::{
    address::Platform,
    app::{App, AppState, Parts},
    capability::default_transport,
    clock::{Clock, ManualClock, Millis},
    config::{Config, Source},
    domain::{
        endpoint::Webhook,
        instance::{self, Instance, Mode, Status},
    },
    id::{InstanceId, UserId},
    media::Media,
    store::{
        Unit, Write,
        chaos::{Chaos, Dice, Faults},
        meter::Meter,
    },
};

use super::{
    exec::{Exec, Pid},
    net::{Place, Weather, Wire},
    process::{Process, Skewed},
    rules::Rules,
    world::{Violation, World, instance_of, ms},
};
use crate::Lease as _;

const SHARDS: u16 = 4;
/// Processes at the same time.
const PLACES: usize = 4;
/// How often it is looked who trusts which lease.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);
/// Misfortunes come until then …
const WILD: Duration = Duration::from_secs(60);
/// … and by then all is well again.
const END: Duration = Duration::from_secs(60 + 35);
/// A take-over happens within that.
const IN_TIME: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Everything goes wrong.
    Wild,
    /// One worker is killed or paused, nothing else.
    Single,
}

pub(super) struct Outcome {
    pub(super) violations: Vec<Violation>,
    pub(super) writes: u64,
}

/// Apps for the processes, which are expensive to make.
pub(super) struct Lab {
    places: Vec<(Arc<Place>, AppState)>,
    _folder: tempfile::TempDir,
}

impl Lab {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // One keyring for all.
        let (world, mut exec) = (Arc::new(World::default()), Exec::default());
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Millis(1_700_000_000_000)));
        let places = (0..PLACES)
            .map(|_| {
                let place = Arc::new(Place::default());
                place.connect(Some(wire(&world, &exec, Rules::default(), 0, 0)));
                let faults = Faults { serial: true, ..Faults::none() };
                let serial = Chaos::new(place.clone(), place.clone(), faults, 1);
                let parts = Parts {
                    store: serial.clone(),
                    queues: serial,
                    media: Media::local(&folder.path().join("media")).expect("a folder"),
                    clock: Arc::clone(&clock),
                    meter: Arc::new(Meter::default()),
                    realtime: None,
                    secrets: None,
                };
                (place, build(&mut exec, parts))
            })
            .collect();
        Self { places, _folder: folder }
    }

    pub(super) fn run(&self, seed: u64, kind: Kind, rules: Rules) -> Outcome {
        let mut run = Run {
            lab: self,
            kind,
            rules,
            seed,
            dice: Dice::new(seed),
            world: Arc::new(World::default()),
            exec: Exec::default(),
            processes: Vec::new(),
            started: 0,
            served: vec![Duration::ZERO; usize::from(SHARDS)],
        };
        for shard in 0..SHARDS {
            let item = instance::item(&instance_row(shard)).expect("encodes");
            run.world.commit(0, &Unit::write(Write::put(item)), true).expect("is written");
        }
        run.go();
        for (place, _) in &self.places {
            place.connect(None);
        }
        Outcome { violations: run.world.violations(), writes: run.world.writes() }
    }
}

/// Builds an app, in virtual time.
fn build(exec: &mut Exec, parts: Parts) -> AppState {
    let source = Source::new(Some("ENCRYPTION_KEY = 'a key for tests only'")).expect("reads");
    let config = Config::load(&source).expect("loads");
    let (send, built) = std::sync::mpsc::channel();
    exec.reactor.spawn(None, async move {
        send.send(App::build(config, parts).await.expect("builds")).expect("is waited for");
    });
    let end = exec.reactor.now() + SECOND;
    exec.run_until(end, |_| {});
    built.recv().expect("is built within a second")
}

fn instance_row(shard: u16) -> Instance {
    let now = Millis(1_700_000_000_000);
    Instance {
        watched_until: None,
        reconnect_asked_at: None,
        imported_by: None,
        v: instance::VERSION,
        id: InstanceId::new(instance_of(shard)),
        user_id: UserId::new("01k0000000000000"),
        platform: Platform::Whatsapp,
        transport: default_transport(Platform::Whatsapp),
        mode: Mode::Sandbox,
        name: "test".into(),
        description: None,
        shard,
        created_at: now,
        updated_at: now,
        webhook: Webhook::default(),
        credentials: None,
        proxy: None,
        limits: None,
        deleting: false,
        epoch: 0,
        status: Status::Connecting,
        reason: None,
        status_at: now,
        paired: false,
        address: None,
        aliases: Vec::new(),
        forwarders: Vec::new(),
        account_name: None,
        qr: None,
        last_seen_at: None,
        history_sync: None,
        restriction: None,
    }
}

fn wire(world: &Arc<World>, exec: &Exec, rules: Rules, pid: Pid, seed: u64) -> Wire {
    Wire {
        world: Arc::clone(world),
        reactor: exec.reactor.clone(),
        dice: Arc::new(Mutex::new(Dice::new(seed))),
        pid,
        weather: Arc::new(Mutex::new(Weather::Fair)),
        cut: Arc::new(AtomicBool::new(false)),
        rules,
    }
}

/// When, which place, what.
type Plan = Vec<(Duration, usize, Misfortune)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Misfortune {
    Kill,
    Terminate,
    Pause(Duration),
    Cut(Duration),
    Mend,
    /// For everybody.
    Outage(Duration),
    Start,
}

struct Run<'a> {
    lab: &'a Lab,
    kind: Kind,
    rules: Rules,
    seed: u64,
    dice: Dice,
    world: Arc<World>,
    exec: Exec,
    processes: Vec<Process>,
    started: Pid,
    /// When each shard was last served by a worker that is awake.
    served: Vec<Duration>,
}

impl Run<'_> {
    fn go(&mut self) {
        for place in 0..3 {
            self.start(place);
        }
        let mut plan = self.plan();
        while let Some(at) = plan.iter().map(|(at, ..)| *at).min() {
            let next = plan.iter().position(|(when, ..)| *when == at).unwrap_or(0);
            let (_, place, what) = plan.swap_remove(next);
            self.pass(at);
            self.befall(place, what, at, &mut plan);
        }
        self.calm();
        self.pass(END);
        self.judge();
    }

    fn plan(&mut self) -> Plan {
        let mut plan = Plan::new();
        if self.kind == Kind::Single {
            let at = 20 * SECOND + Duration::from_millis(self.dice.below(12_000));
            let what = if self.dice.chance(0.5) { Misfortune::Kill } else { Misfortune::Pause(40 * SECOND) };
            plan.push((at, usize::try_from(self.dice.below(3)).unwrap_or(0), what));
            return plan;
        }
        let mut at = Duration::ZERO;
        loop {
            at += Duration::from_millis(200 + self.dice.below(9000));
            if at >= WILD {
                return plan;
            }
            let place = usize::try_from(self.dice.below(PLACES as u64)).unwrap_or(0);
            let long = |dice: &mut Dice| Duration::from_millis(100 + dice.below(25_000));
            let what = match self.dice.below(8) {
                0 => Misfortune::Kill,
                1 => Misfortune::Terminate,
                2 | 3 => Misfortune::Pause(long(&mut self.dice)),
                4 | 5 => Misfortune::Cut(long(&mut self.dice)),
                6 => Misfortune::Outage(long(&mut self.dice) / 2),
                _ => Misfortune::Start,
            };
            plan.push((at, place, what));
        }
    }

    fn start(&mut self, place: usize) {
        self.started += 1;
        let pid = self.started;
        let wire = wire(&self.world, &self.exec, self.rules, pid, self.seed.wrapping_mul(1009) ^ pid as u64);
        if self.kind == Kind::Wild {
            *wire.weather.lock().unwrap_or_else(PoisonError::into_inner) = Weather::Bad;
        }
        let (target, app) = &self.lab.places[place];
        target.connect(Some(wire.clone()));
        let clock = Skewed {
            reactor: self.exec.reactor.clone(),
            rate: 0.97 + self.dice.below(600) as f64 / 10_000.0,
            ahead: Duration::from_millis(self.dice.below(1_000_000)),
        };
        self.processes.push(Process::start(app, SHARDS, place, wire, clock));
    }

    fn at(&self, place: usize) -> Option<usize> {
        self.processes.iter().position(|process| process.place == place)
    }

    fn befall(&mut self, place: usize, what: Misfortune, now: Duration, plan: &mut Plan) {
        if let Misfortune::Outage(span) = what {
            for process in &self.processes {
                process.wire.cut.store(true, Ordering::Relaxed);
                plan.push((now + span, process.place, Misfortune::Mend));
            }
            return;
        }
        if what == Misfortune::Start {
            // Who was told to end is over by the time that its place is given to another.
            self.remove_if(place, |process| process.leaving);
            if self.at(place).is_none() {
                self.start(place);
            }
            return;
        }
        let Some(at) = self.at(place) else { return };
        let pid = self.processes[at].wire.pid;
        match what {
            Misfortune::Kill => self.remove_if(place, |_| true),
            Misfortune::Terminate => self.processes[at].leave(),
            Misfortune::Pause(span) => {
                self.exec.reactor.nap(pid, span);
            }
            Misfortune::Cut(span) => {
                self.processes[at].wire.cut.store(true, Ordering::Relaxed);
                plan.push((now + span, place, Misfortune::Mend));
            }
            Misfortune::Mend => self.processes[at].wire.cut.store(false, Ordering::Relaxed),
            Misfortune::Outage(_) | Misfortune::Start => {}
        }
    }

    /// All is well from now on, and somebody is there.
    fn calm(&mut self) {
        for at in 0..self.processes.len() {
            let process = &self.processes[at];
            process.wire.cut.store(false, Ordering::Relaxed);
            *process.wire.weather.lock().unwrap_or_else(PoisonError::into_inner) = Weather::Fair;
            if self.kind == Kind::Wild {
                self.exec.reactor.wake(process.wire.pid);
            }
        }
        let free = |process: &Process| process.leaving;
        let place = (0..PLACES).find(|place| self.at(*place).is_none_or(|at| free(&self.processes[at])));
        if let Some(place) = place.filter(|_| self.kind == Kind::Wild) {
            self.remove_if(place, free);
            self.start(place);
            let wire = &self.processes[self.processes.len() - 1].wire;
            *wire.weather.lock().unwrap_or_else(PoisonError::into_inner) = Weather::Fair;
        }
    }

    /// Kills the process at that place, if it is such a one.
    fn remove_if(&mut self, place: usize, such: impl Fn(&Process) -> bool) {
        if let Some(at) = self.at(place).filter(|at| such(&self.processes[*at])) {
            let process = self.processes.remove(at);
            self.exec.kill(process.wire.pid);
        }
    }

    /// Lets time pass, and looks at who trusts which lease whenever something has happened.
    fn pass(&mut self, end: Duration) {
        let (processes, world, served, kind) = (&self.processes, &self.world, &mut self.served, self.kind);
        let (mut looked, reactor) = (None, self.exec.reactor.clone());
        self.exec.run_until(end, |now| {
            // Who overlaps does so for longer than that: until somebody's lease is over.
            if looked.is_some_and(|before| now < before + LOOK_EVERY) {
                return;
            }
            looked = Some(now);
            let mut trusting = [(0, 0); SHARDS as usize];
            for process in processes {
                for shard in process.fleet.owned().borrow().keys().filter(|shard| process.fleet.valid(**shard)) {
                    // A sleeping one may still trust its lease, and so may not be overtaken yet.
                    let (all, awake) = &mut trusting[usize::from(*shard)];
                    *all += 1;
                    *awake += usize::from(!reactor.naps(process.wire.pid));
                }
            }
            for (shard, (all, awake)) in (0..).zip(trusting) {
                if all > 1 {
                    world.note(Violation::Double { shard });
                }
                let last = &mut served[usize::from(shard)];
                if awake > 0 {
                    if kind == Kind::Single && now.saturating_sub(*last) > IN_TIME {
                        world.note(Violation::Late { shard, ms: ms(now.saturating_sub(*last)) });
                    }
                    *last = now;
                }
            }
        });
    }

    /// What must be so at the end: every shard is served, in equal parts.
    fn judge(&self) {
        let staying: Vec<_> = self.processes.iter().filter(|process| !process.leaving).collect();
        for shard in 0..SHARDS {
            if !staying.iter().any(|process| process.fleet.valid(shard)) {
                self.world.note(Violation::Abandoned { shard });
            }
        }
        let held = |process: &&Process| (0..SHARDS).filter(|shard| process.fleet.valid(*shard)).count();
        let parts: Vec<usize> = staying.iter().map(held).collect();
        let (most, least) = (parts.iter().max(), parts.iter().min());
        if most.zip(least).is_some_and(|(most, least)| most - least > 1) {
            self.world.note(Violation::Unfair { parts });
        }
    }
}
