//! What differs between the architectures: the geometry of page tables and a thread's registers.
//!
//! Each architecture's module exports the same names; the rest of the kernel names only this one.

mod floating_point;

#[cfg(target_arch = "x86_64")]
mod amd64;
#[cfg(target_arch = "x86_64")]
pub use amd64::{
    Context, DIRECTORY_FRAMES, Entry, HAS_EXECUTE_RIGHT, Restriction, SPINE_FRAMES, SPINE_PAIRS,
    TABLE_ENTRIES, TABLE_ORDER, Table, link_spine, unlink_spine,
};

#[cfg(target_arch = "x86")]
mod ia32;
#[cfg(target_arch = "x86")]
pub use ia32::{
    Context, DIRECTORY_FRAMES, Entry, HAS_EXECUTE_RIGHT, Restriction, SPINE_FRAMES, SPINE_PAIRS,
    TABLE_ENTRIES, TABLE_ORDER, Table, link_spine, unlink_spine,
};

#[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
compile_error!("the kernel has no architecture module for this target: it runs on amd64 and ia32");
