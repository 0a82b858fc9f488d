//! Several threads map, grant and unmap at the same time, interrupted at every preemption point.
//!
//! What they come to depends on who overtakes whom, so there is no specification to compare with; but
//! at each moment the database is sound.

use super::{
    Check, Reader, Seen, Spot, forest,
    operation::{Operation, TASKS},
    same,
    specification::units,
};
use crate::{
    mapping::capability::Object,
    memory::index::{TableIndex, TaskIndex, ThreadIndex},
    tests::{Bench, random::Random},
    threads::state::State,
};
use protocol::{
    Word,
    flexpage::Flexpage,
    introspection::mapping::Resource,
    message::MessageTag,
    object::{CapabilityIndex, label},
    operation::{Operation as _, task},
    syscall::Operation as SystemCall,
};
use std::collections::BTreeSet;

/// System calls of one run, those that go on counted each time; and runs.
const CALLS: u64 = 1500;
const RUNS: u64 = 30;

/// Where each task has capabilities to all tasks.
const FIRST_TASK: Word = 32;

/// Where a thread is before a system call; one that is to be restarted is further back after it.
const START: Word = 0x40_0100;

/// A thread, and the system call that it is in.
pub struct Actor {
    pub thread: u16,
    pub task: u16,
    under_way: Option<(CapabilityIndex, MessageTag)>,
}

/// Three tasks with a thread each, of the same priority.
pub struct Storm {
    pub bench: Bench,
    pub actors: Vec<Actor>,
    pub random: Random,
    pub seen: Seen,
    /// The task that is about to end.
    dying: Option<u16>,
}

impl Storm {
    pub fn new(seed: u64) -> Self {
        let mut bench = Bench::new();
        bench.kernel.mappings.machine.is_restless = true;
        // sigma0 and the root task wait.
        for _ in 0..2 {
            bench.call(SystemCall::WAIT, CapabilityIndex::NIL, MessageTag(0));
        }
        let (random, seen) = (Random::new(seed), Seen::default());
        let mut storm = Self { bench, actors: Vec::new(), random, seen, dying: None };
        for _ in 2..TASKS {
            storm.add_actor();
        }
        storm
    }

    /// Adds a task with a thread. Returns the task's number.
    pub fn add_actor(&mut self) -> u16 {
        let thread = self.bench.spawn(1, 100);
        let own = self.bench.task_of(thread);
        for number in 0..self.bench.kernel.mappings.tasks.used().min(TASKS) {
            self.bench.give_root(own, index_of(number), Object::Task(number_of(number)));
        }
        let new = index_of(own.position());
        for other in self.actors.iter().map(|actor| number_of(actor.task)) {
            let mappings = &mut self.bench.kernel.mappings;
            if mappings.tasks[other].capabilities.is_free(&mut mappings.machine, new) {
                self.bench.give_root(other, new, Object::Task(own));
            }
        }
        // What this is about is the database.
        self.bench.kernel.mappings.lives.forget_roots();
        self.actors.push(Actor { thread, task: own.position(), under_way: None });
        self.dying = None;
        own.position()
    }

    /// The thread of a task never runs again, and nobody does anything with the task any more.
    pub fn stop_actor(&mut self, number: usize) -> Actor {
        let actor = self.actors.swap_remove(number);
        self.dying = Some(actor.task);
        let Self { bench, actors, .. } = self;
        let kernel = &mut bench.kernel;
        let thread = ThreadIndex::from_position(actor.thread);
        kernel.abandon(thread);
        if kernel.current == thread.into() {
            kernel.schedule();
        } else {
            kernel.ready.remove(&mut kernel.threads, thread);
        }
        kernel.threads[thread].enter(State::Stopped);
        let named = CapabilityIndex(FIRST_TASK + Word::from(actor.task));
        for other in actors.iter_mut() {
            if other.under_way.take_if(|(index, _)| *index == named).is_some() {
                kernel.abandon(ThreadIndex::from_position(other.thread));
            }
        }
        actor
    }

    /// The thread that runs begins an operation, or goes on with its own.
    pub fn step(&mut self) -> Check {
        let current = self.bench.current();
        let actor = self.actors.iter().position(|actor| actor.thread == current);
        let actor = actor.ok_or_else(|| format!("thread {current} runs"))?;
        let (index, tag) = match self.actors[actor].under_way {
            Some(call) => call,
            None => self.begin(actor),
        };
        self.bench.thread(current).context.set_pointers(START, 0);
        self.bench.call(SystemCall::CALL, index, tag);
        let is_restarted = self.bench.thread(current).context.instruction() != START;
        self.actors[actor].under_way = is_restarted.then_some((index, tag));
        self.seen.operations += 1;
        self.seen.restarts += usize::from(is_restarted);
        self.bench.kernel.mappings.machine.records.clear();
        self.bench.kernel.mappings.machine.flushed.clear();
        if self.random.next().is_multiple_of(4) {
            self.bench.kernel.timer_tick();
        }
        Ok(())
    }

    /// Writes the next operation into the thread's message. What sigma0 does is done at once.
    fn begin(&mut self, actor: usize) -> (CapabilityIndex, MessageTag) {
        let Actor { thread, .. } = self.actors[actor];
        loop {
            let operation = Operation::from_seed(self.random.next(), true);
            if self.dying.is_some_and(|dying| operation.names(dying)) {
                continue;
            }
            let (task, message) = match operation {
                Operation::Map { from: 0, to, item, window } if is_page_or_port(item.flexpage) => {
                    self.without_interruption(|bench| {
                        let tasks = [0, to].map(TaskIndex::from_position);
                        bench.map_item(tasks[0], tasks[1], item, window);
                    });
                    continue;
                }
                Operation::Map { from: 1.., to, item, .. } if is_page_or_port(item.flexpage) => {
                    let [base, flexpage] = item.to_words();
                    self.seen.mapped += 1;
                    self.seen.granted += usize::from(item.grant);
                    (to, vec![task::Map::NUMBER, base, flexpage])
                }
                Operation::Unmap { task, taken, flexpages }
                    if flexpages.iter().copied().all(is_page_or_port) =>
                {
                    self.seen.unmapped += 1;
                    let words = flexpages.iter().map(|flexpage| flexpage.0);
                    let head = [task::Unmap::NUMBER, taken, flexpages.len()];
                    (task, head.into_iter().chain(words).collect())
                }
                _ => continue,
            };
            self.bench.message(thread)[..message.len()].copy_from_slice(&message);
            let index = CapabilityIndex(FIRST_TASK + Word::from(task));
            return (index, MessageTag::new(label::TASK, message.len(), 0));
        }
    }

    fn without_interruption(&mut self, act: impl FnOnce(&mut Bench)) {
        let steps = std::mem::replace(&mut self.bench.kernel.mappings.stretch.steps, u32::MAX);
        act(&mut self.bench);
        self.bench.kernel.mappings.stretch.steps = steps;
    }

    /// What is true whoever is in the middle of something.
    pub fn check(&mut self) -> Check {
        let is_interrupted = self.bench.kernel.mappings.interrupted_walks != 0;
        let reader = Reader::new(&self.bench);
        let spots: Vec<Spot> = (0..self.bench.kernel.mappings.tasks.used())
            .flat_map(|task| reader.spots(task))
            .collect();
        let is_root = |spot: &Spot| {
            reader.found(*spot).is_some_and(|found| reader.node(found.node).depth == 0)
        };
        let roots = spots.iter().copied().filter(is_root);
        let found = forest(&reader, roots, is_interrupted)?;
        // Every entry is in one of the trees, and no node is anywhere else.
        let rows: BTreeSet<_> = found.iter().map(|row| row.spot).collect();
        same("entries", rows, spots.into_iter().collect())?;
        let nodes = found.len() + 1 + self.bench.living_threads();
        same("nodes", reader.count_nodes()? as usize, nodes)
    }

    fn run(&mut self) -> Check {
        for call in 0..CALLS {
            self.step()?;
            if call % 4 == 0 {
                self.check()?;
            }
        }
        while self.actors.iter().any(|actor| actor.under_way.is_some()) {
            self.step()?;
        }
        self.check()
    }
}

fn is_page_or_port(flexpage: Flexpage) -> bool {
    units(flexpage).is_none_or(|(resource, ..)| resource != Resource::Capability)
}

#[test]
fn interleaved_operations_leave_the_database_sound() {
    let mut total = Seen::default();
    for seed in 0..RUNS {
        let mut storm = Storm::new(seed);
        if let Err(why) = storm.run() {
            panic!("run {seed}, call {}: {why}", storm.seen.operations);
        }
        total.add(&storm.seen);
    }
    for often in [total.mapped, total.granted, total.unmapped, total.restarts] {
        assert!(often > 1000, "{total:?}");
    }
}

fn number_of(task: u16) -> TaskIndex {
    TaskIndex::from_position(task)
}

/// Where everybody has a capability to a task.
fn index_of(task: u16) -> CapabilityIndex {
    CapabilityIndex(FIRST_TASK + Word::from(task))
}
