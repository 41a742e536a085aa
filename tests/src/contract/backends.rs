//! The back ends that the contract runs on: each makes a fresh store, opens the same one again, and says what it can do.

use std::{
    env, fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
    time::Duration,
};

use shared::{
    clock::{Clock, Millis, SystemClock},
    store::{
        DynQueues, DynStore,
        chaos::{Chaos, Faults},
        meter::Meter,
    },
};
use shared_aws::{Aws, Settings};
use shared_local::Sqlite;

use super::{Can, retrying::Retrying};
use crate::harness::ministack;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    Sqlite,
    Aws,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    /// Under the chaos layer, seen by a caller that repeats what fails temporarily.
    Chaos,
}

/// The machine's time, shifted by as much as a test wants.
#[derive(Debug, Default)]
pub(crate) struct Shifted {
    system: SystemClock,
    ahead: AtomicI64,
}

impl Shifted {
    pub(crate) fn advance(&self, by: Duration) {
        self.ahead.fetch_add(i64::try_from(by.as_millis()).expect("a test's time span"), Ordering::SeqCst);
    }
}

impl Clock for Shifted {
    fn now(&self) -> Millis {
        Millis(self.system.now().0 + self.ahead.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic() + Duration::from_millis(self.ahead.load(Ordering::SeqCst).unsigned_abs())
    }
}

/// A place for one store: a directory, or a table and queues of its own.
pub(crate) struct Backend {
    home: Home,
    weather: Weather,
    seed: u64,
    clock: Arc<Shifted>,
    dir: tempfile::TempDir,
    /// Name of the table, prefix of the queues.
    name: String,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weather {
            Weather::Fair => write!(f, "{:?}", self.home),
            Weather::Chaos => write!(f, "{:?} under chaos, TRUNKLINE_TEST_SEED={}", self.home, self.seed),
        }
    }
}

impl Backend {
    /// The seed follows from the test's name, unless `TRUNKLINE_TEST_SEED` says another one.
    pub(crate) fn new(home: Home, weather: Weather, test: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let given = env::var("TRUNKLINE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let of_name =
            || test.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()) % 1_000_003);
        Self {
            home,
            weather,
            seed: given.unwrap_or_else(of_name),
            clock: Arc::default(),
            dir: tempfile::tempdir().expect("a temporary directory"),
            name: format!("c{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst)),
        }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn clock(&self) -> Arc<Shifted> {
        Arc::clone(&self.clock)
    }

    pub(crate) fn can(&self) -> Can {
        let fair = self.weather == Weather::Fair;
        Can {
            whole_units: self.home == Home::Sqlite && fair,
            deliver_once: fair,
            exact_meter: fair,
            search_all: self.home == Home::Sqlite,
            turn_time: self.home == Home::Sqlite,
        }
    }

    /// Opens the store, the second time on what the first one has left.
    pub(crate) async fn open(&self, meter: &Arc<Meter>) -> (DynStore, DynQueues) {
        let (store, queues) = self.open_bare(meter).await;
        match self.weather {
            Weather::Fair => (store, queues),
            Weather::Chaos => {
                let chaos = Chaos::new(store, queues, Faults::clean(), self.seed);
                let caller = Arc::new(Retrying { store: chaos.clone(), queues: chaos });
                (caller.clone(), caller)
            }
        }
    }

    /// Without chaos, for tests that bring their own.
    pub(crate) async fn open_bare(&self, meter: &Arc<Meter>) -> (DynStore, DynQueues) {
        match self.home {
            Home::Sqlite => {
                let store = Sqlite::open(self.dir.path(), self.clock(), Arc::clone(meter)).expect("SQLite opens");
                (store.clone(), store)
            }
            Home::Aws => {
                let settings = Settings {
                    table: self.name.clone(),
                    queue_prefix: format!("{}-", self.name),
                    shards: 1,
                    emulator: Some(tokio::task::block_in_place(ministack::endpoint).to_owned()),
                };
                let store = Aws::connect(settings, self.clock(), Arc::clone(meter)).await.expect("AWS connects");
                store.create().await.expect("table and queues are made, or there already");
                (store.clone(), store)
            }
        }
    }
}
