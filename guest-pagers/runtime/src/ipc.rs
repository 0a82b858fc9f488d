//! Messages: the system call with its operations. The contents are in [`crate::message`].

use crate::{arch, message};
use protocol::{
    Word,
    error::IpcError,
    message::MessageTag,
    object::CapabilityIndex,
    syscall::{CAPABILITY_SHIFT, Operation, Timeouts},
};

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Describes the message.
    pub tag: MessageTag,
    /// Label of the gate through which it came.
    pub label: Word,
}

/// Sends, and waits until the partner has taken the message.
#[inline]
pub fn send(to: CapabilityIndex, tag: MessageTag) -> Result<(), IpcError> {
    invoke(to, Operation::SEND, tag, Timeouts::NEVER).map(|_| ())
}

/// Sends and waits for the answer of the same partner.
#[inline]
pub fn call(to: CapabilityIndex, tag: MessageTag) -> Result<MessageTag, IpcError> {
    invoke(to, Operation::CALL, tag, Timeouts::NEVER).map(|received| received.tag)
}

/// Waits for a message from the thread behind `from`.
#[inline]
pub fn receive(from: CapabilityIndex) -> Result<Received, IpcError> {
    invoke(from, Operation::RECEIVE, MessageTag::default(), Timeouts::NEVER)
}

/// Waits for a message from anybody.
#[inline]
pub fn wait() -> Result<Received, IpcError> {
    invoke(CapabilityIndex::NIL, Operation::WAIT, MessageTag::default(), Timeouts::NEVER)
}

/// Takes a message of anybody who waits to send one; fails with [`IpcError::Timeout`] if nobody does.
pub fn poll() -> Result<Received, IpcError> {
    invoke(CapabilityIndex::NIL, Operation::WAIT, MessageTag::default(), Timeouts::ZERO)
}

/// Answers the last caller; does not wait for it if it is not ready.
#[inline]
pub fn reply(tag: MessageTag) -> Result<(), IpcError> {
    let operation = Operation(Operation::SEND.0 | Operation::REPLY.0);
    invoke(CapabilityIndex::NIL, operation, tag, Timeouts::NEVER).map(|_| ())
}

/// Answers the last caller, then waits for a message from anybody.
#[inline(always)]
pub fn reply_and_wait(tag: MessageTag) -> Result<Received, IpcError> {
    invoke(CapabilityIndex::NIL, Operation::REPLY_AND_WAIT, tag, Timeouts::NEVER)
}

/// Sets aside the answer that is owed to the last caller, in an empty slot.
#[inline(always)]
pub fn set_aside(slot: CapabilityIndex) -> Result<(), IpcError> {
    invoke(slot, Operation::SET_ASIDE, MessageTag::default(), Timeouts::NEVER).map(|_| ())
}

/// Any combination of operations, with timeouts.
#[inline(always)]
pub fn invoke(
    target: CapabilityIndex,
    operation: Operation,
    tag: MessageTag,
    timeouts: Timeouts,
) -> Result<Received, IpcError> {
    invoke_target(target.0 << CAPABILITY_SHIFT | operation.0, tag, timeouts)
}

/// The same with capability and operation in one word, as the system call takes them.
#[inline(always)]
pub fn invoke_target(
    first: Word,
    tag: MessageTag,
    timeouts: Timeouts,
) -> Result<Received, IpcError> {
    let (tag, label) = arch::syscall(first, tag.0, timeouts.0);
    let tag = MessageTag(tag);
    if tag.is_ipc_error() { Err(message::last_error()) } else { Ok(Received { tag, label }) }
}
