//! Factories: they make objects and limit the kernel memory that these take.

use crate::{
    arch::{DIRECTORY_FRAMES, Entry, SPINE_FRAMES},
    mapping::{
        capability::{Capability, Object},
        database,
        progress::Walker,
        space::{DirectoryEntry, Pages, Space, Spot, table_index},
        task::{MAX_UTCB_FRAMES, Task},
    },
    memory::{
        factory::Factory,
        frames::{KernelFrame, NoMemory},
        index::{FactoryIndex, GateIndex, TableIndex, TaskIndex, ThreadIndex},
        machine::Machine,
        utcb::UtcbReference,
    },
    objects::invocation::require,
    threads::{gate::Gate, kernel::Kernel, thread::Thread},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    error::ObjectError,
    flexpage::{Flexpage, Rights},
    introspection::{mapping::MappingNode, record::Kind},
    layout::{KERNEL_INFO_PAGE, UTCB_AREA},
    operation::factory::{CreateFactory, CreateGate, CreateTask, Request},
};

/// Frames of a new space.
const SPACE_FRAMES: usize = SPINE_FRAMES + 2 * DIRECTORY_FRAMES;

/// All rights on a new object.
const FULL: Rights = Rights::all();

impl<M: Machine> Kernel<M> {
    /// Makes what is asked for. If it fails, nothing was made, and paid at most for tables and nodes that are used later.
    pub(crate) fn create(
        &mut self,
        creator: ThreadIndex,
        factory: FactoryIndex,
        request: Request,
    ) -> Result<(), ObjectError> {
        let slot = request.slot();
        let task = self.task_of(creator);
        if !self.mappings.tasks[task].capabilities.is_free(&mut self.mappings.machine, slot) {
            return Err(ObjectError::Busy);
        }
        // The capability's place first, so that nothing can fail once there is an object.
        let spot = self.mappings.capability_spot(task, slot)?;
        let payer = self.mappings.tasks[task].factory;
        let node = self.mappings.allocate_node(payer)?;
        let made = self.make(creator, factory, request);
        match made {
            Ok(object) => {
                let capability = Capability { object, rights: FULL };
                self.mappings.enter_root(task, slot, (spot, node), capability);
            }
            Err(_) => database::free_node(
                &mut self.mappings.machine,
                &mut self.mappings.factories[payer],
                node,
            ),
        }
        self.publish();
        made.map(|_| ())
    }

    fn make(
        &mut self,
        creator: ThreadIndex,
        factory: FactoryIndex,
        request: Request,
    ) -> Result<Object, ObjectError> {
        Ok(match request {
            Request::CreateTask(CreateTask { utcb_area, .. }) => {
                let task = self.create_task(factory, utcb_area)?;
                self.trace_creation(Kind::TaskCreated, task, None, Some(creator));
                Object::Task(task)
            }
            Request::CreateThread(_) => Object::Thread(self.create_thread(creator, factory)?),
            Request::CreateGate(CreateGate { label, receiver, .. }) => {
                let capability = self.capability(creator, receiver)?;
                let Object::Thread(thread) = capability.object else {
                    return Err(ObjectError::InvalidArgument);
                };
                require(capability.rights, Rights::EXECUTE)?;
                Object::Gate(self.add_gate(factory, Gate::new(thread, label))?)
            }
            Request::CreateFactory(CreateFactory { limit, .. }) => {
                Object::Factory(self.add_factory(factory, limit)?)
            }
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
        self.mappings.factories[factory].charge(self.gates.price())?;
        self.gates.insert(gate).ok_or(NoMemory)
    }

    /// A factory whose whole limit is taken from its parent at once: it can never be overspent.
    fn add_factory(&mut self, parent: FactoryIndex, limit: Word) -> Result<FactoryIndex, NoMemory> {
        if self.mappings.factories.is_full() {
            return Err(NoMemory);
        }
        let limit = limit as u64;
        let price = limit.checked_add(self.mappings.factories.price()).ok_or(NoMemory)?;
        self.mappings.factories[parent].charge(price)?;
        self.mappings.factories.insert(Factory::new(limit, parent.position())).ok_or(NoMemory)
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
        if self.mappings.tasks.is_full() {
            return Err(ObjectError::NoMemory);
        }
        // And the page table of the info page and the UTCB area.
        let frames = (SPACE_FRAMES + frame_count + 2) * PAGE_SIZE;
        let price = self.mappings.tasks.price();
        if self.mappings.factories[factory].left() < price + frames as u64
            || self.mappings.pool.left() < frames as u64
        {
            return Err(ObjectError::NoMemory);
        }
        self.mappings.factories[factory].charge(price)?;
        let mut directories = [self.mappings.allocate_table(factory)?; DIRECTORY_FRAMES];
        for directory in &mut directories[1..] {
            *directory = self.mappings.allocate_table(factory)?;
        }
        let mut spine = [directories[0].entries(); SPINE_FRAMES];
        for frame in &mut spine {
            *frame = self.mappings.allocate(factory)?;
        }
        let mut utcb_frames = [None; MAX_UTCB_FRAMES];
        for frame in utcb_frames.iter_mut().take(frame_count) {
            *frame = Some(self.mappings.allocate(factory)?);
        }
        let space = Space::new(&mut self.mappings.machine, spine, directories);
        let task = self
            .mappings
            .tasks
            .insert(Task::new(space, factory, utcb_frames))
            .ok_or(ObjectError::NoMemory)?;
        let info_page = self.mappings.sigma0.kernel_info_page;
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
        let space = &self.mappings.tasks[task].space;
        let table = match space.directory_entry(&mut self.mappings.machine, Pages::Memory, address)
        {
            DirectoryEntry::Table(table) => table,
            _ => self.mappings.add_table(task, Pages::Memory, address)?,
        };
        let entry = Entry::page(frame.address(), rights, false);
        Spot::new(table, table_index(address)).set_entry(&mut self.mappings.machine, entry);
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
        if self.threads.is_full() || self.mappings.walkers.is_full() {
            return Err(ObjectError::NoMemory);
        }
        let price = self.threads.price();
        self.mappings.factories[factory].charge(price)?;
        let Ok(bookmark) = self.mappings.allocate_node(factory) else {
            self.mappings.factories[factory].refund(price);
            return Err(ObjectError::NoMemory);
        };
        // It is in no list until a walk stops at it, and says so.
        *self.mappings.machine.node(bookmark) = MappingNode::default();
        self.mappings.walkers.insert(Walker::new(bookmark)).ok_or(ObjectError::NoMemory)?;
        let thread = Thread::new(utcb, priority, factory, bookmark.into());
        self.threads.insert(thread).ok_or(ObjectError::NoMemory)
    }
}
