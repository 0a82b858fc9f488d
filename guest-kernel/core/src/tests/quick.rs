//! Quick paths against the general ways: two kernels do the same, of which one never goes quick, and are
//! the same after every step.

use super::{
    Bench,
    hostile::{Source, act, crowd},
    interference::Stage,
};
use crate::memory::index::{TableIndex, ThreadIndex};
use protocol::introspection::record::{Event, Kind};
use zerocopy::IntoBytes;

/// Two kernels side by side.
trait Pair {
    fn kernels(&mut self) -> [&mut Bench; 2];
    fn step(&mut self, number: usize);
}

/// The records of a step, those of a resolved fault as the two that it stands for.
fn records(bench: &mut Bench) -> Vec<String> {
    let mut all = Vec::new();
    for traced in bench.events() {
        let split = match traced.event {
            Event::Resolve(resolve) => {
                let (map, resume) = resolve.split(traced.time);
                vec![map.into(), resume.into()]
            }
            event => vec![event],
        };
        all.extend(split.into_iter().map(|event| format!("{:?}", traced.with(event))));
    }
    bench.kernel.mappings.machine.records.clear();
    all
}

/// What is known of threads, but what their alarms cover, which only quick paths note.
fn without_cover(threads: &str) -> String {
    let parts = threads.split("alarm_covers: ");
    parts.map(|part| part.trim_start_matches(|digit: char| digit.is_ascii_digit())).collect()
}

/// All that the two kernels know is the same; `number` says how closely it is looked at.
pub fn compare([quick, slow]: [&mut Bench; 2], number: usize) {
    assert_eq!(records(quick), records(slow), "step {number}");
    let [one, two] = [&mut quick.kernel, &mut slow.kernel];
    let flushed = [&mut one.mappings.machine, &mut two.mappings.machine]
        .map(|machine| std::mem::take(&mut machine.flushed));
    assert_eq!(flushed[0], flushed[1], "step {number}");
    assert_eq!((one.current, one.faults), (two.current, two.faults), "step {number}");
    for thread in (0..one.threads.used()).map(ThreadIndex::from_position) {
        let [utcb, other] = [one.utcb(thread).as_bytes(), two.utcb(thread).as_bytes()];
        assert!(utcb == other, "step {number}: the message registers of {thread:?}");
    }
    if number.is_multiple_of(16) {
        let [threads, others] =
            [&one.threads, &two.threads].map(|threads| without_cover(&format!("{threads:?}")));
        assert!(threads == others, "step {number}:\n{threads}\n{others}");
        let [ready, others] = [&one.ready, &two.ready].map(|ready| format!("{ready:?}"));
        assert_eq!(ready, others, "step {number}");
    }
    if number.is_multiple_of(512) {
        assert!(one.mappings.machine.has_frames_of(&two.mappings.machine), "step {number}");
        let [tables, others] = [&one.mappings, &two.mappings]
            .map(|all| format!("{:?} {:?} {:?}", all.tasks, all.factories, all.walkers));
        assert_eq!(tables, others, "step {number}");
        let [lives, others] =
            [&one.mappings, &two.mappings].map(|all| format!("{:?}", all.lives.tables));
        assert_eq!(lives, others, "step {number}");
    }
}

/// Runs both. The quick one is quick now and then.
fn run(pair: &mut impl Pair, steps: usize) {
    pair.kernels()[1].kernel.mappings.machine.is_slow = true;
    for bench in pair.kernels() {
        bench.kernel.mappings.machine.has_stopped_clock = true;
        // Messages that are traced go no quick way.
        bench.kernel.mappings.machine.wanted_records = Kind::DEFAULT_ENABLED;
    }
    for number in 0..steps {
        pair.step(number);
        compare(pair.kernels(), number);
    }
    let quick_ways = pair.kernels().map(|bench| bench.kernel.mappings.machine.quick_ways);
    assert!(
        quick_ways[0] > steps / 1000,
        "only {} of {steps} steps went a quick way",
        quick_ways[0]
    );
    assert_eq!(quick_ways[1], 0);
}

struct Stages([Stage; 2]);

impl Pair for Stages {
    fn kernels(&mut self) -> [&mut Bench; 2] {
        let [one, two] = &mut self.0;
        [&mut one.bench, &mut two.bench]
    }

    fn step(&mut self, _number: usize) {
        for stage in &mut self.0 {
            stage.act();
        }
    }
}

#[test]
fn messages_go_the_quick_way_as_they_go_the_general_way() {
    for (servers, clients, seed) in [(1, 1, 1), (1, 3, 2), (2, 3, 3)] {
        let stages = [seed, seed].map(|seed| {
            let mut stage = Stage::new(servers, clients, seed);
            // The general way comes to preemption points that the quick one does not.
            stage.is_calm = true;
            stage
        });
        run(&mut Stages(stages), 20_000);
    }
}

struct Crowds {
    benches: [Bench; 2],
    sources: [Source; 2],
    is_traced: bool,
}

impl Pair for Crowds {
    fn kernels(&mut self) -> [&mut Bench; 2] {
        let [one, two] = &mut self.benches;
        [one, two]
    }

    fn step(&mut self, number: usize) {
        let is_restless = number.is_multiple_of(3);
        // What goes quick in the first one comes to no preemption point, and must come to none in the other.
        let mut goes_quick = false;
        for (bench, source) in self.benches.iter_mut().zip(&mut self.sources) {
            let machine = &mut bench.kernel.mappings.machine;
            machine.is_restless = is_restless && !goes_quick;
            machine.is_silent = !self.is_traced;
            let quick_ways = machine.quick_ways;
            act(bench, source);
            let machine = &mut bench.kernel.mappings.machine;
            goes_quick = machine.quick_ways != quick_ways;
            machine.is_restless = is_restless;
            // The general way takes some apart each time, the quick one does not.
            bench.drain();
            bench.kernel.mappings.machine.console.clear();
        }
    }
}

#[test]
fn whatever_tasks_do_the_quick_way_is_the_general_way() {
    for (seed, is_traced) in [(1, true), (2, false), (3, true), (4, false)] {
        let benches = [crowd(), crowd()];
        let sources = [seed, seed].map(Source::new);
        run(&mut Crowds { benches, sources, is_traced }, 100_000);
    }
}
