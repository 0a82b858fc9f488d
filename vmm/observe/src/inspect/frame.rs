//! One frame of entries with its companion, as both were read.

use crate::paging::{Entry, Geometry, Level, TABLE_SIZE};
use protocol::{PAGE_ORDER, introspection::mapping::Resource, layout::USER_END};

/// The bytes of a frame.
pub(super) type Page = Box<[u8; TABLE_SIZE as usize]>;

/// The user area's end as a page number.
pub(super) const USER_PAGES: u64 = (USER_END >> PAGE_ORDER) as u64;

/// Bytes of a slot of a capability table, and of an element of a companion.
const WORD: u64 = 4;

/// A page table, directory, spine table, or part of a capability table.
pub(super) struct Frame {
    pub(super) task: u16,
    pub(super) resource: Resource,
    /// The level of a page table; `None` in a capability table.
    pub(super) level: Option<&'static Level>,
    pub(super) address: u64,
    /// The number of the page, port or capability that its first entry is for.
    pub(super) first: u64,
    pub(super) page: Page,
    /// The spine has none.
    pub(super) companion: Option<Page>,
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

impl Frame {
    /// All its entries.
    pub(super) fn elements(&self, geometry: &'static Geometry) -> impl Iterator<Item = Element> {
        let size = if self.level.is_some() { geometry.entry_size } else { WORD };
        let step = self.level.map_or(0, |level| level.shift - PAGE_ORDER);
        (0..TABLE_SIZE / size).map(move |index| Element {
            index,
            number: self.first + (index << step),
            address: self.address + index * size,
            value: word(&self.page, index * size, size),
            node: match &self.companion {
                Some(companion) => word(companion, index * WORD, WORD) as u32,
                None => 0,
            },
        })
    }

    /// What an element says, in a frame that is no capability table.
    pub(super) fn entry(&self, value: u64, geometry: &'static Geometry) -> Option<Entry> {
        self.level.map(|level| Entry::new(value, level, geometry))
    }

    /// What reports call an element.
    pub(super) fn path(&self, task: &str, element: Element) -> String {
        let Element { number, index, .. } = element;
        let name = self.name();
        match self.resource {
            Resource::Memory => format!("{task}:{:#x} {name}[{index}]", number << PAGE_ORDER),
            Resource::Ports => format!("{task}: port {number:#x} {name}[{index}]"),
            _ => format!("{task}: capability {number}"),
        }
    }

    /// What it is called.
    pub(super) fn name(&self) -> String {
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
