//! Being a pager: a thread that is asked when others fault, and answers with mappings.

use crate::{Error, capability::PARENT, ipc, ipc::Received, memory, message};
use protocol::{
    PAGE_ORDER, Word,
    error::ObjectError,
    fault::{Exception, PageFault, PortFault},
    flexpage::{Flexpage, align_down},
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    syscall::{Operation, Timeouts},
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
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Answer {
    /// What gives it and waits for the next message: [`Operation::REPLY_AND_WAIT`], or only
    /// [`Operation::WAIT`] where there is no answer.
    operation: Operation,
    tag: MessageTag,
}

impl Answer {
    /// The message that is in the message registers.
    const fn prepared(tag: MessageTag) -> Self {
        Self { operation: Operation::REPLY_AND_WAIT, tag }
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

    /// Nothing: for messages whose sender waits for no answer.
    pub const fn nothing() -> Self {
        Self { operation: Operation::WAIT, tag: MessageTag(0) }
    }

    /// Sends the answer now, without waiting for the next message.
    pub fn send(self) {
        if self.operation == Operation::REPLY_AND_WAIT {
            // A client that is gone needs no answer.
            let _ = ipc::reply(self.tag);
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
        let Answer { operation, tag } = given;
        let received = ipc::invoke(CapabilityIndex::NIL, operation, tag, Timeouts::NEVER);
        given = match received {
            Ok(received) => answer(pager, received),
            Err(_) => after_failure(),
        };
    }
}

/// What a server does whose last answer did not reach its client, which is gone, or who gave none.
#[cold]
#[inline(never)]
fn after_failure() -> Answer {
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
