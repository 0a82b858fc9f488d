//! What one entry of a page table says.

use super::{Execute, Geometry, Level};
use protocol::flexpage::Rights;

const PRESENT: u64 = 1;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const SUPERPAGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;

/// The lowest level: there, bit 7 means something else.
const PAGE_SHIFT: u32 = protocol::PAGE_ORDER;

/// An entry with what is needed to understand it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As it stands in memory.
    pub value: u64,
    /// The level of the table that it stands in.
    pub level: &'static Level,
    geometry: &'static Geometry,
}

impl Entry {
    /// An entry of a table of that level.
    pub fn new(value: u64, level: &'static Level, geometry: &'static Geometry) -> Self {
        Self { value, level, geometry }
    }

    fn has(self, bit: u64) -> bool {
        self.value & bit != 0
    }

    /// Whether it maps anything or leads to a table.
    pub fn is_present(self) -> bool {
        self.has(PRESENT)
    }

    /// Whether user code gets through.
    pub fn is_user(self) -> bool {
        self.has(USER)
    }

    /// Whether writes get through.
    pub fn is_writable(self) -> bool {
        self.has(WRITABLE)
    }

    /// Whether the processor noted an access through it.
    pub fn is_accessed(self) -> bool {
        self.has(ACCESSED)
    }

    /// Whether the processor noted a write through it, if it maps memory.
    pub fn is_dirty(self) -> bool {
        self.has(DIRTY)
    }

    /// Whether it maps memory, if it is present, rather than lead to a table.
    pub fn maps(self) -> bool {
        self.level.shift == PAGE_SHIFT || self.level.can_map && self.has(SUPERPAGE)
    }

    /// Whether bit 7 claims a superpage where there can be none.
    pub fn is_malformed(self) -> bool {
        self.has(SUPERPAGE) && !self.level.can_map
    }

    /// The table that it leads to, or the first byte of the page that it maps.
    pub fn physical(self) -> u64 {
        let within = if self.maps() { (1 << self.level.shift) - 1 } else { 0 };
        self.value & self.geometry.address_mask & !within
    }

    /// Whether the processor lets code be fetched through it.
    pub fn is_executable(self) -> bool {
        match self.geometry.execute {
            Execute::Withheld(bit) => !self.has(bit),
            Execute::Noted(_) => true,
        }
    }

    /// The rights that a page was mapped with. On ia32 the processor enforces no execute right;
    /// this is the one that was given nevertheless.
    pub fn rights(self) -> Rights {
        let execute = match self.geometry.execute {
            Execute::Withheld(bit) => !self.has(bit),
            Execute::Noted(bit) => self.has(bit),
        };
        let mut rights = Rights::READ;
        rights.set(Rights::WRITE, self.is_writable());
        rights.set(Rights::EXECUTE, execute);
        rights
    }

    /// The bits that the kernel sets in no user entry, nor the processor in any.
    pub fn unexpected_bits(self) -> u64 {
        let mut expected = PRESENT | WRITABLE | USER | ACCESSED;
        let mut address = self.geometry.address_mask;
        if self.maps() {
            let (Execute::Withheld(execute) | Execute::Noted(execute)) = self.geometry.execute;
            expected |= DIRTY | execute;
            address &= !((1 << self.level.shift) - 1);
            if self.level.shift != PAGE_SHIFT {
                expected |= SUPERPAGE;
            }
        }
        self.value & !(expected | address)
    }

    /// The names of its flags, lowest bit first.
    pub fn flags(self) -> Vec<&'static str> {
        let is_page = self.maps();
        let is_superpage = is_page && self.level.shift != PAGE_SHIFT;
        let execute = match self.geometry.execute {
            Execute::Withheld(bit) => (self.has(bit), "no-execute"),
            Execute::Noted(bit) => (is_page && self.has(bit), "execute-noted"),
        };
        [
            (self.has(PRESENT), "present"),
            (self.has(WRITABLE), "writable"),
            (self.has(USER), "user"),
            (self.has(ACCESSED), "accessed"),
            (is_page && self.has(DIRTY), "dirty"),
            (is_superpage, "superpage"),
            (is_page && self.has(GLOBAL), "global"),
            execute,
        ]
        .into_iter()
        .filter_map(|(is_set, name)| is_set.then_some(name))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{AMD64, IA32},
        *,
    };

    fn entry(geometry: &'static Geometry, level: usize, value: u64) -> Entry {
        Entry::new(value, &geometry.levels[level], geometry)
    }

    #[test]
    fn an_amd64_page_withholds_execution_and_an_ia32_page_notes_it() {
        let data = entry(&AMD64, 3, 1 << 63 | 0x1234_5067);
        assert_eq!((data.physical(), data.rights()), (0x1234_5000, Rights::READ_WRITE));
        assert_eq!(
            data.flags(),
            ["present", "writable", "user", "accessed", "dirty", "no-execute"]
        );
        assert!(!data.is_executable());
        let text = entry(&IA32, 1, 0x1234_5205);
        assert_eq!(text.rights(), Rights::READ | Rights::EXECUTE);
        assert_eq!(text.flags(), ["present", "user", "execute-noted"]);
        let constants = entry(&IA32, 1, 0x1234_5005);
        assert_eq!(constants.rights(), Rights::READ);
        assert!(text.is_executable() && constants.is_executable());
    }

    #[test]
    fn bit_7_makes_a_superpage_in_the_directory_only() {
        let amd64 = entry(&AMD64, 2, 0x4060_00e7);
        assert_eq!(
            (amd64.maps(), amd64.physical(), amd64.unexpected_bits()),
            (true, 0x4060_0000, 0)
        );
        assert!(amd64.flags().contains(&"superpage"));
        let ia32 = entry(&IA32, 0, 0x4040_0087);
        assert_eq!((ia32.maps(), ia32.physical(), ia32.unexpected_bits()), (true, 0x4040_0000, 0));
        assert!(!entry(&AMD64, 2, 0x5007).maps());
        assert!(entry(&AMD64, 0, 0x5087).is_malformed());
        assert_eq!(entry(&AMD64, 3, 0x5087).unexpected_bits(), 0x80);
    }

    #[test]
    fn bits_that_nobody_sets_are_found() {
        assert_eq!(entry(&AMD64, 3, 1 << 52 | 0x5007).unexpected_bits(), 1 << 52);
        assert_eq!(entry(&AMD64, 2, 0x5007 | 1 << 63).unexpected_bits(), 1 << 63);
        assert_eq!(entry(&AMD64, 2, 0x4060_3087).unexpected_bits(), 0x3000);
        assert_eq!(entry(&IA32, 0, 0x4060_0087).unexpected_bits(), 0x20_0000);
        assert_eq!(entry(&IA32, 1, 0x5107).unexpected_bits(), 0x100);
        assert_eq!(entry(&IA32, 1, 0x5267).unexpected_bits(), 0);
    }
}
