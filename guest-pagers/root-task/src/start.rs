//! Bringing programs to life: a task, a thread in it, the gates that it starts with.

use arrayvec::ArrayVec;
use core::fmt;
use policy::{
    manifest::MAX_PROGRAMS,
    programs::{ProgramIndex, Programs},
};
use runtime::{
    Error, Result,
    capability::{CONSOLE, Cap, DEBUGGER, FACTORY, Gate, INTERRUPTS, SCHEDULER, THREAD, Task},
    objects::Resident,
    owned::Owned,
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

struct Body {
    task: Owned<Task>,
    thread: Resident,
}

/// Starts all programs. None of them runs before all are there: each can rely on its gates.
pub fn start(programs: &Programs<'static>) -> core::result::Result<(), StartError> {
    let mut starter = Starter { programs, bodies: ArrayVec::new() };
    for step in [Starter::create, Starter::connect, Starter::set_off] {
        for (index, program) in programs.iter() {
            step(&mut starter, index).map_err(|error| StartError {
                name: program.name(),
                quota: program.quota(),
                error,
            })?;
        }
    }
    // What a program has is to be seen after its end, too.
    for Body { task, thread } in starter.bodies {
        task.leak();
        thread.leak();
    }
    Ok(())
}

struct Starter<'p> {
    programs: &'p Programs<'static>,
    bodies: ArrayVec<Body, MAX_PROGRAMS>,
}

impl Starter<'_> {
    /// A task and a thread with the program's name. What they and their mappings take of the kernel's
    /// memory counts against the program's quota.
    fn create(&mut self, index: ProgramIndex) -> Result<()> {
        let program = &self.programs[index];
        let utcb_area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE);
        let factory = program.quota().map(|limit| FACTORY.create_factory(limit)).transpose()?;
        let factory = factory.map(Owned::leak);
        let payer = factory.unwrap_or(FACTORY);
        let task = payer.create_task(utcb_area)?;
        if let Some(factory) = factory {
            task.map(factory.item(CapabilityIndex::FACTORY, Rights::all()))?;
        }
        DEBUGGER.set_name(*task, Some(program.module.index), program.module.name)?;
        let pager = match program.pager {
            None => CapabilityIndex::PARENT,
            Some(_) => CapabilityIndex::PAGER,
        };
        let thread = payer.create_thread()?;
        let thread = thread.bind(&task, pager, CapabilityIndex::PARENT, UTCB_AREA)?;
        self.bodies.push(Body { task, thread });
        Ok(())
    }

    /// The capabilities that the program starts with, and its priority.
    fn connect(&mut self, index: ProgramIndex) -> Result<()> {
        let Body { task, thread } = &self.bodies[index.number()];
        let program = &self.programs[index];
        task.map(task.item(CapabilityIndex::TASK, Rights::all()))?;
        task.map(thread.item(CapabilityIndex::THREAD, Rights::all()))?;
        task.map(CONSOLE.item(CapabilityIndex::CONSOLE, Rights::READ))?;
        task.map(DEBUGGER.item(CapabilityIndex::DEBUGGER, Rights::READ))?;
        let parent = FACTORY.create_gate(Programs::label(index), THREAD)?.leak();
        task.map(parent.item(CapabilityIndex::PARENT, Rights::READ))?;
        if let Some(server) = program.server {
            let gate = self.gate(index, server)?;
            task.map(gate.item(CapabilityIndex::SERVER, Rights::READ))?;
        }
        if let Some(pager) = program.pager {
            let gate = self.gate(index, pager)?;
            task.map(gate.item(CapabilityIndex::PAGER, Rights::READ))?;
        }
        for (place, &interrupt) in program.module.entry.interrupts().iter().enumerate() {
            let slot = CapabilityIndex(CapabilityIndex::FIRST_INTERRUPT.0 + place);
            INTERRUPTS.create(interrupt)?.hand_over(task, slot)?;
        }
        SCHEDULER.set_priority(**thread, program.module.entry.priority.min(255) as u8)
    }

    /// The first instruction, and the fault that comes with it.
    fn set_off(&mut self, index: ProgramIndex) -> Result<()> {
        let entry = self.programs[index].image.entry;
        self.bodies[index.number()].thread.start(entry, STACK_END).map(|_| ())
    }

    /// A gate through which program `from` reaches program `to`.
    fn gate(&self, from: ProgramIndex, to: ProgramIndex) -> Result<Cap<Gate>> {
        let label = self.programs[from].label_between_programs();
        let gate = FACTORY.create_gate(label, *self.bodies[to.number()].thread)?;
        Ok(gate.leak())
    }
}
