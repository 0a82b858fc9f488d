//! The specification against what the lecture's slides say of map, grant and unmap.

use super::specification::{Mapping, Outcome, SIGMA0, Spot, World};
use protocol::{
    PAGE_ORDER, Word,
    flexpage::{Flexpage, Rights},
    introspection::{mapping::Resource, record::MapStatus},
    layout::MAPPABLE_START,
    message::MapItem,
};

/// Pages to a directory entry: few, so that numbers stay small.
const BLOCK: u32 = 16;
const A: u16 = 1;
const B: u16 = 2;
const C: u16 = 3;
const D: u16 = 4;

/// Where pages are counted from: nothing is mapped below.
const START: u32 = (MAPPABLE_START >> PAGE_ORDER) as u32;
const _: () = assert!(START.is_multiple_of(BLOCK));

/// sigma0 has pages 16 to 47: superpages; and page 50.
fn world() -> World {
    World::new(BLOCK, usize::MAX, |_, number| {
        (START + 16..START + 48).contains(&number) || number == START + 50
    })
}

fn address(number: u32) -> Word {
    ((START + number) as Word) << PAGE_ORDER
}

fn page(number: u32) -> Flexpage {
    Flexpage::memory(address(number), PAGE_ORDER, Rights::all())
}

fn item(destination: u32, flexpage: Flexpage) -> MapItem {
    MapItem::map(address(destination), flexpage)
}

fn spot(task: u16, number: u32) -> Spot {
    Spot { task, resource: Resource::Memory, number: START + number }
}

impl World {
    fn send(&mut self, tasks: [u16; 2], item: MapItem) -> Outcome {
        let outcome = self.map(tasks, item, Flexpage::WHOLE_SPACE, None);
        self.check().expect("sound");
        outcome
    }

    fn page(&self, task: u16, number: u32) -> Option<Mapping> {
        Some(self.at(spot(task, number))?.1)
    }

    fn rights(&self, task: u16, number: u32) -> Option<Rights> {
        Some(self.page(task, number)?.rights)
    }
}

const GONE: Rights = Rights::all();

#[test]
fn an_unmap_takes_what_was_derived_directly_or_not() {
    let mut world = world();
    world.send([SIGMA0, A], item(1, page(50)));
    world.send([A, B], item(2, page(1).with_rights(Rights::READ_WRITE)));
    world.send([B, C], item(3, page(2)));
    assert_eq!(world.rights(C, 3), Some(Rights::READ_WRITE));
    world.unmap(A, page(1), Rights::WRITE, false);
    let rights = [(A, 1), (B, 2), (C, 3)].map(|(task, page)| world.rights(task, page));
    assert_eq!(rights, [Some(Rights::all()), Some(Rights::READ), Some(Rights::READ)]);
    world.unmap(A, page(1), GONE, false);
    assert_eq!((world.page(B, 2), world.page(C, 3)), (None, None));
    world.unmap(A, page(1), GONE, true);
    assert_eq!(world.page(A, 1), None);
    world.unmap(SIGMA0, page(50), GONE, true);
    assert_eq!(world.rights(SIGMA0, 50), Some(Rights::all()), "sigma0 keeps what it owns");
}

#[test]
fn a_grant_moves_and_aliases_remain() {
    let mut world = world();
    world.send([SIGMA0, A], item(1, page(50)));
    world.send([A, B], item(2, page(1)));
    world.send([B, C], item(3, page(2)));
    world.send([B, D], MapItem { grant: true, ..item(4, page(2)) });
    assert_eq!(world.page(B, 2), None);
    let granted = world.page(D, 4).expect("granted");
    assert!(granted.granted);
    assert_eq!(world.page(C, 3).expect("an alias").parent, Some(granted.id));
    world.unmap(A, page(1), GONE, false);
    assert_eq!((world.page(D, 4), world.page(C, 3)), (None, None));
}

#[test]
fn another_mapping_takes_the_place_of_an_old_one() {
    let mut world = world();
    world.send([SIGMA0, A], item(1, page(50)));
    world.send([SIGMA0, B], item(1, page(20)));
    world.send([A, C], item(5, page(1).with_rights(Rights::READ)));
    world.send([C, D], item(6, page(5)));
    world.send([A, C], item(5, page(1).with_rights(Rights::READ_WRITE)));
    assert_eq!(world.rights(C, 5), Some(Rights::READ_WRITE), "the same frame: rights grow");
    assert_eq!(world.rights(D, 6), Some(Rights::READ));
    world.send([B, C], item(5, page(1)));
    assert_eq!(world.page(C, 5).map(|page| page.what), Some((START + 20).into()));
    assert_eq!(world.page(D, 6), None, "it came from the old one");
}

#[test]
fn a_part_of_a_superpage_is_unmapped_alone() {
    let mut world = world();
    let superpage = Flexpage::memory(address(16), PAGE_ORDER + 4, Rights::all());
    assert_eq!(world.send([SIGMA0, A], item(16, superpage)).entries, 1);
    assert_eq!(world.send([A, B], item(32, superpage)).entries, 1);
    world.send([A, C], item(17, page(23)));
    world.send([A, C], item(49, page(23)));
    world.send([A, C], item(50, page(24)));
    assert_eq!(world.send([A, C], item(16, superpage)).entries, 16, "C has a table there");
    assert_eq!(world.send([A, D], MapItem::map(0, superpage)).entries, 0, "nobody has that");
    world.unmap(A, page(23), GONE, false);
    assert_eq!(world.page(B, 40), None, "a superpage that is touched is covered");
    let left = |task, first: u32| {
        let pages = (0..16).filter(|page| world.page(task, first + page).is_some());
        pages.collect::<Vec<_>>()
    };
    assert_eq!(left(C, 16), [0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15]);
    assert_eq!(world.page(C, 49), None);
    assert!(world.page(C, 50).is_some());
}

#[test]
fn nothing_is_mapped_into_sigma0_or_without_the_right_to_read() {
    let mut world = world();
    world.send([SIGMA0, A], item(1, page(50)));
    assert_eq!(world.send([A, SIGMA0], item(60, page(1))).status, MapStatus::Overflow);
    let write = page(1).with_rights(Rights::WRITE);
    assert_eq!(world.send([A, B], item(2, write)).status, MapStatus::SourceEmpty);
    assert_eq!(world.send([A, B], item(2, page(9))).status, MapStatus::SourceEmpty);
}

#[test]
fn what_the_processor_noted_is_returned_once() {
    let mut world = world();
    world.send([SIGMA0, A], item(1, page(50)));
    world.send([A, B], item(2, page(1)));
    let spot = spot(B, 2);
    world.use_page(spot, true);
    assert_eq!(world.unmap(A, page(1), Rights::empty(), false), [true, true]);
    assert_eq!(world.unmap(A, page(1), Rights::empty(), false), [false, false]);
    world.use_page(spot, false);
    assert_eq!(world.unmap(A, page(1), GONE, false), [true, false]);
}
