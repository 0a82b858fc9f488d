//! Where the one kernel lives.

use crate::hardware::Hardware;
use core::mem::MaybeUninit;
use kernel_core::Kernel;

static mut KERNEL: MaybeUninit<Kernel<Hardware>> = MaybeUninit::uninit();

/// Puts the kernel in its place. Called once, at boot.
pub fn install(kernel: Kernel<Hardware>) {
    let cell = &raw mut KERNEL;
    // SAFETY: at boot nobody else looks at the cell.
    unsafe { (*cell).write(kernel) };
}

/// The kernel.
#[inline]
pub fn kernel() -> &'static mut Kernel<Hardware> {
    let cell = &raw mut KERNEL;
    // SAFETY: there is one processor and interrupts are off whenever the kernel runs, but in its
    // interrupt windows, and what is entered there does not fetch the kernel. So entries never
    // overlap; each entry function uses the reference only until it calls the next function
    // that fetches it anew. `install` ran before the first entry could happen.
    unsafe { (*cell).assume_init_mut() }
}
