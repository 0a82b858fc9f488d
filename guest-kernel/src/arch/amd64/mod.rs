//! amd64.

pub mod boot;
pub mod descriptors;
pub mod direct_map;
pub mod entry;
mod features;

use crate::arch::{io_apic, local_apic, protection};

/// Sets up what a thread needs to enter the kernel: descriptors, system calls, the timer.
///
/// An error names a feature that the processor lacks.
pub fn prepare() -> Result<(), &'static str> {
    features::enable()?;
    protection::enable();
    descriptors::load();
    entry::enable_system_calls();
    io_apic::prepare();
    local_apic::prepare();
    Ok(())
}
