//! The capability to an answer that was set aside: it is alone in its tree, and whoever waits for the answer
//! finds it.

use crate::{
    mapping::{
        capability::Slot,
        database::{self, NewMapping},
        mappings::Mappings,
        space::Spot,
        tables::capability_place,
    },
    memory::{
        frames::NoMemory,
        index::{TableIndex, TaskIndex, ThreadIndex},
        machine::Machine,
        node::NodeIndex,
    },
};
use protocol::{Word, introspection::mapping::MappingNode, object::CapabilityIndex};

impl<M: Machine> Mappings<M> {
    /// Puts the answer that a thread waits for into an empty slot.
    #[inline(always)]
    pub(crate) fn begin_reply(
        &mut self,
        task: TaskIndex,
        index: CapabilityIndex,
        (spot, node): (Spot<Slot>, NodeIndex),
        caller: ThreadIndex,
    ) {
        let mapping = NewMapping { task: task.position(), place: capability_place(index) };
        database::make_root(&mut self.machine, node, mapping);
        spot.set_node(&mut self.machine, node.into());
        spot.set_entry(&mut self.machine, Slot::of_reply(caller));
        self.lives.begin_reply(caller, node);
    }

    /// The same with a node, and a table if there is none, that the task pays for.
    pub(crate) fn give_reply(
        &mut self,
        task: TaskIndex,
        index: CapabilityIndex,
        caller: ThreadIndex,
    ) -> Result<(), NoMemory> {
        let spot = self.capability_spot(task, index)?;
        let node = self.allocate_node(self.tasks[task].factory)?;
        self.begin_reply(task, index, (spot, node), caller);
        Ok(())
    }

    /// Nobody waits for that answer any more, and nobody has it.
    pub(crate) fn end_reply(&mut self, caller: ThreadIndex) {
        let Some(node) = self.lives.end_reply(caller) else { return };
        let MappingNode { task, place, .. } = *self.machine.node(node);
        let task = TaskIndex::from_position(task);
        let index = CapabilityIndex(place.number() as Word);
        if let Some(spot) = self.tasks[task].capabilities.spot(index) {
            spot.clear(&mut self.machine).is_unknown();
        }
        self.drop_node(self.tasks[task].factory, node);
    }
}
