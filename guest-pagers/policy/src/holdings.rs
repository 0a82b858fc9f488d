//! What sigma0 has, and what of it is still free.

use crate::ranges::{RangeList, TooManyPieces};
use core::ops::Range;
use protocol::{
    PAGE_ORDER, Word,
    flexpage::{Area, Rights, align_down},
    kip::{KernelInfoPage, PhysicalRange},
    layout::{MAPPABLE_START, ONE_TO_ONE_END},
};

/// A size-aligned piece of memory to map 1:1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First address.
    pub address: Word,
    /// Binary logarithm of the size.
    pub order: u32,
    /// What its receiver may do with it.
    pub rights: Rights,
}

/// All memory that tasks can have: what lies where it can be mapped 1:1. There is one taker, the root task, so that what is not free any
/// more belongs to it.
#[derive(Clone, Debug)]
pub struct Holdings {
    memory: RangeList<16>,
    free: RangeList<64>,
    bundle: RangeList<4>,
    superpage_order: u32,
}

impl Holdings {
    /// All memory that `info` names, without `own`, the pages of sigma0's image in the bundle.
    pub fn new(info: &KernelInfoPage, own: Range<Word>) -> Result<Self, TooManyPieces> {
        let bundle_range = below_limit(info.bundle);
        let mut memory = RangeList::new();
        let ram = PhysicalRange { start: MAPPABLE_START as u64, end: info.ram_end };
        memory.insert(below_limit(ram))?;
        for reserved in info.reserved {
            memory.remove(below_limit(reserved))?;
        }
        memory.remove(bundle_range.clone())?;
        let mut free = RangeList::new();
        for range in memory.iter() {
            free.insert(range.clone())?;
        }
        let mut bundle = RangeList::new();
        bundle.insert(bundle_range)?;
        bundle.remove(own)?;
        Ok(Self { memory, free, bundle, superpage_order: info.superpage_order })
    }

    /// Any free block of `2^order` bytes, at least a page.
    pub fn take(&mut self, order: u32) -> Result<Option<Block>, TooManyPieces> {
        let order = order.max(PAGE_ORDER);
        let address = self.free.take(order)?;
        Ok(address.map(|address| Block { address, order, rights: Rights::all() }))
    }

    /// The block around a page that the root task touched: of free memory or of the bundle as much
    /// as a superpage, of memory that it has had before the page.
    pub fn touch(&mut self, address: Word) -> Result<Option<Block>, TooManyPieces> {
        let block = |order, rights| Block { address: align_down(address, order), order, rights };
        if let Some(order) = self.bundle.largest_block(address, self.superpage_order) {
            return Ok(Some(block(order, Rights::READ_EXECUTE)));
        }
        if let Some(order) = self.free.largest_block(address, self.superpage_order) {
            let block = block(order, Rights::all());
            self.free.remove(block.range())?;
            return Ok(Some(block));
        }
        let had = self.memory.find(address);
        Ok(had.map(|_| block(PAGE_ORDER, Rights::all())))
    }

    /// One certain block, if all of it is memory or all of it is in the bundle.
    pub fn take_at(&mut self, area: Area) -> Result<Option<Block>, TooManyPieces> {
        let (address, order) = (area.base(), area.order());
        if self.memory.largest_block(address, order) == Some(order) {
            let block = Block { address, order, rights: Rights::all() };
            self.free.remove(block.range())?;
            return Ok(Some(block));
        }
        let is_in_bundle = self.bundle.largest_block(address, order) == Some(order);
        Ok(is_in_bundle.then_some(Block { address, order, rights: Rights::READ_EXECUTE }))
    }
}

impl Block {
    fn range(self) -> Range<Word> {
        self.address..self.address + (1 << self.order)
    }
}

/// The part of a range that is mapped 1:1.
fn below_limit(range: PhysicalRange) -> Range<Word> {
    let limit = |address: u64| Word::try_from(address).unwrap_or(Word::MAX).min(ONE_TO_ONE_END);
    limit(range.start)..limit(range.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{
        flexpage::Flexpage,
        kip::{Clock, KIP_MAGIC, KIP_VERSION},
    };

    const MIB: u64 = 1 << 20;

    fn info(ram_end: u64, bundle: PhysicalRange) -> KernelInfoPage {
        let mut reserved = [PhysicalRange::default(); 4];
        reserved[0] = PhysicalRange { start: MIB, end: 2 * MIB };
        reserved[1] = PhysicalRange { start: ram_end - MIB, end: ram_end };
        KernelInfoPage {
            magic: KIP_MAGIC,
            version: KIP_VERSION,
            word_bits: Word::BITS,
            ram_end,
            reserved,
            bundle,
            superpage_order: 21,
            has_execute_right: 1,
            clock: Clock::new(0, Clock::MICROSECOND),
            last_interrupt: 0,
            timer_interrupts: 0,
        }
    }

    /// 64 MiB with 1 MiB for the kernel at 1 MiB and at the end, a bundle of 3 MiB at 8 MiB, in
    /// which sigma0 has one page.
    fn holdings() -> Holdings {
        let bundle = PhysicalRange { start: 8 * MIB, end: 11 * MIB };
        Holdings::new(&info(64 * MIB, bundle), 0x80_1000..0x80_2000).unwrap()
    }

    fn area(address: Word, order: u32) -> Area {
        Flexpage::memory(address, order, Rights::all()).memory_area().unwrap()
    }

    #[test]
    fn nobody_gets_what_others_keep() {
        let mut holdings = holdings();
        // What cannot be mapped, the kernel, sigma0's own page, beyond RAM.
        for kept in
            [0, 0x9_f000, 0x10_0000, 0x1f_ffff, 0x80_1000, 0x3f0_0000, 0x400_0000, Word::MAX]
        {
            assert_eq!(holdings.touch(kept), Ok(None), "{kept:#x}");
        }
        for kept in [area(0, 12), area(0, 31), area(0x80_0000, 13), area(0x3e0_0000, 21)] {
            assert_eq!(holdings.take_at(kept), Ok(None), "{kept:?}");
        }
    }

    #[test]
    fn all_free_memory_is_handed_out_once() {
        let mut holdings = holdings();
        let mut taken = RangeList::<16>::new();
        for order in (12..=31).rev() {
            while let Some(block) = holdings.take(order).unwrap() {
                assert!(taken.find(block.address).is_none());
                taken.insert(block.range()).unwrap();
            }
        }
        let expected = [0x20_0000..0x80_0000, 0xb0_0000..0x3f0_0000];
        assert!(taken.iter().eq(&expected));
    }

    #[test]
    fn touching_claims_a_superpage_and_touching_again_gives_the_page() {
        let mut holdings = holdings();
        let first = Block { address: 0xc0_0000, order: 21, rights: Rights::all() };
        assert_eq!(holdings.touch(0xd2_3456), Ok(Some(first)));
        let again = Block { address: 0xd2_3000, order: 12, rights: Rights::all() };
        assert_eq!(holdings.touch(0xd2_3456), Ok(Some(again)));
        assert!(holdings.take(21).unwrap().is_some_and(|block| block.address != 0xc0_0000));
    }

    #[test]
    fn the_bundle_can_be_read_and_run_but_not_changed() {
        let mut holdings = holdings();
        let rights = Rights::READ_EXECUTE;
        let whole = Block { address: 0xa0_0000, order: 20, rights };
        assert_eq!(holdings.touch(0xa0_0123), Ok(Some(whole)));
        assert_eq!(holdings.take_at(area(0xa0_0000, 20)), Ok(Some(whole)));
        // Around sigma0's page only small blocks are left.
        let page = Block { address: 0x80_0000, order: 12, rights };
        assert_eq!(holdings.touch(0x80_0fff), Ok(Some(page)));
    }

    #[test]
    fn memory_above_the_limit_stays_with_the_kernel() {
        let bundle = PhysicalRange { start: 8 * MIB, end: 11 * MIB };
        let mut holdings = Holdings::new(&info(3072 * MIB, bundle), 0..0).unwrap();
        assert_eq!(holdings.touch(ONE_TO_ONE_END), Ok(None));
        let last = holdings.touch(ONE_TO_ONE_END - 1).unwrap().unwrap();
        assert_eq!((last.address, last.order), (ONE_TO_ONE_END - (1 << 21), 21));
    }
}
