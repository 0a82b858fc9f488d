//! The Glasspager microkernel on bare metal.
//!
//! Booted as a PVH image by `glass`, QEMU and other PVH loaders, with one boot module: the bundle
//! (`protocol::boot`). It sets up the processor ([`arch`]), its memory ([`boot`]), starts sigma0 and
//! the root task, and from then on only reacts: all that it does is in the library `kernel-core`.
//!
//! Unsafe code is in [`arch`], [`hardware`], [`boot`], [`kernel_cell`], [`last_words`],
//! [`reserved`] and [`trace_ring`], and nowhere else.
#![no_std]
#![no_main]

mod arch;
mod boot;
mod console;
mod hardware;
mod kernel_cell;
mod last_words;
mod reserved;
mod trace_ring;

use core::fmt::Write;
use core::panic::PanicInfo;
use memory_functions as _;

/// The machine's exit status after a kernel panic.
const STATUS_PANIC: u8 = 127;

/// A bug of the kernel, or a machine that it cannot run on. Tasks cannot bring this about.
#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    let mut console = console::Console;
    let _ = console.write_str("kernel: ");
    let _ = last_words::write_message(&mut console, info);
    let _ = console.write_str("\n");
    last_words::leave(info);
    hardware::exit(STATUS_PANIC);
    arch::halt()
}
