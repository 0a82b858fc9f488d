//! Reads a task's memory through its page tables, as the processor would for user code.

use crate::memory::{GuestMemory, read_value};

const PRESENT: u64 = 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;
const ENTRY_BITS: u64 = 0x1ff;

/// The physical address behind a user address of a four-level `amd64` page table, or `None` if
/// user code could not read it. Never more than four table reads, wherever the entries point.
pub(crate) fn physical_address<M>(memory: &M, root: u64, address: u64) -> Option<u64>
where
    M: GuestMemory + ?Sized,
{
    let is_canonical = (address as i64) << 16 >> 16 == address as i64;
    if !is_canonical {
        return None;
    }
    let mut table = root & ADDRESS_MASK;
    for shift in [39, 30, 21, 12] {
        let entry: u64 = read_value(memory, table + (address >> shift & ENTRY_BITS) * 8).ok()?;
        if entry & (PRESENT | USER) != PRESENT | USER {
            return None;
        }
        let is_leaf = shift == 12 || entry & LARGE != 0;
        if shift == 39 && is_leaf {
            return None;
        }
        if is_leaf {
            let offset_mask = (1 << shift) - 1;
            return Some(entry & ADDRESS_MASK & !offset_mask | address & offset_mask);
        }
        table = entry & ADDRESS_MASK;
    }
    None
}

/// Copies a little-endian word of user memory. It may cross a page border.
pub(crate) fn read_word<M>(memory: &M, root: u64, address: u64) -> Option<u64>
where
    M: GuestMemory + ?Sized,
{
    let mut bytes = [0; 8];
    for (offset, byte) in (0..).zip(&mut bytes) {
        let physical = physical_address(memory, root, address.checked_add(offset)?)?;
        memory.read(physical, std::slice::from_mut(byte)).ok()?;
    }
    Some(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = PRESENT | USER | 2;

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
        assert_eq!(physical_address(&memory, 0x1000, PAGE + 0x123), Some(0x5123));
        assert_eq!(read_word(&memory, 0x1000, PAGE + 0xff8), Some(0x1122_3344_5566_7788));
        assert_eq!(read_word(&memory, 0x1000, PAGE + 0xffc), Some(0xddee_ff00_1122_3344));
        assert_eq!(read_word(&memory, 0x1000, PAGE + 0x1ffc), None);
    }

    #[test]
    fn large_pages_end_the_walk() {
        let mut entries = tables();
        entries[2] = (0x3010, 0x4060_0000 | ALL | LARGE);
        assert_eq!(
            physical_address(&memory(&entries), 0x1000, PAGE + 0x1234),
            Some(0x4060_0000 + 0x3000 + 0x1234)
        );
        entries[1] = (0x2008, 0x8000_0000 | ALL | LARGE);
        assert_eq!(
            physical_address(&memory(&entries), 0x1000, PAGE),
            Some(0x8000_0000 | 2 << 21 | 3 << 12)
        );
        entries[0] = (0x1000, 0x2000 | ALL | LARGE);
        assert_eq!(physical_address(&memory(&entries), 0x1000, PAGE), None);
    }

    #[test]
    fn missing_kernel_and_non_canonical_pages_are_refused() {
        for bad in [0, 0x5000 | PRESENT, 0x5000 | USER] {
            let mut entries = tables();
            entries.push((0x4018, bad));
            assert_eq!(physical_address(&memory(&entries), 0x1000, PAGE), None);
        }
        assert_eq!(physical_address(&memory(&tables()), 0x1000, 0x8000_0000_0000), None);
    }

    #[test]
    fn tables_that_point_at_themselves_or_away_end() {
        // One table that is all four levels and the page, too.
        let looped = memory(&[(0x1000, 0x1000 | ALL)]);
        assert_eq!(physical_address(&looped, 0x1000, 0x10), Some(0x1010));
        let away = memory(&[(0x1000, ADDRESS_MASK | ALL)]);
        assert_eq!(physical_address(&away, 0x1000, 0), None);
        assert_eq!(physical_address(&away, u64::MAX, 0), None);
        assert_eq!(read_word(&away, 0x1000, u64::MAX - 3), None);
    }
}
