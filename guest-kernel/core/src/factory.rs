//! Factories: they make objects and limit the kernel memory that these take.

use crate::{
    arch::{Entry, Table as PageTable},
    capability::{Capability, Object},
    frames::{KernelFrame, NoMemory},
    index::{FactoryIndex, Table, TaskIndex, ThreadIndex},
    kernel::{Gate, Kernel},
    machine::Machine,
    space::{SPACE_FRAMES, Space, table_index},
    task::{MAX_UTCB_FRAMES, Task},
    thread::{Thread, UtcbReference},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    error::ObjectError,
    flexpage::{Flexpage, Rights},
    introspection::record::Kind,
    layout::{KERNEL_INFO_PAGE, UTCB_AREA},
    object::{CapabilityIndex, factory},
};

/// All factories.
pub type Factories<'k> = Table<'k, FactoryIndex, Factory>;

/// A quota of kernel memory.
#[derive(Clone, Copy, Debug)]
pub struct Factory {
    /// Bytes that it may spend.
    pub limit: usize,
    /// Bytes that it has spent.
    pub used: usize,
}

impl Factory {
    /// Spends `bytes`, or nothing if that is more than is left.
    pub fn charge(&mut self, bytes: usize) -> Result<(), NoMemory> {
        if self.limit - self.used < bytes {
            return Err(NoMemory);
        }
        self.used += bytes;
        Ok(())
    }
}

impl From<NoMemory> for ObjectError {
    fn from(_: NoMemory) -> Self {
        Self::NoMemory
    }
}

/// All rights on a new object.
const FULL: Rights = Rights::all();

impl<M: Machine> Kernel<'_, M> {
    /// The operations of [`protocol::object::factory`]. `arguments` are message registers 2 and 3.
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
        let object = match operation {
            factory::CREATE_TASK => {
                let task = self.create_task(factory, Flexpage(arguments[0]))?;
                self.trace_creation(Kind::TaskCreated, task, None, Some(creator));
                Object::Task(task)
            }
            factory::CREATE_THREAD => Object::Thread(self.create_thread(creator, factory)?),
            factory::CREATE_GATE => {
                let index = CapabilityIndex(arguments[1]);
                let capability = self.tasks[task].capabilities.get(&mut self.machine, index);
                let capability = capability.ok_or(ObjectError::NoSuchCapability)?;
                let Object::Thread(thread) = capability.object else {
                    return Err(ObjectError::InvalidArgument);
                };
                require(capability.rights, Rights::EXECUTE)?;
                self.factories[factory].charge(size_of::<Gate>())?;
                let gate = Gate { thread, label: arguments[0] };
                Object::Gate(self.gates.insert(gate).ok_or(ObjectError::NoMemory)?)
            }
            factory::CREATE_FACTORY => {
                // The whole limit is taken from the parent at once: it can never be overspent.
                let limit = arguments[0];
                self.factories[factory].charge(limit)?;
                let made = Factory { limit, used: 0 };
                Object::Factory(self.factories.insert(made).ok_or(ObjectError::NoMemory)?)
            }
            _ => return Err(ObjectError::NoSuchObject),
        };
        let capability = Capability { object, rights: FULL };
        self.put_capability(task, slot, capability)?;
        Ok(())
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
        // One more frame for the page table of the info page and the UTCB area.
        let needed = (SPACE_FRAMES + frame_count + 1) * PAGE_SIZE;
        if !self.can_allocate(factory, needed + size_of::<Task>()) {
            return Err(ObjectError::NoMemory);
        }
        self.factories[factory].charge(size_of::<Task>())?;
        let mut frames = [self.allocate(factory)?; SPACE_FRAMES];
        for frame in &mut frames[1..] {
            *frame = self.allocate(factory)?;
        }
        let mut utcb_frames = [None; MAX_UTCB_FRAMES];
        for frame in utcb_frames.iter_mut().take(frame_count) {
            *frame = Some(self.allocate(factory)?);
        }
        let space = Space::new(&mut self.machine, frames);
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
        self.publish();
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
        let table = self.table_for(task, address)?;
        self.machine.view::<PageTable>(table)[table_index(address)] =
            Entry::page(frame.address(), rights, false);
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
        self.factories[factory].charge(size_of::<Thread>())?;
        let thread =
            self.threads.insert(Thread::new(utcb, priority)).ok_or(ObjectError::NoMemory)?;
        self.publish();
        Ok(thread)
    }

    /// Tells the host how many objects there are.
    fn publish(&mut self) {
        let (tasks, threads) = (self.tasks.used(), self.threads.used());
        self.machine.publish_counts(tasks, threads, self.pool.next_free());
    }
}

/// An error unless `rights` include `needed`.
pub(crate) fn require(rights: Rights, needed: Rights) -> Result<(), ObjectError> {
    if rights.contains(needed) { Ok(()) } else { Err(ObjectError::PermissionDenied) }
}
