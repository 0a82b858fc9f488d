//! The first two tasks: sigma0, then the root task, which starts everything else.

use crate::{
    boot_bundle::Image,
    mapping::{
        capability::{Capability, Object},
        life::Mortal,
    },
    memory::{
        factory::Factory,
        index::{FactoryIndex, TaskIndex, ThreadIndex},
        machine::Machine,
        utcb::UtcbReference,
    },
    threads::{gate::Gate, kernel::Kernel},
};
use protocol::{
    PAGE_ORDER, Word,
    boot::pad_name,
    error::ObjectError,
    flexpage::{Flexpage, Rights},
    introspection::{NAME_LENGTH, NOBODY},
    layout::UTCB_AREA,
    object::CapabilityIndex,
};

const SIGMA0_PRIORITY: u8 = 255;
const ROOT_PRIORITY: u8 = 200;

/// The label under which sigma0 sees the root task.
const ROOT_LABEL: Word = 1;

impl<M: Machine> Kernel<M> {
    /// Creates the first two tasks; sigma0 runs first, and the root task once sigma0 waits.
    pub fn start(&mut self, root: &Image) -> Result<(), ObjectError> {
        let factory = Factory::new(self.mappings.pool.left(), NOBODY);
        let factory = self.mappings.factories.insert(factory).ok_or(ObjectError::NoMemory)?;
        self.mappings.begin_life(Mortal::Factory(factory), None);
        self.mappings.begin_to_walk(factory)?;
        let sigma0_image = self.mappings.sigma0.image.clone();
        let sigma0 = self.start_task(factory, &sigma0_image, b"sigma0", SIGMA0_PRIORITY)?;
        let root_thread = self.start_task(factory, root, b"root", ROOT_PRIORITY)?;

        let to_sigma0 = Gate::new(sigma0, ROOT_LABEL);
        let gate = self.add_gate(factory, to_sigma0)?;
        for (index, object) in [
            (CapabilityIndex::FACTORY, Object::Factory(factory)),
            (CapabilityIndex::PARENT, Object::Gate(gate)),
            (CapabilityIndex::SCHEDULER, Object::Scheduler),
            (CapabilityIndex::DEBUGGER, Object::Debugger),
            (CapabilityIndex::PLATFORM, Object::Platform),
            (CapabilityIndex::INTERRUPTS, Object::Interrupts),
        ] {
            self.mappings.give(TaskIndex::ROOT, index, full(object))?;
        }
        self.threads[root_thread].record.set_pager(CapabilityIndex::PARENT.0 as u16);
        self.trace_pagers(root_thread, None);
        self.publish();
        self.schedule();
        Ok(())
    }

    fn start_task(
        &mut self,
        factory: FactoryIndex,
        image: &Image,
        name: &[u8],
        priority: u8,
    ) -> Result<ThreadIndex, ObjectError> {
        let utcb_area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE);
        let task = self.create_task(factory, utcb_area)?;
        let frame = self.mappings.tasks[task].utcb_frame(UTCB_AREA);
        let utcb = frame.and_then(|(frame, offset)| UtcbReference::at_offset(frame, offset));
        let utcb = utcb.ok_or(ObjectError::NoMemory)?;
        let thread = self.add_thread(factory, utcb, priority)?;
        self.bind_to(thread, task, utcb, UTCB_AREA);
        self.threads[thread].context.set_pointers(image.elf.entry, 0);
        self.mappings.tasks[task].record.name = pad_name::<NAME_LENGTH>(name);
        self.mappings.tasks[task].record.image = image.module + 1;
        self.mappings.give(task, CapabilityIndex::TASK, full(Object::Task(task)))?;
        self.mappings.give(task, CapabilityIndex::THREAD, full(Object::Thread(thread)))?;
        self.mappings.give(task, CapabilityIndex::CONSOLE, full(Object::Console))?;
        self.trace_task(task, None);
        self.trace_task_name(task, None);
        self.trace_thread(thread, None);
        self.make_ready(thread);
        Ok(thread)
    }
}

fn full(object: Object) -> Capability {
    Capability { object, rights: Rights::all() }
}
