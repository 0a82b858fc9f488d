//! What the host gets to see.

use crate::memory::{frames::FramePool, node::MaybeNode};
use protocol::introspection::record::{Kind, Record};

/// How many objects exist.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    /// Tasks made so far.
    pub tasks: u16,
    /// Threads made so far.
    pub threads: u16,
    /// Gates made so far.
    pub gates: u16,
    /// Factories made so far.
    pub factories: u16,
    /// The node that is the kernel's own bookmark.
    pub bookmark: MaybeNode,
}

/// The trace ring and its header.
///
/// The host reads both while the kernel writes, and may write anything into the header: an implementation
/// answers for not leaving the ring then. Callers answer only for what they tell.
pub trait Trace {
    /// The next slot of the trace ring, marked as invalid, for
    /// [`set_by_words`](protocol::set_by_words); [`Self::end_record`] must follow, or the host sees none.
    fn begin_record(&mut self) -> &mut Record;

    /// Makes the record in the slot of [`Self::begin_record`] valid; sets its sequence number.
    fn end_record(&mut self);

    /// Which kinds of records are wanted: bit `1 << kind`. 0 when tracing is off.
    fn enabled_records(&self) -> u64;

    /// Whether records of this kind are wanted.
    #[inline(always)]
    fn records(&self, kind: Kind) -> bool {
        self.enabled_records() >> kind as u8 & 1 != 0
    }

    /// Tells the host how many objects exist.
    fn publish_counts(&mut self, counts: Counts);

    /// Tells the host what nobody has of the pool.
    fn publish_pool(&mut self, pool: &FramePool);

    /// Tells the host how long a map or unmap took to the next preemption point, or to its end, and
    /// which of them it was.
    fn publish_stretch(&mut self, ticks: u64, at_point: bool);
}
