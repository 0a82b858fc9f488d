//! What is chosen at random: mostly things that there are, so that calls come far.

use crate::round::{TASKS, THREADS};
use core::time::Duration;
use runtime::{
    message,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        flexpage::{Flexpage, Rights, align_down},
        layout::{PAGER_AREA, UTCB_AREA},
        message::MapItem,
        object::CapabilityIndex,
        syscall::{CAPABILITY_SHIFT, Timeout, Timeouts},
        utcb::UTCB_SIZE,
    },
    random::Random,
};

/// Capabilities that all tasks have from the beginning: [`crate::round`] puts them there.
pub const FIRST_GIVEN: Word = 16;
/// Where objects come and go.
pub const FIRST_OWN: Word = 64;
const OWN: Word = 32;
/// To each task, its threads, and a gate to each of them.
pub const GIVEN_OF_EACH: Word = 1 + 2 * THREADS;
const GIVEN: Word = TASKS * GIVEN_OF_EACH;

/// The longest that a thread waits by a relative timeout, and the latest time that it waits until, in
/// microseconds.
const LONGEST: Word = 2000;
const LATEST: Word = 1 << 22;

/// Where memory comes and goes: 4 MiB, behind the pages that keep a thread going.
const AREA: Word = PAGER_AREA + 0x40_0000;
const AREA_PAGES: Word = 1 << 10;

/// Where ports come and go: no device answers there.
const FIRST_PORT: Word = 0x100;

#[derive(Debug)]
pub struct Dice(Random);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    pub fn below(&mut self, bound: Word) -> Word {
        self.0.below(bound)
    }

    /// Whether something happens that does so once in `bound` times.
    pub fn once_in(&mut self, bound: Word) -> bool {
        self.below(bound) == 0
    }

    /// Any word, or a small number.
    pub fn number(&mut self) -> Word {
        match self.below(3) {
            0 => self.below(256),
            1 => self.0.number() as Word & !0xfff,
            _ => self.0.number() as Word,
        }
    }

    /// One of those that there may be.
    pub fn capability(&mut self) -> CapabilityIndex {
        CapabilityIndex(match self.below(6) {
            0 => self.below(FIRST_GIVEN),
            1 | 2 => FIRST_GIVEN + self.below(GIVEN),
            3 | 4 => FIRST_OWN + self.below(OWN),
            _ => self.number(),
        })
    }

    /// A slot, mostly an empty one.
    pub fn slot(&mut self) -> CapabilityIndex {
        match self.once_in(8) {
            true => self.capability(),
            false => CapabilityIndex(FIRST_OWN + self.below(OWN)),
        }
    }

    pub fn rights(&mut self) -> Rights {
        Rights::from_bits_truncate(self.below(8) as u8)
    }

    pub fn timeouts(&mut self) -> Timeouts {
        match self.once_in(32) {
            true => Timeouts(self.number()),
            false => Timeouts::new(self.timeout(), self.timeout()),
        }
    }

    /// Never, zero, so many microseconds, or until a time of the kernel clock.
    fn timeout(&mut self) -> Timeout {
        match self.below(8) {
            0 => message::set_deadline(Duration::from_micros(self.below(LATEST) as u64)),
            1 | 2 => Timeout::at_least(self.below(LONGEST) as u64),
            number => Timeout(number as u16 % 2),
        }
    }

    /// Where something may arrive, or nothing.
    pub fn window(&mut self) -> Flexpage {
        if self.once_in(3) { Flexpage::NIL } else { self.flexpage() }
    }

    /// A thread of those that make calls.
    pub fn thread(&mut self) -> CapabilityIndex {
        CapabilityIndex(FIRST_GIVEN + self.below(TASKS) * GIVEN_OF_EACH + 1 + self.below(THREADS))
    }

    /// Where a thread's UTCB could be.
    pub fn utcb(&mut self) -> Word {
        UTCB_AREA + self.below(6) * UTCB_SIZE
    }

    /// Where a thread could go on: in this program, or anywhere.
    pub fn instruction(&mut self) -> Word {
        match self.once_in(4) {
            true => self.number(),
            false => crate::round::first as *const () as Word,
        }
    }

    /// Memory, ports or capabilities.
    pub fn flexpage(&mut self) -> Flexpage {
        let rights = self.rights() | Rights::READ;
        match self.below(8) {
            0 => Flexpage(self.number()),
            1 => Flexpage::io_ports(FIRST_PORT + self.below(64), self.below(7) as u32),
            2 | 3 => Flexpage::capabilities(self.capability().0, self.below(5) as u32, rights),
            _ => {
                let order = PAGE_ORDER + self.small_order(10);
                Flexpage::memory(align_down(self.place(), order), order, rights)
            }
        }
    }

    /// A page, mostly where memory comes and goes; else one that keeps a thread going.
    fn place(&mut self) -> Word {
        match self.once_in(4) {
            true => PAGER_AREA + self.below(4) * PAGE_SIZE,
            false => AREA + self.below(AREA_PAGES) * PAGE_SIZE,
        }
    }

    pub fn item(&mut self) -> [Word; 2] {
        let flexpage = self.flexpage();
        let base = match self.below(4) {
            0 => self.slot().0 << CAPABILITY_SHIFT,
            1 => self.number(),
            _ => AREA + self.below(AREA_PAGES) * PAGE_SIZE,
        };
        match self.once_in(3) {
            true => MapItem::grant(base, flexpage).to_words(),
            false => MapItem::map(base, flexpage).to_words(),
        }
    }

    /// Small ones are the most likely.
    fn small_order(&mut self, largest: Word) -> u32 {
        let bound = self.below(largest + 1) + 1;
        self.below(bound) as u32
    }
}
