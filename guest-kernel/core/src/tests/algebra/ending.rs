//! Tasks end, interrupted at every preemption point: all that they had goes, as if it had been unmapped, and all
//! that they were made of comes back.

use super::{
    Check, Laboratory, OPERATIONS, QUOTAS, Reader, forest,
    interleaved::Storm,
    operation::{Operation, TASKS},
    same,
    specification::Spot,
};
use crate::{
    mapping::{database::NODES_PER_PAIR, stretch::Preempted},
    memory::{
        frames::PAIR_SIZE,
        index::{FactoryIndex, TableIndex, TaskIndex, ThreadIndex},
    },
    tests::Bench,
    threads::undertaking::walker,
};

/// Operations before a task ends, and how often that is tried.
const BEFORE: u64 = OPERATIONS / 10;
const RUNS: u64 = 200;

/// Goes on with the end of a task until the next preemption point.
fn go_on(bench: &mut Bench, thread: u16, task: TaskIndex) -> Result<(), Preempted> {
    let mappings = &mut bench.kernel.mappings;
    mappings.stretch.begin(&mut mappings.machine);
    let walker = walker(ThreadIndex::from_position(thread));
    let done = mappings.empty_task(walker, task);
    mappings.stretch.end(&mut mappings.machine, done.is_err());
    mappings.stretch.take_tick();
    done
}

/// What a factory has spent on frames that are not of nodes.
fn spent_on_tables(bench: &Bench, factory: FactoryIndex) -> u64 {
    let record = bench.kernel.mappings.factories[factory].record;
    record.used - u64::from(record.nodes / NODES_PER_PAIR) * PAIR_SIZE
}

impl Laboratory {
    fn end(&mut self, number: u16) -> Check {
        let task = TaskIndex::from_position(number);
        let factory = self.bench.kernel.mappings.tasks[task].factory;
        let mut preempted = 0;
        while go_on(&mut self.bench, self.supervisor, task).is_err() {
            preempted += 1;
            if preempted > 10_000 {
                return Err("it never ends".to_owned());
            }
            forest(&Reader::new(&self.bench), self.roots(), true)?;
        }
        self.seen.restarts += preempted;
        let of_task = |spot: &&Spot| spot.task == number;
        let own: Vec<_> = self.world.mappings.keys().filter(of_task).copied().collect();
        for spot in own {
            if let Some((_, mapping)) = self.world.at(spot) {
                let family = self.world.family(mapping.id);
                self.world.remove(&family);
            }
        }
        let kernel = &mut self.bench.kernel;
        let space = kernel.mappings.tasks[task].space.root();
        same("the space left", kernel.mappings.machine.left_spaces.last(), Some(&space))?;
        kernel.mappings.tasks.remove(task);
        self.before.retain(|spot| spot.task != number);
        self.bench.kernel.mappings.machine.flushed.clear();
        self.check_everything()?;
        if usize::from(number) - 2 < QUOTAS.len() {
            let kernel = &self.bench.kernel;
            let prices =
                kernel.mappings.tasks.price() + kernel.threads.price() + kernel.gates.price();
            same("what is paid", spent_on_tables(&self.bench, factory), prices)?;
        }
        Ok(())
    }
}

#[test]
fn what_a_task_had_goes_and_what_it_was_made_of_comes_back() {
    let mut restarts = 0;
    for run in 0..RUNS {
        let mut laboratory = Laboratory::new();
        let seeds = (0..BEFORE).map(|step| run * OPERATIONS + step);
        for seed in seeds {
            let operation = Operation::from_seed(seed, run % 4 != 0);
            if let Err(why) = laboratory.perform(&operation) {
                panic!("run {run}, {operation:?}: {why}");
            }
        }
        for number in (2..TASKS).map(|number| 2 + (number + run as u16) % (TASKS - 2)) {
            if let Err(why) = laboratory.end(number) {
                panic!("run {run}, the end of task {number}: {why}");
            }
        }
        restarts += laboratory.seen.restarts;
    }
    assert!(restarts > 10_000, "{restarts}");
}

/// Tasks that end in one storm; storms.
const ENDS: u16 = 12;
const STORMS: u64 = 12;

/// Lets the others act while a task ends, and gives its place to another one.
fn end_one(storm: &mut Storm) -> Check {
    let number = storm.random.next() as usize % storm.actors.len();
    let actor = storm.stop_actor(number);
    let task = TaskIndex::from_position(actor.task);
    let left = |storm: &Storm| {
        let (pool, factory) = (&storm.bench.kernel.mappings.pool, FactoryIndex::from_position(0));
        pool.left() + storm.bench.kernel.mappings.factories[factory].record.used
    };
    let before = left(storm);
    while go_on(&mut storm.bench, actor.thread, task).is_err() {
        storm.seen.restarts += 1;
        storm.check()?;
        for _ in 0..storm.random.next() % 4 {
            storm.step()?;
            storm.check()?;
        }
    }
    let mappings = &mut storm.bench.kernel.mappings;
    let root = mappings.tasks[task].space.root();
    mappings.tasks.remove(task);
    same("memory", left(storm), before)?;
    storm.check()?;
    // Whatever was of it is zero, and can be used.
    let successor = storm.add_actor();
    same("the place", successor, actor.task)?;
    let generation = storm.bench.kernel.mappings.tasks[task].record.generation;
    let is_new = generation > 1 && storm.bench.kernel.mappings.machine.left_spaces.contains(&root);
    same("whether it is another one", is_new, true)?;
    storm.check()
}

#[test]
fn others_go_on_while_a_task_ends() {
    let (mut restarts, mut unmapped) = (0, 0);
    for seed in 0..STORMS {
        let mut storm = Storm::new(seed);
        for end in 0..ENDS {
            let ended = (0..100).try_for_each(|_| storm.step()).and_then(|()| end_one(&mut storm));
            if let Err(why) = ended {
                panic!("storm {seed}, end {end}: {why}");
            }
        }
        restarts += storm.seen.restarts;
        unmapped += storm.seen.unmapped;
    }
    assert!(restarts > 5000 && unmapped > 1000, "{restarts} {unmapped}");
}
