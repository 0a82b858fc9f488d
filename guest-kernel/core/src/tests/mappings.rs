//! Map items: placement, rights, superpages, grants, capabilities.

use super::Bench;
use crate::{
    arch::{TABLE_ENTRIES, TABLE_ORDER},
    mapping::{capability::Object, space::DirectoryEntry},
    memory::index::TaskIndex,
};
use protocol::{
    Word,
    flexpage::{Flexpage, Rights},
    introspection::{mapping::MAX_DEPTH, record::MapStatus},
    layout::{KERNEL_INFO_PAGE, MAPPABLE_START, UTCB_AREA},
    message::MapItem,
    object::CapabilityIndex,
};

const SUPERPAGE: Word = 0x200_0000;

struct Pair {
    bench: Bench,
    from: TaskIndex,
    to: TaskIndex,
}

impl Pair {
    fn new() -> Self {
        let mut bench = Bench::new();
        let (first, second) = (bench.spawn(1, 1), bench.spawn(1, 1));
        let (from, to) = (bench.task_of(first), bench.task_of(second));
        Self { bench, from, to }
    }

    fn map(&mut self, base: Word, page: Flexpage) -> crate::mapping::item::Outcome {
        let item = MapItem::map(base, page);
        self.bench.map_item(self.from, self.to, item, Flexpage::WHOLE_SPACE)
    }
}

#[test]
fn rights_only_shrink_on_the_way() {
    let mut pair = Pair::new();
    pair.bench.enter(pair.from, 0x40_1000, 0x300_0000, Rights::READ);
    pair.map(0x40_9000, Flexpage::memory(0x40_1000, 12, Rights::all()));
    let entry = pair.bench.page(pair.to, 0x40_9000);
    assert_eq!((entry.is_present(), entry.rights()), (true, Rights::READ));
}

#[test]
fn rights_grow_while_the_frame_stays() {
    let mut pair = Pair::new();
    pair.bench.enter(pair.from, 0x40_1000, 0x300_0000, Rights::all());
    pair.map(0x40_9000, Flexpage::memory(0x40_1000, 12, Rights::READ_EXECUTE));
    pair.map(0x40_9000, Flexpage::memory(0x40_1000, 12, Rights::READ_WRITE));
    assert_eq!(pair.bench.page(pair.to, 0x40_9000).rights(), Rights::all());
    pair.bench.enter(pair.from, 0x40_2000, 0x301_0000, Rights::all());
    pair.map(0x40_9000, Flexpage::memory(0x40_2000, 12, Rights::READ));
    let entry = pair.bench.page(pair.to, 0x40_9000);
    assert_eq!((entry.physical().0, entry.rights()), (0x301_0000, Rights::READ));
}

#[test]
fn holes_stay_holes() {
    let mut pair = Pair::new();
    pair.bench.enter(pair.from, 0x41_0000, 0x300_0000, Rights::READ);
    pair.bench.enter(pair.from, 0x41_3000, 0x300_3000, Rights::READ);
    let outcome = pair.map(0x48_0000, Flexpage::memory(0x41_0000, 14, Rights::READ));
    assert_eq!((outcome.status, outcome.entries), (MapStatus::Done, 2));
    let present = [0x48_0000, 0x48_1000, 0x48_2000, 0x48_3000]
        .map(|address| pair.bench.page(pair.to, address).is_present());
    assert_eq!(present, [true, false, false, true]);
    let outcome = pair.map(0x48_0000, Flexpage::memory(0x70_0000, 12, Rights::READ));
    assert_eq!(outcome.status, MapStatus::SourceEmpty);
}

#[test]
fn sigma0_hands_on_what_it_never_touched_as_superpages() {
    let mut pair = Pair::new();
    pair.from = TaskIndex::SIGMA0;
    let two = Flexpage::memory(SUPERPAGE, TABLE_ORDER + 1, Rights::READ_WRITE);
    let outcome = pair.map(SUPERPAGE, two);
    assert_eq!((outcome.status, outcome.entries), (MapStatus::Done, 2));
    for address in [SUPERPAGE, SUPERPAGE + (1 << TABLE_ORDER)] {
        let entry = pair.bench.directory(pair.to, address);
        let DirectoryEntry::Superpage(entry) = entry else { panic!("{entry:?}") };
        assert_eq!(entry.physical().0, address as u64);
    }
    // What the kernel keeps is not there to be sent.
    let outcome = pair.map(0, Flexpage::memory(0x20_0000, 21, Rights::READ));
    assert_eq!(outcome.status, MapStatus::SourceEmpty);
}

#[test]
fn a_page_out_of_a_superpage_and_into_one() {
    let mut pair = Pair::new();
    let superpage = Flexpage::memory(SUPERPAGE, TABLE_ORDER, Rights::all());
    let item = MapItem::map(SUPERPAGE, superpage);
    pair.bench.map_item(TaskIndex::SIGMA0, pair.from, item, Flexpage::WHOLE_SPACE);
    pair.bench.map_item(TaskIndex::SIGMA0, pair.to, item, Flexpage::WHOLE_SPACE);
    pair.map(0x40_7000, Flexpage::memory(SUPERPAGE + 0x5000, 12, Rights::READ));
    let physical = pair.bench.page(pair.to, 0x40_7000).physical().0;
    assert_eq!(physical, SUPERPAGE as u64 + 0x5000);
    // Another page over a part of the receiver's superpage: that is unmapped first.
    pair.map(SUPERPAGE + 0x3000, Flexpage::memory(SUPERPAGE + 0x5000, 12, Rights::READ));
    for (page, frame) in [(0x2000, None), (0x3000, Some(0x5000)), (0x4000, None)] {
        let entry = pair.bench.page(pair.to, SUPERPAGE + page);
        let expected = frame.map(|frame| (SUPERPAGE + frame) as u64);
        assert_eq!(entry.is_present().then(|| entry.physical().0), expected);
    }
}

#[test]
fn a_grant_leaves_nothing_behind() {
    let mut pair = Pair::new();
    pair.bench.enter(pair.from, 0x40_1000, 0x300_0000, Rights::READ_WRITE);
    let flexpage = Flexpage::memory(0x40_1000, 12, Rights::READ_WRITE);
    let item = MapItem { send_base: 0x40_4000, grant: true, flexpage };
    pair.bench.map_item(pair.from, pair.to, item, Flexpage::WHOLE_SPACE);
    assert!(!pair.bench.page(pair.from, 0x40_1000).is_present());
    assert!(pair.bench.page(pair.to, 0x40_4000).is_present());
}

/// Neither as a source nor as a destination: the pages at the end of the user area are the kernel's.
#[test]
fn the_kernels_own_pages_stay_where_they_are() {
    let mut pair = Pair::new();
    pair.bench.enter(pair.from, 0x40_1000, 0x300_0000, Rights::all());
    for page in [KERNEL_INFO_PAGE, UTCB_AREA, UTCB_AREA + 0x1000] {
        let before = pair.bench.page(pair.to, page);
        let sent = pair.map(0x40_5000, Flexpage::memory(page, 12, Rights::all()));
        assert_eq!(sent.status, MapStatus::SourceEmpty, "{page:#x}");
        assert!(!pair.bench.page(pair.to, 0x40_5000).is_present());
        let over = pair.map(page, Flexpage::memory(0x40_1000, 12, Rights::all()));
        assert_eq!(over.status, MapStatus::SourceEmpty, "{page:#x}");
        assert_eq!(pair.bench.page(pair.to, page), before);
    }
    // Whatever is large enough to reach there stops before.
    let whole = Flexpage::memory(0x8000_0000, 30, Rights::all());
    let item = MapItem::map(0x8000_0000, whole);
    pair.bench.map_item(pair.from, pair.to, item, Flexpage::WHOLE_SPACE);
    for page in [KERNEL_INFO_PAGE, UTCB_AREA] {
        let own = pair.bench.page(pair.to, page).physical();
        assert_ne!(own, pair.bench.page(pair.from, UTCB_AREA).physical(), "{page:#x}");
    }
}

#[test]
fn a_whole_address_space_is_a_flexpage_too() {
    let mut pair = Pair::new();
    for (address, frame) in [(0x40_1000, 0x300_0000), (0xbffd_f000, 0x301_0000)] {
        pair.bench.enter(pair.from, address, frame, Rights::READ_WRITE);
    }
    let outcome = pair.map(0, Flexpage::memory(0, 32, Rights::READ));
    assert_eq!((outcome.status, outcome.entries, outcome.order), (MapStatus::Done, 2, 32));
    let found =
        [0x40_1000, 0xbffd_f000].map(|address| pair.bench.page(pair.to, address).physical().0);
    assert_eq!(found, [0x300_0000, 0x301_0000]);
    // Into a smaller window: the part that the send base selects.
    let item = MapItem::map(0xbffd_f000, Flexpage::memory(0, 32, Rights::READ));
    let window = Flexpage::memory(0x40_5000, 12, Rights::empty());
    pair.bench.map_item(pair.from, pair.to, item, window);
    assert_eq!(pair.bench.page(pair.to, 0x40_5000).physical().0, 0x301_0000);
}

#[test]
fn absurd_flexpages_map_nothing() {
    let mut pair = Pair::new();
    for order in (0..12).chain(33..64) {
        let outcome = pair.map(0, Flexpage(1 << 4 | order << 6 | 7));
        assert_eq!(outcome.status, MapStatus::Overflow, "order {order}");
    }
    let outcome = pair.map(0xc000_0000, Flexpage::memory(0x40_1000, 12, Rights::READ));
    assert_eq!(outcome.status, MapStatus::Overflow);
    assert_eq!(pair.map(0, Flexpage::NIL).status, MapStatus::Overflow);
    assert_eq!(pair.map(0, Flexpage::WHOLE_SPACE).status, MapStatus::Overflow);
}

#[test]
fn capabilities_are_copied_with_fewer_rights() {
    let mut pair = Pair::new();
    pair.bench.give(pair.from, CapabilityIndex(20), Object::Console);
    let slot = |index: Word| index << 12;
    let outcome = pair.map(slot(33), Flexpage::capabilities(20, 0, Rights::READ));
    assert_eq!((outcome.status, outcome.destination), (MapStatus::Done, 33));
    let kernel = &mut pair.bench.kernel;
    let arrived = kernel.mappings.tasks[pair.to]
        .capabilities
        .get(&mut kernel.mappings.machine, CapabilityIndex(33));
    assert_eq!(
        arrived.map(|found| (found.object, found.rights)),
        Some((Object::Console, Rights::READ))
    );
    assert_eq!(
        pair.map(slot(33), Flexpage::capabilities(21, 0, Rights::READ)).status,
        MapStatus::SourceEmpty
    );
    assert_eq!(
        pair.map(slot(4096), Flexpage::capabilities(20, 13, Rights::READ)).status,
        MapStatus::Overflow
    );
}

/// Each of two tasks maps on what it has from the other, until that is too deep.
#[test]
fn a_mapping_can_be_handed_on_only_so_often() {
    let mut pair = Pair::new();
    pair.bench.enter(pair.from, 0x40_1000, 0x300_0000, Rights::all());
    let window = Flexpage::WHOLE_SPACE;
    let address = |depth: Word| 0x40_0000 + (depth << 12);
    // The first task's page has depth 1.
    for depth in 2..=Word::from(MAX_DEPTH) + 1 {
        let page = Flexpage::memory(address(depth - 1), 12, Rights::all());
        let outcome = pair.map(address(depth), page);
        std::mem::swap(&mut pair.from, &mut pair.to);
        if depth <= MAX_DEPTH.into() {
            assert_eq!(outcome.status, MapStatus::Done, "depth {depth}");
            continue;
        }
        assert_eq!((outcome.status, outcome.entries), (MapStatus::TooDeep, 0));
        assert!(!pair.bench.page(pair.from, address(depth)).is_present());
    }
    // What is that deep can still move, and still goes with what it comes from.
    let deepest = address(MAX_DEPTH.into());
    let item = MapItem::grant(0x100_0000, Flexpage::memory(deepest, 12, Rights::all()));
    assert!(pair.bench.page(pair.to, deepest).is_present());
    let outcome = pair.bench.map_item(pair.to, pair.from, item, window);
    assert_eq!(outcome.status, MapStatus::Done);
    assert!(pair.bench.page(pair.from, 0x100_0000).is_present());
    pair.bench.enter(pair.from, 0x100_0000, 0x301_0000, Rights::READ);
}

/// What lies below is nobody's: no address in it is ever mistaken for something, and there is nothing to
/// run in virtual-8086 mode.
#[test]
fn nothing_is_mapped_below_the_mappable() {
    let mut pair = Pair::new();
    let (last, page) = (MAPPABLE_START - 0x1000, 0x40_1000);
    pair.bench.enter(pair.from, page, 0x300_0000, Rights::all());
    for address in [0, 0x1000, 0x10_0000, last] {
        let outcome = pair.map(address, Flexpage::memory(page, 12, Rights::all()));
        assert_eq!((outcome.status, outcome.entries), (MapStatus::SourceEmpty, 0), "{address:#x}");
        // Nor by a grant, nor does sigma0 have it.
        let item = MapItem::grant(address, Flexpage::memory(page, 12, Rights::all()));
        pair.bench.map_item(pair.from, pair.to, item, Flexpage::WHOLE_SPACE);
        assert!(!pair.bench.page(pair.to, address).is_present(), "{address:#x}");
        let item = MapItem::map(page, Flexpage::memory(address, 12, Rights::all()));
        let window = Flexpage::WHOLE_SPACE;
        let outcome = pair.bench.map_item(TaskIndex::SIGMA0, pair.to, item, window);
        assert_eq!((outcome.status, outcome.entries), (MapStatus::SourceEmpty, 0), "{address:#x}");
    }
    assert!(pair.bench.page(pair.from, page).is_present());
    // A larger flexpage leaves it out.
    for number in 0..32 {
        let offset = number << 12;
        pair.bench.enter(pair.from, 0x80_0000 + offset, 0x310_0000 + offset as u64, Rights::all());
    }
    let outcome = pair.map(0x10_0000, Flexpage::memory(0x80_0000, 17, Rights::all()));
    assert_eq!((outcome.status, outcome.entries), (MapStatus::Done, 16));
    // A superpage that covers it arrives as small pages without it.
    let superpage = Flexpage::memory(SUPERPAGE, TABLE_ORDER, Rights::all());
    let item = MapItem::map(SUPERPAGE, superpage);
    pair.bench.map_item(TaskIndex::SIGMA0, pair.from, item, Flexpage::WHOLE_SPACE);
    let outcome = pair.map(0, superpage);
    let pages = (TABLE_ENTRIES - (MAPPABLE_START >> 12)) as u32;
    assert_eq!((outcome.status, outcome.entries), (MapStatus::Done, pages));
    for address in [MAPPABLE_START, (1 << TABLE_ORDER) - 0x1000] {
        assert!(pair.bench.page(pair.to, address).is_present(), "{address:#x}");
    }
    assert!(!pair.bench.page(pair.to, last).is_present());
}
