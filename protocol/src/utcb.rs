//! The user-level thread control block: where a thread and the kernel exchange messages.
//!
//! Every thread has one in a page of kernel memory that is mapped into its task. 128 words:
//! 1 KiB on `amd64`, 512 bytes on `ia32`.

use crate::Word;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Message registers in a UTCB: the most words that one message carries, items included.
pub const MESSAGE_REGISTERS: usize = 63;

/// Buffer registers in a UTCB.
pub const BUFFER_REGISTERS: usize = 32;

/// Receive windows of a thread: there can be one for each kind of resource.
pub const RECEIVE_WINDOWS: usize = 3;

/// One thread's message and buffer registers.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Utcb {
    /// The message: untyped words, then items of two words each.
    pub message: [Word; MESSAGE_REGISTERS],
    /// Why the last IPC failed ([`crate::error::IpcFailure`] as a word); valid only when the tag has
    /// its error flag.
    pub error: Word,
    /// The receive windows for items: the first [`RECEIVE_WINDOWS`] registers hold a
    /// [`crate::flexpage::Flexpage`] each, nil for none. An item arrives in the first one of its kind, or
    /// not at all. A [`Timeout`](crate::syscall::Timeout) may name others. The rest is reserved.
    pub buffer: [Word; BUFFER_REGISTERS],
    /// Word 0: this UTCB's own address, written by the kernel when the thread is bound. The rest is
    /// free for the runtime; the kernel never reads or writes it.
    pub user: [Word; 32],
}

const _: () = assert!(size_of::<Utcb>() == 128 * size_of::<Word>());

/// Offset of the word that holds the UTCB's own address, from the UTCB's start.
pub const SELF_OFFSET: usize = core::mem::offset_of!(Utcb, user);

/// Bytes in a UTCB.
pub const UTCB_SIZE: usize = size_of::<Utcb>();
