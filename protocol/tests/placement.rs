//! Decoding of flexpages and map items, and where an item puts its pages, against brute force.
//!
//! Memory, ports and capabilities are counted alike: page, port or capability number `n` is the piece
//! of 4 KiB at `n << 12`, in areas as in send bases.

use protocol::{
    PAGE_ORDER, Word,
    flexpage::{Area, Flexpage, IO_PORTS, Kind, Placement, Rights, WHOLE_SPACE_ORDER},
    layout::USER_END,
    message::MapItem,
    object::CAPABILITY_TABLE_SIZE,
};

/// One kind of resource: how its flexpages are made, and how they are read.
struct Space {
    kind: Kind,
    /// A flexpage of `2^order` units (pages, ports, capabilities) from unit `number` on.
    flexpage: fn(Word, u32) -> Flexpage,
    area: fn(Flexpage) -> Option<Area>,
    /// Units that there are.
    units: u64,
    /// The flexpage's order for one unit.
    unit_order: u32,
}

const SPACES: [Space; 3] = [
    Space {
        kind: Kind::Memory,
        flexpage: |number, order| {
            Flexpage::memory(number << PAGE_ORDER, order + PAGE_ORDER, Rights::READ)
        },
        area: Flexpage::memory_area,
        units: (USER_END >> PAGE_ORDER) as u64,
        unit_order: PAGE_ORDER,
    },
    Space {
        kind: Kind::IoPorts,
        flexpage: Flexpage::io_ports,
        area: Flexpage::port_area,
        units: IO_PORTS as u64,
        unit_order: 0,
    },
    Space {
        kind: Kind::Capability,
        flexpage: |number, order| Flexpage::capabilities(number, order, Rights::READ),
        area: Flexpage::capability_area,
        units: CAPABILITY_TABLE_SIZE as u64,
        unit_order: 0,
    },
];

impl Space {
    fn area(&self, number: u64, order: u32) -> Area {
        let area = (self.area)((self.flexpage)(number as Word, order));
        area.unwrap_or_else(|| panic!("{:?} {number}, order {order}", self.kind))
    }
}

/// All size-aligned pieces of up to eight units among the first `units`: first unit and order.
fn pieces(units: u64) -> impl Iterator<Item = (u64, u32)> + Clone {
    (0..4).flat_map(move |order| (0..units).step_by(1 << order).map(move |unit| (unit, order)))
}

/// The slides, word by word, in units. Among all pieces of the sender's flexpage and of the receiver's
/// window that are as large as the smaller of both, the pair whose piece of the larger one contains
/// the send base, counted from the larger one's beginning and around its end.
fn search(send: (u64, u32), window: (u64, u32), base: u64) -> (u64, u64, u32) {
    let (smaller, larger) = (send.1.min(window.1), send.1.max(window.1));
    let offset = base % (1 << larger);
    let in_larger = |piece: u64| (piece..piece + (1 << smaller)).contains(&offset);
    let candidates = |of: (u64, u32)| (0..1 << of.1).step_by(1 << smaller);
    let mut found = None;
    for source in candidates(send) {
        for destination in candidates(window) {
            let selected = if send.1 <= window.1 { destination } else { source };
            if in_larger(selected) {
                assert_eq!(found, None, "only one");
                found = Some((send.0 + source, window.0 + destination, smaller));
            }
        }
    }
    found.expect("one")
}

/// Every send order, window order, position of both and send base up to eight units.
#[test]
fn placement_equals_brute_force() {
    let mut compared = 0;
    for space in &SPACES {
        for (send, window) in pieces(16).flat_map(|send| pieces(16).map(move |other| (send, other)))
        {
            let (from, to) = (space.area(send.0, send.1), space.area(window.0, window.1));
            for base in 0..24 {
                let (source, destination, order) = search(send, window, base);
                let expected = Placement {
                    source: (source as Word) << PAGE_ORDER,
                    destination: (destination as Word) << PAGE_ORDER,
                    order: order + PAGE_ORDER,
                };
                // What is below a unit has no influence.
                for below in [0, 1, 0xfff] {
                    let place = from.place((base as Word) << PAGE_ORDER | below, to);
                    assert_eq!(place, Some(expected), "{send:?} {window:?} {base}");
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 3 * 30 * 30 * 24 * 3);
}

/// Into a whole space, where the send base is the address, and out of one.
#[test]
fn placement_in_a_whole_space_equals_arithmetic() {
    for space in &SPACES {
        for (number, order) in pieces(16) {
            let area = space.area(number, order);
            for base in 0..32 {
                let piece = base - base % (1 << order);
                let bytes = |units: u64| (units as Word) << PAGE_ORDER;
                let into = Placement {
                    source: bytes(number),
                    destination: bytes(piece),
                    order: order + PAGE_ORDER,
                };
                assert_eq!(area.place(bytes(base), Area::WHOLE), Some(into));
                let out = Placement { source: bytes(piece), destination: bytes(number), ..into };
                assert_eq!(Area::WHOLE.place(bytes(base), area), Some(out));
            }
        }
    }
    for base in [0, 0x1000, Word::MAX] {
        let all = Placement { source: 0, destination: 0, order: 32 };
        assert_eq!(Area::WHOLE.place(base, Area::WHOLE), Some(all));
        assert_eq!(all.size(), USER_END, "as far as there is something");
    }
}

/// Random numbers (splitmix64).
struct Source(u64);

impl Source {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A size-aligned piece anywhere in a space, first unit and order, or all of 4 GiB.
    fn piece(&mut self, space: &Space) -> (u64, u32) {
        let order = self.below(u64::from(space.units.ilog2()) + 1) as u32;
        (self.below(space.units >> order) << order, order)
    }
}

/// Large and small ones anywhere. A division takes the place of the search.
#[test]
fn random_placements_equal_arithmetic() {
    const WHOLE: (u64, u32) = (0, 20);
    let mut source = Source(1);
    let mut refused = 0;
    for round in 0..300_000 {
        let space = &SPACES[round % 3];
        let send = source.piece(space);
        let is_whole = source.below(4) == 0;
        let window = if is_whole { WHOLE } else { source.piece(space) };
        let from = space.area(send.0, send.1);
        let to = if is_whole { Area::WHOLE } else { space.area(window.0, window.1) };
        let base = source.next() as Word;
        let (smaller, larger) = (1 << send.1.min(window.1), 1 << send.1.max(window.1));
        let offset = (base as u64 >> PAGE_ORDER) % larger / smaller * smaller;
        let (source, destination) = match send.1 <= window.1 {
            true => (send.0, window.0 + offset),
            false => (send.0 + offset, window.0),
        };
        // Only a whole space can be missed: windows lie inside.
        let fits = destination + smaller <= (USER_END >> PAGE_ORDER) as u64;
        refused += usize::from(!fits);
        let expected = fits.then(|| Placement {
            source: (source as Word) << PAGE_ORDER,
            destination: (destination as Word) << PAGE_ORDER,
            order: smaller.ilog2() + PAGE_ORDER,
        });
        assert_eq!(from.place(base, to), expected, "{send:?} {window:?} {base:#x}");
    }
    assert!(refused > 1000, "both outcomes are met: {refused}");
}

/// The units that a flexpage names, by the definition of its fields: first and order.
fn units_of(space: &Space, word: Word) -> Option<(u64, u32)> {
    let (address, order) = (word as u64 >> 12, (word >> 6 & 0x3f) as u32);
    let kind = [Kind::Special, Kind::Memory, Kind::IoPorts, Kind::Capability][word >> 4 & 3];
    let order = order.checked_sub(space.unit_order).filter(|_| kind == space.kind)?;
    let size = 1u64.checked_shl(order)?;
    let first = address / size * size;
    (u128::from(first) + u128::from(size) <= u128::from(space.units)).then_some((first, order))
}

fn check_word(word: Word) {
    let flexpage = Flexpage(word);
    for space in &SPACES {
        let found = (space.area)(flexpage);
        let found = found.map(|area| (area.base(), area.order()));
        let whole_memory = space.kind == Kind::Memory
            && flexpage.kind() == Kind::Memory
            && flexpage.order() == 32
            && word as u64 >> 32 == 0;
        let expected = if flexpage.is_whole_space() || whole_memory {
            Some((0, 32))
        } else {
            units_of(space, word)
                .map(|(first, order)| ((first as Word) << PAGE_ORDER, order + PAGE_ORDER))
        };
        assert_eq!(found, expected, "{word:#x} as {:?}", space.kind);
    }
    assert_eq!(Word::from(flexpage.rights().bits()), word & 7);
    let is_whole = word >> 4 & 3 == 0 && word >> 6 & 0x3f == WHOLE_SPACE_ORDER as Word;
    assert_eq!(flexpage.is_whole_space(), is_whole);
}

/// Every kind, order and rights with addresses at all borders, and random words.
#[test]
fn every_word_names_an_area_or_none() {
    let borders = [0, 1, 0xfff, 0x1000, 0xffff, 0x1_0000, 0x7_ffff, 0x8_0000, 0xb_ffff, 0xc_0000];
    let ends = [0xf_ffff, Word::MAX >> 12, Word::MAX >> 13];
    for lower in 0..1 << 12 {
        for address in borders.into_iter().chain(ends) {
            check_word(address << 12 | lower);
        }
    }
    let mut source = Source(2);
    for _ in 0..300_000 {
        let word = source.next();
        check_word(word as Word);
        check_word((word >> 32) as Word);
        check_word((word >> 12 & 0xf_ffff) as Word);
    }
}

/// Any two words are an item or none, and an item is the same after it was sent.
#[test]
fn any_two_words_are_an_item_or_none() {
    let mut source = Source(3);
    let lower = (0..1 << 12).map(|lower| lower | 0x5a5a_5000);
    let random = (0..100_000).map(|_| source.next() as Word);
    for (number, word) in lower.chain(random).enumerate() {
        let second = word.rotate_left(number as u32);
        let item = MapItem::from_words([word, second]);
        assert_eq!(item.is_some(), word & 8 != 0, "{word:#x}");
        let Some(item) = item else { continue };
        assert_eq!((item.send_base | 0xfff, item.send_base & 0xfff), (word | 0xfff, 0));
        assert_eq!((item.grant, item.flexpage.0), (word & 2 != 0, second));
        assert_eq!(MapItem::from_words(item.to_words()), Some(item));
    }
}

/// Ports stay where they are: what arrives is what both areas have.
#[test]
fn ports_arrive_where_they_are() {
    for (send, order) in pieces(16) {
        for (window, window_order) in pieces(16) {
            let area = |first: u64, order| {
                Flexpage::io_ports(first as Word, order).port_area().expect("ports")
            };
            let both = send.max(window)..(send + (1 << order)).min(window + (1 << window_order));
            let placed = area(send, order).common(area(window, window_order));
            let expected = (!both.is_empty()).then(|| Placement {
                source: (both.start as Word) << PAGE_ORDER,
                destination: (both.start as Word) << PAGE_ORDER,
                order: (both.end - both.start).ilog2() + PAGE_ORDER,
            });
            assert_eq!(placed, expected, "{send} {order} {window} {window_order}");
        }
        let all = Flexpage::io_ports(send as Word, order).port_area().expect("ports");
        let placed = all.common(Area::WHOLE).expect("all of it");
        assert_eq!((placed.destination, placed.order), (all.base(), all.order()));
    }
}
