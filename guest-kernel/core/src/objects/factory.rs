//! Factories: they make objects and limit the kernel memory that these take.

use crate::{
    arch::{DIRECTORY_FRAMES, Entry, SPINE_PAIRS},
    mapping::{
        capability::{Capability, Object},
        database,
        life::Mortal,
        space::{DirectoryEntry, Pages, Space, Spot, table_index},
        task::{MAX_UTCB_FRAMES, Task, UtcbArea},
    },
    memory::{
        factory::Factory,
        frames::{KernelFrame, NoMemory, PAIR_SIZE},
        index::{FactoryIndex, GateIndex, TableIndex, TaskIndex, ThreadIndex},
        machine::Machine,
        utcb::UtcbReference,
    },
    objects::invocation::require,
    threads::{
        gate::{Gate, GateChain},
        kernel::Kernel,
        thread::Thread,
        undertaking::walker,
    },
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    error::ObjectError,
    flexpage::{Flexpage, Rights},
    introspection::mapping::MappingNode,
    layout::{KERNEL_INFO_PAGE, UTCB_AREA},
    operation::factory::{CreateFactory, CreateGate, CreateTask, Request},
};

/// Pairs of frames of a new space, with the page table of the info page and the UTCB area.
const SPACE_PAIRS: usize = SPINE_PAIRS + DIRECTORY_FRAMES + 1;

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
                self.trace_task(task, Some(creator));
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
        let gate = self.gates.insert(gate).ok_or(NoMemory)?;
        if let Some(thread) = self.gates[gate].receiver() {
            self.threads[thread].gates.push(&mut self.gates, GateChain::OfThread, gate);
        }
        self.mappings.begin_life(Mortal::Gate(gate), Some(factory));
        Ok(gate)
    }

    /// A factory whose whole limit is taken from its parent at once: it can never be overspent.
    fn add_factory(&mut self, parent: FactoryIndex, limit: Word) -> Result<FactoryIndex, NoMemory> {
        if self.mappings.factories.is_full() {
            return Err(NoMemory);
        }
        let limit = limit as u64;
        let price = limit.checked_add(self.mappings.factories.price()).ok_or(NoMemory)?;
        self.mappings.factories[parent].charge(price)?;
        let factory = Factory::new(limit, parent.position());
        let factory = self.mappings.factories.insert(factory).ok_or(NoMemory)?;
        self.mappings.begin_life(Mortal::Factory(factory), Some(parent));
        Ok(factory)
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
        let memory = (SPACE_PAIRS + UtcbArea::pairs(frame_count)) as u64 * PAIR_SIZE;
        let price = self.mappings.tasks.price();
        if self.mappings.factories[factory].left() < price + memory
            || self.mappings.pool.left() < memory
        {
            return Err(ObjectError::NoMemory);
        }
        self.mappings.factories[factory].charge(price)?;
        let mut directories = [self.mappings.allocate(factory)?.into_table(); DIRECTORY_FRAMES];
        for directory in &mut directories[1..] {
            *directory = self.mappings.allocate(factory)?.into_table();
        }
        let mut spine = [directories[0]; SPINE_PAIRS];
        for pair in &mut spine {
            *pair = self.mappings.allocate(factory)?.into_table();
        }
        let space = Space::new(&mut self.mappings.machine, spine, directories);
        let mut utcb_area = UtcbArea::default();
        for _ in 0..UtcbArea::pairs(frame_count) {
            utcb_area.add(self.mappings.allocate(factory)?, frame_count.min(2));
        }
        let task = self.mappings.tasks.insert(Task::new(space, factory, utcb_area));
        let task = task.ok_or(ObjectError::NoMemory)?;
        self.mappings.begin_life(Mortal::Task(task), Some(factory));
        let info_page = self.mappings.sigma0.kernel_info_page;
        self.map_kernel_page(task, KERNEL_INFO_PAGE, info_page, Rights::READ)?;
        for address in (UTCB_AREA..).step_by(PAGE_SIZE).take(frame_count) {
            if let Some((frame, _)) = self.mappings.tasks[task].utcb_frame(address) {
                self.map_kernel_page(task, address, frame, Rights::READ_WRITE)?;
            }
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
        let utcb = UtcbReference::first_of(self.mappings.sigma0.kernel_info_page);
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
        self.mappings.factories[factory].charge(price)?;
        let Ok(bookmark) = self.mappings.allocate_node(factory) else {
            self.mappings.factories[factory].refund(price);
            return Err(ObjectError::NoMemory);
        };
        // It is in no list until a walk stops at it, and says so.
        *self.mappings.machine.node(bookmark) = MappingNode::default();
        let thread = Thread::new(utcb, priority, factory, bookmark.into());
        let thread = self.threads.insert(thread).ok_or(ObjectError::NoMemory)?;
        self.mappings.set_walker(walker(thread), bookmark);
        self.mappings.begin_life(Mortal::Thread(thread), Some(factory));
        Ok(thread)
    }
}
