//! How to ask sigma0, or whoever speaks its protocol (the root task does), for memory and I/O ports.
//!
//! A call with the label [`crate::object::label::SIGMA0`]; the answer's label is 0 and it carries
//! one map item, or it is a negated [`crate::error::ObjectError`]. The caller's receive window
//! decides where it arrives: with the whole space it arrives 1:1 from sigma0.
//! sigma0 also answers faults: with the faulting page itself, 1:1, or with the ports.

use crate::Word;

/// Any free memory of a given size. Message registers: `0: operation, 1: order (12 to 31)`. The
/// memory is zero only if nobody used it before: users zero what they must. The answer's message
/// register 0 is the physical address, its item follows.
pub const REQUEST_ANY: Word = 0x90;

/// The memory or the I/O ports of one flexpage, first come, first served. Message registers:
/// `0: operation, 1: flexpage`. The root task gives a program only ports that the manifest names for
/// it, and no memory that way.
pub const REQUEST_AT: Word = 0x60;
