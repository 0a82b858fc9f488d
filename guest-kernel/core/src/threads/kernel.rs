//! The kernel's state, and which thread runs next.

use crate::{
    mapping::{life::LifeTables, mappings::Mappings, progress::Walker, sigma0::Sigma0, task::Task},
    memory::{
        factory::Factory,
        frames::FramePool,
        index::{
            GateIndex, InterruptIndex, MaybeThread, Table, TableIndex, TaskIndex, ThreadIndex,
            WalkerIndex,
        },
        machine::{Counts, Machine},
    },
    threads::{
        gate::Gate,
        interrupt::Interrupt,
        queue::ThreadList,
        ready::ReadyQueue,
        state::State,
        thread::{Thread, Threads},
        timing::{TimeTables, Timing},
    },
};
use protocol::utcb::Utcb;

/// The machine's exit status when sigma0 or the root task itself cannot go on.
pub const STATUS_ROOT_STOPPED: u8 = 125;

/// Everything that the kernel knows.
#[derive(Debug)]
pub struct Kernel<M: Machine> {
    /// Tasks, what they map, and the memory for it.
    pub mappings: Mappings<M>,
    /// All threads.
    pub threads: Threads<M>,
    /// All gates.
    pub gates: Table<GateIndex, M::Storage<Gate>>,
    /// All interrupts, whether or not there is an object of them.
    pub interrupts: Table<InterruptIndex, M::Storage<Interrupt>>,
    /// Threads that could run, without the one that does.
    pub ready: ReadyQueue,
    /// Number of faults and exceptions so far.
    pub faults: u64,
    /// The thread that runs when the kernel is left; nobody: the processor idles.
    pub current: MaybeThread,
    /// Threads that have lost whom they waited for, and will be told before the kernel is left.
    pub(crate) bereaved: ThreadList,
    /// The clock, and what happens when.
    pub timing: Timing<M>,
}

/// Memory for the kernel's tables.
#[derive(Debug)]
pub struct Tables<M: Machine> {
    /// For threads.
    pub threads: M::Storage<Thread>,
    /// For their walks through the mapping database: there is room for as many.
    pub walkers: M::Storage<Walker>,
    /// For tasks.
    pub tasks: M::Storage<Task>,
    /// For gates.
    pub gates: M::Storage<Gate>,
    /// For factories.
    pub factories: M::Storage<Factory>,
    /// For interrupts.
    pub interrupts: M::Storage<Interrupt>,
    /// For the lives of all of them.
    pub lives: LifeTables<M>,
    /// For what is to happen when.
    pub time: TimeTables<M>,
}

impl<M: Machine> Kernel<M> {
    /// A kernel without any task yet. `pool` is its memory for everything beside the tables of objects.
    pub fn new(machine: M, tables: Tables<M>, pool: FramePool, sigma0: Sigma0) -> Self {
        let Tables { threads, walkers, tasks, gates, factories, interrupts, lives, time } = tables;
        let memory = pool.left();
        let mut interrupts = Table::new(interrupts, memory);
        for _ in InterruptIndex::all() {
            interrupts.push(Interrupt::NONE);
        }
        Self {
            mappings: Mappings::new(machine, tasks, factories, walkers, lives, pool, sigma0),
            threads: Table::new(threads, memory),
            gates: Table::new(gates, memory),
            interrupts,
            ready: ReadyQueue::new(),
            faults: 0,
            current: MaybeThread::NOBODY,
            bereaved: ThreadList::EMPTY,
            timing: Timing::new(time),
        }
    }

    /// How many places all tables have. What stands in a place that was used before needs no telling.
    pub(crate) fn places(&self) -> u32 {
        let Mappings { tasks, factories, .. } = &self.mappings;
        [tasks.used(), factories.used(), self.threads.used(), self.gates.used()]
            .into_iter()
            .map(u32::from)
            .sum()
    }

    /// Tells the host how many objects there are, and how much memory they take.
    #[cold]
    #[inline(never)]
    pub(crate) fn publish(&mut self) {
        let counts = Counts {
            tasks: self.mappings.tasks.used(),
            threads: self.threads.used(),
            gates: self.gates.used(),
            factories: self.mappings.factories.used(),
            bookmark: self.mappings.walkers[WalkerIndex::KERNEL].bookmark.into(),
        };
        self.mappings.machine.publish_counts(counts);
        self.mappings.machine.publish_pool(&self.mappings.pool);
    }

    /// The task that `thread` runs in. Only bound threads run, call or are called.
    #[inline]
    pub fn task_of(&self, thread: ThreadIndex) -> TaskIndex {
        TaskIndex::from_position(self.threads[thread].record.task)
    }

    /// Leaves the processor to `thread`, which is ready but not queued, unless a thread of higher
    /// priority is ready too. The thread that ran until now has been taken care of.
    #[inline(always)]
    pub fn run(&mut self, thread: ThreadIndex) {
        if self.ready.has_above(self.threads[thread].priority()) {
            self.run_later(thread);
        } else {
            self.current = thread.into();
            self.end_turn_some_time();
        }
    }

    #[cold]
    #[inline(never)]
    fn run_later(&mut self, thread: ThreadIndex) {
        self.ready.push_back(&mut self.threads, thread);
        self.schedule();
    }

    /// Leaves the processor to the next ready thread, if any.
    #[inline(never)]
    pub fn schedule(&mut self) {
        self.current = match self.ready.pop(&mut self.threads) {
            Some(thread) => thread.into(),
            None => MaybeThread::NOBODY,
        };
        self.begin_turn();
    }

    /// Makes a blocked thread ready. Who runs is decided when the kernel is left.
    pub fn make_ready(&mut self, thread: ThreadIndex) {
        self.threads[thread].enter(State::Ready);
        self.ready.push_back(&mut self.threads, thread);
    }

    /// Lets a more important ready thread take over from the current one.
    #[inline(never)]
    pub fn preempt(&mut self) {
        match self.current.get() {
            Some(current) if self.ready.has_above(self.threads[current].priority()) => {
                self.keep_turn(current);
                self.ready.push_front(&mut self.threads, current);
                self.schedule();
            }
            Some(_) => self.end_turn_some_time(),
            None => self.schedule(),
        }
    }

    /// Puts the current thread behind the ready ones of its priority.
    pub fn yield_current(&mut self) {
        let Some(current) = self.current.get() else { return };
        if self.ready.has_at_least(self.threads[current].priority()) {
            self.ready.push_back(&mut self.threads, current);
            self.schedule();
        } else {
            self.begin_turn();
        }
    }

    /// Whether a thread is one of the first two tasks, without which nothing goes on.
    pub(crate) fn is_root(&self, thread: ThreadIndex) -> bool {
        matches!(self.task_of(thread), TaskIndex::SIGMA0 | TaskIndex::ROOT)
    }

    /// Lets a thread's system calls be exceptions, or not.
    pub(crate) fn set_foreign(&mut self, thread: ThreadIndex, is_foreign: bool) {
        let function = self.mappings.machine.system_calls_go_to(is_foreign);
        self.threads[thread].system_calls_go_to = function;
    }

    /// Whether they are.
    pub(crate) fn is_foreign(&self, thread: ThreadIndex) -> bool {
        self.threads[thread].system_calls_go_to == self.mappings.machine.system_calls_go_to(true)
    }

    /// The message registers of a thread.
    #[inline]
    pub fn utcb(&mut self, thread: ThreadIndex) -> &mut Utcb {
        self.mappings.machine.utcb(self.threads[thread].utcb)
    }
}
