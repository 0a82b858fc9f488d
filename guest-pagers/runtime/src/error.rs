//! Why an operation on an object failed.

use core::fmt;
use protocol::error::{IpcError, ObjectError};

/// What operations give.
pub type Result<T> = core::result::Result<T, Error>;

/// Why an operation on an object failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The message did not get there, or no answer came back.
    Ipc(IpcError),
    /// The object refused.
    Object(ObjectError),
    /// The object refused for a reason of its own: the label of its answer.
    Other(isize),
    /// The answer lacks what it must have.
    BadAnswer,
    /// What would arrive would do so where something else of this program may be ([`crate::share`]).
    NotOpen,
}

impl Error {
    /// The error for the answer to somebody on whose behalf the failed operation was done.
    pub const fn for_client(self) -> ObjectError {
        match self {
            Self::Object(error) => error,
            Self::Ipc(IpcError::MapFailed) => ObjectError::NoMemory,
            Self::Ipc(IpcError::TooDeep) => ObjectError::TooDeep,
            _ => ObjectError::InvalidArgument,
        }
    }
}

impl From<IpcError> for Error {
    fn from(error: IpcError) -> Self {
        Self::Ipc(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Other(label) => return write!(f, "the object answered with label {label}"),
            Self::BadAnswer => "the answer lacks what it must have",
            Self::NotOpen => "something else of this program may be where it would arrive",
            Self::Ipc(error) => match error {
                IpcError::SendTimeout => "the time was over before the partner took the message",
                IpcError::Timeout => "the time was over before a message or an answer came",
                IpcError::NoPartner => "there is nobody behind the capability",
                IpcError::Cancelled => "somebody cancelled the message",
                IpcError::WindowOverflow => "an item did not fit the receive window",
                IpcError::ReplyLost => "the partner will never answer",
                IpcError::MapFailed => "the kernel had no memory to enter a mapping",
                IpcError::InvalidArgument => "the system call's arguments are malformed",
                IpcError::TooDeep => "a mapping is too far from its origin to be mapped on",
            },
            Self::Object(error) => match error {
                ObjectError::PermissionDenied => "the capability lacks a right",
                ObjectError::NoSuchCapability => "an argument names an empty capability",
                ObjectError::NoMemory => "no memory is left",
                ObjectError::Busy => "it is already in use",
                ObjectError::NoSuchObject => "the factory cannot make such an object",
                ObjectError::InvalidArgument => "an argument is invalid",
                ObjectError::OutOfRange => "a number is out of range",
                ObjectError::UnknownOperation => "the object knows no such operation",
                ObjectError::BadProtocol => "the object does not speak this protocol",
                ObjectError::TooDeep => "the mapping is too far from its origin to be mapped on",
                ObjectError::MessageTooShort => "the message is too short",
            },
        };
        f.write_str(text)
    }
}
