//! What a task has mapped at and next to an address, read from its page tables.
//!
//! They are read a moment after the fault, as the guest runs on: what was mapped or unmapped in
//! between shows.

use crate::{
    memory::GuestMemory,
    paging::{End, Geometry, Walk},
    symbols::Image,
};
use protocol::{
    flexpage::Rights,
    layout::{
        FILES_BASE, FILES_END, HEAP_BASE, HEAP_END, KERNEL_INFO_PAGE, PAGER_AREA, PROGRAM_BASE,
        PROGRAM_INFO, RECEIVE_AREA, ROOT_TASK_BASE, STACK_BASE, STACK_END, USER_END, UTCB_AREA,
    },
};
use std::{fmt, ops::Range};

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

/// Entries that one look around may read: as many as the small pages of 512 MiB. A region that
/// takes more is cut off there.
const MOST_STEPS: u32 = 1 << 17;

/// The regions next to an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// Whatever is mapped at the address itself.
    pub inside: Option<Region>,
    /// The nearest region below.
    pub below: Option<Region>,
    /// The nearest region above.
    pub above: Option<Region>,
}

impl Around {
    /// Looks into the page tables under `root`.
    pub(crate) fn new<M>(
        memory: &M,
        geometry: &'static Geometry,
        root: u64,
        image: Option<&Image>,
        address: u64,
    ) -> Self
    where
        M: GuestMemory + ?Sized,
    {
        let mut space = Space { memory, geometry, root, steps: MOST_STEPS };
        let here = space.piece(address.min(SPACE_END - 1));
        let is_inside = address < SPACE_END && here.mapped.is_some();
        let inside = is_inside.then(|| space.extended(here.clone()));
        let (start, end) = match (&inside, address < SPACE_END) {
            (Some(inside), _) => (inside.range.start, inside.range.end),
            (None, true) => (here.range.start, here.range.end),
            (None, false) => (SPACE_END, SPACE_END),
        };
        let below = space.nearest(start, Space::before);
        let above = space.nearest(end, Space::after);
        let region = |piece: Piece| piece.region(image);
        Self {
            inside: inside.and_then(region),
            below: below.and_then(region),
            above: above.and_then(region),
        }
    }
}

/// End of what tasks can have mapped.
const SPACE_END: u64 = USER_END as u64;

/// What an entry of a page table covers, or several in a row that say the same.
#[derive(Clone, Debug)]
struct Piece {
    range: Range<u64>,
    /// `None` if nothing is mapped.
    mapped: Option<Mapped>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapped {
    rights: Rights,
    one_to_one: bool,
}

impl Piece {
    fn region(self, image: Option<&Image>) -> Option<Region> {
        let Mapped { rights, one_to_one } = self.mapped?;
        let named = area_of(image, self.range.start)
            .filter(|area| !one_to_one || area.is_of_image())
            .or(one_to_one.then_some(Area::OneToOne));
        Some(Region { range: self.range, rights, area: named })
    }
}

/// A task's address space.
struct Space<'a, M: ?Sized> {
    memory: &'a M,
    geometry: &'static Geometry,
    root: u64,
    /// Entries that may still be read.
    steps: u32,
}

impl<M: GuestMemory + ?Sized> Space<'_, M> {
    /// What the page tables say about an address.
    fn piece(&self, address: u64) -> Piece {
        let walk = Walk::new(self.memory, self.geometry, self.root, address);
        let (shift, page) = match walk.end {
            End::Page(page) => (page.order, Some(page)),
            End::Absent(level) | End::Malformed(level) | End::Outside(level, _) => {
                (level.shift, None)
            }
            End::NoAddress => (0, None),
        };
        let start = address >> shift << shift;
        let page = page.filter(|page| page.is_user);
        let mapped =
            page.map(|page| Mapped { rights: page.rights, one_to_one: page.physical == start });
        Piece { range: start..start + (1 << shift), mapped }
    }

    /// The piece that ends at an address.
    fn before(&mut self, address: u64) -> Option<Piece> {
        self.step(address.checked_sub(1)?)
    }

    /// The piece that begins at an address.
    fn after(&mut self, address: u64) -> Option<Piece> {
        self.step(address)
    }

    fn step(&mut self, address: u64) -> Option<Piece> {
        if address >= SPACE_END {
            return None;
        }
        self.steps = self.steps.checked_sub(1)?;
        Some(self.piece(address))
    }

    /// The first region in one direction.
    fn nearest(
        &mut self,
        mut from: u64,
        next: impl Fn(&mut Self, u64) -> Option<Piece>,
    ) -> Option<Piece> {
        loop {
            let piece = next(self, from)?;
            if piece.mapped.is_some() {
                return Some(self.extended(piece));
            }
            from = if piece.range.end <= from { piece.range.start } else { piece.range.end };
        }
    }

    /// The piece with its neighbours that say the same.
    fn extended(&mut self, mut piece: Piece) -> Piece {
        while let Some(more) = self.before(piece.range.start)
            && more.mapped == piece.mapped
        {
            piece.range.start = more.range.start;
        }
        while let Some(more) = self.after(piece.range.end)
            && more.mapped == piece.mapped
        {
            piece.range.end = more.range.end;
        }
        piece
    }
}

impl Area {
    fn is_of_image(self) -> bool {
        matches!(self, Self::Text | Self::Rodata | Self::Data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        paging::{AMD64, IA32},
        testing::{FakeGuest, Random},
    };
    use protocol::layout::UTCB_AREA;

    const PAGE: u64 = 0x1000;
    const NOWHERE: u64 = 0x7000_0000;

    fn around(guest: &FakeGuest, root: u64, address: u64) -> Around {
        Around::new(guest, &AMD64, root, None, address)
    }

    fn extent(region: &Option<Region>) -> Option<(u64, u64, Rights)> {
        region.as_ref().map(|region| (region.range.start, region.range.end, region.rights))
    }

    #[test]
    fn neighbours_with_the_same_rights_are_one_region() {
        let guest = FakeGuest::new(1);
        let root = guest.address_space();
        for page in [4, 2, 3, 9] {
            guest.map(root, page * PAGE, NOWHERE, Rights::READ);
        }
        guest.map(root, 5 * PAGE, NOWHERE, Rights::READ_WRITE);
        guest.map(root, UTCB_AREA as u64, NOWHERE, Rights::READ_WRITE);
        let found = around(&guest, root, 3 * PAGE + 5);
        assert_eq!(extent(&found.inside), Some((2 * PAGE, 5 * PAGE, Rights::READ)));
        assert_eq!(extent(&found.below), None);
        assert_eq!(extent(&found.above), Some((5 * PAGE, 6 * PAGE, Rights::READ_WRITE)));
        let between = around(&guest, root, 7 * PAGE);
        assert_eq!(between.inside, None);
        assert_eq!(extent(&between.below), Some((5 * PAGE, 6 * PAGE, Rights::READ_WRITE)));
        assert_eq!(extent(&between.above), Some((9 * PAGE, 10 * PAGE, Rights::READ)));
        let far = around(&guest, root, 0x8000_0000);
        assert_eq!(extent(&far.below), Some((9 * PAGE, 10 * PAGE, Rights::READ)));
        let utcb = UTCB_AREA as u64;
        assert_eq!(extent(&far.above), Some((utcb, utcb + PAGE, Rights::READ_WRITE)));
    }

    #[test]
    fn what_is_unmapped_is_gone() {
        let guest = FakeGuest::new(1);
        let root = guest.address_space();
        (2..5).for_each(|page| guest.map(root, page * PAGE, NOWHERE, Rights::READ));
        guest.map(root, 3 * PAGE, 0, Rights::empty());
        let found = around(&guest, root, 3 * PAGE);
        assert_eq!(found.inside, None);
        assert_eq!(extent(&found.below), Some((2 * PAGE, 3 * PAGE, Rights::READ)));
        assert_eq!(extent(&found.above), Some((4 * PAGE, 5 * PAGE, Rights::READ)));
    }

    #[test]
    fn memory_at_its_own_address_is_said_to_be() {
        let guest = FakeGuest::new(1);
        let root = guest.address_space();
        guest.map(root, 2 * PAGE, 2 * PAGE, Rights::READ);
        guest.map(root, 3 * PAGE, NOWHERE, Rights::READ);
        let found = around(&guest, root, 2 * PAGE).inside.unwrap();
        assert_eq!((found.range.end, found.area), (3 * PAGE, Some(Area::OneToOne)));
    }

    #[test]
    fn addresses_that_no_task_has_are_next_to_the_highest_region() {
        let guest = FakeGuest::new(1);
        let root = guest.address_space();
        guest.map(root, 2 * PAGE, NOWHERE, Rights::READ);
        for address in [SPACE_END, 1 << 40, u64::MAX] {
            let found = around(&guest, root, address);
            assert_eq!((found.inside, found.above), (None, None));
            assert_eq!(extent(&found.below), Some((2 * PAGE, 3 * PAGE, Rights::READ)));
        }
    }

    #[test]
    fn random_tables_are_read_in_bounded_time() {
        let mut random = Random::new(3);
        let mut memory = vec![0; 0x8000];
        for round in 0..6 {
            random.fill(&mut memory);
            if round % 2 == 0 {
                // Every table is this one: everything is mapped, everywhere.
                (0..512).for_each(|at| {
                    memory[at * 8..at * 8 + 8].copy_from_slice(&[7, 0, 0, 0, 0, 0, 0, 0])
                });
            }
            for geometry in [&AMD64, &IA32] {
                let address = random.next() >> random.below(64);
                Around::new(&memory, geometry, 0, None, address);
            }
        }
    }

    #[test]
    fn the_layout_names_areas_of_ordinary_programs_only() {
        assert_eq!(area_of(None, KERNEL_INFO_PAGE as u64), Some(Area::KernelInfo));
        assert_eq!(area_of(None, HEAP_BASE as u64), None);
    }
}
