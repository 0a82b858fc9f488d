//! Being a pager: a thread that is asked when others fault, and answers with mappings.

use crate::{
    Error,
    capability::PARENT,
    ipc,
    ipc::Received,
    memory, message,
    reply::Reply,
    share::{Item, Shareable},
};
use protocol::{
    PAGE_ORDER, Word,
    error::{IpcError, ObjectError},
    fault::{Exception, PageFault, PortFault},
    flexpage::{Flexpage, align_down},
    message::MessageTag,
    object::{CapabilityIndex, label},
    registers::Registers,
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

    /// A client raised another exception. [`Answer::go_on`] and [`Answer::go_on_with`] let it go on, refusing
    /// stops it.
    fn exception(&mut self, client: Client, exception: Exception) -> Answer {
        let _ = (client, exception);
        Answer::refuse(ObjectError::InvalidArgument)
    }

    /// Nobody holds the client's gate any more: the last capability is gone that was derived from the first
    /// one. What was kept for the client can go. Nobody waits for an answer.
    fn unheld(&mut self, client: Client) {
        let _ = client;
    }

    /// A client sent a message of its own: its words are in [`message`].
    fn request(&mut self, client: Client, tag: MessageTag) -> Answer {
        let _ = (client, tag);
        Answer::refuse(ObjectError::BadProtocol)
    }
}

/// The answer to a message. Its words are in the message registers already, so make it last.
#[derive(Debug)]
#[must_use]
pub struct Answer {
    /// What gives it and waits for the next message: [`Operation::REPLY_AND_WAIT`] for whoever asked last,
    /// [`Operation::ANSWER_AND_WAIT`] with the slot for somebody else, or only [`Operation::WAIT`] where
    /// there is none.
    target: Word,
    content: Content,
}

/// Items are written at the last moment: what else may get into the registers is no item.
#[derive(Clone, Copy, Debug)]
enum Content {
    Words(MessageTag),
    /// The usual one.
    Item(Item),
    Items {
        words: usize,
        items: [Item; MAX_ITEMS],
        count: usize,
    },
}

/// The most items of an answer.
pub const MAX_ITEMS: usize = 4;

impl Answer {
    /// For whoever asked last.
    #[inline(always)]
    const fn of(content: Content) -> Self {
        Self { target: Operation::REPLY_AND_WAIT.0, content }
    }

    /// This answer is for another client, who waits for it: give this one back to [`serve`]. Whoever
    /// asked last, and whose answer was not set aside, gets none.
    #[inline(always)]
    pub fn to(self, reply: Reply) -> Self {
        let slot = reply.into_slot();
        Self { target: slot.0 << CAPABILITY_SHIFT | Operation::ANSWER_AND_WAIT.0, ..self }
    }

    /// Whom it is for, if not whoever asked last.
    #[inline(always)]
    fn reply(target: Word) -> Option<Reply> {
        let slot = CapabilityIndex(target >> CAPABILITY_SHIFT);
        (slot != CapabilityIndex::NIL).then(|| Reply::from_slot(slot))
    }

    /// Maps `flexpage`, which this program must have itself, to `address` of the client.
    #[inline(always)]
    pub fn map(address: Word, flexpage: Shareable) -> Self {
        Self::of(Content::Item(Item::map(address, flexpage)))
    }

    /// As [`Self::map`], but this program's own mapping moves to the client. What was derived from it
    /// before stays.
    #[inline]
    pub fn grant(address: Word, flexpage: Shareable) -> Self {
        Self::of(Content::Item(Item::grant(address, flexpage)))
    }

    /// Gives I/O ports, which this program must have itself, to the client.
    pub fn ports(ports: Flexpage) -> Self {
        let Some(shareable) = Shareable::new(ports) else {
            return Self::refuse(ObjectError::InvalidArgument);
        };
        Self::of(Content::Item(Item::map(ports.address() << PAGE_ORDER, shareable)))
    }

    /// Maps and grants all these: at most [`MAX_ITEMS`].
    #[inline]
    pub fn items<const N: usize>(items: [Item; N]) -> Self {
        Self::message([], items)
    }

    /// Success, and these words.
    #[inline]
    pub fn words<const N: usize>(words: [Word; N]) -> Self {
        message::write(0, words);
        Self::of(Content::Words(MessageTag::new(0, N, 0)))
    }

    /// Success, these words, and all these mappings. There are
    /// [`protocol::utcb::MESSAGE_REGISTERS`]; an item takes two.
    #[inline]
    pub fn message<const W: usize, const I: usize>(words: [Word; W], items: [Item; I]) -> Self {
        const { assert!(I <= MAX_ITEMS, "too many items for one answer") };
        message::write(0, words);
        let none = Item::map(0, Shareable::NOTHING);
        let all = core::array::from_fn(|number| items.get(number).copied().unwrap_or(none));
        Self::of(Content::Items { words: W, items: all, count: I })
    }

    /// A client goes on after an exception, with the registers that it has.
    pub fn go_on() -> Self {
        Self::words([])
    }

    /// A client goes on after an exception, with these registers.
    pub fn go_on_with(registers: Registers) -> Self {
        Self::words(Exception { vector: 0, error_code: 0, registers }.to_words())
    }

    /// No. A client that faulted is stopped.
    pub const fn refuse(error: ObjectError) -> Self {
        Self::of(Content::Words(error.tag()))
    }

    /// Nothing: for messages whose sender waits for no answer, or for one that comes later.
    pub const fn nothing() -> Self {
        Self { target: Operation::WAIT.0, content: Content::Words(MessageTag(0)) }
    }

    /// Sends the answer now, without waiting for the next message.
    pub fn send(self) {
        self.send_now();
    }

    fn send_now(&self) {
        if self.is_nothing() {
            return;
        }
        let (target, tag) = self.finish();
        match Self::reply(target) {
            // SAFETY: the items, if any, have been written just now.
            Some(reply) => unsafe { reply.give(tag) },
            None => {
                // SAFETY: the items, if any, have been written just now. A client that is gone needs no
                // answer.
                let _ = unsafe { ipc::reply_any(tag) };
            }
        }
    }

    pub(crate) const fn is_nothing(&self) -> bool {
        self.target == Operation::WAIT.0
    }

    /// Writes the items, and says what gives the answer and its tag.
    #[inline(always)]
    fn finish(&self) -> (Word, MessageTag) {
        let tag = match &self.content {
            Content::Words(tag) => *tag,
            Content::Item(item) => {
                message::write(0, item.to_words());
                MessageTag::new(0, 0, 1)
            }
            Content::Items { words, items, count } => write_items(*words, &items[..*count]),
        };
        (self.target, tag)
    }
}

/// Writes some items behind words, and gives the tag.
#[cold]
#[inline(never)]
fn write_items(words: usize, items: &[Item]) -> MessageTag {
    message::write_items(words, items);
    MessageTag::new(0, words, items.len())
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
    let mut received = next();
    loop {
        let given = answer(pager, received, Answer::finish);
        // SAFETY: the items, if any, have been written just now.
        received = match unsafe { give(given) } {
            Ok(received) => received,
            // The answer did not reach its client, which is gone.
            Err(_) => next(),
        };
    }
}

/// The next message.
#[cold]
#[inline(never)]
fn next() -> Received {
    loop {
        if let Ok(received) = ipc::wait() {
            return received;
        }
    }
}

/// Gives an answer and waits for the next message.
///
/// # Safety
/// As [`ipc::invoke`].
#[inline(always)]
unsafe fn give((target, tag): (Word, MessageTag)) -> Result<Received, IpcError> {
    // SAFETY: the caller's.
    let invoke = |target| unsafe { ipc::invoke_target(target, tag, Timeouts::NEVER) };
    // The usual one.
    if target == Operation::REPLY_AND_WAIT.0 {
        return invoke(Operation::REPLY_AND_WAIT.0);
    }
    let received = invoke(target);
    if let Some(reply) = Answer::reply(target) {
        reply.free_slot();
    }
    received
}

/// Serves all who wait by now.
pub fn serve_pending(pager: &mut impl Pager) {
    while let Ok(received) = ipc::poll() {
        answer(pager, received, Answer::send_now);
    }
}

/// What becomes of the pager's answer to a message. The two that are asked for most come first, each from one
/// place and with its own `then`, so that the compiler knows which kind of answer it is.
#[inline(always)]
fn answer<T>(pager: &mut impl Pager, received: Received, then: impl Fn(&Answer) -> T) -> T {
    let (client, label) = (Client(received.label), received.tag.label());
    if label == label::PAGE_FAULT {
        return then(&pager.page_fault(client, PageFault::from_words(message::read(0))));
    }
    if label < 0
        && let Some(answer) = answer_to_kernel(pager, client, label)
    {
        return then(&answer);
    }
    then(&pager.request(client, received.tag))
}

/// The answer to what else the kernel says in the name of a client.
#[cold]
fn answer_to_kernel(pager: &mut impl Pager, client: Client, label: isize) -> Option<Answer> {
    Some(match label {
        label::PORT_FAULT => pager.port_fault(client, PortFault::from_words(message::read(0))),
        label::EXCEPTION => pager.exception(client, Exception::from_words(message::read(0))),
        label::GATE_UNHELD => {
            pager.unheld(client);
            Answer::nothing()
        }
        _ => return None,
    })
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Self::refuse(error.for_client())
    }
}
