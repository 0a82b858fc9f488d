//! Errors: of a kernel object (a negative label in its reply) and of an IPC (in the UTCB).

use crate::{Word, message::MessageTag};

/// Why an operation on an object failed. The reply's label is the negated value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(isize)]
pub enum ObjectError {
    /// The capability lacks a right that the operation needs.
    PermissionDenied = 1,
    /// A capability that the operation names is empty.
    NoSuchCapability = 2,
    /// Kernel memory or a quota is exhausted.
    NoMemory = 12,
    /// The slot or the object is already in use.
    Busy = 16,
    /// The factory cannot make such an object.
    NoSuchObject = 19,
    /// An argument is out of its domain.
    InvalidArgument = 22,
    /// A number is out of range, such as a priority.
    OutOfRange = 34,
    /// The object knows no such operation.
    UnknownOperation = 38,
    /// The object does not speak this protocol.
    BadProtocol = 39,
    /// The mapping is too far from its origin to be mapped on
    /// ([`crate::introspection::mapping::MAX_DEPTH`]).
    TooDeep = 40,
    /// The message has fewer words than the operation needs.
    MessageTooShort = 71,
}

impl ObjectError {
    /// All errors, for decoding and for tests.
    pub const ALL: [Self; 11] = [
        Self::PermissionDenied,
        Self::NoSuchCapability,
        Self::NoMemory,
        Self::Busy,
        Self::NoSuchObject,
        Self::InvalidArgument,
        Self::OutOfRange,
        Self::UnknownOperation,
        Self::BadProtocol,
        Self::TooDeep,
        Self::MessageTooShort,
    ];

    /// The reply that reports this error.
    pub const fn tag(self) -> MessageTag {
        MessageTag::new(-(self as isize), 0, 0)
    }

    /// The error that a reply's negative label stands for, if it is one of these.
    pub fn from_label(label: isize) -> Option<Self> {
        Self::ALL.into_iter().find(|error| *error as isize == -label)
    }
}

/// Why an IPC failed; stands in the UTCB's error word ([`IpcFailure`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum IpcError {
    /// The time was over before the partner took the message.
    SendTimeout = 2,
    /// The time was over before a message came, or the answer.
    Timeout = 3,
    /// The capability is empty, is no IPC partner, or its thread is gone; nobody waits for an answer.
    NoPartner = 4,
    /// Somebody cancelled the operation (`ex_regs`).
    Cancelled = 6,
    /// An item did not fit the receive window.
    WindowOverflow = 8,
    /// The partner took the message and will never answer: it died, waited for the next message
    /// without replying, or dropped the answer that it had set aside.
    ReplyLost = 10,
    /// The kernel had no memory to enter a mapping.
    MapFailed = 12,
    /// The arguments of the system call are malformed.
    InvalidArgument = 14,
    /// An item's mapping is too far from its origin to be mapped on
    /// ([`crate::introspection::mapping::MAX_DEPTH`]).
    TooDeep = 16,
}

impl IpcError {
    /// All errors, for decoding and for tests.
    pub const ALL: [Self; 9] = [
        Self::SendTimeout,
        Self::Timeout,
        Self::NoPartner,
        Self::Cancelled,
        Self::WindowOverflow,
        Self::ReplyLost,
        Self::MapFailed,
        Self::InvalidArgument,
        Self::TooDeep,
    ];

    /// The error that a UTCB's error word stands for.
    pub fn from_word(word: Word) -> Option<Self> {
        Self::ALL.into_iter().find(|error| *error as usize == word & ERROR_MASK)
    }
}

/// An IPC that failed, as the UTCB's error word says it: from the lowest bit `error (8) | item (8)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpcFailure {
    /// Why.
    pub error: IpcError,
    /// The item that could not be sent, counted from 0; those before it have arrived. 0 too if it was none.
    pub item: u8,
}

const ERROR_MASK: Word = 0xff;
const ITEM_SHIFT: u32 = 8;

impl IpcFailure {
    /// The UTCB's error word.
    pub const fn to_word(self) -> Word {
        (self.item as Word) << ITEM_SHIFT | self.error as Word
    }

    /// What the UTCB's error word says.
    pub fn from_word(word: Word) -> Option<Self> {
        let item = (word >> ITEM_SHIFT & ERROR_MASK) as u8;
        IpcError::from_word(word).map(|error| Self { error, item })
    }
}

impl From<IpcError> for IpcFailure {
    fn from(error: IpcError) -> Self {
        Self { error, item: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_wire() {
        for error in ObjectError::ALL {
            assert_eq!(ObjectError::from_label(error.tag().label()), Some(error));
        }
        for error in IpcError::ALL {
            assert_eq!(IpcError::from_word(error as usize), Some(error));
            for item in [0, 1, 30, u8::MAX] {
                let failure = IpcFailure { error, item };
                assert_eq!(IpcFailure::from_word(failure.to_word()), Some(failure));
                assert_eq!(IpcError::from_word(failure.to_word()), Some(error));
            }
        }
        assert_eq!(ObjectError::from_label(0), None);
        assert_eq!((IpcError::from_word(0), IpcFailure::from_word(0)), (None, None));
    }
}
