//! Objects that end with the value that stands for them.
//!
//! An object lives as long as its first capability, the root of all others. Whoever makes an object has
//! that, as an [`Owned`] value: dropping it ends the object, wherever it is used and whatever it is doing.
//!
//! ```ignore
//! use runtime::{capability::{FACTORY, THREAD}, owned::Owned};
//!
//! let gate = FACTORY.create_gate(7, THREAD)?;      // messages through it arrive here, with the label 7
//! TASK.map(gate.item(INDEX, Rights::READ))?;       // all methods of a `Cap` are there
//! gate.end()?;                                     // whoever has a capability to it has nothing now
//!
//! let task = FACTORY.create_task(UTCB_AREA)?;      // dropped at the end of the block, it ends there
//! let factory = FACTORY.create_factory(1 << 20)?.leak();   // lives for ever
//! ```
//!
//! | what ends | what goes along |
//! |---|---|
//! | a gate | who waits to send through it, or for its answer, learns that there is nobody |
//! | a thread | who waits for it learns that; its gates lead to nobody |
//! | a task | its threads stop; all of its mappings, ports and capabilities, and what was derived from them |
//! | a factory | all that it has made, in any task; what it has paid goes back to the one that made it |

use crate::{
    Result,
    capability::{Cap, Factory, Gate, Object, TASK, Task, Thread},
    objects::Take,
    slot::Slot,
};
use core::ops::Deref;
use protocol::{flexpage::Rights, object::CapabilityIndex};

/// Objects that factories make, and that end.
pub trait Mortal: Object {}

impl Mortal for Task {}
impl Mortal for Thread {}
impl Mortal for Gate {}
impl Mortal for Factory {}

/// The first capability of an object, in a slot of its own. The object ends when this is dropped.
#[derive(Debug)]
pub struct Owned<T: Mortal> {
    cap: Cap<T>,
    /// `None` only at the end.
    slot: Option<Slot>,
}

impl<T: Mortal> Owned<T> {
    /// Has `create` put a new object's capability into a slot.
    pub(crate) fn create(create: impl FnOnce(CapabilityIndex) -> Result<Cap<T>>) -> Result<Self> {
        let slot = Slot::take()?;
        Ok(Self { cap: create(slot.index())?, slot: Some(slot) })
    }

    /// The capability. When the object has ended, its methods give errors.
    pub const fn cap(&self) -> Cap<T> {
        self.cap
    }

    /// Ends the object, and comes back when it is gone with all that was its own. If it has ended already,
    /// with the factory that made it say, that is no error.
    ///
    /// # Errors
    /// If this program must not take capabilities away from itself. Then the object lives on, and the slot
    /// stays taken.
    pub fn end(mut self) -> Result<()> {
        self.take_away()
    }

    /// Lets the object live for as long as this program.
    pub fn leak(mut self) -> Cap<T> {
        self.slot.take().map(Slot::leak);
        self.cap
    }

    fn take_away(&mut self) -> Result<()> {
        let Some(slot) = self.slot.take() else { return Ok(()) };
        let flexpage = self.cap.flexpage(Rights::READ);
        match TASK.unmap([flexpage], Take::EVERYTHING.own_too()) {
            Ok(_) => Ok(()),
            Err(error) => {
                // Nobody else can use it while the capability is there.
                slot.leak();
                Err(error)
            }
        }
    }
}

impl<T: Mortal> Deref for Owned<T> {
    type Target = Cap<T>;

    fn deref(&self) -> &Cap<T> {
        &self.cap
    }
}

impl<T: Mortal> Drop for Owned<T> {
    fn drop(&mut self) {
        // Whoever wants to know calls `end`.
        let _ = self.take_away();
    }
}
