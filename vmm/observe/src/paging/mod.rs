//! The page tables of both architectures: what they look like ([`Geometry`]), what an entry says
//! ([`Entry`]), and where an address leads ([`Walk`]).
//!
//! What the architectures differ in stands in two tables of data here; all else is the same code.

mod entry;
mod walk;

pub use entry::Entry;
pub use walk::{End, Page, Step, Walk};

/// One level of page tables.
#[derive(Debug, PartialEq, Eq)]
pub struct Level {
    /// What the project calls it.
    pub name: &'static str,
    /// Binary logarithm of what one entry covers.
    pub shift: u32,
    /// Whether an entry can map memory itself.
    pub can_map: bool,
    /// Whether the kernel makes its tables with a task and never changes them: amd64's spine.
    pub is_spine: bool,
}

/// How an architecture translates addresses.
#[derive(Debug, PartialEq, Eq)]
pub struct Geometry {
    /// What people call the architecture.
    pub name: &'static str,
    /// Its number in ELF files and in the introspection header.
    pub machine: u32,
    /// The levels, top first.
    pub levels: &'static [Level],
    /// Bytes of an entry.
    pub entry_size: u64,
    /// Bits of an address that are translated.
    pub address_bits: u32,
    /// The part of an entry that is a physical address.
    pub address_mask: u64,
    /// The kernel's addresses begin here.
    pub kernel_start: u64,
    /// The right to execute: the processor's no-execute bit, or the kernel's own note.
    pub execute: Execute,
}

/// Where an entry says whether its page may be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execute {
    /// The processor refuses where this bit is set.
    Withheld(u64),
    /// The processor never refuses. Where this bit is set, the kernel has noted that the right was
    /// given.
    Noted(u64),
}

/// Bytes of a table on either architecture.
pub const TABLE_SIZE: u64 = 4096;

const fn level(name: &'static str, shift: u32, can_map: bool, is_spine: bool) -> Level {
    Level { name, shift, can_map, is_spine }
}

/// Four levels of 512 entries, of which the kernel edits the last two.
pub static AMD64: Geometry = Geometry {
    name: "amd64",
    machine: 62,
    levels: &[
        level("PML4", 39, false, true),
        level("PDPT", 30, true, true),
        level("directory", 21, true, false),
        level("table", 12, true, false),
    ],
    entry_size: 8,
    address_bits: 48,
    address_mask: 0x000f_ffff_ffff_f000,
    kernel_start: 1 << 63,
    execute: Execute::Withheld(1 << 63),
};

/// The processor's own two levels of 1024 entries.
pub static IA32: Geometry = Geometry {
    name: "ia32",
    machine: 3,
    levels: &[level("directory", 22, true, false), level("table", 12, true, false)],
    entry_size: 4,
    address_bits: 32,
    address_mask: 0xffff_f000,
    kernel_start: protocol::layout::USER_END as u64,
    execute: Execute::Noted(1 << 9),
};

impl Geometry {
    /// The one with that number in ELF files.
    pub fn of_machine(machine: u32) -> Option<&'static Self> {
        [&AMD64, &IA32].into_iter().find(|geometry| geometry.machine == machine)
    }

    /// Entries of a table.
    pub fn entries(&self) -> u64 {
        TABLE_SIZE / self.entry_size
    }

    /// The levels that spaces of I/O ports have: directory and table.
    pub fn port_levels(&self) -> &'static [Level] {
        &self.levels[self.first_port_level()..]
    }

    /// The level that spaces of I/O ports begin with.
    pub fn first_port_level(&self) -> usize {
        self.levels.len() - 2
    }

    /// The entry for an address in a table of that level.
    pub fn index(&self, level: &Level, address: u64) -> u64 {
        (address >> level.shift) % self.entries()
    }

    /// Whether an address is the kernel's.
    pub fn is_kernel(&self, address: u64) -> bool {
        address >= self.kernel_start
    }

    /// Whether the processor translates the address at all.
    pub fn is_address(&self, address: u64) -> bool {
        let unused = 64 - self.address_bits;
        match self.address_bits {
            // The upper bits repeat the highest one that is translated.
            48 => (address as i64) << unused >> unused == address as i64,
            _ => address << unused >> unused == address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_divide_the_address_without_a_gap() {
        for geometry in [&AMD64, &IA32] {
            let index_bits = geometry.entries().trailing_zeros();
            let mut below = geometry.address_bits;
            for level in geometry.levels {
                assert_eq!(level.shift + index_bits, below, "{} {}", geometry.name, level.name);
                below = level.shift;
            }
            assert_eq!(below, 12);
            assert_eq!(Geometry::of_machine(geometry.machine), Some(geometry));
        }
        assert_eq!(Geometry::of_machine(0), None);
    }

    #[test]
    fn addresses_are_canonical_or_of_32_bits() {
        for (address, amd64, ia32) in [
            (0, true, true),
            (0xffff_ffff, true, true),
            (1 << 32, true, false),
            (0x7fff_ffff_ffff, true, false),
            (1 << 47, false, false),
            (u64::MAX, true, false),
        ] {
            assert_eq!((AMD64.is_address(address), IA32.is_address(address)), (amd64, ia32));
        }
    }
}
