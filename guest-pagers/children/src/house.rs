//! What this program has for its children, and what it hears of them.

use crate::child::{Child, Handlers, STACK_ORDER};
use runtime::{
    Result,
    capability::{Cap, FACTORY, Factory, Gate, THREAD},
    ipc,
    memory::{Memory, Pool},
    message,
    owned::Owned,
    protocol::{
        Word,
        fault::{Exception, PageFault},
        object::{CapabilityIndex, label},
    },
};

/// The memory to give to children, and their stacks.
#[derive(Debug, Default)]
pub struct House {
    /// Where it comes from, and goes back to.
    pub pool: Pool,
}

/// What happened to a child, whose number comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It says something.
    Words(Word, isize, [Word; 2]),
    /// It faulted and waits for an answer.
    Fault(Word, PageFault),
    /// Nobody holds its gate any more.
    Unheld(Word),
    /// It raised an exception with this vector, and waits for an answer.
    Exception(Word, Word),
}

impl House {
    /// A child whose pager is this program.
    pub fn child(&mut self, factory: Cap<Factory>, number: Word) -> Result<Child> {
        self.child_with_pager(factory, number, CapabilityIndex::PARENT)
    }

    /// A child whose pager is behind its gate at `pager`.
    pub fn child_with_pager(
        &mut self,
        factory: Cap<Factory>,
        number: Word,
        pager: CapabilityIndex,
    ) -> Result<Child> {
        let exceptions = CapabilityIndex::PARENT;
        self.child_with(factory, number, Handlers { pager, exceptions })
    }

    /// A child that turns to these.
    pub fn child_with(
        &mut self,
        factory: Cap<Factory>,
        number: Word,
        handlers: Handlers,
    ) -> Result<Child> {
        let stack = self.pool.take(STACK_ORDER)?;
        Child::new(factory, number, THREAD, handlers, stack)
    }

    /// Ends a child.
    pub fn end(&mut self, child: Child) -> Result<()> {
        let stack = child.end()?;
        self.pool.give_back(stack)
    }

    /// Ends a child's thread, then the rest of it.
    pub fn end_thread_first(&mut self, child: Child) -> Result<()> {
        let stack = child.end_thread_first()?;
        self.pool.give_back(stack)
    }

    /// A page of zeros.
    pub fn page(&mut self) -> Result<Memory> {
        let mut page = self.pool.page()?;
        page.fill(0);
        Ok(page)
    }
}

/// Waits until something is heard.
pub fn listen() -> Heard {
    loop {
        let Ok(received) = ipc::wait() else { continue };
        let number = received.label;
        return match received.tag.label() {
            label::PAGE_FAULT => Heard::Fault(number, PageFault::from_words(message::read(0))),
            label::EXCEPTION => {
                Heard::Exception(number, Exception::from_words(message::read(0)).vector)
            }
            label::GATE_UNHELD => Heard::Unheld(number),
            what => Heard::Words(number, what, message::read(0)),
        };
    }
}

/// Waits for these words of this child, and nothing else.
pub fn expect(number: Word, what: isize) -> [Word; 2] {
    match listen() {
        Heard::Words(from, said, words) if (from, said) == (number, what) => words,
        other => panic!("child {number} was to say {what}, but: {other:?}"),
    }
}

/// A gate to a child's thread.
pub fn gate_to(child: &Child, label: Word) -> Result<Owned<Gate>> {
    FACTORY.create_gate(label, *child.thread)
}
