//! Reads a task's memory through its page tables, as the processor would for user code.

use crate::{
    memory::GuestMemory,
    paging::{End, Geometry, Walk},
};

/// The physical address behind a user address, or `None` if user code could not read it.
fn physical_address<M>(
    memory: &M,
    geometry: &'static Geometry,
    root: u64,
    address: u64,
) -> Option<u64>
where
    M: GuestMemory + ?Sized,
{
    if geometry.is_kernel(address) {
        return None;
    }
    let walk = Walk::new(memory, geometry, root, address);
    match walk.end {
        End::Page(page) if page.is_user => walk.physical(),
        _ => None,
    }
}

/// Copies a little-endian word of user memory. It may cross a page border.
pub(crate) fn read_word<M>(
    memory: &M,
    geometry: &'static Geometry,
    root: u64,
    address: u64,
) -> Option<u64>
where
    M: GuestMemory + ?Sized,
{
    let mut bytes = [0; 8];
    // A word is as long as an entry on both architectures.
    for (offset, byte) in (0..geometry.entry_size).zip(&mut bytes) {
        let physical = physical_address(memory, geometry, root, address.checked_add(offset)?)?;
        memory.read(physical, std::slice::from_mut(byte)).ok()?;
    }
    Some(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paging::{AMD64, IA32};
    use protocol::layout::USER_END;

    const PRESENT: u64 = 1;
    const USER: u64 = 1 << 2;
    const LARGE: u64 = 1 << 7;
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
        assert_eq!(physical_address(&memory, &AMD64, 0x1000, PAGE + 0x123), Some(0x5123));
        assert_eq!(read_word(&memory, &AMD64, 0x1000, PAGE + 0xff8), Some(0x1122_3344_5566_7788));
        assert_eq!(read_word(&memory, &AMD64, 0x1000, PAGE + 0xffc), Some(0xddee_ff00_1122_3344));
        assert_eq!(read_word(&memory, &AMD64, 0x1000, PAGE + 0x1ffc), None);
    }

    #[test]
    fn large_pages_end_the_walk() {
        let mut entries = tables();
        entries[2] = (0x3010, 0x4060_0000 | ALL | LARGE);
        assert_eq!(
            physical_address(&memory(&entries), &AMD64, 0x1000, PAGE + 0x1234),
            Some(0x4060_0000 + 0x3000 + 0x1234)
        );
        entries[1] = (0x2008, 0x8000_0000 | ALL | LARGE);
        assert_eq!(
            physical_address(&memory(&entries), &AMD64, 0x1000, PAGE),
            Some(0x8000_0000 | 2 << 21 | 3 << 12)
        );
        entries[0] = (0x1000, 0x2000 | ALL | LARGE);
        assert_eq!(physical_address(&memory(&entries), &AMD64, 0x1000, PAGE), None);
    }

    #[test]
    fn missing_kernel_and_non_canonical_pages_are_refused() {
        for bad in [0, 0x5000 | PRESENT, 0x5000 | USER] {
            let mut entries = tables();
            entries.push((0x4018, bad));
            assert_eq!(physical_address(&memory(&entries), &AMD64, 0x1000, PAGE), None);
        }
        assert_eq!(physical_address(&memory(&tables()), &AMD64, 0x1000, 0x8000_0000_0000), None);
    }

    #[test]
    fn tables_that_point_at_themselves_or_away_end() {
        // One table that is all four levels and the page, too.
        let looped = memory(&[(0x1000, 0x1000 | ALL)]);
        assert_eq!(physical_address(&looped, &AMD64, 0x1000, 0x10), Some(0x1010));
        let away = memory(&[(0x1000, ADDRESS_MASK | ALL)]);
        assert_eq!(physical_address(&away, &AMD64, 0x1000, 0), None);
        assert_eq!(physical_address(&away, &AMD64, u64::MAX, 0), None);
        assert_eq!(read_word(&away, &AMD64, 0x1000, u64::MAX - 3), None);
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
        let physical = |address| physical_address(&memory, &IA32, 0x1000, address);
        assert_eq!(physical(page + 0x123), Some(0x5123));
        assert_eq!(physical(2 << 22 | 0x12_3456), Some(0x80_0000 + 0x12_3456));
        // Bit 7 of a table's entry is no page size.
        assert_eq!(physical(page + 0x1000), Some(0x6000));
        for refused in [0, page + 0x2000, USER_END as u64 | 3 << 12, page | 1 << 32] {
            assert_eq!(physical(refused), None, "{refused:#x}");
        }
        assert_eq!(read_word(&memory, &IA32, 0x1000, page + 0xffc), Some(0x1122_3344));
        assert_eq!(read_word(&memory, &IA32, 0x1000, page + 0xffe), Some(0x7788_1122));
    }

    #[test]
    fn the_kernel_has_the_top_of_each_address_space() {
        assert!(AMD64.is_kernel(0xffff_ffff_8010_0000) && !AMD64.is_kernel(0xc010_0000));
        assert!(IA32.is_kernel(0xc010_0000) && !IA32.is_kernel(0xbfff_ffff));
    }
}
