//! Factories: they make objects and limit the kernel memory that these take.

use crate::{
    arch::{DIRECTORY_FRAMES, Entry, SPINE_FRAMES},
    capability::{Capability, Object},
    database,
    frames::{KernelFrame, NoMemory},
    index::{FactoryIndex, GateIndex, Table, TableIndex, TaskIndex, ThreadIndex},
    kernel::{Gate, Kernel},
    machine::Machine,
    space::{DirectoryEntry, Pages, Space, Spot, table_index},
    task::{MAX_UTCB_FRAMES, Task},
    thread::{Thread, UtcbReference},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    error::ObjectError,
    flexpage::{Flexpage, Rights},
    introspection::{
        mapping::{FactoryRecord, MappingNode},
        record::Kind,
    },
    layout::{KERNEL_INFO_PAGE, UTCB_AREA},
    object::{CapabilityIndex, factory},
};

/// All factories.
pub type Factories<M> = Table<FactoryIndex, <M as Machine>::Storage<Factory>>;

/// A quota of kernel memory.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Factory {
    /// What viewers see; also the kernel's own copy of these facts.
    pub record: FactoryRecord,
}

impl Factory {
    /// A factory that has spent nothing yet, made from `parent`.
    pub fn new(limit: u64, parent: u16) -> Self {
        Self { record: FactoryRecord { limit, parent, ..FactoryRecord::default() } }
    }

    /// Bytes that it may still spend.
    pub fn left(&self) -> u64 {
        self.record.limit - self.record.used
    }

    /// Spends `bytes`, or nothing if that is more than is left.
    pub fn charge(&mut self, bytes: u64) -> Result<(), NoMemory> {
        if self.left() < bytes {
            return Err(NoMemory);
        }
        self.record.used += bytes;
        Ok(())
    }

    /// Takes back what was spent for nothing.
    fn refund(&mut self, bytes: u64) {
        self.record.used -= bytes;
    }
}

impl From<NoMemory> for ObjectError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

/// Frames of a new space.
const SPACE_FRAMES: usize = SPINE_FRAMES + 2 * DIRECTORY_FRAMES;

/// All rights on a new object.
const FULL: Rights = Rights::all();

impl<M: Machine> Kernel<M> {
    /// The operations of [`protocol::object::factory`]. `arguments` are message registers 2 and 3.
    /// If it fails, nothing was made, and paid at most for tables and nodes that are used later.
    pub(crate) fn create(
        &mut self,
        creator: ThreadIndex,
        factory: FactoryIndex,
        operation: Word,
        slot: CapabilityIndex,
        arguments: [Word; 2],
    ) -> Result<(), ObjectError> {
        let task = self.task_of(creator);
        if !self.tasks[task].capabilities.is_free(&mut self.machine, slot) {
            return Err(ObjectError::Busy);
        }
        // The capability's place first, so that nothing can fail once there is an object.
        let spot = self.capability_spot(task, slot)?;
        let payer = self.tasks[task].factory;
        let node = self.allocate_node(payer)?;
        let made = self.make(creator, factory, operation, arguments);
        match made {
            Ok(object) => {
                let capability = Capability { object, rights: FULL };
                self.enter_root(task, slot, (spot, node), capability);
            }
            Err(_) => database::free_node(&mut self.machine, &mut self.factories[payer], node),
        }
        self.publish();
        made.map(|_| ())
    }

    fn make(
        &mut self,
        creator: ThreadIndex,
        factory: FactoryIndex,
        operation: Word,
        arguments: [Word; 2],
    ) -> Result<Object, ObjectError> {
        Ok(match operation {
            factory::CREATE_TASK => {
                let task = self.create_task(factory, Flexpage(arguments[0]))?;
                self.trace_creation(Kind::TaskCreated, task, None, Some(creator));
                Object::Task(task)
            }
            factory::CREATE_THREAD => Object::Thread(self.create_thread(creator, factory)?),
            factory::CREATE_GATE => {
                let capability = self.capability(creator, arguments[1])?;
                let Object::Thread(thread) = capability.object else {
                    return Err(ObjectError::InvalidArgument);
                };
                require(capability.rights, Rights::EXECUTE)?;
                Object::Gate(self.add_gate(factory, Gate::new(thread, arguments[0]))?)
            }
            factory::CREATE_FACTORY => Object::Factory(self.add_factory(factory, arguments[0])?),
            _ => return Err(ObjectError::NoSuchObject),
        })
    }

    pub(crate) fn add_gate(
        &mut self,
        factory: FactoryIndex,
        gate: Gate,
    ) -> Result<GateIndex, NoMemory> {
        if self.gates.is_full() {
            return Err(NoMemory);
        }
        self.factories[factory].charge(self.gates.price())?;
        self.gates.insert(gate).ok_or(NoMemory)
    }

    /// A factory whose whole limit is taken from its parent at once: it can never be overspent.
    fn add_factory(&mut self, parent: FactoryIndex, limit: Word) -> Result<FactoryIndex, NoMemory> {
        if self.factories.is_full() {
            return Err(NoMemory);
        }
        let limit = limit as u64;
        let price = limit.checked_add(self.factories.price()).ok_or(NoMemory)?;
        self.factories[parent].charge(price)?;
        self.factories.insert(Factory::new(limit, parent.position())).ok_or(NoMemory)
    }

    /// A task with the kernel info page and its UTCB area mapped, and nothing else.
    pub(crate) fn create_task(
        &mut self,
        factory: FactoryIndex,
        utcb_area: Flexpage,
    ) -> Result<TaskIndex, ObjectError> {
        let area = utcb_area.memory_area().ok_or(ObjectError::InvalidArgument)?;
        let frame_count = 1 << (area.order().saturating_sub(PAGE_ORDER)).min(31);
        if area.base() != UTCB_AREA || frame_count > MAX_UTCB_FRAMES {
            return Err(ObjectError::InvalidArgument);
        }
        if self.tasks.is_full() {
            return Err(ObjectError::NoMemory);
        }
        // And the page table of the info page and the UTCB area.
        let frames = (SPACE_FRAMES + frame_count + 2) * PAGE_SIZE;
        let price = self.tasks.price();
        if self.factories[factory].left() < price + frames as u64
            || self.pool.left() < frames as u64
        {
            return Err(ObjectError::NoMemory);
        }
        self.factories[factory].charge(price)?;
        let mut directories = [self.allocate_table(factory)?; DIRECTORY_FRAMES];
        for directory in &mut directories[1..] {
            *directory = self.allocate_table(factory)?;
        }
        let mut spine = [directories[0].entries(); SPINE_FRAMES];
        for frame in &mut spine {
            *frame = self.allocate(factory)?;
        }
        let mut utcb_frames = [None; MAX_UTCB_FRAMES];
        for frame in utcb_frames.iter_mut().take(frame_count) {
            *frame = Some(self.allocate(factory)?);
        }
        let space = Space::new(&mut self.machine, spine, directories);
        let task = self
            .tasks
            .insert(Task::new(space, factory, utcb_frames))
            .ok_or(ObjectError::NoMemory)?;
        let info_page = self.sigma0.kernel_info_page;
        self.map_kernel_page(task, KERNEL_INFO_PAGE, info_page, Rights::READ)?;
        for (number, frame) in utcb_frames.into_iter().flatten().enumerate() {
            let address = UTCB_AREA + number * PAGE_SIZE;
            self.map_kernel_page(task, address, frame, Rights::READ_WRITE)?;
        }
        Ok(task)
    }

    /// Maps one of the kernel's own frames, which no flexpage can name, into a new task.
    fn map_kernel_page(
        &mut self,
        task: TaskIndex,
        address: Word,
        frame: KernelFrame,
        rights: Rights,
    ) -> Result<(), NoMemory> {
        let space = &self.tasks[task].space;
        let table = match space.directory_entry(&mut self.machine, Pages::Memory, address) {
            DirectoryEntry::Table(table) => table,
            _ => self.add_table(task, Pages::Memory, address)?,
        };
        let entry = Entry::page(frame.address(), rights, false);
        Spot::new(table, table_index(address)).set_entry(&mut self.machine, entry);
        Ok(())
    }

    /// A thread that is bound to no task, with its creator's priority.
    fn create_thread(
        &mut self,
        creator: ThreadIndex,
        factory: FactoryIndex,
    ) -> Result<ThreadIndex, ObjectError> {
        let priority = self.threads[creator].priority();
        let utcb = self.threads[creator].utcb;
        self.add_thread(factory, utcb, priority)
    }

    pub(crate) fn add_thread(
        &mut self,
        factory: FactoryIndex,
        utcb: UtcbReference,
        priority: u8,
    ) -> Result<ThreadIndex, ObjectError> {
        if self.threads.is_full() {
            return Err(ObjectError::NoMemory);
        }
        let price = self.threads.price();
        self.factories[factory].charge(price)?;
        let Ok(bookmark) = self.allocate_node(factory) else {
            self.factories[factory].refund(price);
            return Err(ObjectError::NoMemory);
        };
        // It is in no list until a walk stops at it, and says so.
        *self.machine.node(bookmark) = MappingNode::default();
        let thread = Thread::new(utcb, priority, factory, bookmark.into());
        let thread = self.threads.insert(thread).ok_or(ObjectError::NoMemory)?;
        Ok(thread)
    }
}

/// An error unless `rights` include `needed`.
pub(crate) fn require(rights: Rights, needed: Rights) -> Result<(), ObjectError> {
    if rights.contains(needed) { Ok(()) } else { Err(ObjectError::PermissionDenied) }
}
