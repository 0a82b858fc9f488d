//! Bringing programs to life: a task, a thread in it, the gates that it starts with.

use arrayvec::ArrayVec;
use core::fmt;
use policy::programs::{MAX_PROGRAMS, ProgramIndex, Programs};
use runtime::{
    Error, Result,
    capability::{CONSOLE, Cap, DEBUGGER, FACTORY, Factory, Gate, SCHEDULER, THREAD, Task, Thread},
    protocol::{
        PAGE_ORDER, Word,
        flexpage::{Flexpage, Rights},
        layout::{STACK_END, UTCB_AREA},
        object::CapabilityIndex,
    },
};

/// A program that could not be started.
#[derive(Debug)]
pub struct StartError {
    name: &'static str,
    /// In bytes, if the manifest sets one.
    quota: Option<Word>,
    error: Error,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start `{}`: {}", self.name, self.error)?;
        match self.quota {
            Some(bytes) => write!(f, " (its quota of kernel memory is {} KiB)", bytes >> 10),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Copy)]
struct Body {
    /// One of its own, if the manifest sets a quota.
    factory: Option<Cap<Factory>>,
    task: Cap<Task>,
    thread: Cap<Thread>,
}

/// Starts all programs. None of them runs before all are there: each can rely on its gates.
pub fn start(programs: &Programs<'static>) -> core::result::Result<(), StartError> {
    let mut starter = Starter { programs, bodies: ArrayVec::new(), next: FIRST_SLOT };
    for step in [Starter::create, Starter::connect, Starter::set_off] {
        for (index, program) in programs.iter() {
            step(&mut starter, index).map_err(|error| StartError {
                name: program.name(),
                quota: program.quota(),
                error,
            })?;
        }
    }
    Ok(())
}

const FIRST_SLOT: Word = CapabilityIndex::FIRST_FREE.0;

struct Starter<'p> {
    programs: &'p Programs<'static>,
    bodies: ArrayVec<Body, MAX_PROGRAMS>,
    /// The next empty slot of this task's capability table.
    next: Word,
}

impl Starter<'_> {
    /// A task and a thread with the program's name. What they and their mappings take of the kernel's
    /// memory counts against the program's quota.
    fn create(&mut self, index: ProgramIndex) -> Result<()> {
        let module = &self.programs[index].module;
        let utcb_area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE);
        let quota = self.programs[index].quota();
        let factory = quota.map(|limit| FACTORY.create_factory(self.slot(), limit)).transpose()?;
        let payer = factory.unwrap_or(FACTORY);
        let task = payer.create_task(self.slot(), utcb_area)?;
        let thread = payer.create_thread(self.slot())?;
        DEBUGGER.set_name(task, Some(module.index), module.name)?;
        self.bodies.push(Body { factory, task, thread });
        Ok(())
    }

    /// The capabilities that the program starts with, its pager and its priority.
    fn connect(&mut self, index: ProgramIndex) -> Result<()> {
        let Body { factory, task, thread } = self.bodies[index.number()];
        let program = &self.programs[index];
        task.map(task.item(CapabilityIndex::TASK, Rights::all()))?;
        task.map(thread.item(CapabilityIndex::THREAD, Rights::all()))?;
        task.map(CONSOLE.item(CapabilityIndex::CONSOLE, Rights::READ))?;
        task.map(DEBUGGER.item(CapabilityIndex::DEBUGGER, Rights::READ))?;
        if let Some(factory) = factory {
            task.map(factory.item(CapabilityIndex::FACTORY, Rights::all()))?;
        }

        let parent = FACTORY.create_gate(self.slot(), Programs::label(index), THREAD)?;
        task.map(parent.item(CapabilityIndex::PARENT, Rights::READ))?;
        if let Some(server) = program.server {
            let gate = self.gate(index, server)?;
            task.map(gate.item(CapabilityIndex::SERVER, Rights::READ))?;
        }
        let pager = match program.pager {
            None => CapabilityIndex::PARENT,
            Some(pager) => {
                let gate = self.gate(index, pager)?;
                task.map(gate.item(CapabilityIndex::PAGER, Rights::READ))?;
                CapabilityIndex::PAGER
            }
        };
        thread.control(pager, CapabilityIndex::PARENT, task, UTCB_AREA)?;
        SCHEDULER.set_priority(thread, program.module.entry.priority.min(255) as u8)
    }

    /// The first instruction, and the fault that comes with it.
    fn set_off(&mut self, index: ProgramIndex) -> Result<()> {
        let entry = self.programs[index].image.entry;
        self.bodies[index.number()].thread.ex_regs(entry, STACK_END).map(|_| ())
    }

    /// A gate through which program `from` reaches program `to`.
    fn gate(&mut self, from: ProgramIndex, to: ProgramIndex) -> Result<Cap<Gate>> {
        let label = self.programs[from].label_between_programs();
        FACTORY.create_gate(self.slot(), label, self.bodies[to.number()].thread)
    }

    fn slot(&mut self) -> CapabilityIndex {
        self.next += 1;
        CapabilityIndex(self.next - 1)
    }
}
