//! The kernel's state, and which thread runs next.

use crate::{
    factory::{Factories, Factory},
    frames::{FramePool, KernelFrame, NoMemory, TableFrame},
    index::{FactoryIndex, GateIndex, MaybeThread, Table, TableIndex, TaskIndex, ThreadIndex},
    machine::{Counts, Machine},
    ready::ReadyQueue,
    sigma0::Sigma0,
    stretch::Stretch,
    task::{Task, Tasks},
    thread::{Thread, Threads},
    waiting::ThreadList,
};
use protocol::{
    PAGE_SIZE, Word,
    introspection::{ThreadState, mapping::GateRecord},
    kip::PhysicalRange,
};

/// An IPC gate: a thread under a label, which is how servers tell their clients apart.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Gate(GateRecord);

impl Gate {
    /// A gate to `thread`.
    pub fn new(thread: ThreadIndex, label: Word) -> Self {
        Self(GateRecord { label: label as u64, thread: thread.position(), reserved: [0; 3] })
    }

    /// Who receives.
    #[inline(always)]
    pub fn thread(self) -> ThreadIndex {
        ThreadIndex::from_position(self.0.thread)
    }

    /// What the receiver gets to see.
    #[inline(always)]
    pub fn label(self) -> Word {
        self.0.label as Word
    }
}

/// Everything that the kernel knows.
#[derive(Debug)]
pub struct Kernel<M: Machine> {
    /// The hardware.
    pub machine: M,
    /// All threads.
    pub threads: Threads<M>,
    /// All tasks.
    pub tasks: Tasks<M>,
    /// All gates.
    pub gates: Table<GateIndex, M::Storage<Gate>>,
    /// All factories.
    pub factories: Factories<M>,
    /// Threads that could run, without the one that does.
    pub ready: ReadyQueue,
    /// The kernel's memory.
    pub pool: FramePool,
    /// What sigma0 is made of.
    pub sigma0: Sigma0,
    /// Number of faults and exceptions so far.
    pub faults: u64,
    /// The thread that runs when the kernel is left; nobody: the processor idles.
    pub current: MaybeThread,
    /// How long a map or unmap that is under way may go on.
    pub(crate) stretch: Stretch,
    /// Walks that are interrupted, each with a bookmark in a list.
    pub(crate) interrupted_walks: u16,
    /// Threads that have lost whom they waited for, and will be told before the kernel is left.
    pub(crate) bereaved: ThreadList,
}

/// Memory for the kernel's tables.
#[derive(Debug)]
pub struct Tables<M: Machine> {
    /// For threads.
    pub threads: M::Storage<Thread>,
    /// For tasks.
    pub tasks: M::Storage<Task>,
    /// For gates.
    pub gates: M::Storage<Gate>,
    /// For factories.
    pub factories: M::Storage<Factory>,
}

impl<M: Machine> Kernel<M> {
    /// A kernel without any task yet. `pool` is its memory for everything beside the tables.
    pub fn new(machine: M, tables: Tables<M>, pool: PhysicalRange, sigma0: Sigma0) -> Self {
        let pool = FramePool::new(pool);
        let memory = pool.left();
        Self {
            machine,
            threads: Table::new(tables.threads, memory),
            tasks: Table::new(tables.tasks, memory),
            gates: Table::new(tables.gates, memory),
            factories: Table::new(tables.factories, memory),
            ready: ReadyQueue::new(),
            pool,
            sigma0,
            faults: 0,
            current: MaybeThread::NOBODY,
            stretch: Stretch::new(),
            interrupted_walks: 0,
            bereaved: ThreadList::EMPTY,
        }
    }

    /// A frame, paid for by `factory`.
    pub fn allocate(&mut self, factory: FactoryIndex) -> Result<KernelFrame, NoMemory> {
        self.charge(factory, PAGE_SIZE as u64)?;
        let frame = self.pool.allocate();
        self.publish();
        frame
    }

    /// A frame for entries and one for their companions, paid for by `factory`.
    pub fn allocate_table(&mut self, factory: FactoryIndex) -> Result<TableFrame, NoMemory> {
        self.charge(factory, 2 * PAGE_SIZE as u64)?;
        let table = self.pool.allocate_table();
        self.publish();
        table
    }

    /// Tells the host how many objects there are, and how much memory they take.
    pub(crate) fn publish(&mut self) {
        self.machine.publish_counts(Counts {
            tasks: self.tasks.used(),
            threads: self.threads.used(),
            gates: self.gates.used(),
            factories: self.factories.used(),
            pool_left: self.pool.left(),
        });
    }

    /// Lets `factory` pay for `bytes` of the pool, which must have as many.
    fn charge(&mut self, factory: FactoryIndex, bytes: u64) -> Result<(), NoMemory> {
        if self.pool.left() < bytes {
            return Err(NoMemory);
        }
        self.factories[factory].charge(bytes)
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
    }

    /// Makes a blocked thread ready. Who runs is decided when the kernel is left.
    pub fn make_ready(&mut self, thread: ThreadIndex) {
        self.threads[thread].set_state(ThreadState::Ready, MaybeThread::NOBODY);
        self.ready.push_back(&mut self.threads, thread);
    }

    /// Lets a more important ready thread take over from the current one.
    #[inline(never)]
    pub fn preempt(&mut self) {
        match self.current.get() {
            Some(current) if self.ready.has_above(self.threads[current].priority()) => {
                self.ready.push_front(&mut self.threads, current);
                self.schedule();
            }
            Some(_) => {}
            None => self.schedule(),
        }
    }

    /// Puts the current thread behind the ready ones of its priority.
    pub fn yield_current(&mut self) {
        let Some(current) = self.current.get() else { return };
        if self.ready.has_at_least(self.threads[current].priority()) {
            self.ready.push_back(&mut self.threads, current);
            self.schedule();
        }
    }

    /// Whether a thread is one of the first two tasks, without which nothing goes on.
    pub(crate) fn is_root(&self, thread: ThreadIndex) -> bool {
        matches!(self.task_of(thread), TaskIndex::SIGMA0 | TaskIndex::ROOT)
    }
}
