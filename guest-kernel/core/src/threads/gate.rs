//! IPC gates.

use crate::memory::{
    chain::{Chain, Linked, Links},
    index::{GateIndex, MaybeGate, MaybeInterrupt, MaybeThread, TableIndex, Tenant, ThreadIndex},
};
use protocol::{
    Word,
    introspection::{ALIVE, NOBODY, UNUSED, mapping::GateRecord},
};

/// An IPC gate: a thread under a label, which is how servers tell their clients apart. Begins with the
/// record that the host reads. Its size is a power of two, which makes finding it a shift.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub struct Gate {
    /// What viewers see; also the kernel's own copy of these facts.
    pub record: GateRecord,
    /// Among the gates of its thread.
    of_thread: Links,
    /// Among those that its thread is to learn of.
    news: Links,
    /// Whether it is one of these, because nobody holds it any more.
    pub is_unheld: bool,
    /// Whether it is to be one of these once nobody waits at it any more, or once it leads somewhere again.
    pub is_unheld_later: bool,
    /// Whether it is one of these, because its interrupt has come.
    pub is_interrupted: bool,
    /// The interrupt that is bound to it.
    pub interrupt: MaybeInterrupt,
    /// Threads that wait to send through it, or for a message from its thread.
    pub waiting: Chain<ThreadIndex>,
}

const _: () = assert!(size_of::<Gate>() == 32);

/// The chains that gates are in.
#[derive(Clone, Copy, Debug)]
pub enum GateChain {
    /// All gates of a thread.
    OfThread,
    /// Those of them that nobody holds any more, or whose interrupt has come, which the thread has not been
    /// told yet.
    News,
}

impl Gate {
    /// A gate to `thread`.
    pub fn new(thread: ThreadIndex, label: Word) -> Self {
        let (label, thread, state) = (label as u64, thread.position(), ALIVE as u16);
        Self {
            record: GateRecord { label, thread, state, generation: 1 },
            of_thread: Links::NONE,
            news: Links::NONE,
            is_unheld: false,
            is_unheld_later: false,
            is_interrupted: false,
            interrupt: MaybeInterrupt::NOBODY,
            waiting: Chain::EMPTY,
        }
    }

    /// Who receives; an index beyond every table if that thread is gone.
    #[inline(always)]
    pub fn thread(&self) -> ThreadIndex {
        ThreadIndex::from_position(self.record.thread)
    }

    /// Who receives, if that thread is not gone.
    pub fn receiver(&self) -> Option<ThreadIndex> {
        (self.record.thread != NOBODY).then(|| self.thread())
    }

    /// What the receiver gets to see.
    #[inline(always)]
    pub fn label(&self) -> Word {
        self.record.label as Word
    }

    /// Another thread receives from now on.
    pub fn lead_to(&mut self, thread: ThreadIndex) {
        self.record.thread = thread.position();
    }

    /// Whether its thread is to learn of it.
    pub fn is_news(&self) -> bool {
        self.is_unheld || self.is_interrupted
    }

    /// Its thread is gone, or it is no longer to be led to.
    pub fn lead_nowhere(&mut self) {
        self.record.thread = MaybeThread::NOBODY.raw();
    }
}

impl Linked<GateChain> for Gate {
    fn links(&mut self, kind: GateChain) -> &mut Links {
        match kind {
            GateChain::OfThread => &mut self.of_thread,
            GateChain::News => &mut self.news,
        }
    }
}

/// Where a message goes, or is waited for from.
#[derive(Clone, Copy, Debug)]
pub struct Destination {
    /// The thread.
    pub thread: ThreadIndex,
    /// The label that it gets to see.
    pub label: Word,
    /// The gate that leads there, unless it was named itself.
    pub gate: MaybeGate,
}

impl Destination {
    /// A thread that is named itself.
    pub fn thread(thread: ThreadIndex) -> Self {
        Self { thread, label: 0, gate: MaybeGate::NOBODY }
    }

    /// Where a gate leads to, if that is anywhere.
    pub fn of(index: GateIndex, gate: &Gate) -> Option<Self> {
        Some(Self { thread: gate.receiver()?, label: gate.label(), gate: index.into() })
    }
}

impl Tenant for Gate {
    fn generation(&mut self) -> &mut u32 {
        &mut self.record.generation
    }

    fn vacate(&mut self) {
        self.record.state = UNUSED as u16;
    }

    fn next_vacant(&mut self) -> &mut u16 {
        &mut self.record.thread
    }
}
