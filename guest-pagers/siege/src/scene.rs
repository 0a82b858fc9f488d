//! What all attacks need.

use crate::keeper::THROUGH;
use alloc::vec::Vec;
use children::{
    child::{Child, Handlers},
    house::{House, gate_to},
};
use runtime::{
    Result,
    capability::{DEBUGGER, FACTORY, Gate, SERVER, THREAD, check},
    owned::Owned,
    protocol::{Word, flexpage::Rights, message::MessageTag, object::CapabilityIndex},
};

/// Children that an attack has at most, and pages.
const MOST: usize = 5;
/// Objects of other kinds that it has at once.
const MOST_OBJECTS: usize = 1024;

/// An attacker's own.
pub struct Scene {
    pub house: House,
}

impl Scene {
    /// Everything that is needed again and again is there from the beginning.
    pub fn new() -> Result<Self> {
        let mut scene = Self { house: House::default() };
        let mut children = [const { None }; MOST];
        for (number, place) in children.iter_mut().enumerate() {
            let (child, page) = (scene.child("rehearsal", number)?, scene.house.page()?);
            *place = Some((gate_to(&child, number)?, child, page));
        }
        for (gate, child, page) in children.into_iter().flatten() {
            gate.end()?;
            scene.house.end(child)?;
            scene.house.pool.give_back(page)?;
        }
        let gates: Vec<_> = (0..MOST_OBJECTS).map(|_| FACTORY.create_gate(0, THREAD)).collect();
        drop(gates);
        Ok(scene)
    }

    /// A child that is paged by this program, which hears of its exceptions.
    pub fn child(&mut self, name: &str, number: Word) -> Result<Child> {
        let parent = CapabilityIndex::PARENT;
        self.child_with(name, number, Handlers { pager: parent, exceptions: parent })
    }

    /// A child whose pager is behind its gate at [`CapabilityIndex::PAGER`].
    pub fn client(&mut self, name: &str, number: Word) -> Result<Child> {
        let (pager, exceptions) = (CapabilityIndex::PAGER, CapabilityIndex::PARENT);
        self.child_with(name, number, Handlers { pager, exceptions })
    }

    /// A child that turns to these.
    pub fn child_with(&mut self, name: &str, number: Word, handlers: Handlers) -> Result<Child> {
        let child = self.house.child_with(FACTORY, number, handlers)?;
        DEBUGGER.set_name(*child.task, None, name)?;
        Ok(child)
    }

    /// The worst is done: lets the victim work beside it, until it is done too.
    pub fn stand(&self) -> Result<()> {
        SERVER.call(MessageTag::new(THROUGH, 0, 0)).and_then(check).map(|_| ())
    }
}

/// Gives `child` a gate to `other` at `index`: its messages come with the label `label`.
pub fn connect(
    child: &Child,
    index: CapabilityIndex,
    other: &Child,
    label: Word,
) -> Result<Owned<Gate>> {
    let gate = gate_to(other, label)?;
    child.task.map(gate.item(index, Rights::READ))?;
    Ok(gate)
}
