//! A program small enough for a corpus: one page, a function that is inlined, and the notes of a kernel.
#![no_std]
#![no_main]

use core::hint::black_box;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[inline(always)]
fn inlined(value: usize) -> usize {
    black_box(value) ^ 5
}

#[inline(never)]
fn called(value: usize) -> usize {
    inlined(value) + inlined(value + 1)
}

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    loop {
        black_box(called(black_box(1)));
    }
}

/// Where a PVH loader enters.
#[unsafe(link_section = ".note.pvh")]
#[used]
static PVH: [u32; 5] = [4, 4, 18, u32::from_le_bytes(*b"Xen\0"), 0x40_0100];

/// Where the introspection header is.
#[unsafe(link_section = ".note.glass")]
#[used]
static GLASS: [u32; 8] = [
    11,
    8,
    1,
    u32::from_le_bytes(*b"Glas"),
    u32::from_le_bytes(*b"spag"),
    u32::from_le_bytes(*b"er\0\0"),
    0x10_0000,
    0,
];
