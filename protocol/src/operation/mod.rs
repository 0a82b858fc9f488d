//! The operations of the kernel's objects, a type each: what their fields say is the interface.
//!
//! An object is invoked by a call to its capability with its protocol ([`crate::object::label`]) as the
//! label. Message register 0 has the operation's number, those behind it its arguments; some are followed
//! by a list. The answer's label is 0 or a negated [`ObjectError`]. Capabilities in arguments are indices
//! in the invoker's table.
//!
//! | object | operations |
//! |---|---|
//! | [`task`] | [`task::Map`], [`task::Unmap`] |
//! | [`thread`] | [`thread::Control`], [`thread::Modify`], [`thread::ExRegs`], [`thread::ExRegsWith`], [`thread::ReadRegisters`], [`thread::WriteRegisters`], [`thread::ReadFloatingPoint`], [`thread::WriteFloatingPoint`], [`thread::TakeGate`] |
//! | [`factory`] | [`factory::CreateTask`], [`factory::CreateThread`], [`factory::CreateGate`], [`factory::CreateFactory`] |
//! | [`console`] | [`console::Write`] |
//! | [`scheduler`] | [`scheduler::SetPriority`], [`scheduler::Yield`] |
//! | [`debugger`] | [`debugger::SetName`], [`debugger::Null`] |
//! | [`platform`] | [`platform::ShutDown`] |
//! | [`interrupts`] | [`interrupts::Create`] |
//! | [`interrupt`] | [`interrupt::Bind`], [`interrupt::Unbind`], [`interrupt::Mask`], [`interrupt::Unmask`] |

use crate::{Word, error::ObjectError};

pub mod console;
pub mod debugger;
pub mod factory;
pub mod interrupt;
pub mod interrupts;
pub mod platform;
pub mod scheduler;
pub mod task;
pub mod thread;

/// An operation that takes message registers 0 to `N - 1`.
pub trait Operation<const N: usize>: Sized {
    /// What message register 0 says.
    const NUMBER: Word;

    /// The message registers.
    fn encode(self) -> [Word; N];

    /// Reads the message registers, of which the first one says [`Self::NUMBER`].
    ///
    /// # Errors
    /// [`ObjectError::OutOfRange`] or [`ObjectError::InvalidArgument`] for what no such operation says.
    fn decode(registers: [Word; N]) -> Result<Self, ObjectError>;
}

/// The operation in the words of a message that has [`Operation::NUMBER`] as its first one.
///
/// # Errors
/// [`ObjectError::MessageTooShort`], or what [`Operation::decode`] says.
#[inline]
fn read<const N: usize, O: Operation<N>>(words: &[Word]) -> Result<O, ObjectError> {
    O::decode(*words.first_chunk().ok_or(ObjectError::MessageTooShort)?)
}

/// What an object can be asked for: one of its operations, and how a message is read as one.
macro_rules! requests {
    ($(#[$doc:meta])* $($operation:ident)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Request {$(
            #[doc = concat!("[`", stringify!($operation), "`].")]
            $operation($operation),
        )*}

        impl Request {
            /// Reads the words of a message.
            ///
            /// # Errors
            /// [`ObjectError::MessageTooShort`], [`ObjectError::UnknownOperation`], or what the operation's
            /// own [`Operation::decode`] says.
            #[inline]
            pub fn decode(words: &[Word]) -> Result<Self, ObjectError> {
                match *words.first().ok_or(ObjectError::MessageTooShort)? {
                    $($operation::NUMBER => super::read(words).map(Self::$operation),)*
                    _ => Err(ObjectError::UnknownOperation),
                }
            }
        }
    };
}
use requests;

#[cfg(test)]
mod tests;
