//! What a kernel that has panicked leaves behind.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Registers that are left behind: as many as `amd64` has.
pub const REGISTERS: usize = 17;

/// Bytes of the message that there is room for.
pub const MESSAGE_LENGTH: usize = 512;

/// Where a kernel was when it panicked, and why: [`super::Header::panicked`] says where this is.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct LastWords {
    /// The registers of who could not go on, by the numbers that DWARF gives them: 0 to 8 on `ia32`, 0 to 16
    /// on `amd64`. The last one is the instruction pointer.
    pub registers: [u64; REGISTERS],
    /// Physical address of the kernel's stack.
    pub stack: u64,
    /// Its bytes.
    pub stack_size: u64,
    /// Where it ends, as the kernel sees it.
    pub stack_end: u64,
    /// Bytes of the message.
    pub message_length: u64,
    /// The message, in UTF-8.
    pub message: [u8; MESSAGE_LENGTH],
}
