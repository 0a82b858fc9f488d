//! The kernel info page: what the kernel tells every task, read-only.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `"GLASSKIP"`, little-endian.
pub const KIP_MAGIC: u64 = u64::from_le_bytes(*b"GLASSKIP");

/// Version of the kernel's interface to tasks.
pub const KIP_VERSION: u32 = 2;

/// The contents of the page at [`crate::layout::KERNEL_INFO_PAGE`]. Ranges are physical, begin and
/// end on page boundaries, and include their first byte but not their end.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct KernelInfoPage {
    /// [`KIP_MAGIC`].
    pub magic: u64,
    /// [`KIP_VERSION`].
    pub version: u32,
    /// Bits of a machine word: 32 or 64.
    pub word_bits: u32,
    /// End of RAM, which begins at 0.
    pub ram_end: u64,
    /// Memory that the kernel keeps (its image and its pool): sigma0 never gets it.
    pub reserved: [PhysicalRange; 4],
    /// The boot bundle ([`crate::boot`]).
    pub bundle: PhysicalRange,
    /// Binary logarithm of the superpage size: 21 or 22.
    pub superpage_order: u32,
    /// 1 if pages can be mapped without the right to execute, else 0.
    pub has_execute_right: u32,
    /// The kernel clock.
    pub clock: Clock,
    /// What it was when the kernel last looked because its timer had come, in microseconds.
    pub last_interrupt: u64,
    /// How often its timer has come.
    pub timer_interrupts: u64,
}

const _: () = assert!(size_of::<KernelInfoPage>() == 24 + 5 * 16 + 8 + 16 + 16);

/// The kernel clock: microseconds since the machine was booted. It is the processor's time stamp counter
/// (`rdtsc`) in other units, so that tasks read it without a system call, and needs no tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Clock {
    /// The counter at time 0.
    pub start: u64,
    /// Microseconds to a tick of the counter, in units of 2^-31: at most [`Self::MICROSECOND`].
    pub scale: u32,
    /// Zero.
    pub reserved: u32,
}

impl Clock {
    /// The scale of a counter that counts microseconds.
    pub const MICROSECOND: u32 = 1 << 31;

    /// A clock whose time is 0 when the counter stands at `start`.
    pub const fn new(start: u64, scale: u32) -> Self {
        Self { start, scale, reserved: 0 }
    }

    /// The time when the counter stands at `ticks`, in microseconds.
    #[inline]
    pub const fn at(self, ticks: u64) -> u64 {
        let elapsed = ticks.saturating_sub(self.start);
        // Each a product of two words on a 32-bit machine.
        let (high, low) = (elapsed >> 32, elapsed as u32 as u64);
        let scale = self.scale as u64;
        ((high * scale) << 1).wrapping_add((low * scale) >> 31)
    }
}

/// A range of physical memory; empty if both are zero.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C, align(8))]
pub struct PhysicalRange {
    /// First byte.
    pub start: u64,
    /// The byte after the last one.
    pub end: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_clock_is_the_counter_in_microseconds(
            start in 0..u64::MAX / 2,
            elapsed in 0..u64::MAX / 2,
            scale in 1..=Clock::MICROSECOND,
        ) {
            let exact = (u128::from(elapsed) * u128::from(scale)) >> 31;
            let clock = Clock::new(start, scale);
            prop_assert_eq!(u128::from(clock.at(start + elapsed)), exact);
            prop_assert_eq!(clock.at(start.saturating_sub(1)), 0);
        }
    }
}
