//! Objects that end with the value that stands for them.
//!
//! An object lives as long as its first capability, the root of all others. Whoever makes an object has
//! that, as an [`Owned`] value: dropping it ends the object, wherever it is used and whatever it is doing.
//!
//! ```ignore
//! use runtime::capability::{FACTORY, THREAD};
//!
//! // Messages through it arrive here, with the label 7. All methods of a `Cap` are there.
//! let gate = FACTORY.create_gate(7, THREAD)?;
//! task.map(gate.item(CapabilityIndex::SERVER, Rights::READ))?;
//! // Whoever has a capability to it has nothing now. `drop` does the same and says nothing.
//! gate.end()?;
//! // Lives for as long as this program.
//! let factory = FACTORY.create_factory(1 << 20)?.leak();
//! // Lives until that task ends it, or ends.
//! thread.hand_over(&task, CapabilityIndex(32))?;
//! ```
//!
//! | what ends | what goes along |
//! |---|---|
//! | a gate | who waits to send through it learns that there is nobody |
//! | a thread | who waits for it learns that; its gates lead to nobody |
//! | a task | its threads stop; all of its mappings, ports and capabilities, and what was derived from them |
//! | an interrupt | it is masked |
//! | a factory | all that it has made, in any task; its quota goes back to the factory that it was made from |

use crate::{
    Result,
    capability::{Cap, Factory, Gate, Interrupt, Object, TASK, Task, Thread},
    objects::Take,
    share::Item,
    slot::Slot,
};
use core::ops::Deref;
use protocol::{flexpage::Rights, object::CapabilityIndex, syscall::CAPABILITY_SHIFT};

/// Objects that are made, and that end.
pub trait Mortal: Object {}

impl Mortal for Task {}
impl Mortal for Thread {}
impl Mortal for Gate {}
impl Mortal for Factory {}
impl Mortal for Interrupt {}

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

    /// Hands the object over: its first capability moves to slot `index` of `task`. Whoever can take it away
    /// there ends the object.
    pub fn hand_over(self, task: &Owned<Task>, index: CapabilityIndex) -> Result<()> {
        self.move_to(task.cap, index)
    }

    fn move_to(mut self, task: Cap<Task>, index: CapabilityIndex) -> Result<()> {
        let item = Item::grant(index.0 << CAPABILITY_SHIFT, self.cap.flexpage(Rights::all()));
        // SAFETY: no memory is in that.
        unsafe { task.map_anywhere(item)? };
        self.slot = None;
        Ok(())
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

impl Owned<Task> {
    /// As [`Owned::hand_over`], to the task itself: it lives until it ends itself.
    pub fn hand_over_to_itself(self, index: CapabilityIndex) -> Result<()> {
        let task = self.cap;
        self.move_to(task, index)
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
