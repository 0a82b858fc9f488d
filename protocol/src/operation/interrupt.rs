//! Operations of one interrupt (protocol [`INTERRUPT`](crate::object::label::INTERRUPT)).
//!
//! When it comes, it is masked, and the thread that it is bound to is told so with its next open wait; until
//! then, and while it is bound to nothing, it is pending. [`Unmask`] acknowledges it, and lets the next one
//! come.

use super::{Operation, requests};
use crate::{Word, error::ObjectError, object::CapabilityIndex};

requests! {
    /// What an interrupt can be asked for.
    Bind Unbind Mask Unmask
}

/// From now on the thread of a gate is told of it, under the gate's label, and nobody else. Needs the right
/// to modify the interrupt. Message registers: `0: number, 1: gate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The gate, which needs the control right. Only one interrupt can be bound to a gate.
    pub gate: CapabilityIndex,
}

impl Operation<2> for Bind {
    const NUMBER: Word = 1;

    #[inline]
    fn encode(self) -> [Word; 2] {
        [Self::NUMBER, self.gate.0]
    }

    #[inline]
    fn decode([_, gate]: [Word; 2]) -> Result<Self, ObjectError> {
        Ok(Self { gate: CapabilityIndex(gate) })
    }
}

macro_rules! without_arguments {
    ($($(#[$doc:meta])* $operation:ident = $number:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $operation;

        impl Operation<1> for $operation {
            const NUMBER: Word = $number;

            #[inline]
            fn encode(self) -> [Word; 1] {
                [Self::NUMBER]
            }

            #[inline]
            fn decode(_: [Word; 1]) -> Result<Self, ObjectError> {
                Ok(Self)
            }
        }
    )+};
}

without_arguments! {
    /// Nobody is told of it any more; one that nobody has been told of stays pending. Needs the right to
    /// modify the interrupt. Message registers: `0: number`.
    Unbind = 2;
    /// Lets it not come. Needs only the right to use it. Message registers: `0: number`.
    Mask = 3;
    /// Lets it come, the first time or again. Needs only the right to use it. Message registers: `0: number`.
    Unmask = 4;
}
