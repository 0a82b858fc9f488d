//! What the kernel needs from the machine, by concern: who needs one of them says so.

mod board;
mod interrupts;
mod memory;
mod processor;
mod trace;

pub use board::Board;
pub use interrupts::{Came, Interrupts};
pub use memory::Memory;
pub use processor::Processor;
pub use trace::{Counts, Trace};

/// The hardware, or a model of it in tests.
pub trait Machine: Memory + Processor + Trace + Board + Interrupts {
    /// Whether quick paths are gone where there are some. What they do the general ways do too.
    fn goes_quick(&self) -> bool;
}
