//! Where the kernel's pool lies: the memory of its tables, its trace ring and all objects.
//!
//! The kernel places it, and the host finds out before a machine boots whether it can.

use crate::{PAGE_SIZE, kip::PhysicalRange};
use thiserror::Error;

const MEBIBYTE: u64 = 1 << 20;
/// The pool is this part of RAM, between the two bounds below.
const SHARE: u64 = 8;
const SMALLEST: u64 = 4 * MEBIBYTE;
const LARGEST: u64 = 128 * MEBIBYTE;

/// It ends on a boundary of these, so that what is behind can be mapped by superpages.
const ALIGNMENT: u64 = 2 * MEBIBYTE;

/// It lies below: `amd64` reaches it by displacements of 32 bits, `ia32` can map no more in any case.
pub const REACH: u64 = 1 << 31;

/// Why there is no place for a pool.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PoolError {
    /// The boot loader has overwritten the kernel.
    #[error(
        "the boot bundle at {bundle:#x} lies in the kernel's image, which ends at {image_end:#x}"
    )]
    BundleInImage {
        /// Where the bundle begins.
        bundle: u64,
        /// Where the image ends.
        image_end: u64,
    },
    /// RAM ends before.
    #[error(
        "beside the boot bundle, the kernel needs memory up to {} KiB, and there are {} KiB: give the \
         machine more memory, or smaller modules",
        .end / 1024, .ram_end / 1024
    )]
    TooLittleRam {
        /// Where the pool would end.
        end: u64,
        /// Where RAM ends.
        ram_end: u64,
    },
    /// It would be too far up.
    #[error("the boot bundle leaves the kernel no room below {} MiB: name smaller modules", REACH / MEBIBYTE)]
    OutOfReach,
}

/// Right behind the kernel's image, or behind the bundle if that is in the way: whole pages.
pub fn place(
    ram_end: u64,
    image_end: u64,
    bundle: PhysicalRange,
) -> Result<PhysicalRange, PoolError> {
    if bundle.start < image_end {
        return Err(PoolError::BundleInImage { bundle: bundle.start, image_end });
    }
    let size = (ram_end / SHARE).clamp(SMALLEST, LARGEST);
    let from = |start: u64| {
        let start = start.next_multiple_of(PAGE_SIZE as u64);
        PhysicalRange { start, end: (start + size).next_multiple_of(ALIGNMENT) }
    };
    let before = from(image_end);
    let pool = if before.end <= bundle.start { before } else { from(bundle.end) };
    if pool.end > ram_end {
        Err(PoolError::TooLittleRam { end: pool.end, ram_end })
    } else if pool.end > REACH {
        Err(PoolError::OutOfReach)
    } else {
        Ok(pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(start: u64, end: u64) -> PhysicalRange {
        PhysicalRange { start, end }
    }

    #[test]
    fn a_bundle_that_only_the_rounded_end_reaches_is_in_the_way() {
        // The pool's 4 MiB end before the bundle, but not what they are rounded up to.
        let bundle = range(7 * MEBIBYTE, 17 * MEBIBYTE);
        let end = 22 * MEBIBYTE;
        let refused = place(17 * MEBIBYTE, 5 * MEBIBYTE / 2, bundle);
        assert_eq!(refused, Err(PoolError::TooLittleRam { end, ram_end: 17 * MEBIBYTE }));
        let placed = place(22 * MEBIBYTE, 5 * MEBIBYTE / 2, bundle);
        assert_eq!(placed, Ok(range(17 * MEBIBYTE, end)));
    }

    #[test]
    fn each_reason_has_its_error() {
        let bundle = range(2 * MEBIBYTE, 3 * MEBIBYTE);
        let image_end = 2 * MEBIBYTE + 1;
        let over = PoolError::BundleInImage { bundle: bundle.start, image_end };
        assert_eq!(place(64 * MEBIBYTE, image_end, bundle), Err(over));
        let bundle = range(2 * MEBIBYTE, REACH);
        assert_eq!(place(3 << 30, MEBIBYTE, bundle), Err(PoolError::OutOfReach));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn what_is_placed_is_in_nobodys_way(
            ram_pages in 0x1000..0xc_0000u64,
            image_end in MEBIBYTE..8 * MEBIBYTE,
            bundle_start in prop_oneof![0..0x1000u64, 0..0xc_0000u64],
            bundle_pages in prop_oneof![1..0x1000u64, 1..0xc_0000u64],
            is_at_end in any::<bool>(),
        ) {
            let (page, ram_end) = (PAGE_SIZE as u64, ram_pages << 12);
            let length = bundle_pages.min(ram_pages) << 12;
            let last_start = ram_end - length;
            let start = if is_at_end { last_start } else { last_start.min(bundle_start << 12) };
            let bundle = range(start, start + length);
            let is_large = |pool: PhysicalRange| pool.end - pool.start >= (ram_end / SHARE).clamp(SMALLEST, LARGEST);
            match place(ram_end, image_end, bundle) {
                Ok(pool) => {
                    prop_assert!(pool.start % page == 0 && pool.end % ALIGNMENT == 0 && is_large(pool));
                    prop_assert!(image_end <= pool.start && image_end <= bundle.start);
                    prop_assert!(pool.end <= bundle.start || bundle.end <= pool.start);
                    prop_assert!(pool.end <= ram_end.min(REACH));
                }
                Err(PoolError::BundleInImage { .. }) => prop_assert!(bundle.start < image_end),
                Err(PoolError::TooLittleRam { end, .. }) => prop_assert!(end > ram_end),
                Err(PoolError::OutOfReach) => prop_assert!(ram_end > REACH),
            }
        }
    }
}
