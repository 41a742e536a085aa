//! Thousands of fleets in virtual time: the real lease and the real owner over a store in memory, while processes are killed,
//! paused and told to end, networks are cut, requests land late or twice, and clocks go at different rates. All of a run
//! follows from its seed.
//!
//! * [`exec`]: tasks in virtual time.
//! * [`world`]: the store, and the history that is checked while it is made.
//! * [`net`]: what happens to requests on their way.
//! * [`process`]: a worker process.
//! * [`rules`]: the rules that a mutant leaves out.
//! * [`run`]: one run, and what must hold in it.
//!
//! `TRUNKLINE_HISTORY_RUNS` makes it more runs. A failure names its seeds: `Lab::run` repeats a run.

mod exec;
mod net;
mod process;
mod rules;
mod run;
mod world;

use rules::Rules;
use run::{Kind, Lab};
use world::Violation;

const RUNS: u64 = 1600;
const MUTANT_RUNS: u64 = 100;

fn runs() -> u64 {
    std::env::var("TRUNKLINE_HISTORY_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS)
}

/// The runs that are broken, and how.
fn broken(seeds: impl Iterator<Item = u64>, kind: Kind, rules: Rules) -> Vec<(u64, Vec<Violation>)> {
    let lab = Lab::new();
    let all = seeds.map(|seed| (seed, lab.run(seed, kind, rules).violations));
    all.filter(|(_, violations)| !violations.is_empty()).collect()
}

fn holds(kind: Kind, seeds: std::ops::Range<u64>) {
    let count = seeds.end - seeds.start;
    let broken = broken(seeds, kind, Rules::default());
    assert!(broken.is_empty(), "{} of {count} runs are broken: {:?}", broken.len(), &broken[..broken.len().min(5)]);
}

/// In four parts, for machines with more than one core.
#[test]
fn no_history_has_a_lower_epoch_1() {
    holds(Kind::Wild, 0..runs() / 4);
}

#[test]
fn no_history_has_a_lower_epoch_2() {
    holds(Kind::Wild, runs() / 4..runs() / 2);
}

#[test]
fn no_history_has_a_lower_epoch_3() {
    holds(Kind::Wild, runs() / 2..runs() / 4 * 3);
}

/// One worker dies or sleeps, the others are well: its part has another owner within 15 s.
#[test]
fn a_dead_workers_part_is_taken_over_in_time() {
    holds(Kind::Single, runs() / 4 * 3..runs());
}

#[test]
fn the_same_seed_is_the_same_run() {
    let lab = Lab::new();
    let run = |seed| lab.run(seed, Kind::Wild, Rules::default()).writes;
    let all: Vec<u64> = (0..20).map(run).collect();
    assert_eq!(run(7), all[7]);
    assert_ne!(all[7], all[8]);
    let mean = all.iter().sum::<u64>() / 20;
    assert!(mean > 100, "hardly anything happens: {all:?}");
}

/// Each rule of the protocol, and what happens without it.
#[test]
fn every_mutant_is_caught() {
    let rules = Rules::default();
    type Noticed = fn(&Violation) -> bool;
    let mutants: [(&str, Rules, Noticed); 3] = [
        ("no deadline", Rules { deadline: false, ..rules }, |v| matches!(v, Violation::Double { .. })),
        ("the row stays", Rules { bury: false, ..rules }, |_| true),
        ("no fence", Rules { fence: false, ..rules }, |v| matches!(v, Violation::Lower { .. })),
    ];
    for (name, mutant, such) in mutants {
        let all = broken(0..MUTANT_RUNS, Kind::Wild, mutant);
        let caught = all.iter().filter(|(_, violations)| violations.iter().any(such)).count();
        assert!(caught >= 2, "mutant \"{name}\": caught in only {caught} of {MUTANT_RUNS} runs: {all:?}");
    }
}
