//! What of this program others may change, and what may arrive in it.
//!
//! Rust relies on what a reference leads to: that it stays there, and that nobody else writes to it. The
//! kernel lets tasks share memory, and lets it come and go. So there are two kinds of memory:
//!
//! | | what lies there | how it is seen |
//! |---|---|---|
//! | **open** | memory got from others: [`crate::memory::Memory`], what a program's own pager offers | by [`Volatile`] cells, never by references to plain values |
//! | all other | the program itself, its heap and stack, its files | by references, as always |
//!
//! Nobody gets the right to write to what is not open ([`Shareable`]), and nothing arrives there
//! ([`may_arrive`]). What is taken away, open or not, faults when it is touched again.

use crate::{boot, slot};
use core::{cell::UnsafeCell, fmt, ops::Range};
use protocol::{
    PAGE_ORDER, Word,
    flexpage::{Area, Flexpage, Kind, Placement, Rights},
    layout::{HEAP_BASE, MAPPABLE_START, PAGER_AREA, RECEIVE_AREA, ROOT_TASK_BASE},
    message::MapItem,
};
use zerocopy::{FromBytes, IntoBytes};

/// A value in open memory. Others may change it at any time, so that each access is one of its own.
#[repr(transparent)]
pub struct Volatile<T>(UnsafeCell<T>);

impl<T: Copy + FromBytes + IntoBytes> Volatile<T> {
    /// What is there now.
    #[inline]
    pub fn get(&self) -> T {
        // SAFETY: whoever makes such a cell vouches for aligned memory of this size. Nothing but cells
        // leads there, and any bytes are a value.
        unsafe { self.0.get().read_volatile() }
    }

    /// Writes.
    #[inline]
    pub fn set(&self, value: T) {
        // SAFETY: as in `get`.
        unsafe { self.0.get().write_volatile(value) }
    }
}

impl<T> fmt::Debug for Volatile<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Volatile")
    }
}

/// A flexpage that others may get: capabilities, I/O ports, open memory, and of other memory what gives
/// no right to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shareable(Flexpage);

impl Shareable {
    /// A flexpage of nothing.
    pub(crate) const NOTHING: Self = Self(Flexpage::NIL);

    /// The flexpage, if others may get it.
    pub fn new(flexpage: Flexpage) -> Option<Self> {
        let may_be_written = match flexpage.kind() {
            Kind::Memory | Kind::Special => flexpage.rights().contains(Rights::WRITE),
            Kind::IoPorts | Kind::Capability => false,
        };
        let is_fine = !may_be_written || flexpage.memory_area().is_none_or(is_open);
        is_fine.then_some(Self(flexpage))
    }

    /// The flexpage, whatever it is.
    ///
    /// # Safety
    /// As long as anybody has it with the right to write, no reference leads to its memory.
    pub const unsafe fn new_unchecked(flexpage: Flexpage) -> Self {
        Self(flexpage)
    }

    /// `2^order` capabilities from `index` on.
    pub const fn capabilities(index: Word, order: u32, rights: Rights) -> Self {
        Self(Flexpage::capabilities(index, order, rights))
    }

    /// Open memory: for those in this crate who know that it is.
    pub(crate) const fn open(address: Word, order: u32, rights: Rights) -> Self {
        Self(Flexpage::memory(address, order, rights))
    }

    /// As the kernel takes it.
    pub const fn flexpage(self) -> Flexpage {
        self.0
    }
}

impl From<Shareable> for Flexpage {
    fn from(shareable: Shareable) -> Self {
        shareable.0
    }
}

/// A typed item of a message: maps or grants a flexpage that others may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item(MapItem);

impl Item {
    /// An item that maps `flexpage` at `send_base` (see [`MapItem`]).
    #[inline]
    pub const fn map(send_base: Word, flexpage: Shareable) -> Self {
        Self(MapItem::map(send_base, flexpage.0))
    }

    /// An item that grants it: this program's own mapping moves to the receiver.
    #[inline]
    pub const fn grant(send_base: Word, flexpage: Shareable) -> Self {
        Self(MapItem::grant(send_base, flexpage.0))
    }

    /// The two message words.
    #[inline]
    pub const fn to_words(self) -> [Word; 2] {
        self.0.to_words()
    }

    /// As the kernel takes it.
    #[inline]
    pub(crate) const fn map_item(self) -> MapItem {
        self.0
    }

    /// Whether it can be mapped into this task itself.
    pub(crate) fn may_arrive_here(self) -> bool {
        let MapItem { send_base, flexpage, .. } = self.0;
        let is_fine = |area: Option<Area>, may_arrive: fn(Range<Word>) -> bool| {
            let placement = area.and_then(|area| area.place(send_base, Area::WHOLE));
            placement.is_none_or(|placement| may_arrive(range_of(placement)))
        };
        match flexpage.kind() {
            Kind::IoPorts => true,
            Kind::Capability => is_fine(flexpage.capability_area(), may_capabilities_arrive),
            // The whole space is all of memory, ports and capabilities.
            Kind::Memory | Kind::Special => is_fine(flexpage.memory_area(), is_open_range),
        }
    }
}

/// Whether what others send may arrive in this window.
pub fn may_arrive(window: Flexpage) -> bool {
    let range = |area: Area| area.base()..area.base() + area.size();
    match window.kind() {
        Kind::IoPorts => true,
        Kind::Capability => {
            window.capability_area().is_none_or(|area| may_capabilities_arrive(range(area)))
        }
        Kind::Memory | Kind::Special => window.memory_area().is_none_or(is_open),
    }
}

/// Slots that are handed out are their owners'. Capability `c` is the page at `c << 12`.
fn may_capabilities_arrive(range: Range<Word>) -> bool {
    range.end >> PAGE_ORDER <= slot::FIRST
}

fn is_open(area: Area) -> bool {
    is_open_range(area.base()..area.base() + area.size())
}

fn range_of(placement: Placement) -> Range<Word> {
    placement.destination..placement.destination + placement.size()
}

/// sigma0 and the root task see physical memory 1:1 below themselves; of that, they refer to nothing but
/// the boot bundle. sigma0 alone hands out the bundle's pages that the root task writes to, and reads them
/// no more.
fn is_open_range(range: Range<Word>) -> bool {
    let is_inside = |open: Range<Word>| open.start <= range.start && range.end <= open.end;
    if !boot::sees_memory_one_to_one() {
        return is_inside(PAGER_AREA..HEAP_BASE) || is_inside(RECEIVE_AREA..ROOT_TASK_BASE);
    }
    let bundle = boot::kernel_info().bundle;
    let is_apart = range.end as u64 <= bundle.start || range.start as u64 >= bundle.end;
    is_inside(MAPPABLE_START..ROOT_TASK_BASE) && (is_apart || boot::is_sigma0())
}
