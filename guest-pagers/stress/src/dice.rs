//! Everything that is chosen at random.

use crate::arena;
use runtime::{
    objects::Take,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        flexpage::{Flexpage, Rights},
        layout::PAGER_AREA,
        syscall::CAPABILITY_SHIFT,
    },
    random::Random,
    share::{Item, Shareable},
};

/// What can be mapped.
#[derive(Clone, Copy, Debug)]
pub enum Resource {
    Memory,
    Ports,
    Capabilities,
}

impl Resource {
    /// As a word in a message.
    pub const fn to_word(self) -> Word {
        self as Word
    }

    /// Reads such a word.
    pub const fn from_word(word: Word) -> Self {
        match word {
            1 => Self::Ports,
            2 => Self::Capabilities,
            _ => Self::Memory,
        }
    }
}

/// Chooses.
#[derive(Debug)]
pub struct Dice(Random);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    pub fn below(&mut self, bound: Word) -> Word {
        self.0.below(bound)
    }

    /// Memory, most of the time.
    pub fn resource(&mut self) -> Resource {
        Resource::from_word(self.below(6))
    }

    /// The number of a page.
    pub fn page(&mut self) -> usize {
        self.below(arena::PAGES)
    }

    /// A piece of the arena: mostly small, now and then all of it.
    pub fn piece(&mut self, resource: Resource) -> Flexpage {
        let rights = self.rights();
        match resource {
            Resource::Memory => {
                let order = PAGE_ORDER + self.order(arena::ORDER - PAGE_ORDER);
                Flexpage::memory(PAGER_AREA + self.page() * PAGE_SIZE, order, rights)
            }
            Resource::Ports => {
                let order = self.order(arena::PORTS_ORDER);
                let port = arena::FIRST_PORT + self.below(1 << arena::PORTS_ORDER);
                Flexpage::io_ports(port, order)
            }
            Resource::Capabilities => {
                let order = self.order(arena::CAPABILITIES_ORDER);
                let index = arena::FIRST_CAPABILITY + self.below(arena::CAPABILITIES);
                Flexpage::capabilities(index, order, rights)
            }
        }
    }

    /// An item that maps, or grants, a piece of the arena to anywhere in the arena.
    pub fn item(&mut self, resource: Resource, grant: bool) -> Item {
        let place = match resource {
            Resource::Memory => PAGER_AREA + self.page() * PAGE_SIZE,
            Resource::Ports => {
                (arena::FIRST_PORT + self.below(1 << arena::PORTS_ORDER)) << PAGE_ORDER
            }
            Resource::Capabilities => {
                (arena::FIRST_CAPABILITY + self.below(arena::CAPABILITIES)) << CAPABILITY_SHIFT
            }
        };
        let piece = Shareable::new(self.piece(resource)).expect("the arena is open memory");
        if grant { Item::grant(place, piece) } else { Item::map(place, piece) }
    }

    /// What to take away.
    pub fn take(&mut self) -> Take {
        match self.below(4) {
            0 => Take::NOTHING,
            1 => Take::rights(Rights::WRITE),
            2 => Take::rights(self.rights()),
            _ => Take::EVERYTHING,
        }
    }

    fn rights(&mut self) -> Rights {
        Rights::from_bits_truncate(self.below(8) as u8)
    }

    /// Small orders are the most likely ones.
    fn order(&mut self, largest: u32) -> u32 {
        let bound = self.below(largest as Word + 1) + 1;
        self.below(bound) as u32
    }
}
