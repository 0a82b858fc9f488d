//! What each task has mapped so far, put together from the trace's records of maps.
//!
//! This is a live reconstruction: it knows nothing of maps whose records were lost.

use crate::symbols::Image;
use protocol::{
    flexpage::Rights,
    layout::{
        FILES_BASE, FILES_END, HEAP_BASE, HEAP_END, KERNEL_INFO_PAGE, PAGER_AREA, PROGRAM_BASE,
        PROGRAM_INFO, RECEIVE_AREA, ROOT_TASK_BASE, STACK_BASE, STACK_END, UTCB_AREA,
    },
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    ops::Range,
};

/// What a task keeps in a part of its address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// The image's code.
    Text,
    /// The image's constants.
    Rodata,
    /// The image's variables.
    Data,
    /// What a program's own pager offers beside its image.
    Pager,
    /// The heap of an ordinary program.
    Heap,
    /// The first stack of an ordinary program, its unused part included.
    Stack,
    /// The files of the manifest.
    Files,
    /// Memory that an ordinary program asked its parent for.
    Received,
    /// The page with arguments and files.
    ProgramInfo,
    /// The kernel info page.
    KernelInfo,
    /// The UTCBs.
    Utcb,
    /// Physical memory at its own address.
    OneToOne,
}

impl fmt::Display for Area {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Text => "text",
            Self::Rodata => "rodata",
            Self::Data => "data",
            Self::Pager => "pager area",
            Self::Heap => "heap",
            Self::Stack => "stack",
            Self::Files => "files",
            Self::Received => "received",
            Self::ProgramInfo => "program info",
            Self::KernelInfo => "kernel info",
            Self::Utcb => "utcb",
            Self::OneToOne => "memory 1:1",
        })
    }
}

/// The area of an address as a task's image and the common layout have it.
pub(crate) fn area_of(image: Option<&Image>, address: u64) -> Option<Area> {
    if let Some(area) = image.and_then(|image| image.area(address)) {
        return Some(area);
    }
    let within = |start: usize, end: usize| (start as u64..end as u64).contains(&address);
    if within(KERNEL_INFO_PAGE, UTCB_AREA) {
        return Some(Area::KernelInfo);
    }
    // Tasks that are linked elsewhere (sigma0, the root task) have no such layout.
    let starts_low = image.and_then(Image::start)? < HEAP_BASE as u64;
    match () {
        () if !starts_low || address < PROGRAM_BASE as u64 => None,
        () if within(PAGER_AREA, HEAP_BASE) => Some(Area::Pager),
        () if within(HEAP_BASE, HEAP_END) => Some(Area::Heap),
        () if within(FILES_BASE, FILES_END) => Some(Area::Files),
        () if within(STACK_BASE, STACK_END) => Some(Area::Stack),
        () if within(RECEIVE_AREA, ROOT_TASK_BASE) => Some(Area::Received),
        () if within(PROGRAM_INFO, KERNEL_INFO_PAGE) => Some(Area::ProgramInfo),
        () if within(UTCB_AREA, UTCB_AREA + (1 << 16)) => Some(Area::Utcb),
        () => None,
    }
}

/// A contiguous part of a task's address space with one set of rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its addresses.
    pub range: Range<u64>,
    /// What the task may do there.
    pub rights: Rights,
    /// What it is, judged by its first address.
    pub area: Option<Area>,
}

/// The most pieces that are remembered, all tasks together: a guest that maps without end must
/// not use up the host's memory. Maps beyond it are ignored.
const MAX_PIECES: usize = 1 << 20;

/// No user address lies at or above it.
const ADDRESS_END: u64 = 1 << 47;

/// The regions of all tasks.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    tasks: HashMap<u16, BTreeMap<u64, Piece>>,
    pieces: usize,
}

/// A region, filed under its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    end: u64,
    rights: Rights,
    one_to_one: bool,
}

impl Regions {
    /// A new task begins with nothing.
    pub(crate) fn task_created(&mut self, task: u16) {
        let old = self.tasks.remove(&task).map_or(0, |pieces| pieces.len());
        self.pieces -= old;
    }

    /// Enters `2^order` bytes at `start`, in place of whatever was there.
    pub(crate) fn map(&mut self, task: u16, start: u64, order: u8, rights: Rights, physical: u64) {
        let Some(range) = checked_range(start, order) else { return };
        if self.pieces >= MAX_PIECES {
            return;
        }
        self.unmap(task, range.clone());
        let pieces = self.tasks.entry(task).or_default();
        let before = pieces.len();
        let mut start = range.start;
        let mut piece = Piece { end: range.end, rights, one_to_one: physical == range.start };
        if let Some((&below, found)) = pieces.range(..start).next_back()
            && found.end == start
            && piece.continues(found)
        {
            pieces.remove(&below);
            start = below;
        }
        if let Some(found) = pieces.get(&range.end).copied()
            && piece.continues(&found)
        {
            pieces.remove(&range.end);
            piece.end = found.end;
        }
        pieces.insert(start, piece);
        self.pieces = self.pieces + pieces.len() - before;
    }

    /// Takes `2^order` bytes away from a task that granted them.
    pub(crate) fn grant(&mut self, task: u16, start: u64, order: u8) {
        if let Some(range) = checked_range(start, order) {
            self.unmap(task, range);
        }
    }

    fn unmap(&mut self, task: u16, range: Range<u64>) {
        let Some(pieces) = self.tasks.get_mut(&task) else { return };
        let before = pieces.len();
        while let Some((&start, &piece)) = pieces.range(..range.end).next_back()
            && piece.end > range.start
        {
            pieces.remove(&start);
            if start < range.start {
                pieces.insert(start, Piece { end: range.start, ..piece });
            }
            if piece.end > range.end {
                pieces.insert(range.end, piece);
            }
            if start < range.start {
                break;
            }
        }
        self.pieces = self.pieces + pieces.len() - before;
    }

    /// The regions of a task at, below and above an address.
    pub(crate) fn around(&self, task: u16, address: u64, image: Option<&Image>) -> Around {
        let Some(pieces) = self.tasks.get(&task) else { return Around::default() };
        let region = |(start, piece): (&u64, &Piece)| Region {
            range: *start..piece.end,
            rights: piece.rights,
            area: area_of(image, *start)
                .filter(|area| !piece.one_to_one || area.is_of_image())
                .or(if piece.one_to_one { Some(Area::OneToOne) } else { None }),
        };
        let mut up_to = pieces.range(..=address).rev();
        let nearest = up_to.next();
        let inside = nearest.filter(|(_, piece)| piece.end > address);
        let below = if inside.is_some() { up_to.next() } else { nearest };
        let above = pieces.range(address.saturating_add(1)..).next();
        Around { inside: inside.map(region), below: below.map(region), above: above.map(region) }
    }
}

/// The regions next to an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Around {
    pub(crate) inside: Option<Region>,
    pub(crate) below: Option<Region>,
    pub(crate) above: Option<Region>,
}

impl Area {
    fn is_of_image(self) -> bool {
        matches!(self, Self::Text | Self::Rodata | Self::Data)
    }
}

impl Piece {
    fn continues(&self, other: &Self) -> bool {
        self.rights == other.rights && self.one_to_one == other.one_to_one
    }
}

/// `2^order` bytes from `start` on, if that can be user memory.
fn checked_range(start: u64, order: u8) -> Option<Range<u64>> {
    let end = start.checked_add(1u64.checked_shl(u32::from(order))?)?;
    if end <= ADDRESS_END { Some(start..end) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 0x1000;

    fn spans(regions: &Regions, task: u16) -> Vec<(u64, u64, Rights)> {
        let pieces = regions.tasks.get(&task).cloned().unwrap_or_default();
        pieces.into_iter().map(|(start, piece)| (start, piece.end, piece.rights)).collect()
    }

    #[test]
    fn neighbours_with_the_same_rights_become_one() {
        let mut regions = Regions::default();
        for page in [4, 2, 3, 9] {
            regions.map(1, page * PAGE, 12, Rights::READ, 0);
        }
        regions.map(1, 5 * PAGE, 12, Rights::READ_WRITE, 0);
        assert_eq!(
            spans(&regions, 1),
            [
                (2 * PAGE, 5 * PAGE, Rights::READ),
                (5 * PAGE, 6 * PAGE, Rights::READ_WRITE),
                (9 * PAGE, 10 * PAGE, Rights::READ)
            ]
        );
        assert_eq!(regions.pieces, 3);
        regions.task_created(1);
        assert_eq!((spans(&regions, 1), regions.pieces), (vec![], 0));
    }

    #[test]
    fn a_later_map_replaces_the_middle_and_a_grant_leaves_a_hole() {
        let mut regions = Regions::default();
        regions.map(1, 0x20_0000, 21, Rights::READ, 0);
        regions.map(1, 0x30_0000, 12, Rights::READ_WRITE, 0);
        regions.grant(1, 0x20_0000, 12);
        assert_eq!(
            spans(&regions, 1),
            [
                (0x20_1000, 0x30_0000, Rights::READ),
                (0x30_0000, 0x30_1000, Rights::READ_WRITE),
                (0x30_1000, 0x40_0000, Rights::READ)
            ]
        );
        regions.map(1, 0, 30, Rights::READ, 1 << 30);
        assert_eq!(spans(&regions, 1), [(0, 1 << 30, Rights::READ)]);
        assert_eq!(regions.pieces, 1);
    }

    /// Against a plain array of pages, over a fixed sequence of pseudo-random maps and grants.
    #[test]
    fn equals_an_array_of_pages() {
        let mut regions = Regions::default();
        let mut pages = [None; 64];
        let mut random = crate::testing::Random::new(7);
        for _ in 0..2000 {
            let order = random.below(4) as u8;
            let size = 1usize << order;
            let first = random.below(64 / size as u64) as usize * size;
            let rights = Rights::from_bits_truncate(random.below(3) as u8 + 4);
            let start = first as u64 * PAGE;
            if random.below(3) == 0 {
                regions.grant(1, start, 12 + order);
                pages[first..first + size].fill(None);
            } else {
                regions.map(1, start, 12 + order, rights, u64::MAX);
                pages[first..first + size].fill(Some(rights));
            }
            for (page, rights) in (0..).zip(pages) {
                let inside = regions.around(1, page * PAGE + 5, None).inside;
                assert_eq!(inside.map(|region| region.rights), rights, "page {page}");
            }
            let merged = pages.chunk_by(|a, b| a == b).filter(|run| run[0].is_some()).count();
            assert_eq!((spans(&regions, 1).len(), regions.pieces), (merged, merged));
        }
    }

    #[test]
    fn finds_what_is_next_to_an_address() {
        let mut regions = Regions::default();
        regions.map(1, 2 * PAGE, 12, Rights::READ, 2 * PAGE);
        regions.map(1, 6 * PAGE, 12, Rights::READ_WRITE, 0);
        let around = regions.around(1, 4 * PAGE, None);
        assert_eq!(around.inside, None);
        assert_eq!(
            around.below,
            Some(Region {
                range: 2 * PAGE..3 * PAGE,
                rights: Rights::READ,
                area: Some(Area::OneToOne)
            })
        );
        assert_eq!(around.above.unwrap().range, 6 * PAGE..7 * PAGE);
        let inside = regions.around(1, 6 * PAGE, None);
        assert_eq!(inside.inside.unwrap().range.start, 6 * PAGE);
        assert_eq!(inside.below.unwrap().range.start, 2 * PAGE);
        assert_eq!(inside.above, None);
        assert_eq!(regions.around(2, 0, None), Around::default());
    }

    #[test]
    fn impossible_maps_are_ignored() {
        let mut regions = Regions::default();
        for (start, order) in [(0, 64), (0, 255), (u64::MAX - 5, 12), (1 << 63, 12), (0, 48)] {
            regions.map(1, start, order, Rights::READ, 0);
            regions.grant(1, start, order);
        }
        assert_eq!(regions.pieces, 0);
    }

    #[test]
    fn the_layout_names_areas_of_ordinary_programs_only() {
        assert_eq!(area_of(None, KERNEL_INFO_PAGE as u64), Some(Area::KernelInfo));
        assert_eq!(area_of(None, HEAP_BASE as u64), None);
    }
}
