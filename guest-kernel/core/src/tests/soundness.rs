//! What is true of objects whenever the kernel is left: nothing leads to one that is gone, and each is where
//! its life says.

use super::{
    Bench,
    algebra::{Check, same},
};
use crate::{
    mapping::{capability::Object, life::Mortal},
    memory::{
        chain::{Chain, Linked},
        index::{
            FactoryIndex, GateIndex, InterruptIndex, Storage, Table, TableIndex, TaskIndex,
            ThreadIndex,
        },
        node::MaybeNode,
    },
    threads::{
        gate::GateChain,
        state::Question,
        thread::ThreadChain,
        undertaking::{Operation, walker},
    },
};
use protocol::{
    introspection::{
        ALIVE, NOBODY, ThreadState,
        mapping::{CapabilitySlot, InterruptRecord, LifeState, MappingNode, Resource},
    },
    object::{CAPABILITY_TABLE_SIZE, CapabilityIndex},
    syscall::{Limit, Timeouts},
};
use std::collections::BTreeSet;

/// Which objects there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Census {
    pub gates: BTreeSet<u16>,
    pub threads: BTreeSet<u16>,
    pub tasks: BTreeSet<u16>,
    pub factories: BTreeSet<u16>,
    pub interrupts: BTreeSet<u16>,
}

impl Census {
    pub fn of(bench: &Bench) -> Self {
        let kernel = &bench.kernel;
        let gates = (0..kernel.gates.used()).filter(|number| {
            kernel.gates[GateIndex::from_position(*number)].record.state == ALIVE as u16
        });
        let threads = (0..kernel.threads.used()).filter(|number| {
            !kernel.threads[ThreadIndex::from_position(*number)].is(ThreadState::Unused)
        });
        let tasks = (0..kernel.mappings.tasks.used()).filter(|number| {
            kernel.mappings.tasks[TaskIndex::from_position(*number)].record.state == ALIVE
        });
        let factories = (0..kernel.mappings.factories.used()).filter(|number| {
            let factory = &kernel.mappings.factories[FactoryIndex::from_position(*number)];
            factory.record.state == ALIVE as u16
        });
        let interrupts =
            InterruptIndex::all().filter(|interrupt| kernel.interrupts[*interrupt].exists());
        Self {
            gates: gates.collect(),
            threads: threads.collect(),
            tasks: tasks.collect(),
            factories: factories.collect(),
            interrupts: interrupts.map(TableIndex::position).collect(),
        }
    }

    pub fn has(&self, object: Mortal) -> bool {
        match object {
            Mortal::Gate(gate) => self.gates.contains(&gate.position()),
            Mortal::Thread(thread) | Mortal::Reply(thread) => {
                self.threads.contains(&thread.position())
            }
            Mortal::Task(task) => self.tasks.contains(&task.position()),
            Mortal::Factory(factory) => self.factories.contains(&factory.position()),
            Mortal::Interrupt(interrupt) => self.interrupts.contains(&interrupt.position()),
        }
    }

    pub fn all(&self) -> Vec<Mortal> {
        let gates = self.gates.iter().map(|gate| Mortal::Gate(GateIndex::from_position(*gate)));
        let threads =
            self.threads.iter().map(|thread| Mortal::Thread(ThreadIndex::from_position(*thread)));
        let tasks = self.tasks.iter().map(|task| Mortal::Task(TaskIndex::from_position(*task)));
        let factories = self
            .factories
            .iter()
            .map(|factory| Mortal::Factory(FactoryIndex::from_position(*factory)));
        let interrupts = self
            .interrupts
            .iter()
            .map(|interrupt| Mortal::Interrupt(InterruptIndex::from_position(*interrupt)));
        gates.chain(threads).chain(tasks).chain(factories).chain(interrupts).collect()
    }
}

/// Whose capabilities end objects, and which objects there are.
pub fn check(bench: &mut Bench) -> Check {
    let census = Census::of(bench);
    check_lives(bench, &census)?;
    check_capabilities(bench, &census)?;
    check_gates(bench, &census)?;
    check_interrupts(bench, &census)?;
    check_time(bench, &census)?;
    for number in &census.threads {
        check_thread(bench, &census, ThreadIndex::from_position(*number))?;
    }
    for number in &census.tasks {
        let task = TaskIndex::from_position(*number);
        let found = members(
            &bench.kernel.threads,
            bench.kernel.mappings.tasks[task].threads,
            ThreadChain::InTask,
        );
        let wanted = census.threads.iter().copied().filter(|thread| {
            bench.kernel.threads[ThreadIndex::from_position(*thread)].bound_task() == Some(task)
        });
        same("threads of a task", found, wanted.collect())?;
        let factory = bench.kernel.mappings.tasks[task].factory;
        same("the factory of a task", census.has(Mortal::Factory(factory)), true)?;
    }
    let kernel = &bench.kernel;
    for number in (0..kernel.threads.used()).filter(|number| !census.threads.contains(number)) {
        let thread = ThreadIndex::from_position(number);
        let walk = kernel.mappings.walkers[walker(thread)].walk;
        same("the walk of a thread that is gone", walk.is_none(), true)?;
        same("whether a thread that is gone runs", kernel.current == thread.into(), false)?;
    }
    for number in 0..kernel.threads.used() {
        let thread = ThreadIndex::from_position(number);
        if kernel.threads[thread].undertaking.is_none() {
            let walker = &kernel.mappings.walkers[walker(thread)];
            same("what a thread has begun that is in nothing", walker.is_nowhere(), true)?;
        }
    }
    Ok(())
}

/// Whoever waits with a limit has an alarm in time, and the timer comes for the first of them.
fn check_time(bench: &Bench, census: &Census) -> Check {
    let timing = &bench.kernel.timing;
    same("what is wrong with the alarms", timing.alarms.defect(), None)?;
    let alarms = timing.alarms.all();
    for number in &census.threads {
        let index = ThreadIndex::from_position(*number);
        let thread = &bench.kernel.threads[index];
        let covered = Timeouts(thread.alarm_covers as usize);
        if covered != Timeouts::NEVER {
            let Some(Limit::Within(time)) = covered.receive().limit() else {
                return Err(format!("{covered:?} cannot be covered"));
            };
            let latest = bench.kernel.now().saturating_add(time);
            let is_covered = timing.alarms.covers(index, latest) && covered.is_valid();
            same("whether what is covered by an alarm is", is_covered, true)?;
        }
        let Some(deadline) = bench.kernel.deadline_of(index) else { continue };
        let is_call = thread.state().waits_with() == Some(Question::Call);
        same("whether a thread with a limit waits in a system call", is_call, true)?;
        let is_woken = alarms.iter().any(|(due, whose)| *whose == index && *due <= deadline);
        same("whether a thread with a limit has an alarm", is_woken, true)?;
    }
    let others_are_ready = bench.kernel.ready.has_at_least(0);
    if bench.kernel.current.get().is_some() && others_are_ready {
        same("whether a turn ends that others wait for", timing.turn_ends().is_some(), true)?;
    }
    let first = timing.alarms.first().map_or(u64::MAX, |(due, _)| due);
    let first = first.min(timing.turn_ends().unwrap_or(u64::MAX));
    same("whether the timer comes in time", timing.timer().unwrap_or(u64::MAX) <= first, true)
}

/// Those in a chain, whose links are sound.
fn members<I: TableIndex, S: Storage + Clone, K: Copy>(
    table: &Table<I, S>,
    chain: Chain<I>,
    kind: K,
) -> BTreeSet<u16>
where
    S::Object: Linked<K>,
    Table<I, S>: Clone,
{
    let (mut table, mut chain) = (table.clone(), chain);
    let mut found = BTreeSet::new();
    while let Some(first) = chain.first() {
        assert!(found.insert(first.position()), "a chain is a circle");
        chain.remove(&mut table, kind, first);
    }
    found
}

fn check_lives(bench: &mut Bench, census: &Census) -> Check {
    let is_due = bench.kernel.is_due();
    for object in census.all() {
        let life = *bench.kernel.mappings.lives.of(object);
        let state = life.record().state;
        let is_dying = state == LifeState::Dying as u16;
        if state == LifeState::None as u16 || (is_dying && !is_due) {
            return Err(format!("{object:?} exists: {life:?}"));
        }
        if let Some(root) = life.root() {
            let machine = &mut bench.kernel.mappings.machine;
            let MappingNode { task, place, depth, .. } =
                *crate::memory::machine::Memory::node(machine, root);
            same(
                &format!("the resource of the root of {object:?}"),
                place.resource(),
                Resource::Capability,
            )?;
            same("the depth of a root", depth, 0)?;
            let slot = bench.slot(TaskIndex::from_position(task), place.number());
            same("what a root is of", slot.and_then(Object::mortal), Some(object))?;
        }
        if let Some(factory) = life.factory() {
            same("whether who has made it is there", census.has(Mortal::Factory(factory)), true)?;
        }
    }
    check_due(bench, census)?;
    for number in &census.factories {
        let factory = FactoryIndex::from_position(*number);
        let mut made = BTreeSet::new();
        let mut next = bench.kernel.mappings.first_made(factory);
        let mut previous = 0;
        while let Some(object) = next {
            let record = *bench.kernel.mappings.lives.of(object).record();
            same("the way back among those that were made", record.previous, previous)?;
            same("who has made it", record.factory, *number)?;
            same("whether it exists", census.has(object), true)?;
            let (kind, index) = object.kind();
            previous = CapabilitySlot::new(kind, 0, index).0;
            assert!(made.insert(previous), "those that were made stand in a circle");
            next = bench.kernel.mappings.lives.next_made(object);
        }
        let wanted = census
            .all()
            .into_iter()
            .filter(|object| bench.kernel.mappings.lives.of(*object).factory() == Some(factory));
        same("how many were made", made.len(), wanted.count())?;
    }
    Ok(())
}

/// Whatever is due stands in its list once, and those that are dying in the order of their turns.
fn check_due(bench: &Bench, census: &Census) -> Check {
    let lives = &bench.kernel.mappings.lives;
    let [dying, unheld] = lives.all_due()?;
    let replies = census.threads.iter().map(|thread| {
        let thread = ThreadIndex::from_position(*thread);
        Mortal::Reply(thread)
    });
    let all: Vec<Mortal> = census.all().into_iter().chain(replies).collect();
    for (list, state) in [(&dying, LifeState::Dying), (&unheld, LifeState::Unheld)] {
        let is_due = |object: &&Mortal| lives.of(**object).record().state == state as u16;
        same("how many are due", list.len(), all.iter().filter(is_due).count())?;
    }
    let in_order = dying.is_sorted_by(|(_, turn), (_, next)| turn <= next);
    same("whether each comes in its turn", in_order, true)
}

/// Nobody has a capability to an object that is gone.
fn check_capabilities(bench: &mut Bench, census: &Census) -> Check {
    for number in &census.tasks {
        let task = TaskIndex::from_position(*number);
        for index in 0..CAPABILITY_TABLE_SIZE {
            if bench.kernel.mappings.tasks[task].capabilities.spot(CapabilityIndex(index)).is_none()
            {
                continue;
            }
            if let Some(object) = bench.slot(task, index as u32).and_then(Object::mortal)
                && !census.has(object)
            {
                return Err(format!("{task:?} has a capability to {object:?}, which is gone"));
            }
        }
    }
    Ok(())
}

fn check_gates(bench: &Bench, census: &Census) -> Check {
    let kernel = &bench.kernel;
    for number in &census.gates {
        let index = GateIndex::from_position(*number);
        let gate = &kernel.gates[index];
        if let Some(thread) = gate.receiver() {
            same("whether a gate's thread exists", census.has(Mortal::Thread(thread)), true)?;
            let all = members(&kernel.gates, kernel.threads[thread].gates, GateChain::OfThread);
            same("whether a gate is one of its thread's", all.contains(number), true)?;
        }
        same("news without a thread", gate.is_news() && gate.receiver().is_none(), false)?;
        let found = members(&kernel.threads, gate.waiting, ThreadChain::AtGate);
        let wanted = census.threads.iter().copied().filter(|thread| {
            let thread = &kernel.threads[ThreadIndex::from_position(*thread)];
            thread.gate() == index.into()
        });
        same("who waits at a gate", found, wanted.collect())?;
    }
    Ok(())
}

/// An interrupt and its gate know each other, and it comes only if it may.
fn check_interrupts(bench: &Bench, census: &Census) -> Check {
    let kernel = &bench.kernel;
    for index in InterruptIndex::all() {
        let interrupt = &kernel.interrupts[index];
        let is_open = interrupt.is(InterruptRecord::OPEN);
        let may_come = kernel.mappings.machine.open_interrupts.contains(&index.position());
        same("whether an interrupt may come", may_come, is_open)?;
        if !interrupt.exists() {
            same("what is known of one that is none", interrupt.record.flags, 0)?;
            same("the gate of one that is none", interrupt.gate(), None)?;
        }
        same(
            "whether it was missed while it was open",
            is_open && interrupt.is(InterruptRecord::MISSED),
            false,
        )?;
        let Some(gate) = interrupt.gate() else { continue };
        same("whether its gate exists", census.has(Mortal::Gate(gate)), true)?;
        same("the interrupt of its gate", kernel.gates[gate].interrupt, index.into())?;
        let receiver = kernel.gates[gate].receiver();
        let is_pending = interrupt.is(InterruptRecord::PENDING) && receiver.is_some();
        same("whether it is to be told", kernel.gates[gate].is_interrupted, is_pending)?;
        let waits = receiver.is_some_and(|thread| kernel.threads[thread].accepts_all());
        same("whether somebody waits who is not told", is_pending && waits, false)?;
    }
    for number in &census.gates {
        let gate = &kernel.gates[GateIndex::from_position(*number)];
        if let Some(index) = gate.interrupt.get() {
            let bound = kernel.interrupts[index].gate();
            same("the gate of its interrupt", bound, Some(GateIndex::from_position(*number)))?;
        } else {
            same("whether an interrupt came that is none", gate.is_interrupted, false)?;
        }
    }
    Ok(())
}

fn check_thread(bench: &mut Bench, census: &Census, index: ThreadIndex) -> Check {
    let kernel = &bench.kernel;
    let thread = &kernel.threads[index];
    let exists = |thread: ThreadIndex| census.has(Mortal::Thread(thread));
    for other in
        [thread.partner(), thread.caller.get(), thread.next_waiting.get(), thread.ready_next.get()]
    {
        same(
            "whether a thread that another one is tied to exists",
            other.is_none_or(exists),
            true,
        )?;
    }
    let is_hopeless =
        thread.partner().is_some_and(|partner| kernel.threads[partner].is(ThreadState::Stopped));
    same("whether it waits for one that is stopped", is_hopeless && !kernel.is_due(), false)?;
    if let Some(task) = thread.bound_task() {
        same("whether a thread's task exists", census.has(Mortal::Task(task)), true)?;
    }
    same("whether the processor takes its registers", thread.context.is_harmless(), true)?;
    let is_bound_state = !thread.is(ThreadState::Inactive) && !thread.is(ThreadState::Stopped);
    same("whether it can do what it does", is_bound_state && thread.record.task == NOBODY, false)?;
    let gates = members(&kernel.gates, thread.gates, GateChain::OfThread);
    let news = members(&kernel.gates, thread.news, GateChain::News);
    for number in &gates {
        let gate = &kernel.gates[GateIndex::from_position(*number)];
        same("whether a gate exists", census.gates.contains(number), true)?;
        same("where a gate leads", gate.receiver(), Some(index))?;
        same("whether a gate is among the news", gate.is_news(), news.contains(number))?;
    }
    same("news of another thread's gates", news.is_subset(&gates), true)?;
    if let Some(undertaking) = thread.undertaking
        && let Operation::Transfer { sender, receiver, .. } = undertaking.operation
    {
        same("whether both sides of a message exist", exists(sender) && exists(receiver), true)?;
    }
    let factory = FactoryIndex::from_position(thread.record.factory);
    same("the factory of a thread", census.has(Mortal::Factory(factory)), true)?;
    let bookmark = kernel.mappings.walkers[walker(index)].bookmark;
    same("a bookmark", MaybeNode::from(bookmark).raw(), thread.record.bookmark)
}
