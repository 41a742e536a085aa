//! A model of the log protocol (protocol.md §2): owners that are killed, paused and overtaken, foreign appenders, answers that
//! get lost, jobs that come twice; in thousands of interleavings that follow from a seed.
//!
//! * [`schedule`]: who goes next, who dies, who sleeps.
//! * [`actors`]: what owners and foreign appenders do, over a [`place::Place`].
//! * [`memory`]: a conditional store in memory, with the protocol step by step, and with rules that a mutant can break.
//! * [`real`]: the same actors on a real store.
//! * [`check`]: what must hold afterwards.
//!
//! The mutants show that the check sees what each rule is for. A failure names its seed: `one(seed, rules)` repeats the run.

mod actors;
mod check;
mod memory;
mod place;
mod real;
mod schedule;

use std::rc::Rc;

use check::Violation;
use memory::{FenceCheck, Memory, Rules};
use schedule::Schedule;

/// Picks violations.
type Such = fn(&Violation) -> bool;

const RUNS: u64 = 4000;
/// Enough for each mutant to show itself many times.
const MUTANT_RUNS: u64 = 1000;

/// One run in memory; the violations that it has left.
fn one(seed: u64, rules: Rules) -> Vec<Violation> {
    use futures_util::FutureExt as _;
    let memory = Rc::new(Memory::new(rules, seed));
    let schedule = Schedule::new(seed, memory.pace());
    let run = async {
        let jobs = schedule.run(vec![memory.clone()]).await;
        check::violations(&jobs, &memory.entries(), Some(&memory.told()))
    };
    run.now_or_never().expect("nothing in memory waits for anything but its turn")
}

/// How many of the runs have such a violation, and the first of them.
fn broken(runs: u64, rules: Rules, such: Such) -> (usize, Option<(u64, Vec<Violation>)>) {
    let all = (0..runs).map(|seed| (seed, one(seed, rules)));
    let broken: Vec<_> = all.filter(|(_, violations)| violations.iter().any(such)).collect();
    (broken.len(), broken.into_iter().next())
}

#[test]
fn the_protocol_holds() {
    let (count, first) = broken(RUNS, Rules::default(), |_| true);
    assert!(count == 0, "in memory: {count} of {RUNS} runs are broken; the first is seed {first:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let memory = Rc::new(Memory::new(Rules::default(), seed));
        let schedule = Schedule::new(seed, memory.pace());
        futures_util::FutureExt::now_or_never(schedule.run(vec![memory.clone()])).expect("in memory");
        memory.entries()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

/// Each rule of the protocol, and what happens without it.
#[test]
fn every_mutant_is_caught() {
    let rules = Rules::default();
    let mutants: [(&str, Rules, Such); 5] = [
        ("no fence check", Rules { fence: FenceCheck::Never, ..rules }, |v| matches!(v, Violation::FenceFell { .. })),
        ("fence checked only on conflict", Rules { fence: FenceCheck::AfterConflict, ..rules }, |v| {
            matches!(v, Violation::FenceFell { .. })
        }),
        ("no look-up on redelivery", Rules { look_on_redelivery: false, ..rules }, |v| {
            matches!(v, Violation::Twice { .. })
        }),
        ("no look at what won the race for the place", Rules { look_after_lost_put: false, ..rules }, |v| {
            matches!(v, Violation::Twice { .. })
        }),
        ("acknowledged before it is done", Rules { acknowledge_early: true, ..rules }, |v| {
            matches!(v, Violation::Lost { .. })
        }),
    ];
    for (name, mutant, such) in mutants {
        let (count, _) = broken(MUTANT_RUNS, mutant, such);
        assert!(count >= 10, "mutant \"{name}\": caught in only {count} of {MUTANT_RUNS} runs");
    }
}
