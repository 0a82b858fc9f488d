//! The frames of the kernel's pool that its tables lead to: what each is, and what stands in it.
//!
//! As many frames as fit in [`MOST_KEPT`] are copied when they are claimed, so that all that a small
//! machine's tables say is read once. Those of a larger machine are read anew when they are needed.

use crate::{memory::GuestMemory, paging::TABLE_SIZE};
use protocol::kip::PhysicalRange;
use std::{cell::RefCell, collections::HashMap};

/// The bytes of a frame.
pub(super) type Page = Box<[u8; TABLE_SIZE as usize]>;

/// The most frames that are believed: 132 MiB. The kernel's pool has 128 MiB at most, and its end is
/// rounded up to 2 MiB.
pub(super) const MOST_FRAMES: usize = 33 << 10;

/// Frames that are kept: 32 MiB, the whole pool of a machine with 256 MiB.
const MOST_KEPT: usize = 8 << 10;

/// Frames that were read last, beside those.
const RECENT: usize = 512;

/// The frames that were claimed.
pub(super) struct Pool<'m> {
    memory: &'m dyn GuestMemory,
    range: PhysicalRange,
    claimed: HashMap<u64, Claimed>,
    kept: Vec<Page>,
    recent: RefCell<Vec<Option<(u64, Page)>>>,
    /// How often anybody looked into a frame.
    #[cfg(test)]
    looks: std::cell::Cell<usize>,
}

#[derive(Clone, Copy)]
struct Claimed {
    what: &'static str,
    /// Its number among those that are kept.
    kept: Option<u16>,
}

impl<'m> Pool<'m> {
    pub(super) fn new(memory: &'m dyn GuestMemory, range: PhysicalRange) -> Self {
        Self {
            memory,
            range,
            claimed: HashMap::new(),
            kept: Vec::new(),
            recent: RefCell::new(vec![None; RECENT]),
            #[cfg(test)]
            looks: std::cell::Cell::default(),
        }
    }

    /// Takes a frame that must be one of the pool, and used for nothing else.
    pub(super) fn claim(&mut self, frame: u64, what: &'static str) -> Result<(), Unclaimed> {
        let PhysicalRange { start, end } = self.range;
        let in_pool = frame >= start && frame.checked_add(TABLE_SIZE) <= Some(end);
        if !in_pool || !frame.is_multiple_of(TABLE_SIZE) {
            return Err(Unclaimed::Elsewhere { frame, start, end });
        }
        if let Some(other) = self.what(frame) {
            return Err(Unclaimed::Used { frame, other });
        }
        if self.claimed.len() >= MOST_FRAMES {
            return Err(Unclaimed::TooMany { frame });
        }
        let page = self.read(frame).ok_or(Unclaimed::Outside { frame })?;
        let kept = (self.kept.len() < MOST_KEPT).then_some(self.kept.len() as u16);
        if kept.is_some() {
            self.kept.push(page);
        }
        self.claimed.insert(frame, Claimed { what, kept });
        Ok(())
    }

    /// What a frame was claimed for.
    pub(super) fn what(&self, frame: u64) -> Option<&'static str> {
        self.claimed.get(&frame).map(|claimed| claimed.what)
    }

    /// All frames that were claimed.
    pub(super) fn frames(&self) -> impl Iterator<Item = u64> {
        self.claimed.keys().copied()
    }

    /// How many frames were claimed.
    pub(super) fn count(&self) -> usize {
        self.claimed.len()
    }

    /// Whether every frame was read only once.
    pub(super) fn is_whole(&self) -> bool {
        self.kept.len() == self.claimed.len()
    }

    /// A copy of a frame that was claimed.
    pub(super) fn page(&self, frame: u64) -> Page {
        self.with(frame, Clone::clone)
    }

    /// Some bytes of a frame that was claimed, from `offset` on.
    pub(super) fn bytes<const SIZE: usize>(&self, frame: u64, offset: u64) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        self.with(frame, |page| bytes.copy_from_slice(&page[offset as usize..][..SIZE]));
        bytes
    }

    #[cfg(test)]
    pub(super) fn looks(&self) -> usize {
        self.looks.get()
    }

    fn with<R>(&self, frame: u64, look: impl FnOnce(&Page) -> R) -> R {
        #[cfg(test)]
        self.looks.set(self.looks.get() + 1);
        let kept = self.claimed.get(&frame).and_then(|claimed| claimed.kept);
        if let Some(page) = kept.and_then(|kept| self.kept.get(usize::from(kept))) {
            return look(page);
        }
        let mut recent = self.recent.borrow_mut();
        let slot = &mut recent[(frame / TABLE_SIZE) as usize % RECENT];
        let page = match slot.take().filter(|(cached, _)| *cached == frame) {
            Some((_, page)) => page,
            // It could be read when it was claimed, and RAM does not go away.
            None => self.read(frame).unwrap_or_else(empty),
        };
        look(&slot.insert((frame, page)).1)
    }

    fn read(&self, frame: u64) -> Option<Page> {
        let mut page = empty();
        self.memory.read(frame, &mut page[..]).ok()?;
        Some(page)
    }
}

fn empty() -> Page {
    Box::new([0; TABLE_SIZE as usize])
}

/// Why a frame cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unclaimed {
    /// It is not the kernel's.
    #[error("at {frame:#x}, no frame of the pool {start:#x}-{end:#x}")]
    Elsewhere { frame: u64, start: u64, end: u64 },
    /// It is something else already.
    #[error("at {frame:#x}, which is {other} elsewhere, too")]
    Used { frame: u64, other: &'static str },
    /// More than there can be.
    #[error("at {frame:#x}: there are more than {MOST_FRAMES} frames")]
    TooMany { frame: u64 },
    /// The pool reaches beyond the RAM.
    #[error("at {frame:#x}, which is not in the guest's memory")]
    Outside { frame: u64 },
}
