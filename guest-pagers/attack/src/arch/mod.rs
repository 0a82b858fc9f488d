//! What differs between processors, under the same names.

#[cfg(target_arch = "x86_64")]
mod amd64;
#[cfg(target_arch = "x86_64")]
pub use amd64::*;

#[cfg(target_arch = "x86")]
mod ia32;
#[cfg(target_arch = "x86")]
pub use ia32::*;

use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use runtime::protocol::Word;

/// `ret`.
pub const RETURN: u8 = 0xc3;

/// Where [`enter`] goes on, and with which stack.
static INSTRUCTION: AtomicUsize = AtomicUsize::new(0);
static STACK: AtomicUsize = AtomicUsize::new(0);

/// Instruction and stack pointer with which a thread leaves code that it has entered.
pub fn way_back() -> [Word; 2] {
    [INSTRUCTION.load(SeqCst), STACK.load(SeqCst)]
}
