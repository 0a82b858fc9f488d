//! A machine whose frames are plain memory of the test, and a kernel with a few tasks on it.

use crate::{
    Kernel,
    arch::{Context, Entry},
    boot_bundle::Image,
    entry::system_call::Entered,
    ipc::page_fault::PAGE_FAULT_VECTOR,
    mapping::{
        capability::{Capability, Object},
        item::Outcome,
        life::{LifeTables, Mortal},
        mappings::Mappings,
        progress::Progress,
        sigma0::Sigma0,
        space::{DirectoryEntry, Pages},
    },
    memory::{
        factory::Factory,
        frames::{FramePool, KernelFrame, PhysicalAddress, TableFrame},
        index::{
            FactoryIndex, GateIndex, InterruptIndex, MaybeGate, Storage, TableIndex, TaskIndex,
            ThreadIndex, WalkerIndex,
        },
        machine::{Board, Came, Counts, Interrupts, Machine, Memory, Processor, Trace},
        node::NodeIndex,
        utcb::UtcbReference,
    },
    threads::{
        gate::{Gate, GateChain},
        kernel::Tables,
        queue::Queue,
        thread::Thread,
        timing::TimeTables,
        undertaking::walker,
    },
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    fault::Access,
    flexpage::{Flexpage, Rights},
    introspection::{
        NOBODY, ThreadState,
        mapping::MappingNode,
        record::{Kind, MapStatus, Record, Traced},
    },
    kip::PhysicalRange,
    layout::{MAPPABLE_START, USER_END, UTCB_AREA},
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::interrupts::LINES,
    syscall::{CAPABILITY_SHIFT, Operation},
    utcb::{UTCB_SIZE, Utcb},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    ops::{Deref, DerefMut},
    ptr,
    rc::Rc,
};
use zerocopy::{FromBytes, IntoBytes, KnownLayout};

/// The model's RAM: 64 MiB, of which the pool takes 28 MiB from 2 MiB on.
pub const RAM_END: u64 = 64 << 20;
pub const POOL: PhysicalRange = PhysicalRange { start: 2 << 20, end: 30 << 20 };

/// Where tasks run.
const USER_START: Word = 0x40_0000;

/// Where the kernel's half of a top-level page table has something, in words.
const KERNEL_HALF: usize = PAGE_SIZE / 4 - 2;

#[derive(Clone, Debug)]
#[repr(C, align(4096))]
struct Frame([u8; PAGE_SIZE]);

/// Kernel frames as they are touched, the records, and what went to the console. Clones share the frames
/// that none of them has changed.
#[derive(Clone, Debug, Default)]
pub struct ModelMachine {
    /// By their number in the pool.
    frames: Vec<Option<Rc<Frame>>>,
    pub records: Vec<Record>,
    pub flushed: Vec<(PhysicalAddress, Word)>,
    pub left_spaces: Vec<PhysicalAddress>,
    pub preemption_points: u64,
    pub interrupt_windows: u64,
    /// Whether quick paths are not gone.
    pub is_slow: bool,
    /// How many were.
    pub quick_ways: usize,
    /// Whether no records are wanted.
    pub is_silent: bool,
    /// Those that are wanted otherwise.
    pub wanted_records: u64,
    /// Whether no time passes by itself.
    pub has_stopped_clock: bool,
    /// The lowest address of the stack that the kernel came to.
    pub deepest: std::cell::Cell<usize>,
    /// Whether the time slice is over whenever the kernel lets interrupts in.
    pub is_restless: bool,
    /// How often it is not over yet.
    pub calm_windows: u64,
    pub console: Vec<u8>,
    pub status: Option<u8>,
    slot: Record,
    clock: std::cell::Cell<u64>,
    /// When the timer comes.
    pub timer: Option<u64>,
    /// Bytes that tasks can read; all others are 0.
    pub user_memory: BTreeMap<u64, u8>,
    /// The task whose ports the processor knows, and those that it may use, by word.
    pub ports: Option<(TaskIndex, BTreeMap<u16, u64>)>,
    /// Whether another task has run since then.
    pub ports_suspended: bool,
    /// Interrupts that may come.
    pub open_interrupts: BTreeSet<u16>,
}

/// A frame's number in the pool, and the offset in it.
fn frame_number(address: u64) -> (usize, usize) {
    assert!((POOL.start..POOL.end).contains(&address), "not kernel memory: {address:#x}");
    let page = PAGE_SIZE as u64;
    (((address - POOL.start) / page) as usize, (address % page) as usize)
}

impl ModelMachine {
    /// Some words of kernel memory, by their physical address; they lie in one frame.
    pub fn words<const N: usize>(&self, address: u64) -> [u32; N] {
        let (number, offset) = frame_number(address);
        let frame = self.frames.get(number).and_then(Option::as_ref);
        frame.map_or([0; N], |frame| {
            let bytes = &frame.0[offset..offset + 4 * N];
            FromBytes::read_from_bytes(bytes).expect("four bytes a word")
        })
    }

    /// Whether the frames of another machine hold the same.
    pub fn has_frames_of(&self, other: &Self) -> bool {
        let zero = Frame([0; PAGE_SIZE]);
        let frame = |machine: &Self, number| {
            let frame: Option<&Option<Rc<Frame>>> = machine.frames.get(number);
            frame.and_then(Option::as_ref).map_or(zero.0, |frame| frame.0)
        };
        let count = self.frames.len().max(other.frames.len());
        (0..count).all(|number| frame(self, number) == frame(other, number))
    }

    /// Changes a word of kernel memory.
    pub fn set_word(&mut self, address: u64, word: u32) {
        let (number, offset) = frame_number(address);
        self.frame(number)[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
    }

    /// The time, which is in microseconds.
    pub fn ticks(&self) -> u64 {
        1 + self.clock.get()
    }

    /// Time passes.
    pub fn pass(&mut self, microseconds: u64) {
        self.clock.set(self.clock.get() + microseconds);
    }

    fn frame(&mut self, number: usize) -> &mut [u8; PAGE_SIZE] {
        if self.frames.len() <= number {
            self.frames.resize(number + 1, None);
        }
        let frame = self.frames[number].get_or_insert_with(|| Rc::new(Frame([0; PAGE_SIZE])));
        &mut Rc::make_mut(frame).0
    }
}

/// Room for some objects.
#[derive(Clone, Debug)]
pub struct Shelf<T> {
    objects: Vec<T>,
    capacity: usize,
}

impl<T> Shelf<T> {
    pub fn new(capacity: usize) -> Self {
        Self { objects: Vec::new(), capacity }
    }
}

impl<T: Clone + Default> Shelf<T> {
    /// With all objects that there is room for.
    pub fn full(capacity: usize) -> Self {
        Self { objects: vec![T::default(); capacity], capacity }
    }
}

impl<T> Deref for Shelf<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.objects
    }
}

impl<T> DerefMut for Shelf<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.objects
    }
}

impl<T> Storage for Shelf<T> {
    type Object = T;

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn push(&mut self, object: T) -> bool {
        self.objects.push(object);
        true
    }
}

impl Memory for ModelMachine {
    type Storage<T: Debug> = Shelf<T>;

    fn view<T: FromBytes + IntoBytes + KnownLayout>(&mut self, frame: KernelFrame) -> &mut T {
        let (number, _) = frame_number(frame.address().0);
        T::mut_from_bytes(&mut self.frame(number)[..size_of::<T>()]).expect("size and alignment")
    }

    fn companion<T: FromBytes + IntoBytes + KnownLayout>(&mut self, table: TableFrame) -> &mut T {
        self.view(table.companion())
    }

    fn node(&mut self, node: NodeIndex) -> &mut MappingNode {
        let (number, offset) = frame_number(node.address().0);
        let bytes = &mut self.frame(number)[offset..offset + size_of::<MappingNode>()];
        MappingNode::mut_from_bytes(bytes).expect("size and alignment")
    }

    fn utcb(&mut self, utcb: UtcbReference) -> &mut Utcb {
        let (number, offset) = frame_number(utcb.address().0);
        let bytes = &mut self.frame(number)[offset..offset + UTCB_SIZE];
        Utcb::mut_from_bytes(bytes).expect("size and alignment")
    }

    fn copy_message(&mut self, from: UtcbReference, to: UtcbReference, words: usize) {
        let message = self.utcb(from).message;
        self.utcb(to).message[..words].copy_from_slice(&message[..words]);
    }

    /// The first entry of the kernel's half is the number of its frame.
    fn copy_kernel_half(&mut self, root: KernelFrame) {
        self.view::<[u32; PAGE_SIZE / 4]>(root)[KERNEL_HALF] = root.address().0 as u32;
    }

    fn clear_kernel_half(&mut self, root: KernelFrame) {
        self.view::<[u32; PAGE_SIZE / 4]>(root)[KERNEL_HALF] = 0;
    }

    fn user_byte(&mut self, physical: PhysicalAddress) -> u8 {
        assert!(physical.0 < RAM_END, "not RAM: {physical:?}");
        self.user_memory.get(&physical.0).copied().unwrap_or(0)
    }
}

impl Processor for ModelMachine {
    fn leave_space(&mut self, space: PhysicalAddress, other: PhysicalAddress) {
        assert_ne!(space, other);
        self.left_spaces.push(space);
    }

    fn flush_page(&mut self, root: PhysicalAddress, address: Word) {
        self.flushed.push((root, address));
    }

    fn forget_registers<R>(&mut self, _registers: &R) {}

    fn system_calls_go_to(&self, is_foreign: bool) -> u32 {
        1 + u32::from(is_foreign)
    }

    fn install_ports(&mut self, owner: TaskIndex, word: u16, usable: u64) -> bool {
        if self.ports.as_ref().is_none_or(|(known, _)| *known != owner) {
            self.ports = Some((owner, BTreeMap::new()));
        }
        self.ports_suspended = false;
        let (_, words) = self.ports.as_mut().expect("just made");
        words.insert(word, usable) != Some(usable)
    }

    fn resume_ports(&mut self, owner: TaskIndex) -> bool {
        let is_owner = self.ports.as_ref().is_some_and(|(known, _)| *known == owner);
        is_owner && core::mem::take(&mut self.ports_suspended)
    }

    fn forget_ports(&mut self, owner: TaskIndex) {
        self.ports.take_if(|(known, _)| *known == owner);
    }

    fn open_interrupt_window(&mut self) -> Came {
        self.interrupt_windows += 1;
        let is_calm = self.calm_windows != 0;
        self.calm_windows = self.calm_windows.saturating_sub(1);
        Came { tick: self.is_restless && !is_calm, interrupt: false }
    }

    fn set_timer(&mut self, microseconds: u64) {
        self.timer = Some(self.ticks() + microseconds);
    }

    #[inline(never)]
    fn time(&self) -> u64 {
        let here = core::ptr::from_ref(&self).addr();
        if self.deepest.get() == 0 || here < self.deepest.get() {
            self.deepest.set(here);
        }
        if !self.has_stopped_clock {
            self.clock.set(self.clock.get() + 1);
        }
        self.ticks()
    }
}

impl Trace for ModelMachine {
    fn begin_record(&mut self) -> &mut Record {
        self.slot = Record::default();
        &mut self.slot
    }

    fn end_record(&mut self) {
        self.records.push(self.slot);
    }

    fn enabled_records(&self) -> u64 {
        if self.is_silent { 0 } else { self.wanted_records }
    }

    fn publish_counts(&mut self, _counts: Counts) {}

    fn publish_pool(&mut self, _pool: &FramePool) {}

    fn publish_stretch(&mut self, _ticks: u64, at_point: bool) {
        self.preemption_points += u64::from(at_point);
    }
}

impl Board for ModelMachine {
    fn write_console(&mut self, byte: u8) {
        self.console.push(byte);
    }

    fn shut_down(&mut self, status: u8) {
        self.status = Some(status);
    }
}

impl Interrupts for ModelMachine {
    fn unmask(&mut self, interrupt: InterruptIndex) {
        self.open_interrupts.insert(interrupt.position());
    }

    fn mask(&mut self, interrupt: InterruptIndex) {
        self.open_interrupts.remove(&interrupt.position());
    }

    fn message(&self, interrupt: InterruptIndex) -> [usize; 2] {
        match interrupt.position() {
            LINES.. => [0xfee0_0000, interrupt.position().into()],
            _ => [0; 2],
        }
    }
}

impl Machine for ModelMachine {
    fn goes_quick(&self) -> bool {
        !self.is_slow
    }
}

impl Thread {
    /// The queue that it waits in.
    pub fn queue(&self) -> Option<Queue> {
        self.state().place().map(|place| place.queue)
    }

    /// The gate that it waits at.
    pub fn gate(&self) -> MaybeGate {
        self.state().place().map_or(MaybeGate::NOBODY, |place| place.gate)
    }
}

/// The entries, as the kernel takes them.
impl Kernel<ModelMachine> {
    /// A system call of the thread that runs.
    pub fn system_call(&mut self, target: Word, tag: Word, timeouts: Word) {
        self.enter(Context::SYSTEM_CALL);
        let caller = self.current.get();
        let instruction = caller.map(|caller| self.threads[caller].context.instruction());
        let mut next = None;
        self.take_system_call(target, tag, timeouts, |thread, entered| {
            next = Some((ptr::from_ref(thread), entered));
        });
        self.check_next(next);
        let Some(caller) = caller.map(|caller| &self.threads[caller]) else { return };
        // Else it goes back to its system call.
        let is_over = instruction == Some(caller.context.instruction());
        // Names, and nothing, may come in between.
        let is_aside = MessageTag(tag).label() == label::DEBUGGER;
        let is_left = caller.undertaking.is_some() && is_over && !is_aside;
        assert!(!is_left, "what was begun outlives its system call");
    }

    /// A page fault of the thread that runs.
    pub fn page_fault(&mut self, address: Word, access: Access) {
        self.enter(PAGE_FAULT_VECTOR.into());
        let mut next = None;
        self.take_page_fault(address, access, |thread, entered| {
            next = Some((ptr::from_ref(thread), entered));
        });
        self.check_next(next);
    }

    /// The turn of the thread that runs is over.
    pub fn timer_tick(&mut self) {
        self.timing.end_turn();
        self.timer_interrupt();
    }

    /// Time passes, and the timer comes whenever it is set.
    pub fn pass(&mut self, microseconds: u64) {
        let end = self.mappings.machine.ticks() + microseconds;
        while let Some(timer) = self.mappings.machine.timer.filter(|timer| *timer <= end) {
            let machine = &mut self.mappings.machine;
            machine.timer = None;
            machine.pass(timer.saturating_sub(machine.ticks()));
            self.timer_interrupt();
        }
        let machine = &mut self.mappings.machine;
        machine.pass(end.saturating_sub(machine.ticks()));
    }

    fn enter(&mut self, vector: Word) {
        if let Some(current) = self.current.get() {
            let context = &mut self.threads[current].context;
            context.vector = vector;
            // There it must have been, wherever it was sent.
            if !(MAPPABLE_START..USER_END).contains(&context.instruction()) {
                context.set_pointers(USER_START, context.stack());
            }
        }
    }

    /// Who goes on is the current thread, and has entered the kernel as it is said.
    fn check_next(&mut self, next: Option<(*const Thread, Entered)>) {
        if let Some((next, entered)) = next {
            self.mappings.machine.quick_ways += 1;
            let current = &self.threads[self.current.get().expect("somebody goes on")];
            assert!(ptr::eq(next, current), "somebody else goes on");
            let is_system_call = current.context.vector == Context::SYSTEM_CALL;
            assert_eq!(entered == Entered::BySystemCall, is_system_call);
        }
    }
}

/// A kernel with sigma0, the root task, and whatever a test adds.
pub struct Bench {
    pub kernel: Kernel<ModelMachine>,
    /// Gates to threads that are only to come.
    early: Vec<GateIndex>,
}

impl Clone for Bench {
    fn clone(&self) -> Self {
        let Kernel {
            mappings,
            threads,
            gates,
            interrupts,
            ready,
            faults,
            current,
            bereaved,
            timing,
        } = &self.kernel;
        let mappings = Mappings {
            machine: mappings.machine.clone(),
            tasks: mappings.tasks.clone(),
            factories: mappings.factories.clone(),
            walkers: mappings.walkers.clone(),
            lives: mappings.lives.clone(),
            pool: mappings.pool.clone(),
            sigma0: mappings.sigma0.clone(),
            stretch: mappings.stretch.clone(),
            interrupted_walks: mappings.interrupted_walks,
            precedence: mappings.precedence.clone(),
        };
        let (threads, gates, ready) = (threads.clone(), gates.clone(), ready.clone());
        let (faults, current, bereaved) = (*faults, *current, *bereaved);
        let (interrupts, timing) = (interrupts.clone(), timing.clone());
        let kernel = Kernel {
            mappings,
            threads,
            gates,
            interrupts,
            ready,
            faults,
            current,
            bereaved,
            timing,
        };
        Self { kernel, early: self.early.clone() }
    }
}

impl Bench {
    pub fn new() -> Self {
        Self::with_pool(POOL)
    }

    /// With a part of the pool only.
    pub fn with_pool(pool: PhysicalRange) -> Self {
        let mut pool = FramePool::new(pool);
        let mut machine = ModelMachine::default();
        let pair = pool.allocate(&mut machine).expect("pool");
        let elf = images::elf::Image { entry: 0xbf00_0000, segments: Default::default() };
        let image = Image { module: 0, file: 0, elf };
        let sigma0 = Sigma0 {
            kernel_info_page: pair.first(),
            ram_end: RAM_END,
            reserved: [
                PhysicalRange { start: 0, end: 1 << 20 },
                POOL,
                PhysicalRange::default(),
                PhysicalRange::default(),
            ],
            image: image.clone(),
        };
        machine.wanted_records = Kind::DEFAULT_ENABLED | 1 << Kind::Message as u8;
        let tables = Tables {
            threads: Shelf::new(1024),
            walkers: Shelf::new(1025),
            tasks: Shelf::new(1024),
            gates: Shelf::new(1024),
            factories: Shelf::new(64),
            interrupts: Shelf::new(32),
            time: TimeTables {
                alarms: Shelf::full(1024),
                places: Shelf::full(1024),
                paces: Shelf::full(1024),
            },
            lives: LifeTables {
                gates: Shelf::new(1024),
                threads: Shelf::new(1024),
                tasks: Shelf::new(1024),
                factories: Shelf::new(64),
                replies: Shelf::new(1024),
                interrupts: Shelf::new(32),
            },
        };
        let mut kernel = Kernel::new(machine, tables, pool, sigma0);
        kernel.start(&image).expect("start");
        Self { kernel, early: Vec::new() }
    }

    /// A factory that nobody has a capability to.
    pub fn factory(&mut self, limit: u64) -> FactoryIndex {
        let factory = Factory::new(limit, NOBODY);
        let factory = self.kernel.mappings.factories.insert(factory).expect("room");
        self.kernel.mappings.begin_life(Mortal::Factory(factory), None);
        factory
    }

    /// The thread that runs, by number.
    pub fn current(&self) -> u16 {
        self.kernel.current.raw()
    }

    /// A task with one ready thread that has a gate to `parent` (labelled with the thread's
    /// number) as its pager, exception handler and PARENT.
    pub fn spawn(&mut self, parent: u16, priority: u8) -> u16 {
        self.spawn_from(FactoryIndex::from_position(0), parent, priority)
    }

    /// The same with another factory.
    pub fn spawn_from(&mut self, factory: FactoryIndex, parent: u16, priority: u8) -> u16 {
        let kernel = &mut self.kernel;
        let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE);
        let task = kernel.create_task(factory, area).expect("task");
        let (frame, offset) = kernel.mappings.tasks[task].utcb_frame(UTCB_AREA).expect("area");
        let utcb = UtcbReference::at_offset(frame, offset).expect("offset");
        let thread = kernel.add_thread(factory, utcb, priority).expect("thread");
        kernel.bind_to(thread, task, utcb, UTCB_AREA);
        kernel.threads[thread].context.set_pointers(USER_START, 0);
        let record = &mut kernel.threads[thread].record;
        record.set_pager(CapabilityIndex::PARENT.0 as u16);
        record.set_exception_handler(CapabilityIndex::PARENT.0 as u16);
        let to_thread = |gate: &GateIndex| kernel.gates[*gate].thread() == thread;
        for gate in self.early.extract_if(.., |gate| to_thread(gate)).collect::<Vec<_>>() {
            kernel.threads[thread].gates.push(&mut kernel.gates, GateChain::OfThread, gate);
        }
        let gate = self.add_gate(factory, parent, thread.position().into());
        self.give(task, CapabilityIndex::PARENT, Object::Gate(gate));
        self.give(task, CapabilityIndex::TASK, Object::Task(task));
        self.give(task, CapabilityIndex::THREAD, Object::Thread(thread));
        self.kernel.make_ready(thread);
        self.kernel.preempt();
        thread.position()
    }

    /// Gives a task a gate to a thread.
    pub fn gate(&mut self, task: TaskIndex, index: CapabilityIndex, thread: u16, label: Word) {
        let factory = self.kernel.mappings.tasks[task].factory;
        let gate = self.add_gate(factory, thread, label);
        self.give(task, index, Object::Gate(gate));
    }

    fn add_gate(&mut self, factory: FactoryIndex, thread: u16, label: Word) -> GateIndex {
        let gate = Gate::new(ThreadIndex::from_position(thread), label);
        if thread < self.kernel.threads.used() {
            return self.kernel.add_gate(factory, gate).expect("gate");
        }
        let price = self.kernel.gates.price();
        self.kernel.mappings.factories[factory].charge(price).expect("quota");
        let gate = self.kernel.gates.insert(gate).expect("room");
        self.kernel.mappings.begin_life(Mortal::Gate(gate), Some(factory));
        self.early.push(gate);
        gate
    }

    /// Gives a task a capability that nothing is above, whoever else has one: the object must never end.
    pub fn give_root(&mut self, task: TaskIndex, index: CapabilityIndex, object: Object) {
        let capability = Capability { object, rights: Rights::all() };
        self.kernel.mappings.give(task, index, capability).expect("table");
    }

    /// Gives a task a capability to an object: the first one, or one that is derived from it.
    pub fn give(&mut self, task: TaskIndex, index: CapabilityIndex, object: Object) {
        self.give_with(task, index, Capability { object, rights: Rights::all() });
    }

    /// The same with some rights only.
    pub fn give_with(&mut self, task: TaskIndex, index: CapabilityIndex, capability: Capability) {
        let mappings = &mut self.kernel.mappings;
        let root = capability.object.mortal().and_then(|object| mappings.lives.of(object).root());
        let can_derive = capability.rights.contains(Rights::READ);
        let Some(root) = root.filter(|_| can_derive) else {
            return mappings.give(task, index, capability).expect("table");
        };
        let MappingNode { task: owner, place, .. } = *mappings.machine.node(root);
        let flexpage = Flexpage::capabilities(place.number() as Word, 0, capability.rights);
        let item = MapItem { send_base: index.0 << PAGE_ORDER, grant: false, flexpage };
        let mut progress = Progress::new(WalkerIndex::KERNEL);
        mappings.stretch.begin(&mut mappings.machine);
        let owner = TaskIndex::from_position(owner);
        let window = Flexpage::WHOLE_SPACE;
        mappings.map_item(&mut progress, owner, task, item, window).expect("short");
        mappings.end_walk(progress.walker);
        assert_eq!(progress.outcome.status, MapStatus::Done, "{capability:?} for {task:?}");
    }

    pub fn thread(&mut self, number: u16) -> &mut Thread {
        &mut self.kernel.threads[ThreadIndex::from_position(number)]
    }

    pub fn task_of(&self, thread: u16) -> TaskIndex {
        self.kernel.task_of(ThreadIndex::from_position(thread))
    }

    pub fn message(&mut self, thread: u16) -> &mut [Word; 63] {
        &mut self.kernel.utcb(ThreadIndex::from_position(thread)).message
    }

    pub fn error(&mut self, thread: u16) -> Word {
        self.kernel.utcb(ThreadIndex::from_position(thread)).error
    }

    /// Leaves the processor to a thread that can run.
    pub fn run(&mut self, number: u16) {
        let thread = ThreadIndex::from_position(number);
        let kernel = &mut self.kernel;
        assert!(kernel.threads[thread].is(ThreadState::Ready), "{number} can run");
        if kernel.current == thread.into() {
            return;
        }
        if let Some(current) = kernel.current.get() {
            kernel.ready.push_back(&mut kernel.threads, current);
        }
        kernel.ready.remove(&mut kernel.threads, thread);
        kernel.current = thread.into();
        kernel.begin_turn();
    }

    /// A system call of the thread that runs.
    pub fn call(&mut self, operation: Operation, index: CapabilityIndex, tag: MessageTag) {
        self.kernel.system_call(index.0 << CAPABILITY_SHIFT | operation.0, tag.0, 0);
    }

    /// What the last system call of a thread returned.
    pub fn result(&mut self, thread: u16) -> (MessageTag, Word) {
        self.thread(thread).context.result()
    }

    /// Takes apart all that is to be.
    pub fn drain(&mut self) {
        for pieces in 0.. {
            if !self.kernel.is_due() {
                break;
            }
            assert!(pieces < 1_000_000, "it never ends");
            let kernel = &mut self.kernel;
            kernel.mappings.stretch.begin(&mut kernel.mappings.machine);
            let _ = kernel.dismantle(None);
            kernel.mappings.stretch.take_tick();
        }
        self.kernel.preempt();
    }

    /// How many threads there are.
    pub fn living_threads(&self) -> usize {
        let all = (0..self.kernel.threads.used()).map(ThreadIndex::from_position);
        all.filter(|thread| !self.kernel.threads[*thread].is(ThreadState::Unused)).count()
    }

    /// The object that a slot of a task has a capability to.
    pub fn slot(&mut self, task: TaskIndex, index: u32) -> Option<Object> {
        let mappings = &mut self.kernel.mappings;
        let index = CapabilityIndex(index as Word);
        let found = mappings.tasks[task].capabilities.get(&mut mappings.machine, index);
        found.map(|capability| capability.object)
    }

    /// What a task maps at an address.
    pub fn page(&mut self, task: TaskIndex, address: Word) -> Entry {
        let space = &self.kernel.mappings.tasks[task].space;
        space.page_entry(&mut self.kernel.mappings.machine, Pages::Memory, address)
    }

    pub fn directory(&mut self, task: TaskIndex, address: Word) -> DirectoryEntry {
        let space = &self.kernel.mappings.tasks[task].space;
        space.directory_entry(&mut self.kernel.mappings.machine, Pages::Memory, address)
    }

    /// Maps or grants one flexpage, however often that is interrupted.
    pub fn map_item(
        &mut self,
        from: TaskIndex,
        to: TaskIndex,
        item: MapItem,
        window: Flexpage,
    ) -> Outcome {
        let current = self.kernel.current.get().expect("somebody runs");
        let mut progress = Progress::new(walker(current));
        loop {
            let mappings = &mut self.kernel.mappings;
            mappings.stretch.begin(&mut mappings.machine);
            if mappings.map_item(&mut progress, from, to, item, window).is_ok() {
                mappings.end_walk(progress.walker);
                return progress.outcome;
            }
            mappings.stretch.take_tick();
        }
    }

    /// Gives a task one of sigma0's pages.
    pub fn enter(&mut self, task: TaskIndex, address: Word, physical: u64, rights: Rights) {
        let flexpage = Flexpage::memory(physical as Word, PAGE_ORDER, rights);
        let item = MapItem::map(address, flexpage);
        let outcome = self.map_item(TaskIndex::SIGMA0, task, item, Flexpage::WHOLE_SPACE);
        assert_eq!(outcome.status, MapStatus::Done);
    }

    /// What has been recorded.
    pub fn events(&self) -> Vec<Traced> {
        let records = self.kernel.mappings.machine.records.iter();
        records.map(|record| record.decode().expect("a well-formed record")).collect()
    }

    pub fn kinds(&self) -> Vec<Kind> {
        self.events().iter().map(|traced| traced.event.kind()).collect()
    }
}
