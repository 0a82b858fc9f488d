//! Answers that come later: a server keeps one client waiting and goes on with the next.

use crate::{
    Result, ipc,
    pager::{Answer, Client},
    slot::Slot,
};
use core::mem;
use protocol::{
    error::ObjectError,
    message::MessageTag,
    object::CapabilityIndex,
    syscall::{Operation, Timeouts},
};

/// The answer that a client waits for. It can be kept, moved, and given at any time; until then the
/// client waits. Dropping it refuses, as [`Answer::refuse`] does.
///
/// ```ignore
/// fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
///     match client.later() {
///         Ok(reply) => {
///             self.waiting.push((fault.address, reply));
///             self.disk.read(fault.address);
///             Answer::nothing()
///         }
///         Err(error) => error.into(),
///     }
/// }
///
/// fn request(&mut self, _: Client, _: MessageTag) -> Answer {
///     // The disk says that a page is there.
///     let (address, page) = self.disk.page();
///     if let Some(place) = self.waiting.iter().position(|(of, _)| *of == address) {
///         let (_, reply) = self.waiting.remove(place);
///         reply.answer(Answer::map(address, page));
///     }
///     Answer::nothing()
/// }
/// ```
#[derive(Debug)]
#[must_use = "the client is refused when this is dropped"]
pub struct Reply {
    /// The capability, in a slot that is this value's alone.
    slot: CapabilityIndex,
}

impl Client {
    /// Sets aside the answer to the message that this thread has just got.
    ///
    /// Fails if the answer was set aside or given before, if the client waits for none, or if there is no
    /// memory for a capability.
    #[inline(always)]
    pub fn later(self) -> Result<Reply> {
        let slot = Slot::take()?;
        ipc::set_aside(slot.index())?;
        Ok(Reply { slot: slot.leak() })
    }
}

impl Reply {
    /// Gives the answer now. Whether the client still waits for it does not matter.
    pub fn answer(self, answer: Answer) {
        if !answer.is_nothing() {
            answer.to(self).send();
        }
    }

    /// Sends the message that is in the message registers.
    ///
    /// # Safety
    /// As [`ipc::invoke`].
    pub(crate) unsafe fn give(self, tag: MessageTag) {
        // A client that is gone needs no answer.
        // SAFETY: the caller's.
        let _ = unsafe { ipc::invoke(self.slot, Operation::SEND, tag, Timeouts::NEVER) };
        self.free_slot();
    }

    /// The answer was given: the slot is empty, or was before.
    #[inline(always)]
    pub(crate) fn free_slot(self) {
        drop(Slot::again(self.into_slot()));
    }

    #[inline(always)]
    pub(crate) fn into_slot(self) -> CapabilityIndex {
        let slot = self.slot;
        mem::forget(self);
        slot
    }

    /// What [`Self::into_slot`] was made of.
    #[inline(always)]
    pub(crate) fn from_slot(slot: CapabilityIndex) -> Self {
        Self { slot }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let _ = ipc::send(self.slot, ObjectError::InvalidArgument.tag());
        drop(Slot::again(self.slot));
    }
}
