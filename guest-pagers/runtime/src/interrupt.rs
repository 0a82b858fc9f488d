//! Interrupts, for drivers: an interrupt becomes a message.
//!
//! The interrupts of a program stand in the manifest. A driver binds one to a gate of its own, lets it come,
//! and waits:
//!
//! ```ignore
//! let gate = FACTORY.create_gate(7, THREAD)?;
//! let line = interrupt::of_manifest(0);
//! line.bind(*gate)?;
//! loop {
//!     // Before the driver looks at its device: what comes in between is not lost.
//!     line.unmask()?;
//!     // ... take all that the device has ...
//!     while !interrupt::is_meant(ipc::wait()?.tag) {}
//! }
//! ```

use crate::{
    Error, Result,
    capability::{Cap, Gate, Interrupt, Interrupts},
    message,
    owned::Owned,
};
use protocol::{
    Word,
    boot::MAX_INTERRUPTS,
    message::MessageTag,
    object::{CapabilityIndex, label},
    operation::{Operation, interrupt, interrupts},
};

/// What a device writes to raise an interrupt without a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// Where, a physical address.
    pub address: Word,
    /// What.
    pub data: Word,
}

/// The interrupt that stands at this place, from 0 on, among those that the manifest gives this program.
pub const fn of_manifest(place: usize) -> Cap<Interrupt> {
    assert!(place < MAX_INTERRUPTS, "a program has no so many interrupts");
    Cap::new(CapabilityIndex(CapabilityIndex::FIRST_INTERRUPT.0 + place))
}

/// Whether a message says that an interrupt has come, which one its label does. Like all that comes through
/// a gate, it may also have been sent by whoever else has that.
pub const fn is_meant(tag: MessageTag) -> bool {
    tag.label() == label::INTERRUPT
}

impl Cap<Interrupts> {
    /// Makes an object of an interrupt, of which there is none yet: masked, and bound to nothing.
    pub fn create(self, interrupt: u16) -> Result<Owned<Interrupt>> {
        Owned::create(|slot| {
            self.invoke(interrupts::Create { slot, interrupt }.encode())?;
            Ok(Cap::new(slot))
        })
    }

    /// The same of one that is message-signalled, with what a device writes to raise it.
    pub fn create_signalled(self, interrupt: u16) -> Result<(Owned<Interrupt>, Signal)> {
        let object = self.create(interrupt)?;
        let [address, data] = message::read(0);
        if address == 0 { Err(Error::BadAnswer) } else { Ok((object, Signal { address, data })) }
    }
}

impl Cap<Interrupt> {
    /// From now on the gate's thread, and nobody else, is told when it comes, under the gate's label.
    pub fn bind(self, gate: Cap<Gate>) -> Result<()> {
        self.invoke(interrupt::Bind { gate: gate.index() }.encode()).map(|_| ())
    }

    /// Nobody is told any more.
    pub fn unbind(self) -> Result<()> {
        self.invoke(interrupt::Unbind.encode()).map(|_| ())
    }

    /// Lets it not come.
    pub fn mask(self) -> Result<()> {
        self.invoke(interrupt::Mask.encode()).map(|_| ())
    }

    /// Lets it come: the first time, or again after it has come, which masks it.
    #[inline]
    pub fn unmask(self) -> Result<()> {
        self.invoke(interrupt::Unmask.encode()).map(|_| ())
    }
}
