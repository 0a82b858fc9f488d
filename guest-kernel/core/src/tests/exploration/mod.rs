//! Every sequence of steps of a small machine up to some length: no luck is needed to find what needs
//! only few of them.
//!
//! There are three tasks with a thread each, two pages and two capabilities, all of which the first task
//! has at the beginning. A step is what one thread does until the kernel is left. Any thread that can run
//! may be the next one, as if time slices ended anywhere; it does any act of an [`alphabet`], or begins
//! again what it was interrupted in, and is left at any one of the preemption points that it comes to, or
//! at none of them. After every step all [`invariants`] hold, and what is calm is as specified.
//!
//! Breadth first: a state is gone on from once, when it is met first, so that a failure is reported with
//! the shortest way to it. States that differ in nothing that matters count as one
//! ([`invariants::fingerprint`]); only their fingerprints are kept, and the ways to those that are
//! to be gone on from, which are gone again.
//!
//! All acts together lead to so many states that few steps are possible. So there are three alphabets: one
//! for mappings and one for messages, each gone further into, and one with a little of everything.

mod alphabet;
mod ends;
mod invariants;
mod machine;
mod replies;
mod specified;

use super::algebra::Row;
use alphabet::{Act, EVERYTHING, MAPPINGS, MESSAGES};
use machine::{Machine, PLAYERS, Way};
use std::{
    collections::HashSet,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What one thread does until the kernel is left.
#[derive(Clone, Copy)]
struct Step {
    number: u16,
    /// `None`: it begins again what it was interrupted in.
    act: Option<Act>,
    way: Way,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, act, way } = self;
        match act {
            Some(act) => write!(f, "{number} {act:?}, {way:?}"),
            None => write!(f, "{number} goes on, {way:?}"),
        }
    }
}

/// All states that so many steps lead to.
struct Exploration {
    alphabet: &'static [Act],
    start: Machine,
    seen: HashSet<u64>,
    steps: u64,
    left: u64,
    specified: u64,
    /// Whether all objects end in every state, and what that came to.
    ends: Option<[u64; 2]>,
}

impl Exploration {
    fn new(alphabet: &'static [Act]) -> Self {
        let mut start = Machine::new();
        start.hands_on = alphabet.iter().any(|act| matches!(act, Act::SetAside { .. }));
        Self { alphabet, start, seen: HashSet::new(), steps: 0, left: 0, specified: 0, ends: None }
    }

    /// The state that some steps lead to, which were checked before.
    fn state_after(&self, way: &[Step]) -> Machine {
        let mut machine = self.start.clone();
        for step in way {
            take(&mut machine, *step);
            let rows = invariants::rows(&machine).expect("checked before");
            machine.conclude(&rows).expect("checked before");
        }
        machine
    }

    fn explore(&mut self, depth: usize) {
        let mut frontier: Vec<Vec<Step>> = vec![Vec::new()];
        for level in 1..=depth {
            let mut next = Vec::new();
            for way in &frontier {
                let machine = self.state_after(way);
                let rows = invariants::rows(&machine).expect("checked before");
                for number in (0..PLAYERS).filter(|number| machine.is_ready(*number)) {
                    for act in self.acts(&machine, number, &rows) {
                        let new = self.expand(way, &machine, &rows, (number, act));
                        let is_last = level == depth;
                        next.extend(new.into_iter().filter(|_| !is_last).map(|step| {
                            let mut way = way.clone();
                            way.push(step);
                            way
                        }));
                    }
                }
            }
            frontier = next;
            println!("{level} steps: {} states, {} ways to go", self.seen.len(), self.steps);
        }
    }

    /// What a thread can do.
    fn acts(&self, machine: &Machine, number: u16, rows: &[Row]) -> Vec<Option<Act>> {
        if machine.is_restarted(number) {
            return vec![None];
        }
        let can = |act: &Act| !machine.is_idle(number, *act, rows);
        self.alphabet.iter().copied().filter(can).map(Some).collect()
    }

    /// Does one thing in all ways that there are. Returns those that lead to new states.
    fn expand(
        &mut self,
        way: &[Step],
        machine: &Machine,
        rows: &[Row],
        (number, act): (u16, Option<Act>),
    ) -> Vec<Step> {
        let mut new = Vec::new();
        let mut go = |exploration: &mut Self, how: Way| {
            let step = Step { number, act, way: how };
            let (fingerprint, points) = exploration.check(way, machine, rows, step);
            if exploration.seen.insert(fingerprint) {
                exploration.check_ends(way, machine, step);
                new.push(step);
            }
            (fingerprint, points)
        };
        let (calm, points) = go(self, Way::Calm);
        let (quick, _) = go(self, Way::Quick);
        if calm != quick && points == 0 {
            panic!("{number} {act:?} after {way:#?}: the quick way leads elsewhere");
        }
        for passed in 0..points {
            self.left += 1;
            go(self, Way::Left(passed as u8));
        }
        new
    }

    /// Whatever ends in a new state, the rest of the machine is sound.
    fn check_ends(&mut self, way: &[Step], before: &Machine, step: Step) {
        let Some(ended) = &mut self.ends else { return };
        let mut machine = before.clone();
        take(&mut machine, step);
        let result = catch_unwind(AssertUnwindSafe(|| ends::check(&machine)));
        let result = result.unwrap_or_else(|_| Err("the kernel panicked".to_owned()));
        let [objects, pieces] = result.unwrap_or_else(|why: String| {
            panic!("after {step:?} after {way:#?}: {why}");
        });
        *ended = [ended[0] + objects, ended[1] + pieces];
    }

    /// Takes a step and checks everything.
    fn check(&mut self, way: &[Step], before: &Machine, rows: &[Row], step: Step) -> (u64, u64) {
        self.steps += 1;
        let mut machine = before.clone();
        let result = catch_unwind(AssertUnwindSafe(|| {
            let points = take(&mut machine, step);
            let after = invariants::rows(&machine)?;
            invariants::check_flushes(&machine, rows, &after)?;
            machine.conclude(&after)?;
            invariants::check_threads(&mut machine)?;
            let is_whole = !machine.is_restarted(step.number);
            let is_specified =
                is_whole && specified::check(before, step.number, step.act, rows, &after)?;
            Ok((points, after, is_specified))
        }));
        let result = result.unwrap_or_else(|_| Err("the kernel panicked".to_owned()));
        let (points, rows, is_specified) = result.unwrap_or_else(|why: String| {
            panic!("{step:?} after {way:#?}: {why}");
        });
        self.specified += u64::from(is_specified);
        let fingerprint = invariants::fingerprint(&mut machine, &rows);
        (fingerprint, points)
    }
}

/// Takes a step. Returns how many preemption points there were.
fn take(machine: &mut Machine, step: Step) -> u64 {
    if let Some(act) = step.act {
        machine.begin(step.number, act);
    }
    machine.go(step.number, step.way)
}

/// Explores so many steps, fewer with 32-bit words. It is worth something only with so many states.
fn expect_states(alphabet: &'static [Act], steps: [usize; 2], states: [usize; 2]) {
    let narrow = usize::from(cfg!(target_pointer_width = "32"));
    let mut exploration = Exploration::new(alphabet);
    exploration.explore(steps[narrow]);
    let found = exploration.seen.len();
    assert!(found >= states[narrow], "only {found} states");
    assert!(exploration.left > found as u64 / 10, "left midway {} times", exploration.left);
    let Exploration { left, specified, .. } = exploration;
    println!("{found} states, {left} times left midway, {specified} times as specified");
}

#[test]
fn every_sequence_of_maps_grants_and_unmaps() {
    expect_states(MAPPINGS, [5, 4], [390_000, 40_000]);
}

#[test]
fn every_sequence_of_messages() {
    expect_states(MESSAGES, [10, 7], [120_000, 26_000]);
}

#[test]
fn every_sequence_of_a_little_of_everything() {
    expect_states(EVERYTHING, [6, 5], [105_000, 31_000]);
}

/// In each of the states that a few messages lead to.
#[test]
fn every_object_ends_in_every_state() {
    let mut exploration = Exploration::new(MESSAGES);
    exploration.ends = Some([0, 0]);
    exploration.explore(3);
    let (states, [objects, pieces]) = (exploration.seen.len(), exploration.ends.unwrap_or([0, 0]));
    println!("{states} states, {objects} ends in {pieces} pieces");
    assert!(states > 100 && objects > 10 * states as u64 && pieces > 2 * objects);
}

/// While others do anything between two pieces of it.
#[test]
fn every_object_ends_whatever_is_done_meanwhile() {
    let [objects, acts] =
        ends::check_with_others(&Machine::new(), EVERYTHING).unwrap_or_else(|why| panic!("{why}"));
    println!("{objects} ends, {acts} acts between their pieces");
    assert!(objects > 10 && acts > 100 * objects);
}
