//! What a program can ask its parent for.

use crate::{
    Error, Result,
    capability::{Cap, Parent, check},
    ipc, message,
    pager::Client,
    share::Shareable,
};
use protocol::{
    Word,
    fault::PageFault,
    flexpage::{Flexpage, Rights},
    message::MessageTag,
    object::label,
    sigma0::{REQUEST_ANY, REQUEST_AT},
};

/// Memory that arrived in the receive window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Where.
    pub address: Word,
    /// Binary logarithm of its size.
    pub order: u32,
    /// What may be done with it.
    pub rights: Rights,
}

impl Arrived {
    /// The flexpage that maps it on to somebody.
    pub const fn flexpage(self) -> Shareable {
        Shareable::open(self.address, self.order, self.rights)
    }
}

impl Cap<Parent> {
    /// Asks for any free memory of `2^order` bytes; it arrives in `window`.
    pub fn request_any(self, order: u32, window: Flexpage) -> Result<Arrived> {
        receive(window, || self.invoke([REQUEST_ANY, order as Word]))
    }

    /// Asks for any free memory, to have it at the addresses that it has there.
    pub(crate) fn request_one_to_one(self, order: u32) -> Result<Arrived> {
        // SAFETY: the root task is linked above all memory that sigma0 hands out, and does not refer to
        // what it asks for.
        unsafe { message::set_any_receive_window(Flexpage::WHOLE_SPACE) };
        let answer = self.invoke([REQUEST_ANY, order as Word]);
        message::set_receive_window(Flexpage::NIL);
        arrived(answer?)
    }

    /// Asks for the memory at `flexpage`; it arrives in `window`.
    pub fn request_at(self, flexpage: Flexpage, window: Flexpage) -> Result<Arrived> {
        receive(window, || self.invoke([REQUEST_AT, flexpage.0]))
    }

    /// Asks for I/O ports; they arrive where they are.
    pub fn request_ports(self, ports: Flexpage) -> Result<()> {
        receive(ports, || self.invoke([REQUEST_AT, ports.0])).map(|_| ())
    }

    /// Asks for the page that `client`, whose pager this program is, faulted on; it arrives in
    /// `window`, to be mapped on.
    pub fn page_in(self, client: Client, fault: PageFault, window: Flexpage) -> Result<Arrived> {
        receive(window, || {
            let [address, instruction] = fault.to_words();
            message::write(0, [client.0, address, instruction]);
            check(ipc::call(self.index(), MessageTag::new(label::PAGE_IN, 3, 0))?)
        })
    }

    /// Tells the parent that this program has ended.
    pub fn exit(self, status: Word) -> Result<()> {
        message::write(0, [status]);
        Ok(ipc::send(self.index(), MessageTag::new(label::EXIT, 1, 0))?)
    }
}

/// The one item that the answer to `call` brings.
fn receive(window: Flexpage, call: impl FnOnce() -> Result<MessageTag>) -> Result<Arrived> {
    arrived(message::accept(window, call)?)
}

/// The one item of an answer.
fn arrived(tag: MessageTag) -> Result<Arrived> {
    let item = message::item(tag.words()).filter(|_| tag.items() == 1).ok_or(Error::BadAnswer)?;
    let (order, rights) = (item.flexpage.order(), item.flexpage.rights());
    if rights.is_empty() {
        // The parent has nothing there itself.
        return Err(Error::BadAnswer);
    }
    Ok(Arrived { address: item.send_base, order, rights })
}
