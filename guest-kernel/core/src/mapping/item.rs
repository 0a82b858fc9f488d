//! Map items: what becomes of those in a pager's answer, in a message, and in `task::MAP`.

use crate::{
    arch::Entry,
    mapping::{
        database::{self, NewMapping},
        derivation::{Mapping, NotEntered},
        mappings::Mappings,
        progress::Progress,
        space::{DirectoryEntry, Pages, Spot, page_of_superpage, table_index},
        stretch::Preempted,
        task::Tasks,
    },
    memory::{
        factory::Factories,
        frames::PhysicalAddress,
        index::{TableIndex, TaskIndex},
        machine::Machine,
    },
};
use protocol::{
    PAGE_ORDER, Word,
    fault::Access,
    flexpage::{Flexpage, Kind as FlexpageKind, Placement, Rights},
    introspection::{
        mapping::{Place, Resource},
        record::MapStatus,
    },
    layout::{MAPPABLE_END, MAPPABLE_START},
    message::MapItem,
    object::CAPABILITY_TABLE_SIZE,
};

/// Steps from the last page of an item to the first one of the next item, or to the end.
const ITEM_STEPS: u32 = 30;

/// What became of an item.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Whether it was entered, or why not.
    pub status: MapStatus,
    /// Where it came from in the sender's space: an address, a port or an index.
    pub source: Word,
    /// Where it arrived.
    pub destination: Word,
    /// Binary logarithm of the size of the area that was considered.
    pub order: u32,
    /// The first frame that was entered.
    pub physical: PhysicalAddress,
    /// The rights of that page.
    pub rights: Rights,
    /// Table entries, or capabilities, that were written.
    pub entries: u32,
}

impl<M: Machine> Mappings<M> {
    /// Maps or grants one flexpage; `progress` says how far that had come already. What becomes of
    /// it is in `progress.outcome`.
    pub(crate) fn map_item(
        &mut self,
        progress: &mut Progress,
        from: TaskIndex,
        to: TaskIndex,
        item: MapItem,
        window: Flexpage,
    ) -> Result<(), Preempted> {
        let Some((kind, placement)) = place(item, window).filter(|_| to != TaskIndex::SIGMA0)
        else {
            progress.outcome.status = MapStatus::Overflow;
            return Ok(());
        };
        let page_order = if kind == Resource::Memory { 0 } else { PAGE_ORDER };
        progress.outcome.source = placement.source >> page_order;
        progress.outcome.destination = placement.destination >> page_order;
        progress.outcome.order = placement.order - page_order;
        self.finish_walk(progress)?;
        let result = match kind {
            // The right to read is the mapping itself.
            _ if !item.flexpage.rights().contains(Rights::READ) => Ok(()),
            Resource::Memory => self.map_pages(progress, from, to, Pages::Memory, item, placement),
            Resource::Ports => self.map_pages(progress, from, to, Pages::Ports, item, placement),
            _ => self.map_capabilities(progress, from, to, item, placement),
        };
        if result.is_ok() {
            progress.done = placement.size();
            self.spend(ITEM_STEPS)?;
        }
        progress.outcome.status = match result {
            Ok(()) if progress.outcome.entries == 0 => MapStatus::SourceEmpty,
            Ok(()) => MapStatus::Done,
            Err(NotEntered::NoMemory) => MapStatus::NoMemory,
            Err(NotEntered::TooDeep) => MapStatus::TooDeep,
            Err(NotEntered::Preempted) => return Err(Preempted),
        };
        Ok(())
    }
}

impl Outcome {
    /// Nothing happened yet.
    pub const NOTHING: Self = Self {
        status: MapStatus::SourceEmpty,
        source: 0,
        destination: 0,
        order: 0,
        physical: PhysicalAddress(0),
        rights: Rights::empty(),
        entries: 0,
    };

    /// Where an item of this kind arrived, with its rights.
    pub(crate) fn arrived(&self, kind: FlexpageKind) -> Flexpage {
        let Self { destination, order, rights, .. } = *self;
        match kind {
            FlexpageKind::Capability => Flexpage::capabilities(destination, order, rights),
            FlexpageKind::IoPorts => Flexpage::ports(destination, order, rights),
            _ => Flexpage::memory(destination, order, rights),
        }
    }

    /// Notes `count` mappings that were entered, of which this is the first one.
    #[inline(always)]
    pub(crate) fn note(&mut self, entry: impl Mapping, count: u32) {
        if self.entries == 0 {
            self.physical = entry.physical();
            self.rights = entry.rights();
        }
        self.entries += count;
    }
}

/// Whether an item maps one page of memory.
#[inline(always)]
pub(crate) fn is_one_page(item: MapItem) -> bool {
    item.flexpage.kind() == FlexpageKind::Memory
        && item.flexpage.order() == PAGE_ORDER
        && !item.grant
        && item.flexpage.address() < MAPPABLE_END
}

/// Enters one page where nothing is, if it allows `access` there: from a task, its flexpage, to a
/// task, at an address below [`MAPPABLE_END`] and not in the first page. `None`, with nothing done, in
/// every other case. What it is given of the kernel is what the hot paths do not hold already.
#[inline(always)]
pub(crate) fn map_one_page<M: Machine>(
    machine: &mut M,
    tasks: &Tasks<M>,
    factories: &mut Factories<M>,
    (from, flexpage, to, destination): (TaskIndex, Flexpage, TaskIndex, Word),
    access: Access,
) -> Option<Entry> {
    if destination < MAPPABLE_START {
        return None;
    }
    let address = flexpage.address();
    let spot = tasks[from].space.spot(machine, Pages::Memory, address)?;
    let found = spot.entry(machine);
    let found = if found.is_superpage() { page_of_superpage(found, address) } else { found };
    let new = found.restricted(flexpage.rights()).filter(|new| suffices(new.rights(), access))?;
    let parent = spot.node(machine)?;
    let receiver = &tasks[to];
    let entry = receiver.space.directory_entry(machine, Pages::Memory, destination);
    let DirectoryEntry::Table(table) = entry else { return None };
    let spot = Spot::<Entry>::new(table, table_index(destination));
    if spot.entry(machine).is_present() {
        return None;
    }
    let factory = &mut factories[receiver.factory];
    let node = database::take_node(machine, factory)?;
    let place = Place::new(Resource::Memory, (destination >> PAGE_ORDER) as u32, false);
    let mapping = NewMapping { task: to.position(), place };
    if !database::insert_child(machine, parent, node, mapping) {
        database::free_node(machine, factory, node);
        return None;
    }
    spot.set_node(machine, node.into());
    spot.set_entry(machine, new);
    Some(new)
}

/// What an item is about, and its place; ports and capabilities are counted as pages.
fn place(item: MapItem, window: Flexpage) -> Option<(Resource, Placement)> {
    let (flexpage, base) = (item.flexpage, item.send_base);
    let (resource, placement) = match flexpage.kind() {
        FlexpageKind::Memory => {
            let placement = flexpage.memory_area()?.place(base, window.memory_area()?)?;
            (Resource::Memory, placement)
        }
        FlexpageKind::IoPorts => {
            let placement = flexpage.port_area()?.common(window.port_area()?)?;
            (Resource::Ports, placement)
        }
        FlexpageKind::Capability => {
            let placement = flexpage.capability_area()?.place(base, window.capability_area()?)?;
            let end = CAPABILITY_TABLE_SIZE << PAGE_ORDER;
            let fits = placement.destination + placement.size() <= end;
            (Resource::Capability, Some(placement).filter(|_| fits)?)
        }
        FlexpageKind::Special => return None,
    };
    Some((resource, placement))
}

/// Whether a page with `rights` allows `access`.
#[inline]
pub(crate) fn suffices(rights: Rights, access: Access) -> bool {
    let lacks = |needed, right| access.contains(needed) && !rights.contains(right);
    !lacks(Access::WRITE, Rights::WRITE) && !lacks(Access::EXECUTE, Rights::EXECUTE)
}
