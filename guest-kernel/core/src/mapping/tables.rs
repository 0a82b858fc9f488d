//! Tables that come as they are needed, each paid for by its task.

use crate::{
    arch::Entry,
    mapping::{
        capability::{Capability, Slot},
        database::{self, NewMapping},
        mappings::Mappings,
        space::{Pages, Spot},
    },
    memory::{
        frames::{NoMemory, TableFrame},
        index::{TableIndex, TaskIndex},
        machine::Machine,
        node::NodeIndex,
    },
};
use protocol::{
    Word,
    introspection::mapping::{Place, Resource},
    object::CapabilityIndex,
};

/// Steps that a new page table costs.
const TABLE_STEPS: u32 = 16;

impl<M: Machine> Mappings<M> {
    /// A page table where there is nothing yet.
    #[cold]
    pub(crate) fn add_table(
        &mut self,
        task: TaskIndex,
        pages: Pages,
        address: Word,
    ) -> Result<TableFrame, NoMemory> {
        self.touch_directory(task, pages, address)?;
        self.stretch.account(TABLE_STEPS);
        let table = self.allocate(self.tasks[task].factory)?.into_table();
        if let Some(spot) = self.tasks[task].space.directory_spot(pages, address) {
            spot.set_entry(&mut self.machine, Entry::table(table.entries()));
        }
        Ok(table)
    }

    /// Gives the page table for `address` back, which is there and empty.
    pub(crate) fn remove_table(&mut self, task: TaskIndex, pages: Pages, address: Word) {
        let owner = &self.tasks[task];
        let Some(spot) = owner.space.directory_spot(pages, address) else { return };
        let entry = spot.entry(&mut self.machine);
        let stale = spot.clear(&mut self.machine);
        match pages {
            // The processor may have noted where the table is.
            Pages::Memory => stale.flush(&mut self.machine, owner.space.root(), address),
            Pages::Ports => stale.is_unknown(),
        }
        let Some(table) = entry.table_frame() else { return };
        self.give_back(owner.factory, table.into_pair());
    }

    /// Something will be entered into the directory for `address`.
    pub(crate) fn touch_directory(
        &mut self,
        task: TaskIndex,
        pages: Pages,
        address: Word,
    ) -> Result<(), NoMemory> {
        match pages {
            Pages::Memory => self.tasks[task].space.touch(address),
            Pages::Ports => self.need_port_directory(task)?,
        }
        Ok(())
    }

    pub(crate) fn need_port_directory(&mut self, task: TaskIndex) -> Result<(), NoMemory> {
        if !self.tasks[task].space.has_port_directory() {
            let directory = self.allocate(self.tasks[task].factory)?;
            let task = &mut self.tasks[task];
            task.record.port_directory = directory.first().address().0;
            task.space.set_port_directory(directory);
        }
        Ok(())
    }

    /// Where a capability stands in a task's table, which grows if it must.
    pub(crate) fn capability_spot(
        &mut self,
        task: TaskIndex,
        index: CapabilityIndex,
    ) -> Result<Spot<Slot>, NoMemory> {
        if let Some(spot) = self.tasks[task].capabilities.spot(index) {
            return Ok(spot);
        }
        let pair = self.allocate(self.tasks[task].factory)?;
        let task = &mut self.tasks[task];
        let address = pair.first().address().0;
        let number = task.capabilities.add_frame(index, pair);
        if let Some(shown) = task.record.capability_table.get_mut(number) {
            *shown = address;
        }
        task.capabilities.spot(index).ok_or(NoMemory)
    }

    /// Puts the first capability to a new object, or to one of the kernel's own, into an empty slot.
    pub(crate) fn give(
        &mut self,
        task: TaskIndex,
        index: CapabilityIndex,
        capability: Capability,
    ) -> Result<(), NoMemory> {
        let spot = self.capability_spot(task, index)?;
        let node = self.allocate_node(self.tasks[task].factory)?;
        self.enter_root(task, index, (spot, node), capability);
        Ok(())
    }

    /// The same, in a slot and with a node that are there already.
    pub(crate) fn enter_root(
        &mut self,
        task: TaskIndex,
        index: CapabilityIndex,
        (spot, node): (Spot<Slot>, NodeIndex),
        capability: Capability,
    ) {
        let mapping = NewMapping { task: task.position(), place: capability_place(index) };
        database::make_root(&mut self.machine, node, mapping);
        spot.set_node(&mut self.machine, node.into());
        spot.set_entry(&mut self.machine, capability.into());
        if let Some(object) = capability.object.mortal() {
            self.lives.set_root(object, node);
        }
    }
}

/// How nodes name a slot of a capability table.
pub(crate) fn capability_place(index: CapabilityIndex) -> Place {
    Place::new(Resource::Capability, index.0 as u32, false)
}
