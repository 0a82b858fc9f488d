//! The operations of the kernel's objects, one method each.

use crate::{
    Error, Result,
    capability::{
        Cap, Console, Debugger, Factory, Gate, Object, Platform, Scheduler, Task, Thread,
    },
    message,
    owned::Owned,
    share::Item,
};
use core::{ops::Deref, time::Duration};
use protocol::{
    Word,
    flexpage::{Flexpage, Rights},
    introspection::NAME_LENGTH,
    object::CapabilityIndex,
    operation::{
        Operation, console, debugger, factory, platform, scheduler, task,
        thread::{self, ExRegsFlags, FloatingPointPiece},
    },
    registers::{FLOATING_POINT_WORDS, ThreadRegisters},
};

impl Cap<Factory> {
    /// Makes a task with this UTCB area.
    pub fn create_task(self, utcb_area: Flexpage) -> Result<Owned<Task>> {
        Owned::create(|slot| {
            self.invoke(factory::CreateTask { slot, utcb_area }.encode())?;
            Ok(Cap::new(slot))
        })
    }

    /// Makes a thread; [`Owned::<Thread>::bind`] and [`Resident::start`] bring it to life.
    pub fn create_thread(self) -> Result<Owned<Thread>> {
        Owned::create(|slot| self.create_thread_at(slot))
    }

    /// Makes a gate: messages to it arrive at `receiver` with `label`.
    pub fn create_gate(self, label: Word, receiver: Cap<Thread>) -> Result<Owned<Gate>> {
        Owned::create(|slot| self.create_gate_at(slot, label, receiver))
    }

    /// Makes a factory that can use up to `limit` bytes of this one's kernel memory.
    pub fn create_factory(self, limit: Word) -> Result<Owned<Factory>> {
        Owned::create(|slot| {
            self.invoke(factory::CreateFactory { slot, limit }.encode())?;
            Ok(Cap::new(slot))
        })
    }

    /// Makes a thread and puts its capability into the empty slot `slot`.
    pub fn create_thread_at(self, slot: CapabilityIndex) -> Result<Cap<Thread>> {
        self.invoke(factory::CreateThread { slot }.encode())?;
        Ok(Cap::new(slot))
    }

    /// Makes a gate and puts its capability into the empty slot `slot`.
    pub fn create_gate_at(
        self,
        slot: CapabilityIndex,
        label: Word,
        receiver: Cap<Thread>,
    ) -> Result<Cap<Gate>> {
        let receiver = receiver.index();
        self.invoke(factory::CreateGate { slot, label, receiver }.encode())?;
        Ok(Cap::new(slot))
    }
}

impl Cap<Task> {
    /// Maps something of this program's into the task, which may be its own: so it must arrive where
    /// nothing else of this program is ([`crate::share`]), else the error is [`Error::NotOpen`]. Where it
    /// arrives in a task of one's own making, an [`Owned`] one, does not matter.
    pub fn map(self, item: Item) -> Result<()> {
        if !item.may_arrive_here() {
            return Err(Error::NotOpen);
        }
        // SAFETY: just seen.
        unsafe { self.map_anywhere(item) }
    }

    /// As [`Self::map`], to anywhere.
    ///
    /// # Safety
    /// If the task is this program's own, no reference leads to where the item arrives.
    pub unsafe fn map_anywhere(self, item: Item) -> Result<()> {
        let item = item.map_item();
        self.invoke(task::Map { item }.encode()).map(|_| ())
    }

    /// Takes from everybody who got something of these flexpages from the task, directly or not, what
    /// `take` says; nobody has to agree. Says what was done to the memory of each flexpage since the
    /// last time: the processor notes that, and the notes begin anew.
    ///
    /// What the task itself loses faults when it is touched again: memory from a [`crate::memory::Pool`]
    /// does not come back, all else is paged in as it was.
    pub fn unmap<const N: usize>(
        self,
        flexpages: [impl Into<Flexpage>; N],
        take: Take,
    ) -> Result<[Use; N]> {
        const FIRST: usize = task::Unmap::FIRST_FLEXPAGE;
        const {
            assert!(N <= task::Unmap::MAX_FLEXPAGES, "too many flexpages for one message");
        }
        let flexpages = flexpages.map(|page| page.into().with_rights(Rights::empty()).0);
        let Take { rights, own_too } = take;
        message::write(0, task::Unmap { take: rights, own_too, flexpages: N }.encode());
        message::write(FIRST, flexpages);
        self.invoke_prepared(FIRST + N)?;
        Ok(message::read(FIRST).map(|word| Use::of(Flexpage(word))))
    }
}

impl Owned<Task> {
    /// Maps something of this program's into the task. Where it arrives is the task's affair.
    pub fn map(&self, item: Item) -> Result<()> {
        // SAFETY: a task that this program has made is not its own.
        unsafe { self.cap().map_anywhere(item) }
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
    ///
    /// # Safety
    /// If the task is this program's own, its new thread is one of this program's, with all that follows.
    pub unsafe fn control(
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
    ///
    /// # Safety
    /// If it is a thread of this program, what it does from there on is sound.
    pub unsafe fn ex_regs(self, instruction: Word, stack: Word) -> Result<(Word, Word)> {
        self.invoke(thread::ExRegs { instruction, stack }.encode())?;
        Ok((message::get(1), message::get(2)))
    }

    /// Lets a gate lead to this thread from now on, which gets to see it under `label`. Who waits at it to
    /// send waits on.
    pub fn take_gate(self, gate: Cap<Gate>, label: Word) -> Result<()> {
        let gate = gate.index();
        self.invoke(thread::TakeGate { gate, label }.encode()).map(|_| ())
    }
}

impl Cap<Thread> {
    /// Changes pager, exception handler, and whether the thread is foreign: its system calls are exceptions
    /// then. What is `None` stays.
    pub fn modify(self, new: thread::Modify) -> Result<()> {
        self.invoke(new.encode()).map(|_| ())
    }

    /// All registers of another thread but its floating-point state.
    pub fn registers(self) -> Result<ThreadRegisters> {
        self.invoke(thread::ReadRegisters.encode())?;
        Ok(ThreadRegisters::from_words(message::read(thread::ReadRegisters::FIRST)))
    }

    /// The floating-point state of another thread, as the processor stores it.
    pub fn floating_point(self) -> Result<[Word; FLOATING_POINT_WORDS]> {
        let mut state = [0; FLOATING_POINT_WORDS];
        for (first, words) in pieces(&mut state) {
            let piece = FloatingPointPiece::new(first, words.len()).ok_or(Error::BadAnswer)?;
            self.invoke(thread::ReadFloatingPoint(piece).encode())?;
            for (offset, word) in words.iter_mut().enumerate() {
                *word = message::get(FloatingPointPiece::FIRST + offset);
            }
        }
        Ok(state)
    }
}

/// The floating-point state in pieces that fit a message, each with its first word's number.
fn pieces(state: &mut [Word]) -> impl Iterator<Item = (usize, &mut [Word])> {
    const SIZE: usize = FloatingPointPiece::MAX_WORDS;
    state.chunks_mut(SIZE).enumerate().map(|(number, words)| (number * SIZE, words))
}

impl Owned<Thread> {
    /// Binds the thread to another task. Pager and exception handler are indices in that task's table.
    pub fn bind(
        self,
        task: &Owned<Task>,
        pager: CapabilityIndex,
        exception_handler: CapabilityIndex,
        utcb: Word,
    ) -> Result<Resident> {
        // SAFETY: a task that this program has made is not its own.
        unsafe { self.control(pager, exception_handler, task.cap(), utcb)? };
        Ok(Resident(self))
    }
}

/// A thread of another task.
#[derive(Debug)]
pub struct Resident(Owned<Thread>);

impl Resident {
    /// Sets instruction and stack pointer ([`thread::ExRegs::KEEP`] leaves one) and lets the thread run;
    /// gives the old ones.
    pub fn start(&self, instruction: Word, stack: Word) -> Result<(Word, Word)> {
        // SAFETY: what it does it does to that task.
        unsafe { self.0.ex_regs(instruction, stack) }
    }

    /// As [`Self::start`], with flags: what it waits for goes on, or it raises an exception.
    pub fn divert(&self, pointers: thread::ExRegs, flags: ExRegsFlags) -> Result<(Word, Word)> {
        self.invoke(thread::ExRegsWith { pointers, flags }.encode())?;
        Ok((message::get(1), message::get(2)))
    }

    /// Sets all its registers but its floating-point state, and leaves it to what it does.
    pub fn set_registers(&self, registers: ThreadRegisters) -> Result<()> {
        self.invoke(thread::WriteRegisters { registers }.encode()).map(|_| ())
    }

    /// Sets its floating-point state.
    pub fn set_floating_point(&self, mut state: [Word; FLOATING_POINT_WORDS]) -> Result<()> {
        const FIRST: usize = FloatingPointPiece::FIRST;
        for (first, words) in pieces(&mut state) {
            let piece = FloatingPointPiece::new(first, words.len()).ok_or(Error::BadAnswer)?;
            message::write(0, thread::WriteFloatingPoint(piece).encode());
            words.iter().enumerate().for_each(|(offset, word)| message::set(FIRST + offset, *word));
            self.invoke_prepared(FIRST + words.len())?;
        }
        Ok(())
    }

    /// Ends it; see [`Owned::end`].
    pub fn end(self) -> Result<()> {
        self.0.end()
    }

    /// Lets it live without this value; see [`Owned::leak`].
    pub fn leak(self) -> Cap<Thread> {
        self.0.leak()
    }
}

impl Deref for Resident {
    type Target = Cap<Thread>;

    fn deref(&self) -> &Cap<Thread> {
        &self.0
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

    /// Sets how long each turn is that a thread has with others of its priority: at least
    /// [`scheduler::SetSlice::SHORTEST`] microseconds.
    pub fn set_slice(self, thread: Cap<Thread>, slice: Duration) -> Result<()> {
        let microseconds = u32::try_from(slice.as_micros()).unwrap_or(u32::MAX);
        let thread = thread.index();
        self.invoke(scheduler::SetSlice { thread, microseconds }.encode()).map(|_| ())
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
