//! What the kernel and the boot loader leave for sigma0 and the root task.

use core::{ptr, slice};
use images::bundle::{Bundle, BundleError};
use protocol::{
    Word,
    kip::{KIP_MAGIC, KernelInfoPage, PhysicalRange},
    layout::{KERNEL_INFO_PAGE, ONE_TO_ONE_END, ROOT_TASK_BASE, SIGMA0_BASE},
};

/// The kernel info page.
///
/// # Panics
/// If the kernel made none.
pub fn kernel_info() -> &'static KernelInfoPage {
    let page: *const KernelInfoPage = ptr::with_exposed_provenance(KERNEL_INFO_PAGE);
    // SAFETY: the kernel maps its info page here into every task, read-only and for ever; it is
    // page-aligned and any bytes make a valid value.
    let info = unsafe { &*page };
    assert!(info.magic == KIP_MAGIC, "the kernel left no info page");
    info
}

/// The boot bundle, which sigma0 and the root task see where it lies in memory.
///
/// # Panics
/// In other programs, and if the boot loader put the bundle where it is not mapped 1:1.
pub fn bundle() -> Result<Bundle<'static>, BundleError> {
    assert!(sees_memory_one_to_one(), "only sigma0 and the root task see the boot bundle");
    let PhysicalRange { start, end } = kernel_info().bundle;
    assert!(
        start < end && end <= ONE_TO_ONE_END as u64,
        "the boot bundle lies at {start:#x} to {end:#x}, but tasks see memory only up to \
         {ONE_TO_ONE_END:#x}"
    );
    let first = ptr::with_exposed_provenance(start as Word);
    // SAFETY: sigma0 and the root task have the bundle 1:1 (its pages appear when they are touched)
    // and nobody hands it out as free memory. Of these bytes only the root task's own data pages
    // ever change, and no code reads that module's contents.
    Bundle::parse(unsafe { slice::from_raw_parts(first, (end - start) as usize) })
}

/// Whether this program is linked above all memory that is mapped 1:1, as sigma0 and the root task
/// are: then such memory cannot arrive on top of the program itself.
pub(crate) fn sees_memory_one_to_one() -> bool {
    own_address() >= ROOT_TASK_BASE
}

/// Whether this program is sigma0.
pub(crate) fn is_sigma0() -> bool {
    own_address() >= SIGMA0_BASE
}

fn own_address() -> Word {
    let code: fn() -> Word = own_address;
    code as Word
}
