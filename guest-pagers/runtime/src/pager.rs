//! Being a pager: a thread that is asked when others fault, and answers with mappings.

use crate::{Error, capability::PARENT, ipc, ipc::Received, memory, message, reply::Reply};
use protocol::{
    PAGE_ORDER, Word,
    error::ObjectError,
    fault::{Exception, PageFault, PortFault},
    flexpage::{Flexpage, align_down},
    message::{MapItem, MessageTag},
    object::label,
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
    /// `None`: there is none.
    tag: Option<MessageTag>,
    /// Whom it is for, if not whoever asked last.
    reply: Option<Reply>,
}

impl Answer {
    /// The message that is in the message registers.
    #[inline(always)]
    const fn prepared(tag: MessageTag) -> Self {
        Self { tag: Some(tag), reply: None }
    }

    /// This answer is for another client, who waits for it: give this one back to [`serve`]. Whoever
    /// asked last, and whose answer was not set aside, gets none.
    #[inline(always)]
    pub fn to(self, reply: Reply) -> Self {
        Self { reply: Some(reply), ..self }
    }

    pub(crate) fn into_tag(self) -> Option<MessageTag> {
        self.tag
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
        Self { tag: None, reply: None }
    }

    /// Sends the answer now, without waiting for the next message.
    pub fn send(self) {
        match self {
            Self { tag: None, .. } => {}
            Self { tag: Some(tag), reply: None } => {
                // A client that is gone needs no answer.
                let _ = ipc::reply(tag);
            }
            Self { tag: Some(tag), reply: Some(reply) } => reply.answer(Self::prepared(tag)),
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
    let mut incoming = ipc::wait();
    loop {
        incoming = match incoming.map(|received| answer(pager, received)) {
            Ok(Answer { tag: Some(tag), reply: None }) => ipc::reply_and_wait(tag),
            Ok(Answer { tag: Some(tag), reply: Some(reply) }) => reply.answer_and_wait(tag),
            // The last answer did not reach its client, which is gone, or there was none.
            Ok(Answer { tag: None, .. }) | Err(_) => ipc::wait(),
        };
    }
}

/// Serves all who wait by now.
pub fn serve_pending(pager: &mut impl Pager) {
    while let Ok(received) = ipc::poll() {
        answer(pager, received).send();
    }
}

#[inline(always)]
fn answer(pager: &mut impl Pager, received: Received) -> Answer {
    let client = Client(received.label);
    match received.tag.label() {
        label::PAGE_FAULT => pager.page_fault(client, PageFault::from_words(message::read(0))),
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
