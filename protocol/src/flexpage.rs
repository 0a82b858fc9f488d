//! Flexpages: size-aligned pieces of a task's resources, and where a map item puts them.
//!
//! Lecture, "Flexpage IPC": from the highest bit `page address (20) | size (6) | ~ (2) |
//! rights (4)`. On `amd64` the page address has 52 bits; the lower twelve bits are the same.

use crate::{PAGE_ORDER, Word, layout::USER_END, object::CAPABILITY_TABLE_SIZE};
use bitflags::bitflags;

bitflags! {
    /// What a flexpage allows its receiver to do with memory.
    ///
    /// For capability flexpages the same bits mean: [`Rights::READ`] use the object,
    /// [`Rights::WRITE`] modify it, [`Rights::EXECUTE`] control it (create, bind, start).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Rights: u8 {
        /// Execute. On a capability: control.
        const EXECUTE = 1;
        /// Write. On a capability: modify.
        const WRITE = 2;
        /// Read. On a capability: use.
        const READ = 4;
    }
}

impl Rights {
    /// Read and write.
    pub const READ_WRITE: Self = Self::READ.union(Self::WRITE);
    /// Read and execute.
    pub const READ_EXECUTE: Self = Self::READ.union(Self::EXECUTE);

    /// The rights as `rwx` letters, a dash for each one that is missing.
    pub const fn letters(self) -> [u8; 3] {
        [
            if self.contains(Self::READ) { b'r' } else { b'-' },
            if self.contains(Self::WRITE) { b'w' } else { b'-' },
            if self.contains(Self::EXECUTE) { b'x' } else { b'-' },
        ]
    }
}

/// What kind of resource a flexpage names (bits 4 and 5, the lecture's `~`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing (all bits zero) or, with [`WHOLE_SPACE_ORDER`], everything.
    Special,
    /// Pages of memory; order at least 12.
    Memory,
    /// I/O ports; the address field counts ports.
    IoPorts,
    /// Capabilities; the address field counts capability indices.
    Capability,
}

/// The order of the flexpage that stands for a whole address space.
pub const WHOLE_SPACE_ORDER: u32 = 63;

const RIGHTS_MASK: Word = 0xf;
const KIND_SHIFT: u32 = 4;
const ORDER_SHIFT: u32 = 6;
const ORDER_MASK: Word = 0x3f;
const ADDRESS_SHIFT: u32 = 12;

/// A flexpage as it stands in a message word. Its fields are an allegation of the sender until
/// [`Flexpage::memory_area`] or its siblings have checked them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Flexpage(pub Word);

impl Flexpage {
    /// No resource at all.
    pub const NIL: Self = Self(0);

    /// Every resource of a space: the receive window of page faults.
    pub const WHOLE_SPACE: Self = Self((WHOLE_SPACE_ORDER as Word) << ORDER_SHIFT);

    /// A flexpage of `2^order` bytes of memory around `address` (lower bits are cut off).
    pub const fn memory(address: Word, order: u32, rights: Rights) -> Self {
        Self::encode(Kind::Memory, align_down(address, order) >> PAGE_ORDER, order, rights)
    }

    /// A flexpage of `2^order` capabilities from `index` on.
    pub const fn capabilities(index: Word, order: u32, rights: Rights) -> Self {
        Self::encode(Kind::Capability, align_down(index, order), order, rights)
    }

    /// A flexpage of `2^order` I/O ports from `port` on, with both rights that a port needs to be
    /// used.
    pub const fn io_ports(port: Word, order: u32) -> Self {
        Self::ports(port, order, Rights::READ_WRITE)
    }

    /// A flexpage of `2^order` I/O ports from `port` on.
    pub const fn ports(port: Word, order: u32, rights: Rights) -> Self {
        Self::encode(Kind::IoPorts, align_down(port, order), order, rights)
    }

    const fn encode(kind: Kind, number: Word, order: u32, rights: Rights) -> Self {
        let kind = match kind {
            Kind::Special => 0,
            Kind::Memory => 1,
            Kind::IoPorts => 2,
            Kind::Capability => 3,
        };
        Self(
            number << ADDRESS_SHIFT
                | (order as Word & ORDER_MASK) << ORDER_SHIFT
                | kind << KIND_SHIFT
                | rights.bits() as Word,
        )
    }

    /// The same piece with these rights.
    pub const fn with_rights(self, rights: Rights) -> Self {
        Self(self.0 & !RIGHTS_MASK | rights.bits() as Word)
    }

    /// Whether it is one page of memory, wherever and with whatever rights.
    #[inline]
    pub const fn is_one_page(self) -> bool {
        const SHAPE: Word = ORDER_MASK << ORDER_SHIFT | 3 << KIND_SHIFT;
        self.0 & SHAPE == Flexpage::memory(0, PAGE_ORDER, Rights::empty()).0
    }

    /// Whether it is one capability, with whatever rights. Its index is the address.
    #[inline]
    pub const fn is_one_capability(self) -> bool {
        const SHAPE: Word = ORDER_MASK << ORDER_SHIFT | 3 << KIND_SHIFT;
        self.0 & SHAPE == Flexpage::capabilities(0, 0, Rights::empty()).0
    }

    /// The kind of resource.
    pub const fn kind(self) -> Kind {
        match self.0 >> KIND_SHIFT & 3 {
            0 => Kind::Special,
            1 => Kind::Memory,
            2 => Kind::IoPorts,
            _ => Kind::Capability,
        }
    }

    /// Binary logarithm of the size, 0 to 63; for memory in bytes, else in ports or capabilities.
    pub const fn order(self) -> u32 {
        (self.0 >> ORDER_SHIFT & ORDER_MASK) as u32
    }

    /// The rights that the flexpage carries; the unused fourth bit is dropped.
    pub const fn rights(self) -> Rights {
        Rights::from_bits_truncate((self.0 & RIGHTS_MASK) as u8)
    }

    /// The address field: bytes for memory (lower bits zero), a number for ports and capabilities.
    /// Bits below the order are not yet cut off.
    pub const fn address(self) -> Word {
        match self.kind() {
            Kind::Memory | Kind::Special => self.0 & !((1 << ADDRESS_SHIFT) - 1),
            Kind::IoPorts | Kind::Capability => self.0 >> ADDRESS_SHIFT,
        }
    }

    /// Whether this is a receive window for items of this kind.
    #[inline]
    pub fn takes(self, kind: Kind) -> bool {
        self.is_whole_space() || (self.kind() == kind && kind != Kind::Special)
    }

    /// Whether this is the receive window that takes everything.
    pub const fn is_whole_space(self) -> bool {
        matches!(self.kind(), Kind::Special) && self.order() == WHOLE_SPACE_ORDER
    }

    /// The piece of a user area that this memory flexpage (or whole-space window) names, or `None`
    /// if it names none: wrong kind, smaller than a page, or not wholly below 3 GiB. Only the whole
    /// space, order 32, may reach beyond: it ends with the user area.
    ///
    /// The whole space counts as an area of 4 GiB at 0, so that every placement in it is an offset.
    #[inline]
    pub const fn memory_area(self) -> Option<Area> {
        if self.is_whole_space() {
            return Some(Area::WHOLE);
        }
        if !matches!(self.kind(), Kind::Memory) {
            return None;
        }
        let order = self.order();
        if order < PAGE_ORDER || order > Area::WHOLE.order {
            return None;
        }
        let base = align_down(self.address(), order);
        if base >= USER_END || area_size(order) > USER_END - base {
            return None;
        }
        Some(Area { base, order })
    }
}

impl Flexpage {
    /// The piece of the port space that this flexpage of ports (or whole-space window) names, where
    /// port `p` is the page at `p << 12`; `None` if it names none.
    pub const fn port_area(self) -> Option<Area> {
        self.counted_area(Kind::IoPorts, IO_PORTS)
    }

    /// The piece of a capability table that this flexpage of capabilities (or whole-space window)
    /// names, where capability `c` is the page at `c << 12`; `None` if it names none.
    pub const fn capability_area(self) -> Option<Area> {
        self.counted_area(Kind::Capability, CAPABILITY_TABLE_SIZE)
    }

    const fn counted_area(self, kind: Kind, count: Word) -> Option<Area> {
        if self.is_whole_space() {
            return Some(Area::WHOLE);
        }
        let order = self.order();
        if self.kind() as u8 != kind as u8 || order > count.ilog2() {
            return None;
        }
        let first = align_down(self.address(), order);
        if first >= count {
            return None;
        }
        Some(Area { base: first << PAGE_ORDER, order: order + PAGE_ORDER })
    }
}

/// Number of I/O ports.
pub const IO_PORTS: Word = 1 << 16;

/// I/O ports that the kernel keeps for itself: both interrupt controllers and the port that ends
/// the machine.
pub const KERNEL_PORTS: [u16; 5] = [0x20, 0x21, 0xa0, 0xa1, 0xf4];

/// A checked, size-aligned piece of a user area: `2^order` bytes from `base` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    base: Word,
    order: u32,
}

/// Where a map item takes its pages from and where it puts them: both areas have one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// First byte in the sender's space.
    pub source: Word,
    /// First byte in the receiver's space.
    pub destination: Word,
    /// Binary logarithm of the size in bytes.
    pub order: u32,
}

impl Placement {
    /// Number of bytes; a whole address space ends with the user area.
    pub const fn size(self) -> Word {
        area_size(self.order)
    }
}

/// Bytes of an area of `2^order` bytes that counts only as far as the user area goes.
const fn area_size(order: u32) -> Word {
    if order >= Area::WHOLE.order { USER_END } else { 1 << order }
}

impl Area {
    /// A whole address space.
    pub const WHOLE: Self = Self { base: 0, order: 32 };

    /// First byte.
    pub const fn base(self) -> Word {
        self.base
    }

    /// Binary logarithm of the size in bytes; 32 for the whole space.
    pub const fn order(self) -> u32 {
        self.order
    }

    /// Number of bytes; a whole address space ends with the user area.
    pub const fn size(self) -> Word {
        area_size(self.order)
    }

    /// Lecture, "Flexpage offset": the smaller of the send flexpage and the receive window
    /// decides how much is mapped, and the send base selects the place inside the larger one.
    ///
    /// `self` is the send flexpage. `None` if the result would not lie in the user area.
    #[inline]
    pub const fn place(self, send_base: Word, window: Self) -> Option<Placement> {
        let placement = if self.order <= window.order {
            let inside = low_bits(send_base, window.order) & !low_mask(self.order);
            Placement { source: self.base, destination: window.base | inside, order: self.order }
        } else {
            let inside = low_bits(send_base, self.order) & !low_mask(window.order);
            Placement { source: self.base | inside, destination: window.base, order: window.order }
        };
        let end_fits = placement.destination < USER_END
            && placement.size() <= USER_END - placement.destination;
        if end_fits { Some(placement) } else { None }
    }

    /// Where I/O ports go: a port stays the port that it is, so that there is no place to choose. What
    /// is sent is what flexpage and window have in common.
    pub const fn common(self, window: Self) -> Option<Placement> {
        let (smaller, larger) =
            if self.order <= window.order { (self, window) } else { (window, self) };
        if align_down(smaller.base, larger.order) != larger.base {
            return None;
        }
        Some(Placement { source: smaller.base, destination: smaller.base, order: smaller.order })
    }
}

/// `value` with its lower `order` bits cleared; 0 if the order reaches beyond the word.
pub const fn align_down(value: Word, order: u32) -> Word {
    value & !low_mask(order)
}

/// A mask of the lower `order` bits, all ones from the word's width on.
pub const fn low_mask(order: u32) -> Word {
    if order >= Word::BITS { Word::MAX } else { (1 << order) - 1 }
}

const fn low_bits(value: Word, order: u32) -> Word {
    value & low_mask(order)
}

/// What decoding and placement do in all cases is tested in `tests/placement.rs`.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_lie_where_the_slide_puts_them() {
        let page = Flexpage::memory(0x1234_5000, 12, Rights::READ_WRITE);
        assert_eq!(page.0, 0x12345 << 12 | 12 << 6 | 1 << 4 | 6);
        assert_eq!((page.address(), page.order()), (0x1234_5000, 12));
        assert_eq!((page.kind(), page.rights()), (Kind::Memory, Rights::READ_WRITE));
        assert_eq!(
            page.with_rights(Rights::EXECUTE),
            Flexpage::memory(0x1234_5000, 12, Rights::EXECUTE)
        );
        assert_eq!(Flexpage::WHOLE_SPACE.0, 63 << 6);
        assert_eq!(Flexpage::capabilities(7, 0, Rights::READ).0, 7 << 12 | 3 << 4 | 4);
        assert_eq!(Flexpage::io_ports(0x3f8, 3).0, 0x3f8 << 12 | 3 << 6 | 2 << 4 | 6);
    }

    /// The slide: `page address (20) | size (6) | ~ (2) | rights (4)`, in the lower 32 bits of any
    /// word; a wider one only has room for more address.
    #[test]
    fn the_lower_32_bits_are_the_slide_on_both_word_sizes() {
        for order in 12..32 {
            for bits in 0..8 {
                let rights = Rights::from_bits_truncate(bits);
                let page = Flexpage::memory(0xbfff_f000, order, rights);
                let word = page.0 as u32;
                let fields = (word >> 12, word >> 6 & 0x3f, word >> 4 & 3, word & 0xf);
                let base = 0xbfff_f000 >> order << order;
                assert_eq!(fields, (base >> 12, order, 1, bits.into()));
                assert_eq!(page.0, word as Word, "nothing beyond");
                let (address, rest) = (base, order << 6 | 1 << 4 | u32::from(bits));
                let read = Flexpage((address | rest) as Word);
                assert_eq!((read.address(), read.order()), (base as Word, order));
                assert_eq!((read.kind(), read.rights()), (Kind::Memory, rights));
            }
        }
    }

    #[test]
    fn a_page_fault_window_takes_the_send_base_as_the_address() {
        let send = Flexpage::memory(0x0800_0000, 12, Rights::READ).memory_area().unwrap();
        let placement = send.place(0x4030_1234, Area::WHOLE).unwrap();
        assert_eq!(placement.destination, 0x4030_1000);
        assert_eq!(send.place(USER_END, Area::WHOLE), None);
    }
}
