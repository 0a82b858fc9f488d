//! Being a pager: a thread that is asked when others fault, and answers with mappings.

use crate::{Error, capability::PARENT, ipc, ipc::Received, memory, message, reply::Reply};
use protocol::{
    PAGE_ORDER, Word,
    error::ObjectError,
    fault::{Exception, PageFault, PortFault},
    flexpage::{Flexpage, align_down},
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    syscall::{CAPABILITY_SHIFT, Operation, Timeouts},
};

/// Who sent a message: the label of the gate that it came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub Word);

/// A server that resolves faults and answers requests. What is not written is left to the root task,
/// or refused.
pub trait Pager {
    /// A client faulted. [`Answer::map`] is the usual answer, [`forward`] the one to faults that
    /// this pager has no opinion about, [`Answer::refuse`] stops the client.
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        forward(client, fault)
    }

    /// A client used I/O ports that it does not have. Answer as to a page fault, with an item of
    /// ports. Refusing stops it.
    fn port_fault(&mut self, client: Client, fault: PortFault) -> Answer {
        let _ = (client, fault);
        Answer::refuse(ObjectError::PermissionDenied)
    }

    /// A client raised another exception. Refusing stops it.
    fn exception(&mut self, client: Client, exception: Exception) -> Answer {
        let _ = (client, exception);
        Answer::refuse(ObjectError::InvalidArgument)
    }

    /// A client sent a message of its own: its words are in [`message`].
    fn request(&mut self, client: Client, tag: MessageTag) -> Answer {
        let _ = (client, tag);
        Answer::refuse(ObjectError::BadProtocol)
    }
}

/// The answer to a message: its words are in the message registers already, so make it last.
#[derive(Debug)]
#[must_use]
pub struct Answer {
    /// What gives it and waits for the next message: [`Operation::REPLY_AND_WAIT`] for whoever asked last,
    /// [`Operation::ANSWER_AND_WAIT`] with the slot for somebody else, or only [`Operation::WAIT`] where
    /// there is none.
    target: Word,
    tag: MessageTag,
}

impl Answer {
    /// The message that is in the message registers.
    #[inline(always)]
    const fn prepared(tag: MessageTag) -> Self {
        Self { target: Operation::REPLY_AND_WAIT.0, tag }
    }

    /// This answer is for another client, who waits for it: give this one back to [`serve`]. Whoever
    /// asked last, and whose answer was not set aside, gets none.
    #[inline(always)]
    pub fn to(self, reply: Reply) -> Self {
        let slot = reply.into_slot();
        Self { target: slot.0 << CAPABILITY_SHIFT | Operation::ANSWER_AND_WAIT.0, tag: self.tag }
    }

    /// The message, if there is one.
    pub(crate) fn tag(&self) -> Option<MessageTag> {
        (self.target != Operation::WAIT.0).then_some(self.tag)
    }

    /// Whom it is for, if not whoever asked last.
    #[inline(always)]
    fn reply(target: Word) -> Option<Reply> {
        let slot = CapabilityIndex(target >> CAPABILITY_SHIFT);
        (slot != CapabilityIndex::NIL).then(|| Reply::from_slot(slot))
    }

    /// Maps `flexpage`, which this program must have itself, to `address` of the client.
    #[inline(always)]
    pub fn map(address: Word, flexpage: Flexpage) -> Self {
        message::write(0, MapItem::map(address, flexpage).to_words());
        Self::prepared(MessageTag::new(0, 0, 1))
    }

    /// As [`Self::map`], but this program's own mapping moves to the client. What was derived from it
    /// before stays.
    #[inline]
    pub fn grant(address: Word, flexpage: Flexpage) -> Self {
        Self::items([MapItem::grant(address, flexpage)])
    }

    /// Gives I/O ports, which this program must have itself, to the client.
    pub fn ports(ports: Flexpage) -> Self {
        Self::items([MapItem::map(ports.address() << PAGE_ORDER, ports)])
    }

    /// Maps and grants all these.
    #[inline]
    pub fn items<const N: usize>(items: [MapItem; N]) -> Self {
        Self::message([], items)
    }

    /// Success, and these words.
    pub fn words<const N: usize>(words: [Word; N]) -> Self {
        Self::message(words, [])
    }

    /// Success, these words, and all these mappings. There are
    /// [`protocol::utcb::MESSAGE_REGISTERS`]; an item takes two.
    #[inline]
    pub fn message<const W: usize, const I: usize>(words: [Word; W], items: [MapItem; I]) -> Self {
        message::write(0, words);
        message::write_items(W, items);
        Self::prepared(MessageTag::new(0, W, I))
    }

    /// No. A client that faulted is stopped.
    pub const fn refuse(error: ObjectError) -> Self {
        Self::prepared(error.tag())
    }

    /// Nothing: for messages whose sender waits for no answer, or for one that comes later.
    pub const fn nothing() -> Self {
        Self { target: Operation::WAIT.0, tag: MessageTag(0) }
    }

    /// Sends the answer now, without waiting for the next message.
    pub fn send(self) {
        let Some(tag) = self.tag() else { return };
        match Self::reply(self.target) {
            Some(reply) => reply.answer(Self::prepared(tag)),
            None => {
                // A client that is gone needs no answer.
                let _ = ipc::reply(tag);
            }
        }
    }
}

/// Asks the parent for the page, then maps it on: for faults of a client on its own text, data,
/// stack, and all else that this pager has no opinion about.
pub fn forward(client: Client, fault: PageFault) -> Answer {
    match memory::receive(PAGE_ORDER, |window| PARENT.page_in(client, fault, window)) {
        Ok(page) => Answer::map(align_down(fault.address, PAGE_ORDER), page.flexpage()),
        Err(error) => Answer::refuse(error.for_client()),
    }
}

/// Serves for ever.
pub fn serve(pager: &mut impl Pager) -> ! {
    let mut given = Answer::nothing();
    loop {
        let Answer { target, tag } = given;
        given = match ipc::invoke_target(target, tag, Timeouts::NEVER) {
            Ok(received) => {
                if let Some(reply) = Answer::reply(target) {
                    reply.is_given();
                }
                answer(pager, received)
            }
            Err(_) => after_failure(target),
        };
    }
}

/// What a server does whose last answer did not reach its client, which is gone.
#[cold]
#[inline(never)]
fn after_failure(target: Word) -> Answer {
    if let Some(reply) = Answer::reply(target) {
        reply.is_given();
    }
    Answer::nothing()
}

/// Serves all who wait by now.
pub fn serve_pending(pager: &mut impl Pager) {
    while let Ok(received) = ipc::poll() {
        answer(pager, received).send();
    }
}

#[inline(always)]
fn answer(pager: &mut impl Pager, received: Received) -> Answer {
    let (client, label) = (Client(received.label), received.tag.label());
    // The two that are asked for most.
    if label == label::PAGE_FAULT {
        return pager.page_fault(client, PageFault::from_words(message::read(0)));
    }
    if label >= 0 {
        return pager.request(client, received.tag);
    }
    match label {
        label::PORT_FAULT => pager.port_fault(client, PortFault::from_words(message::read(0))),
        label::EXCEPTION => pager.exception(client, Exception::from_words(message::read(0))),
        _ => pager.request(client, received.tag),
    }
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Self::refuse(error.for_client())
    }
}
