//! The capability to an answer that was set aside: it is alone in its tree, and whoever waits for the answer
//! finds it.

use crate::{
    mapping::{
        capability::{Capability, Object, Slot},
        life::Mortal,
        mappings::Mappings,
        space::Spot,
    },
    memory::{
        index::{TableIndex, TaskIndex, ThreadIndex},
        machine::Machine,
        node::NodeIndex,
    },
};
use protocol::{
    Word, flexpage::Rights, introspection::mapping::MappingNode, object::CapabilityIndex,
};

impl<M: Machine> Mappings<M> {
    /// Puts the answer that a thread waits for into an empty slot.
    #[inline(always)]
    pub(crate) fn begin_reply(
        &mut self,
        task: TaskIndex,
        index: CapabilityIndex,
        place: (Spot<Slot>, NodeIndex),
        caller: ThreadIndex,
    ) {
        self.begin_life(Mortal::Reply(caller), None);
        let capability = Capability { object: Object::Reply(caller), rights: Rights::all() };
        self.enter_root(task, index, place, capability);
    }

    /// Nobody waits for that answer any more, and nobody has it.
    #[inline(always)]
    pub(crate) fn end_reply(&mut self, caller: ThreadIndex) {
        let reply = Mortal::Reply(caller);
        if let Some(node) = self.lives.of(reply).root() {
            let MappingNode { task, place, .. } = *self.machine.node(node);
            let task = TaskIndex::from_position(task);
            let index = CapabilityIndex(place.number() as Word);
            if let Some(spot) = self.tasks[task].capabilities.spot(index) {
                spot.take(&mut self.machine);
            }
            self.drop_node(task, node);
        }
        self.end_life(reply);
    }
}
