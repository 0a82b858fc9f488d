//! The boot bundle: one PVH boot module that holds the manifest and all other modules.
//!
//! One module is what every PVH loader can pass (`-initrd` of QEMU, Firecracker, Cloud
//! Hypervisor). The bundle starts with a [`BundleHeader`], then `module_count` [`ModuleEntry`]s,
//! then the argument strings; each module's bytes begin on a page boundary, so that its pages can
//! be mapped as they are, and the rest of its last page is zero. All offsets are from the
//! bundle's start, which must itself be page-aligned in guest memory.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `"GLASSBND"`, little-endian.
pub const BUNDLE_MAGIC: u64 = u64::from_le_bytes(*b"GLASSBND");

/// Changes with the layout.
pub const BUNDLE_VERSION: u32 = 3;

/// Bytes in a module's name.
pub const NAME_LENGTH: usize = 32;

/// Ranges of I/O ports that one program can be given.
pub const MAX_PORT_RANGES: usize = 4;

/// Interrupts that one program can be given.
pub const MAX_INTERRUPTS: usize = 4;

/// The first bytes of the bundle.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct BundleHeader {
    /// [`BUNDLE_MAGIC`].
    pub magic: u64,
    /// [`BUNDLE_VERSION`].
    pub version: u32,
    /// Number of module entries that follow.
    pub module_count: u32,
    /// Length of the whole bundle in bytes.
    pub length: u64,
    /// Zero.
    pub reserved: u64,
}

const _: () = assert!(size_of::<BundleHeader>() == 32);

/// What a module is for. Stored as `u32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ModuleKind {
    /// The ELF image of sigma0: exactly one.
    Sigma0 = 1,
    /// The ELF image of the root task: exactly one.
    RootTask = 2,
    /// An ELF image that the root task starts as a task of its own, in the manifest's order.
    Program = 3,
    /// Data that programs see as files.
    File = 4,
}

impl ModuleKind {
    /// Reads the wire form.
    pub const fn from_u32(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::Sigma0),
            2 => Some(Self::RootTask),
            3 => Some(Self::Program),
            4 => Some(Self::File),
            _ => None,
        }
    }
}

/// In [`ModuleEntry::pager`] and [`ModuleEntry::server`]: the root task.
pub const ROOT: u32 = u32::MAX;

/// I/O ports that follow each other.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port, not below the first one.
    pub last: u16,
}

/// One module of the bundle.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct ModuleEntry {
    /// Where its bytes begin, a multiple of the page size.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// A [`ModuleKind`].
    pub kind: u32,
    /// For programs: index of the module of the program that pages it, or [`ROOT`].
    pub pager: u32,
    /// Where its argument string begins.
    pub arguments_offset: u32,
    /// Length of the argument string in bytes.
    pub arguments_length: u32,
    /// For programs: index of the module of the program that it gets a gate to
    /// ([`crate::object::CapabilityIndex::SERVER`]), or [`ROOT`] for none.
    pub server: u32,
    /// For programs: priority, 1 to 255.
    pub priority: u32,
    /// For programs: KiB of kernel memory that it may cause, in a factory of its own; 0 for no
    /// limit but its parent's.
    pub quota: u32,
    /// For programs: number of valid entries of `ports`.
    pub port_ranges: u16,
    /// For programs: number of valid entries of `interrupts`.
    pub interrupt_count: u16,
    /// For programs: I/O ports that it begins with.
    pub ports: [PortRange; MAX_PORT_RANGES],
    /// For programs: numbers of interrupts ([`crate::operation::interrupts`]) that it begins with objects of,
    /// in the slots from [`crate::object::CapabilityIndex::FIRST_INTERRUPT`] on.
    pub interrupts: [u16; MAX_INTERRUPTS],
    /// Its name, padded with zeros.
    pub name: [u8; NAME_LENGTH],
}

const _: () = assert!(size_of::<ModuleEntry>() == 104);

impl ModuleEntry {
    /// The ports that the program begins with. Their number is not believed.
    pub fn port_ranges(&self) -> &[PortRange] {
        &self.ports[..MAX_PORT_RANGES.min(self.port_ranges.into())]
    }

    /// The interrupts that the program begins with. Their number is not believed.
    pub fn interrupts(&self) -> &[u16] {
        &self.interrupts[..MAX_INTERRUPTS.min(self.interrupt_count.into())]
    }
}

/// The priority of programs for which the manifest names none.
pub const DEFAULT_PRIORITY: u32 = 10;

/// `name` without the zeros that pad it.
pub fn trim_name(name: &[u8]) -> &[u8] {
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    &name[..end]
}

/// `name` cut or padded with zeros to `N` bytes.
pub fn pad_name<const N: usize>(name: &[u8]) -> [u8; N] {
    let mut padded = [0; N];
    for (to, from) in padded.iter_mut().zip(name) {
        *to = *from;
    }
    padded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_padded_and_trimmed() {
        assert_eq!(trim_name(&pad_name::<8>(b"words")), b"words");
        assert_eq!(trim_name(&pad_name::<4>(b"words")), b"word");
    }

    #[test]
    fn no_more_port_ranges_than_there_are() {
        let entry = |port_ranges| ModuleEntry { port_ranges, ..ModuleEntry::default() };
        assert_eq!(entry(0).port_ranges(), []);
        assert_eq!(entry(2).port_ranges().len(), 2);
        assert_eq!(entry(u16::MAX).port_ranges().len(), MAX_PORT_RANGES);
        let entry = ModuleEntry { interrupt_count: u16::MAX, ..ModuleEntry::default() };
        assert_eq!(entry.interrupts().len(), MAX_INTERRUPTS);
    }

    #[test]
    fn unknown_kinds_are_refused() {
        assert_eq!(ModuleKind::from_u32(ModuleKind::File as u32), Some(ModuleKind::File));
        assert_eq!(ModuleKind::from_u32(0), None);
        assert_eq!(ModuleKind::from_u32(5), None);
    }
}
