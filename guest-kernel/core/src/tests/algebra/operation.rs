//! Random operations of tasks that share a few pages, ports and capabilities.

use super::specification::{SIGMA0, Spot, units};
use crate::{
    arch::{TABLE_ENTRIES, TABLE_ORDER},
    tests::random::Random,
};
use protocol::{
    PAGE_ORDER, Word,
    flexpage::{Flexpage, IO_PORTS, Rights},
    introspection::mapping::Resource,
    layout::{MAPPABLE_END, MAPPABLE_START},
    message::MapItem,
    object::CAPABILITY_TABLE_SIZE,
    operation::task,
};
use std::fmt;

/// sigma0, the root task, and those that a test makes.
pub const TASKS: u16 = 5;

/// What a task does.
#[derive(Clone, PartialEq, Eq)]
pub enum Operation {
    /// Maps or grants a flexpage.
    Map { from: u16, to: u16, item: MapItem, window: Flexpage },
    /// Unmaps in the terms of a task: message register 1, and the flexpages.
    Unmap { task: u16, taken: Word, flexpages: Vec<Flexpage> },
    /// Reads or writes a page.
    Use { spot: Spot, write: bool },
}

/// A flexpage for people: what is absurd as a number.
struct Shown(Flexpage);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(flexpage) = self;
        if flexpage.is_whole_space() {
            return f.write_str("everything");
        }
        let letters = flexpage.rights().letters().map(char::from);
        let letters: String = letters.into_iter().collect();
        let (kind, order) = (flexpage.kind(), flexpage.order());
        write!(f, "{kind:?} {:#x} order {order} {letters}", flexpage.address())
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map { from, to, item, window } => {
                let verb = if item.grant { "grant" } else { "map" };
                let (sent, window) = (Shown(item.flexpage), Shown(*window));
                let base = item.send_base;
                write!(f, "{from} {verb} {to}: {sent:?}, base {base:#x}, window {window:?}")
            }
            Self::Unmap { task, taken, flexpages } => {
                let flexpages: Vec<_> = flexpages.iter().map(|page| Shown(*page)).collect();
                write!(f, "{task} unmap {taken:#x}: {flexpages:?}")
            }
            Self::Use { spot, write } => {
                let verb = if *write { "write" } else { "read" };
                write!(f, "{} {verb} {:#x}", spot.task, spot.number)
            }
        }
    }
}

impl Operation {
    /// Whether it is about a task.
    pub fn names(&self, number: u16) -> bool {
        match self {
            Self::Map { from, to, .. } => *from == number || *to == number,
            Self::Unmap { task, .. } => *task == number,
            Self::Use { spot, .. } => spot.task == number,
        }
    }

    /// The operation that a number stands for. Tame ones leave superpages whole where they arrive, so
    /// that there are few mappings.
    pub fn from_seed(seed: u64, is_tame: bool) -> Self {
        let mut source = Source { random: Random::new(seed), is_tame };
        match source.below(16) {
            0..=9 => source.map(),
            10..=12 => source.unmap(),
            _ => {
                let (task, number) = (source.task(), source.page());
                let spot = Spot { task, resource: Resource::Memory, number };
                Self::Use { spot, write: source.one_in(2) }
            }
        }
    }
}

/// Random operations.
struct Source {
    random: Random,
    is_tame: bool,
}

impl Source {
    fn next(&mut self) -> u64 {
        self.random.next()
    }

    fn below(&mut self, bound: u32) -> u32 {
        (self.next() % u64::from(bound)) as u32
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.below(count) == 0
    }

    fn task(&mut self) -> u16 {
        1 + self.below(u32::from(TASKS) - 1) as u16
    }

    fn map(&mut self) -> Operation {
        let from = if self.one_in(3) { SIGMA0 } else { self.task() };
        let to = if self.one_in(40) { SIGMA0 } else { self.task() };
        let resource = self.resource();
        let flexpage = self.flexpage(resource);
        let is_block = units(flexpage).is_some_and(|(_, _, order)| 1 << order >= TABLE_ENTRIES);
        let window = match self.below(64) {
            0 => Flexpage::NIL,
            1 => Flexpage(self.next() as Word),
            2 | 3 => {
                let other = self.resource();
                self.window(other, is_block)
            }
            4..=20 if self.is_tame => self.window(resource, is_block),
            4..=20 => self.flexpage(resource),
            _ => Flexpage::WHOLE_SPACE,
        };
        let send_base = match self.below(32) {
            0 => self.next() as Word & !0xfff,
            _ => (self.target(resource, is_block) as Word) << PAGE_ORDER,
        };
        let item = MapItem { send_base, grant: self.one_in(4), flexpage };
        Operation::Map { from, to, item, window }
    }

    /// Where to map something: the tame let no single pages arrive among superpages.
    fn target(&mut self, resource: Resource, is_block: bool) -> u32 {
        if !self.is_tame {
            return self.number(resource);
        }
        let block = TABLE_ENTRIES as u32;
        match (resource, is_block) {
            (Resource::Memory, true) => SUPERPAGES + self.below(3) * block,
            (Resource::Memory, false) => PAGES + self.below(8),
            (Resource::Ports, true) => 2 * block + self.below(2) * block,
            (Resource::Ports, false) => PORTS + self.below(4),
            _ => self.capability(),
        }
    }

    /// A window in which something arrives as in [`Self::target`].
    fn window(&mut self, resource: Resource, is_block: bool) -> Flexpage {
        let number = self.target(resource, is_block) as Word;
        let block = TABLE_ORDER - PAGE_ORDER;
        let order = if is_block { block + self.below(2) } else { self.below(4) };
        match resource {
            Resource::Memory => {
                Flexpage::memory(number << PAGE_ORDER, order + PAGE_ORDER, Rights::all())
            }
            Resource::Ports => Flexpage::ports(number, order, Rights::all()),
            _ => Flexpage::capabilities(number, order, Rights::all()),
        }
    }

    fn unmap(&mut self) -> Operation {
        let rights = match self.below(8) {
            0..=4 => 7,
            5 => Rights::WRITE.bits(),
            6 => 0,
            _ => self.below(8) as u8,
        };
        let own = if self.one_in(2) { task::Unmap::OWN_TOO } else { 0 };
        let count = if self.one_in(4) { 1 + self.below(3) } else { 1 };
        let flexpages = (0..count).map(|_| {
            let resource = self.resource();
            self.flexpage(resource)
        });
        let flexpages = flexpages.collect();
        let task = if self.one_in(8) { SIGMA0 } else { self.task() };
        Operation::Unmap { task, taken: Word::from(rights) | own, flexpages }
    }

    fn resource(&mut self) -> Resource {
        match self.below(8) {
            0 => Resource::Ports,
            1 | 2 => Resource::Capability,
            _ => Resource::Memory,
        }
    }

    fn rights(&mut self) -> Rights {
        match self.below(8) {
            0 => Rights::from_bits_truncate(self.below(8) as u8),
            1 => Rights::READ,
            2 => Rights::READ_WRITE,
            3 => Rights::READ_EXECUTE,
            _ => Rights::all(),
        }
    }

    fn flexpage(&mut self, resource: Resource) -> Flexpage {
        if self.one_in(64) {
            return Flexpage(self.next() as Word);
        }
        let block = TABLE_ORDER - PAGE_ORDER;
        let order = match (self.below(128), resource) {
            (0, _) => self.below(52),
            (1..=3, _) => 3 + self.below(if self.is_tame { 2 } else { block }),
            (4, Resource::Memory | Resource::Ports) => block + 1,
            (5..=22, Resource::Memory | Resource::Ports) => block,
            (5, _) => CAPABILITY_TABLE_SIZE.ilog2(),
            (23..=60, _) => 1 + self.below(2),
            _ => 0,
        };
        let is_block = order >= block && resource != Resource::Capability;
        let number = match self.is_tame && is_block {
            true => self.target(resource, true),
            false => self.number(resource),
        };
        let number = number as Word;
        let rights = self.rights();
        match resource {
            Resource::Ports => Flexpage::ports(number, order, rights),
            Resource::Memory => Flexpage::memory(number << PAGE_ORDER, order + PAGE_ORDER, rights),
            _ => Flexpage::capabilities(number, order, rights),
        }
    }

    fn number(&mut self, resource: Resource) -> u32 {
        match resource {
            Resource::Memory => self.page(),
            Resource::Ports => self.port(),
            _ => self.capability(),
        }
    }

    /// Pages that sigma0 has one by one, and pages of three superpages; some where nothing is, some
    /// around the kernel's, and some around the first one that can be mapped.
    fn page(&mut self) -> u32 {
        let block = TABLE_ENTRIES as u32;
        let end = (MAPPABLE_END >> PAGE_ORDER) as u32;
        match self.below(64) {
            0 => self.below(0xc_0000),
            1 => 0x200 + self.below(8),
            2 => end - 2 + self.below(4),
            3 => PAGES - 2 + self.below(3),
            4..=7 => SUPERPAGES + self.below(3 * block),
            8..=33 => SUPERPAGES + self.below(3) * block + self.below(4),
            _ => PAGES + self.below(8),
        }
    }

    fn port(&mut self) -> u32 {
        let block = TABLE_ENTRIES as u32;
        match self.below(16) {
            0 if !self.is_tame => self.below(IO_PORTS as u32),
            1 => 0x20 + self.below(4),
            2..=8 if !self.is_tame => 2 * block + self.below(4),
            _ => PORTS + self.below(4),
        }
    }

    fn capability(&mut self) -> u32 {
        match self.below(16) {
            0 => self.below(CAPABILITY_TABLE_SIZE as u32),
            1 => 0x7fe + self.below(4),
            _ => self.below(12),
        }
    }
}

/// Some pages that sigma0 has one by one, the first ones.
const PAGES: u32 = (MAPPABLE_START >> PAGE_ORDER) as u32;
/// And ports.
const PORTS: u32 = 0x70;
/// The first page of three superpages in the middle of RAM.
const SUPERPAGES: u32 = 0x2000;
