//! Reads a task's memory through its page tables, as the processor would for user code.

use crate::memory::GuestMemory;
use protocol::layout::USER_END;

const PRESENT: u64 = 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;

/// How an architecture translates addresses.
#[derive(Debug)]
pub(crate) struct Paging {
    /// What an entry of each level covers, as a binary logarithm; top level first.
    shifts: &'static [u32],
    /// The largest of them that can be a page.
    largest_page: u32,
    index_bits: u32,
    /// Bytes of an entry, and of a word.
    word_size: u64,
    /// The part of an entry that is a physical address.
    address_mask: u64,
    /// The bits of an address that are translated.
    address_bits: u32,
    /// The kernel's addresses begin here.
    kernel_start: u64,
}

/// Four levels.
const AMD64: Paging = Paging {
    shifts: &[39, 30, 21, 12],
    largest_page: 30,
    index_bits: 9,
    word_size: 8,
    address_mask: 0x000f_ffff_ffff_f000,
    address_bits: 48,
    kernel_start: 1 << 63,
};

/// The processor's own two levels.
const IA32: Paging = Paging {
    shifts: &[22, 12],
    largest_page: 22,
    index_bits: 10,
    word_size: 4,
    address_mask: 0xffff_f000,
    address_bits: 32,
    kernel_start: USER_END as u64,
};

impl Paging {
    /// That of an ELF machine number.
    pub(crate) fn of_machine(machine: u32) -> Option<&'static Self> {
        match machine {
            3 => Some(&IA32),
            62 => Some(&AMD64),
            _ => None,
        }
    }

    /// Whether an address is the kernel's.
    pub(crate) fn is_kernel(&self, address: u64) -> bool {
        address >= self.kernel_start
    }

    /// Whether an address can be the user's.
    fn is_user(&self, address: u64) -> bool {
        address >> self.address_bits == 0 && !self.is_kernel(address)
    }

    /// The physical address behind a user address, or `None` if user code could not read it. Never
    /// more than one table read a level, wherever the entries point.
    fn physical_address<M>(&self, memory: &M, root: u64, address: u64) -> Option<u64>
    where
        M: GuestMemory + ?Sized,
    {
        if !self.is_user(address) {
            return None;
        }
        let mut table = root & self.address_mask;
        for shift in self.shifts.iter().copied() {
            let index = address >> shift & ((1 << self.index_bits) - 1);
            let entry = self.word(memory, table + index * self.word_size)?;
            if entry & (PRESENT | USER) != PRESENT | USER {
                return None;
            }
            let is_leaf = shift == 12 || entry & LARGE != 0;
            if is_leaf && shift > self.largest_page {
                return None;
            }
            if is_leaf {
                let offset_mask = (1 << shift) - 1;
                return Some(entry & self.address_mask & !offset_mask | address & offset_mask);
            }
            table = entry & self.address_mask;
        }
        None
    }

    /// A little-endian word of physical memory.
    fn word<M>(&self, memory: &M, address: u64) -> Option<u64>
    where
        M: GuestMemory + ?Sized,
    {
        let mut bytes = [0; 8];
        memory.read(address, &mut bytes[..self.word_size as usize]).ok()?;
        Some(u64::from_le_bytes(bytes))
    }

    /// Copies a little-endian word of user memory. It may cross a page border.
    pub(crate) fn read_word<M>(&self, memory: &M, root: u64, address: u64) -> Option<u64>
    where
        M: GuestMemory + ?Sized,
    {
        let mut bytes = [0; 8];
        for (offset, byte) in (0..self.word_size).zip(&mut bytes) {
            let physical = self.physical_address(memory, root, address.checked_add(offset)?)?;
            memory.read(physical, std::slice::from_mut(byte)).ok()?;
        }
        Some(u64::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = PRESENT | USER | 2;
    const ADDRESS_MASK: u64 = AMD64.address_mask;

    /// Tables at 0x1000 (root) to 0x4000, pages at 0x5000 and 0x6000.
    fn memory(entries: &[(usize, u64)]) -> Vec<u8> {
        let mut memory = vec![0; 0x8000];
        for (address, entry) in entries {
            memory[*address..address + 8].copy_from_slice(&entry.to_le_bytes());
        }
        memory
    }

    fn tables() -> Vec<(usize, u64)> {
        vec![(0x1000, 0x2000 | ALL), (0x2008, 0x3000 | ALL), (0x3010, 0x4000 | ALL)]
    }

    /// The user address whose indices are 0, 1, 2, 3.
    const PAGE: u64 = 1 << 30 | 2 << 21 | 3 << 12;

    #[test]
    fn walks_four_levels_and_reads_across_pages() {
        let mut entries = tables();
        entries.extend([(0x4018, 0x5000 | ALL), (0x4020, 0x6000 | ALL | 1 << 63)]);
        entries.extend([(0x5ff8, 0x1122_3344_5566_7788), (0x6000, 0x99aa_bbcc_ddee_ff00)]);
        let memory = memory(&entries);
        assert_eq!(AMD64.physical_address(&memory, 0x1000, PAGE + 0x123), Some(0x5123));
        assert_eq!(AMD64.read_word(&memory, 0x1000, PAGE + 0xff8), Some(0x1122_3344_5566_7788));
        assert_eq!(AMD64.read_word(&memory, 0x1000, PAGE + 0xffc), Some(0xddee_ff00_1122_3344));
        assert_eq!(AMD64.read_word(&memory, 0x1000, PAGE + 0x1ffc), None);
    }

    #[test]
    fn large_pages_end_the_walk() {
        let mut entries = tables();
        entries[2] = (0x3010, 0x4060_0000 | ALL | LARGE);
        assert_eq!(
            AMD64.physical_address(&memory(&entries), 0x1000, PAGE + 0x1234),
            Some(0x4060_0000 + 0x3000 + 0x1234)
        );
        entries[1] = (0x2008, 0x8000_0000 | ALL | LARGE);
        assert_eq!(
            AMD64.physical_address(&memory(&entries), 0x1000, PAGE),
            Some(0x8000_0000 | 2 << 21 | 3 << 12)
        );
        entries[0] = (0x1000, 0x2000 | ALL | LARGE);
        assert_eq!(AMD64.physical_address(&memory(&entries), 0x1000, PAGE), None);
    }

    #[test]
    fn missing_kernel_and_non_canonical_pages_are_refused() {
        for bad in [0, 0x5000 | PRESENT, 0x5000 | USER] {
            let mut entries = tables();
            entries.push((0x4018, bad));
            assert_eq!(AMD64.physical_address(&memory(&entries), 0x1000, PAGE), None);
        }
        assert_eq!(AMD64.physical_address(&memory(&tables()), 0x1000, 0x8000_0000_0000), None);
    }

    #[test]
    fn tables_that_point_at_themselves_or_away_end() {
        // One table that is all four levels and the page, too.
        let looped = memory(&[(0x1000, 0x1000 | ALL)]);
        assert_eq!(AMD64.physical_address(&looped, 0x1000, 0x10), Some(0x1010));
        let away = memory(&[(0x1000, ADDRESS_MASK | ALL)]);
        assert_eq!(AMD64.physical_address(&away, 0x1000, 0), None);
        assert_eq!(AMD64.physical_address(&away, u64::MAX, 0), None);
        assert_eq!(AMD64.read_word(&away, 0x1000, u64::MAX - 3), None);
    }

    #[test]
    fn two_levels_have_words_of_32_bits_and_pages_of_4_mib() {
        let mut memory = vec![0; 0x8000];
        let mut put = |address: usize, entry: u64| {
            memory[address..address + 4].copy_from_slice(&(entry as u32).to_le_bytes());
        };
        put(0x1004, 0x2000 | ALL);
        put(0x1008, 0x80_0000 | ALL | LARGE);
        put(0x1000 + 768 * 4, 0x2000 | ALL);
        put(0x200c, 0x5000 | ALL);
        put(0x2010, 0x6000 | ALL | LARGE);
        put(0x2014, 0x7000 | PRESENT);
        put(0x5ffc, 0x1122_3344);
        put(0x6000, 0x5566_7788);
        let page = 1 << 22 | 3 << 12;
        let physical = |address| IA32.physical_address(&memory, 0x1000, address);
        assert_eq!(physical(page + 0x123), Some(0x5123));
        assert_eq!(physical(2 << 22 | 0x12_3456), Some(0x80_0000 + 0x12_3456));
        // Bit 7 of a table's entry is no page size.
        assert_eq!(physical(page + 0x1000), Some(0x6000));
        for refused in [0, page + 0x2000, USER_END as u64 | 3 << 12, page | 1 << 32] {
            assert_eq!(physical(refused), None, "{refused:#x}");
        }
        assert_eq!(IA32.read_word(&memory, 0x1000, page + 0xffc), Some(0x1122_3344));
        assert_eq!(IA32.read_word(&memory, 0x1000, page + 0xffe), Some(0x7788_1122));
    }

    #[test]
    fn the_kernel_has_the_top_of_each_address_space() {
        assert!(AMD64.is_kernel(0xffff_ffff_8010_0000) && !AMD64.is_kernel(0xc010_0000));
        assert!(IA32.is_kernel(0xc010_0000) && !IA32.is_kernel(0xbfff_ffff));
        assert!(Paging::of_machine(0).is_none());
    }
}
