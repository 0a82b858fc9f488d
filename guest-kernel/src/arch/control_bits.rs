//! Bits of the control registers and of EFER, as Intel's manual calls them (volume 3, 2.2.1 and 2.5).

pub const CR0_PE: usize = 1;
pub const CR0_MP: usize = 1 << 1;
pub const CR0_ET: usize = 1 << 4;
pub const CR0_NE: usize = 1 << 5;
pub const CR0_WP: usize = 1 << 16;
pub const CR0_PG: usize = 1 << 31;

#[cfg(target_arch = "x86")]
pub const CR4_PSE: usize = 1 << 4;
pub const CR4_PGE: usize = 1 << 7;
pub const CR4_UMIP: usize = 1 << 11;
pub const CR4_SMEP: usize = 1 << 20;
pub const CR4_SMAP: usize = 1 << 21;

#[cfg(target_arch = "x86_64")]
pub use wide::*;

#[cfg(target_arch = "x86_64")]
mod wide {
    pub const CR4_PAE: usize = 1 << 5;
    pub const CR4_OSFXSR: usize = 1 << 9;
    pub const CR4_OSXMMEXCPT: usize = 1 << 10;
    pub const CR4_FSGSBASE: usize = 1 << 16;

    pub const EFER_SCE: usize = 1;
    pub const EFER_LME: usize = 1 << 8;
    pub const EFER_NXE: usize = 1 << 11;
}
