//! amd64.

mod boot;
mod descriptors;
pub mod direct_map;
mod entry;
mod local_apic;
pub mod processor;

pub use entry::leave_kernel;
pub use processor::halt;

/// Sets up what a thread needs to enter the kernel: descriptors, system calls, the timer.
///
/// An error names a feature that the processor lacks.
pub fn prepare() -> Result<(), &'static str> {
    processor::enable_features()?;
    descriptors::load();
    entry::enable_system_calls();
    local_apic::start_timer();
    Ok(())
}
