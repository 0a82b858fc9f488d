//! What interrupts come from.

use crate::memory::index::InterruptIndex;

/// The interrupt controllers. An interrupt that comes is masked by them: [`Kernel::interrupt_came`] is told of it
/// once, and then again when it comes after [`Self::unmask`]. Message-signalled ones cannot be masked, and
/// may come at any time.
///
/// [`Kernel::interrupt_came`]: crate::Kernel::interrupt
pub trait Interrupts {
    /// Lets an interrupt come.
    fn unmask(&mut self, interrupt: InterruptIndex);

    /// Lets it not come.
    fn mask(&mut self, interrupt: InterruptIndex);

    /// The address and the data that a device writes to raise it; zeros for that of a line.
    fn message(&self, interrupt: InterruptIndex) -> [usize; 2];
}

/// What has come while the kernel let interrupts in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Came {
    /// The timer's interrupt: the time slice is over.
    pub tick: bool,
    /// Another one, which the kernel will be told of when it is left.
    pub interrupt: bool,
}
