//! Answers that come later: a server keeps one client waiting and goes on with the next.

use crate::{
    Error, Result,
    capability::{Cap, THREAD, Thread},
    ipc::{self, Received},
    pager::{Answer, Client},
    slots,
};
use protocol::{
    error::{IpcError, ObjectError},
    message::MessageTag,
    object::{CapabilityIndex, thread},
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
    /// Sets aside the answer to the message that this thread, the program's first one, has just got. The
    /// message registers are used for it: read them before.
    ///
    /// Fails if the answer was set aside or given before, if the client waits for none, or if there is no
    /// memory for a capability.
    #[inline(always)]
    pub fn later(self) -> Result<Reply> {
        let slot = slots::take().ok_or(Error::Object(ObjectError::NoMemory))?;
        match THREAD.set_aside(slot) {
            Ok(()) => Ok(Reply { slot }),
            Err(error) => {
                slots::give_back(slot);
                Err(error)
            }
        }
    }
}

impl Reply {
    /// Gives the answer now. Whether the client still waits for it does not matter.
    pub fn answer(self, answer: Answer) {
        if let Some(tag) = answer.into_tag() {
            // A client that is gone needs no answer.
            let _ = self.send(tag);
        }
    }

    /// Gives the answer, then waits for the next message.
    #[inline(always)]
    pub(crate) fn answer_and_wait(
        self,
        tag: MessageTag,
    ) -> core::result::Result<Received, IpcError> {
        let received = ipc::answer_and_wait(self.slot, tag);
        self.give_back();
        received
    }

    /// Gives the answer; the slot is empty then, or was before.
    fn send(self, tag: MessageTag) -> core::result::Result<(), IpcError> {
        let sent = ipc::send(self.slot, tag);
        self.give_back();
        sent
    }

    #[inline(always)]
    fn give_back(self) {
        slots::give_back(self.slot);
        core::mem::forget(self);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let _ = ipc::send(self.slot, ObjectError::InvalidArgument.tag());
        slots::give_back(self.slot);
    }
}

impl Cap<Thread> {
    /// Sets aside the answer that this thread owes, which must be the one that runs, in an empty slot.
    #[inline(always)]
    pub fn set_aside(self, slot: CapabilityIndex) -> Result<()> {
        self.invoke([thread::SET_ASIDE, slot.0]).map(|_| ())
    }
}
