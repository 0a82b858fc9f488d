//! Capabilities with the type of the object behind them.

use crate::{
    Error, Result, ipc, message,
    share::{Item, Shareable},
};
use core::{fmt, marker::PhantomData};
use protocol::{
    Word,
    error::ObjectError,
    flexpage::Rights,
    message::MessageTag,
    object::{CapabilityIndex, label},
};

/// Types of objects. They have no values: they only stand in [`Cap`].
pub trait Object {
    /// The label that says what a message to such an object is about.
    const PROTOCOL: isize;
}

macro_rules! objects {
    ($($(#[$doc:meta])* $name:ident = $protocol:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub enum $name {}
        impl Object for $name {
            const PROTOCOL: isize = $protocol;
        }
    )*};
}

objects! {
    /// An address space with a table of capabilities.
    Task = label::TASK;
    /// What runs in a task.
    Thread = label::THREAD;
    /// Makes objects.
    Factory = label::FACTORY;
    /// An address for messages: they arrive at one thread, with the gate's label.
    Gate = label::GATE;
    /// Where text for people goes.
    Console = label::CONSOLE;
    /// Priorities.
    Scheduler = label::SCHEDULER;
    /// Names for viewers.
    Debugger = label::DEBUGGER;
    /// The machine.
    Platform = label::PLATFORM;
    /// The interrupts.
    Interrupts = label::INTERRUPT;
    /// One interrupt.
    Interrupt = label::INTERRUPT;
    /// Who started this program, and gives it memory.
    Parent = label::SIGMA0;
}

/// A capability: the index of an object of type `T` in this task's table.
pub struct Cap<T> {
    index: CapabilityIndex,
    object: PhantomData<T>,
}

impl<T> Clone for Cap<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Cap<T> {}

impl<T> fmt::Debug for Cap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cap({})", self.index.0)
    }
}

impl<T> Cap<T> {
    /// The capability at `index`, believed to be a `T`: if not, its methods give errors.
    pub const fn new(index: CapabilityIndex) -> Self {
        Self { index, object: PhantomData }
    }

    /// Where it stands in this task's table.
    pub const fn index(self) -> CapabilityIndex {
        self.index
    }

    /// The item that maps it to `index` in the receiver's table, with these rights.
    pub const fn item(self, index: CapabilityIndex, rights: Rights) -> Item {
        Item::map(index.0 << protocol::syscall::CAPABILITY_SHIFT, self.flexpage(rights))
    }

    /// The flexpage that it is, with these rights.
    pub const fn flexpage(self, rights: Rights) -> Shareable {
        Shareable::capabilities(self.index.0, 0, rights)
    }
}

impl<T: Object> Cap<T> {
    /// Calls the object with these words; a refusal is an error.
    #[inline]
    pub(crate) fn invoke<const N: usize>(self, words: [Word; N]) -> Result<MessageTag> {
        message::write(0, words);
        self.invoke_prepared(N)
    }

    /// As [`Self::invoke`], with `words` words that are in the message registers already.
    #[inline]
    pub(crate) fn invoke_prepared(self, words: usize) -> Result<MessageTag> {
        // SAFETY: there are no items, and the methods of tasks and threads see to what they do.
        check(unsafe { ipc::call_any(self.index, MessageTag::new(T::PROTOCOL, words, 0))? })
    }
}

impl Cap<Gate> {
    /// Sends the message that is in the message registers.
    #[inline]
    pub fn send(self, tag: MessageTag) -> Result<()> {
        Ok(ipc::send(self.index, tag)?)
    }

    /// Sends the message that is in the message registers and waits for the answer.
    #[inline]
    pub fn call(self, tag: MessageTag) -> Result<MessageTag> {
        Ok(ipc::call(self.index, tag)?)
    }

    /// Sends `words` words that are in the message registers, and these items, and waits for the answer.
    /// The label is not one of the kernel's.
    #[inline]
    pub fn call_with<const N: usize>(
        self,
        label: isize,
        words: usize,
        items: [Item; N],
    ) -> Result<MessageTag> {
        assert!(label >= 0, "the label is one of the kernel's");
        message::write_items(words, &items);
        // SAFETY: others may get what these items name.
        unsafe { Ok(ipc::call_any(self.index, MessageTag::new(label, words, N))?) }
    }
}

/// The answer's tag, or the error that it reports.
#[inline]
pub fn check(answer: MessageTag) -> Result<MessageTag> {
    if answer.label() == 0 { Ok(answer) } else { Err(refusal(answer)) }
}

#[cold]
#[inline(never)]
fn refusal(answer: MessageTag) -> Error {
    let label = answer.label();
    ObjectError::from_label(label).map_or(Error::Other(label), Error::Object)
}

/// This task.
pub const TASK: Cap<Task> = Cap::new(CapabilityIndex::TASK);
/// This task's first thread.
pub const THREAD: Cap<Thread> = Cap::new(CapabilityIndex::THREAD);
/// The factory: only the root task has one at first.
pub const FACTORY: Cap<Factory> = Cap::new(CapabilityIndex::FACTORY);
/// Who started this program.
pub const PARENT: Cap<Parent> = Cap::new(CapabilityIndex::PARENT);
/// The console.
pub const CONSOLE: Cap<Console> = Cap::new(CapabilityIndex::CONSOLE);
/// The scheduler: only the root task has it at first.
pub const SCHEDULER: Cap<Scheduler> = Cap::new(CapabilityIndex::SCHEDULER);
/// The debugger object.
pub const DEBUGGER: Cap<Debugger> = Cap::new(CapabilityIndex::DEBUGGER);
/// The platform: only the root task has it at first.
pub const PLATFORM: Cap<Platform> = Cap::new(CapabilityIndex::PLATFORM);
/// The interrupts: only the root task has them at first.
pub const INTERRUPTS: Cap<Interrupts> = Cap::new(CapabilityIndex::INTERRUPTS);
/// The program that the manifest names as this one's server.
pub const SERVER: Cap<Gate> = Cap::new(CapabilityIndex::SERVER);
