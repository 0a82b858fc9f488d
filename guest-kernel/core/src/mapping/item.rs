//! Map items: what becomes of those in a pager's answer, in a message, and in [`Map`](protocol::operation::task::Map).

use crate::{
    mapping::{
        derivation::{Mapping, NotEntered},
        mappings::Mappings,
        progress::Progress,
        space::Pages,
        stretch::Preempted,
    },
    memory::{frames::PhysicalAddress, index::TaskIndex, machine::Machine},
};
use protocol::{
    PAGE_ORDER, Word,
    fault::Access,
    flexpage::{Flexpage, Kind as FlexpageKind, Placement, Rights},
    introspection::{mapping::Resource, record::MapStatus},
    message::MapItem,
    object::CAPABILITY_TABLE_SIZE,
};

/// Steps from the last page of an item to the first one of the next item, or to the end.
const ITEM_STEPS: u32 = 44;

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
        let window = *self.walkers[progress.walker].window.get_or_insert(window);
        let Some((kind, placement)) = place(item, window).filter(|_| to != TaskIndex::SIGMA0)
        else {
            progress.outcome.status = MapStatus::Overflow;
            return Ok(());
        };
        let page_order = if kind == Resource::Memory { 0 } else { PAGE_ORDER };
        progress.outcome.source = placement.source >> page_order;
        progress.outcome.destination = placement.destination >> page_order;
        progress.outcome.order = placement.order - page_order;
        self.take_help(progress);
        self.walkers[progress.walker].ticket.get_or_insert(self.precedence.ticket());
        self.go_on_with_others(progress)?;
        self.finish_walk(progress)?;
        let result = loop {
            let result = match kind {
                // The right to read is the mapping itself.
                _ if !item.flexpage.rights().contains(Rights::READ) => Ok(()),
                Resource::Capability => self.map_capabilities(progress, from, to, item, placement),
                Resource::Ports => {
                    self.map_pages(progress, from, to, Pages::Ports, item, placement)
                }
                _ => self.map_pages(progress, from, to, Pages::Memory, item, placement),
            };
            if !matches!(result, Err(NotEntered::Stale)) {
                break result;
            }
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
            Err(NotEntered::Preempted | NotEntered::Stale) => return Err(Preempted),
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
