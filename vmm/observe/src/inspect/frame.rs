//! One frame of entries with its companion.

use super::{
    mapping::{Mapping, Slot},
    pool::{Page, Pool},
};
use crate::paging::{Entry, Geometry, Level, TABLE_SIZE};
use protocol::{
    PAGE_ORDER,
    introspection::mapping::{COMPANION_OFFSET, Resource},
    layout::USER_END,
};

/// The user area's end as a page number.
pub(super) const USER_PAGES: u64 = (USER_END >> PAGE_ORDER) as u64;

/// Bytes of a slot of a capability table, and of an element of a companion.
const WORD: u64 = 4;

/// A page table, directory, spine table, or part of a capability table.
#[derive(Clone, Copy)]
pub(super) struct Frame {
    pub(super) task: u16,
    pub(super) resource: Resource,
    /// The level of a page table; `None` in a capability table.
    pub(super) level: Option<&'static Level>,
    pub(super) address: u64,
    /// The number of the page, port or capability that its first entry is for.
    pub(super) first: u64,
    /// The spine has none.
    pub(super) has_companion: bool,
}

/// An entry of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    pub(super) index: u64,
    /// The number of the first page, port or capability that it is for.
    pub(super) number: u64,
    pub(super) address: u64,
    pub(super) value: u64,
    /// The element of the companion.
    pub(super) node: u32,
}

/// What an element is.
pub(super) enum Content {
    /// It maps something.
    Mapping(Mapping),
    /// It leads to a table of the next level.
    Table(u64),
    /// Neither, or the kernel's business.
    Nothing,
}

impl Frame {
    /// All its entries.
    pub(super) fn elements(
        self,
        pool: &Pool<'_>,
        geometry: &'static Geometry,
    ) -> impl Iterator<Item = Element> + use<> {
        let size = self.entry_size(geometry);
        let page = pool.page(self.address);
        let companion = self.has_companion.then(|| pool.page(self.address + COMPANION_OFFSET));
        (0..TABLE_SIZE / size).map(move |index| {
            let value = word(&page, index * size, size);
            let node = companion.as_ref().map_or(0, |page| word(page, index * WORD, WORD));
            self.element(geometry, index, value, node)
        })
    }

    /// The entry for a page, port or capability that the frame has one for.
    pub(super) fn element_of(
        self,
        pool: &Pool<'_>,
        geometry: &'static Geometry,
        number: u64,
    ) -> Element {
        let index = (number - self.first) >> self.step();
        let value = match self.entry_size(geometry) {
            WORD => u32::from_le_bytes(pool.bytes(self.address, index * WORD)).into(),
            size => u64::from_le_bytes(pool.bytes(self.address, index * size)),
        };
        let companion = self.address + COMPANION_OFFSET;
        let node = match self.has_companion {
            true => u32::from_le_bytes(pool.bytes(companion, index * WORD)),
            false => 0,
        };
        self.element(geometry, index, value, node.into())
    }

    fn element(self, geometry: &'static Geometry, index: u64, value: u64, node: u64) -> Element {
        let number = self.first + (index << self.step());
        let address = self.address + index * self.entry_size(geometry);
        Element { index, number, address, value, node: node as u32 }
    }

    fn entry_size(self, geometry: &'static Geometry) -> u64 {
        if self.level.is_some() { geometry.entry_size } else { WORD }
    }

    /// Binary logarithm of the pages, ports or capabilities that an entry is for.
    fn step(self) -> u32 {
        self.level.map_or(0, |level| level.shift - PAGE_ORDER)
    }

    /// What an element says, in a frame that is no capability table.
    pub(super) fn entry(self, value: u64, geometry: &'static Geometry) -> Option<Entry> {
        self.level.map(|level| Entry::new(value, level, geometry))
    }

    /// What an element maps or leads to.
    pub(super) fn content(self, element: Element, geometry: &'static Geometry) -> Content {
        let Element { number, address: entry_address, value, node, .. } = element;
        let slot = Slot { task: self.task, number, entry_address, value, node };
        let Some(entry) = self.entry(value, geometry) else {
            return match value {
                0 => Content::Nothing,
                _ => Content::Mapping(Mapping::of_capability(slot)),
            };
        };
        let is_user = self.resource == Resource::Ports || number < USER_PAGES;
        match () {
            () if !is_user || !entry.is_present() => Content::Nothing,
            () if entry.maps() => Content::Mapping(Mapping::of_entry(self.resource, slot, entry)),
            () if entry.is_malformed() => Content::Nothing,
            () => Content::Table(entry.physical()),
        }
    }

    /// What an element maps.
    pub(super) fn mapping(self, element: Element, geometry: &'static Geometry) -> Option<Mapping> {
        match self.content(element, geometry) {
            Content::Mapping(mapping) => Some(mapping),
            _ => None,
        }
    }

    /// What reports call an element.
    pub(super) fn path(self, task: &str, element: Element) -> String {
        let Element { number, index, .. } = element;
        let name = self.name();
        match self.resource {
            Resource::Memory => format!("{task}:{:#x} {name}[{index}]", number << PAGE_ORDER),
            Resource::Ports => format!("{task}: port {number:#x} {name}[{index}]"),
            _ => format!("{task}: capability {number}"),
        }
    }

    /// What reports call the whole of it.
    pub(super) fn whole_path(self, task: &str) -> String {
        match self.resource {
            Resource::Memory => format!("{task}:{:#x} {}", self.first << PAGE_ORDER, self.name()),
            _ => format!("{task}: {} from {:#x}", self.name(), self.first),
        }
    }

    /// What it is called.
    fn name(self) -> String {
        match (self.resource, self.level) {
            (Resource::Memory, Some(level)) => level.name.to_owned(),
            (_, Some(level)) => format!("port {}", level.name),
            (_, None) => "capability table".to_owned(),
        }
    }
}

/// The little-endian word of `size` bytes at `offset`.
fn word(page: &Page, offset: u64, size: u64) -> u64 {
    let mut bytes = [0; 8];
    let (offset, size) = (offset as usize, size as usize);
    bytes[..size].copy_from_slice(&page[offset..offset + size]);
    u64::from_le_bytes(bytes)
}
