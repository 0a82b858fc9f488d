//! The one system call: invoke a capability.
//!
//! # `amd64`
//! | register | in | out |
//! |---|---|---|
//! | `rdi` | capability index << 12 \| [`Operation`] bits | 0 |
//! | `rsi` | message tag | 0 |
//! | `rdx` | timeouts: see [`Timeouts`] | label of the gate through which the message came |
//! | `rax` | - | message tag |
//! | `rbx rbp r12-r15 rsp` | kept | kept |
//! | `rcx r8-r11` | - | destroyed |
//!
//! then `syscall`.
//!
//! # `ia32`
//! | register | in | out |
//! |---|---|---|
//! | `eax` | capability index << 12 \| [`Operation`] bits | message tag |
//! | `edx` | message tag | label of the gate through which the message came |
//! | `ecx` | timeouts: see [`Timeouts`] | destroyed |
//! | `ebx esi edi ebp esp` | kept | kept |
//!
//! then `int 0x30`. Segment registers are the kernel's: what a task loads into `ds`, `es`, `fs` or
//! `gs` may be gone after its thread was in the kernel.
//!
//! # Both
//! The message itself is in the caller's UTCB, before and after; the kernel copies exactly the words
//! that the tag counts. A thread finds its UTCB through FS, whose base is the UTCB's address: the
//! first word of [`crate::utcb::Utcb::user`] holds that address too, so that one load through FS
//! gives it.

use crate::Word;

/// What a system call does, in the lower bits of its first argument. The bits combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Operation(pub Word);

impl Operation {
    /// Send to the capability.
    pub const SEND: Self = Self(1);
    /// Receive from the thread behind the capability.
    pub const RECEIVE: Self = Self(2);
    /// With receive: from anybody.
    pub const OPEN_WAIT: Self = Self(4);
    /// With send: answer the thread that called last; the capability is ignored.
    pub const REPLY: Self = Self(8);
    /// Send, then receive the answer from the same partner.
    pub const CALL: Self = Self(1 | 2);
    /// Wait for a message from anybody.
    pub const WAIT: Self = Self(2 | 4);
    /// Answer the last caller, then wait for a message from anybody.
    pub const REPLY_AND_WAIT: Self = Self(1 | 2 | 4 | 8);
    /// Send to the capability, then wait for a message from anybody. Only with an answer that was set aside
    /// ([`Self::SET_ASIDE`]), because nobody has to wait for that to be taken.
    pub const ANSWER_AND_WAIT: Self = Self(1 | 2 | 4);
    /// Set aside the answer to the thread that called last: it becomes a capability in the slot that is named,
    /// which must be empty, and nothing is owed any more.
    ///
    /// A message that is sent to the capability is the answer, whoever sends it, and does all that an
    /// answer does; then the capability is gone. It can be granted, but not mapped: there is never more than
    /// one. When its caller stops waiting it is gone too; when it is unmapped the caller learns that
    /// no answer will come.
    ///
    /// Fails with [`NoPartner`](crate::error::IpcError::NoPartner) if nothing is owed, with
    /// [`InvalidArgument`](crate::error::IpcError::InvalidArgument) if the slot is not empty or there is none,
    /// and with [`MapFailed`](crate::error::IpcError::MapFailed) if there is no memory for the capability.
    pub const SET_ASIDE: Self = Self(8);

    /// Whether all bits of `other` are set.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Bits below the capability index in the first argument.
pub const CAPABILITY_SHIFT: u32 = 12;

/// How long a thread waits for its partner in each phase: 0 for ever, 1 not at all. Bits 0 to 15
/// are the receive timeout, bits 16 to 31 the send timeout; other values are invalid arguments.
/// A call waits for its answer as long as it takes: only its send timeout counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Timeouts(pub Word);

impl Timeouts {
    /// Wait for ever in both phases.
    pub const NEVER: Self = Self(0);
    /// Fail at once in either phase if the partner is not ready.
    pub const ZERO: Self = Self(1 << 16 | 1);

    /// Whether the receive phase must not wait.
    #[inline]
    pub const fn receive_is_zero(self) -> bool {
        self.0 & 0xffff == 1
    }

    /// Whether the send phase must not wait.
    #[inline]
    pub const fn send_is_zero(self) -> bool {
        self.0 >> 16 & 0xffff == 1
    }

    /// Whether both halves have a defined value.
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.0 & !(1 << 16 | 1) == 0
    }
}
