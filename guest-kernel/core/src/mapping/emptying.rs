//! Stand-ins.
use crate::{
    mapping::{mappings::Mappings, stretch::Preempted},
    memory::{
        index::{FactoryIndex, TaskIndex, WalkerIndex},
        machine::Machine,
    },
};
impl<M: Machine> Mappings<M> {
    pub(crate) fn empty_task(&mut self, _w: WalkerIndex, _t: TaskIndex) -> Result<(), Preempted> {
        Ok(())
    }
    pub(crate) fn give_back_nodes(&mut self, _f: FactoryIndex) -> Result<(), Preempted> {
        Ok(())
    }
}
