//! A task of this program's making, with a thread in it that runs one of this program's functions.
//!
//! All of the image is mapped into it, not to be written: its functions keep what they need on the stack,
//! in message registers, or in memory that they were given.

use runtime::{
    Result,
    capability::{Cap, DEBUGGER, Factory, Gate, TASK, Task, Thread},
    ipc,
    memory::Memory,
    message,
    objects::Resident,
    owned::Owned,
    program,
    protocol::{
        PAGE_ORDER, Word,
        flexpage::{Flexpage, Rights},
        layout::{PAGER_AREA, STACK_END, UTCB_AREA},
        message::MessageTag,
        object::CapabilityIndex,
        utcb::UTCB_SIZE,
    },
    share::{Item, Volatile},
};

/// What a thread runs.
pub type Body = extern "C" fn() -> !;

/// Who made it, and hears of its faults and exceptions.
pub const PARENT: Cap<Gate> = Cap::new(CapabilityIndex::PARENT);
/// Another child.
pub const PEER: Cap<Gate> = Cap::new(CapabilityIndex::SERVER);
/// Where a child has the first capability to itself, if it was handed over.
pub const SELF: CapabilityIndex = CapabilityIndex(32);

/// Of a stack, all of which is there from the beginning.
pub const STACK_ORDER: u32 = PAGE_ORDER + 1;

/// Where a thread looks for the gates to those that it turns to, in its task's table.
#[derive(Clone, Copy, Debug)]
pub struct Handlers {
    /// Hears of its page faults and port faults.
    pub pager: CapabilityIndex,
    /// Hears of its exceptions.
    pub exceptions: CapabilityIndex,
}

/// A task and its first thread.
#[derive(Debug)]
pub struct Child {
    /// The task.
    pub task: Owned<Task>,
    /// Its first thread.
    pub thread: Resident,
    /// From the child to its parent, with the child's number as its label.
    gate: Owned<Gate>,
    stack: Memory,
}

impl Child {
    /// Makes one. `factory` pays for it, `parent` hears of it.
    pub fn new(
        factory: Cap<Factory>,
        number: Word,
        parent: Cap<Thread>,
        handlers: Handlers,
        mut stack: Memory,
    ) -> Result<Self> {
        let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE);
        let task = factory.create_task(area)?;
        DEBUGGER.set_name(*task, None, name(&mut [0; 16], number))?;
        let gate = factory.create_gate(number, parent)?;
        task.map(gate.item(CapabilityIndex::PARENT, Rights::READ))?;
        task.map(task.item(CapabilityIndex::TASK, Rights::all()))?;
        for piece in program::image() {
            task.map(piece)?;
        }
        stack.fill(0);
        task.map(stack_item(&stack))?;
        let thread = factory.create_thread()?;
        let thread = thread.bind(&task, handlers.pager, handlers.exceptions, UTCB_AREA)?;
        Ok(Self { task, thread, gate, stack })
    }

    /// Lets it run `body`.
    pub fn start(&self, body: Body) -> Result<()> {
        start(&self.thread, body, STACK_END)
    }

    /// One more thread in the same task, with half of the stack: make it before the first one runs.
    pub fn second_thread(&self, factory: Cap<Factory>) -> Result<Resident> {
        let parent = CapabilityIndex::PARENT;
        factory.create_thread()?.bind(&self.task, parent, parent, UTCB_AREA + UTCB_SIZE)
    }

    /// Lets such a thread run `body`.
    pub fn start_second(&self, thread: &Resident, body: Body) -> Result<()> {
        start(thread, body, STACK_END - (1 << (STACK_ORDER - 1)))
    }

    /// Gives it page `number` of its area, to read and to write.
    pub fn give_page(&self, number: usize, memory: &Memory) -> Result<()> {
        let flexpage = memory.flexpage(Rights::READ_WRITE);
        self.task.map(Item::map(PAGER_AREA + (number << PAGE_ORDER), flexpage))
    }

    /// Gives it its image, its stack and its gate to its parent once more: it may have lost them.
    pub fn give_again(&self) -> Result<()> {
        self.task.map(self.gate.item(CapabilityIndex::PARENT, Rights::READ))?;
        program::image().try_for_each(|piece| self.task.map(piece))?;
        self.task.map(stack_item(&self.stack))
    }

    /// Ends its task, its thread and its gate; gives back its stack.
    pub fn end(self) -> Result<Memory> {
        let Self { task, thread, gate, stack } = self;
        task.end()?;
        thread.end()?;
        gate.end()?;
        Ok(stack)
    }

    /// The same, with its thread first.
    pub fn end_thread_first(self) -> Result<Memory> {
        let Self { task, thread, gate, stack } = self;
        thread.end()?;
        task.end()?;
        gate.end()?;
        Ok(stack)
    }

    /// Hands its task over to itself, at [`SELF`]; gives what else there is.
    pub fn release(self) -> Result<(Resident, Owned<Gate>, Memory)> {
        let Self { task, thread, gate, stack } = self;
        task.hand_over_to_itself(SELF)?;
        Ok((thread, gate, stack))
    }

    /// Has them live no longer than the factory that has made them; gives back its stack.
    pub fn leave(self) -> Memory {
        let Self { stack, .. } = self;
        stack
    }
}

fn stack_item(stack: &Memory) -> Item {
    Item::map(STACK_END - (1 << STACK_ORDER), stack.flexpage(Rights::READ_WRITE))
}

/// The stack looks as if the function had been called.
fn start(thread: &Resident, body: Body, stack_end: Word) -> Result<()> {
    let stack = stack_end - 16 - size_of::<Word>();
    thread.start(body as *const () as usize, stack).map(|_| ())
}

fn name(buffer: &mut [u8; 16], number: Word) -> &str {
    let text = b"child";
    buffer[..5].copy_from_slice(text);
    let digits = [number / 100, number / 10, number].map(|digit| b'0' + (digit % 10) as u8);
    buffer[5..8].copy_from_slice(&digits);
    str::from_utf8(&buffer[..8]).unwrap_or("child")
}

/// For a child: says something to its parent, and waits until that hears it.
pub fn report(what: isize, words: [Word; 2]) {
    message::write(0, words);
    let _ = PARENT.send(MessageTag::new(what, 2, 0));
}

/// For a child: the first word of page `number` of its area.
pub fn word(number: usize) -> &'static Volatile<Word> {
    const WORDS: usize = (1 << PAGE_ORDER) / size_of::<Word>();
    &program::pager_area(64 * WORDS)[number * WORDS]
}

/// For a child: nothing more, with the processor.
pub fn spin() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// For a child: nothing more, and without the processor. Nobody gets an answer.
pub fn rest() -> ! {
    loop {
        let _ = ipc::wait();
    }
}

/// For a child: its own task, which it may change.
pub const OWN: Cap<Task> = TASK;
