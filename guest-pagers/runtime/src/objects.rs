//! The operations of the kernel's objects, one method each.

use crate::{
    Result,
    capability::{
        Cap, Console, Debugger, Factory, Gate, Object, Platform, Scheduler, Task, Thread,
    },
    message,
};
use protocol::{
    Word,
    flexpage::{Flexpage, Rights},
    introspection::NAME_LENGTH,
    message::MapItem,
    object::CapabilityIndex,
    operation::{Operation, console, debugger, factory, platform, scheduler, task, thread},
};

impl Cap<Factory> {
    /// Makes a task with this UTCB area and puts its capability into the empty slot `slot`.
    pub fn create_task(self, slot: CapabilityIndex, utcb_area: Flexpage) -> Result<Cap<Task>> {
        self.invoke(factory::CreateTask { slot, utcb_area }.encode())?;
        Ok(Cap::new(slot))
    }

    /// Makes a thread; [`Cap::<Thread>::control`] and [`Cap::<Thread>::ex_regs`] bring it to life.
    pub fn create_thread(self, slot: CapabilityIndex) -> Result<Cap<Thread>> {
        self.invoke(factory::CreateThread { slot }.encode())?;
        Ok(Cap::new(slot))
    }

    /// Makes a gate: messages to it arrive at `receiver` with `label`.
    pub fn create_gate(
        self,
        slot: CapabilityIndex,
        label: Word,
        receiver: Cap<Thread>,
    ) -> Result<Cap<Gate>> {
        let receiver = receiver.index();
        self.invoke(factory::CreateGate { slot, label, receiver }.encode())?;
        Ok(Cap::new(slot))
    }

    /// Makes a factory that can use up to `limit` bytes of this one's kernel memory.
    pub fn create_factory(self, slot: CapabilityIndex, limit: Word) -> Result<Cap<Factory>> {
        self.invoke(factory::CreateFactory { slot, limit }.encode())?;
        Ok(Cap::new(slot))
    }
}

impl Cap<Task> {
    /// Maps something of this program's into the task.
    pub fn map(self, item: MapItem) -> Result<()> {
        self.invoke(task::Map { item }.encode()).map(|_| ())
    }

    /// Takes from everybody who got something of these flexpages from the task, directly or not, what
    /// `take` says; nobody has to agree. Says what was done to the memory of each flexpage since the
    /// last time: the processor notes that, and the notes begin anew.
    pub fn unmap<const N: usize>(self, flexpages: [Flexpage; N], take: Take) -> Result<[Use; N]> {
        const FIRST: usize = task::Unmap::FIRST_FLEXPAGE;
        const {
            assert!(N <= task::Unmap::MAX_FLEXPAGES, "too many flexpages for one message");
        }
        let Take { rights, own_too } = take;
        message::write(0, task::Unmap { take: rights, own_too, flexpages: N }.encode());
        message::write(FIRST, flexpages.map(|page| page.with_rights(Rights::empty()).0));
        self.invoke_prepared(FIRST + N)?;
        Ok(message::read(FIRST).map(|word| Use::of(Flexpage(word))))
    }
}

/// What [`Cap::<Task>::unmap`] takes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Take {
    rights: Rights,
    own_too: bool,
}

impl Take {
    /// Nothing: to learn what was done to memory.
    pub const NOTHING: Self = Self::rights(Rights::empty());
    /// The mappings that were derived.
    pub const EVERYTHING: Self = Self::rights(Rights::READ);

    /// These rights of the mappings that were derived. The right to read is the mapping itself.
    pub const fn rights(rights: Rights) -> Self {
        Self { rights, own_too: false }
    }

    /// The same of the task's own mappings too.
    pub const fn own_too(self) -> Self {
        Self { own_too: true, ..self }
    }
}

/// What was done to a flexpage's memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Somebody read, wrote or executed there.
    pub accessed: bool,
    /// Somebody wrote there.
    pub written: bool,
}

impl Use {
    const fn of(answer: Flexpage) -> Self {
        let rights = answer.rights();
        Self { accessed: rights.contains(Rights::READ), written: rights.contains(Rights::WRITE) }
    }
}

impl Cap<Thread> {
    /// Binds the thread to a task. Pager and exception handler are indices in that task's table.
    pub fn control(
        self,
        pager: CapabilityIndex,
        exception_handler: CapabilityIndex,
        task: Cap<Task>,
        utcb: Word,
    ) -> Result<()> {
        let task = task.index();
        self.invoke(thread::Control { pager, exception_handler, task, utcb }.encode()).map(|_| ())
    }

    /// Sets instruction and stack pointer ([`thread::ExRegs::KEEP`] leaves one) and lets the thread run;
    /// gives the old ones.
    pub fn ex_regs(self, instruction: Word, stack: Word) -> Result<(Word, Word)> {
        self.invoke(thread::ExRegs { instruction, stack }.encode())?;
        Ok((message::get(1), message::get(2)))
    }
}

impl Cap<Console> {
    /// Writes bytes, in as many messages as it takes.
    pub fn write(self, bytes: &[u8]) -> Result<()> {
        const FIRST: usize = console::Write::FIRST_BYTES;
        for piece in bytes.chunks(console::Write::MAX_BYTES) {
            message::write(0, console::Write { length: piece.len() }.encode());
            message::write_bytes(FIRST, piece);
            self.invoke_prepared(FIRST + piece.len().div_ceil(size_of::<Word>()))?;
        }
        Ok(())
    }
}

impl Cap<Scheduler> {
    /// Sets a thread's priority.
    pub fn set_priority(self, thread: Cap<Thread>, priority: u8) -> Result<()> {
        let thread = thread.index();
        self.invoke(scheduler::SetPriority { thread, priority }.encode()).map(|_| ())
    }

    /// Lets the next thread of the same priority run.
    pub fn yield_now(self) -> Result<()> {
        self.invoke(scheduler::Yield.encode()).map(|_| ())
    }
}

impl Cap<Debugger> {
    /// Names a task or thread for viewers. `image` is the number of the boot module that has its
    /// symbols.
    pub fn set_name<T: Object>(
        self,
        object: Cap<T>,
        image: Option<usize>,
        name: &str,
    ) -> Result<()> {
        let name = &name.as_bytes()[..name.len().min(NAME_LENGTH)];
        const FIRST: usize = debugger::SetName::FIRST_BYTES;
        let image = image.and_then(|image| u32::try_from(image).ok());
        let request = debugger::SetName { object: object.index(), image, length: name.len() };
        message::write(0, request.encode());
        message::write_bytes(FIRST, name);
        self.invoke_prepared(FIRST + name.len().div_ceil(size_of::<Word>())).map(|_| ())
    }

    /// Does nothing: the shortest call of an object.
    #[inline]
    pub fn null(self) -> Result<()> {
        self.invoke(debugger::Null.encode()).map(|_| ())
    }
}

impl Cap<Platform> {
    /// Ends the machine with an exit status. Comes back only if this task must not do that.
    pub fn shut_down(self, status: u8) -> Result<()> {
        self.invoke(platform::ShutDown { status }.encode()).map(|_| ())
    }
}
