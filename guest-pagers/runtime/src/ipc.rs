//! Messages: the system call with its operations. The contents are in [`crate::message`].

use crate::{arch, message};
use core::time::Duration;
use protocol::{
    Word,
    error::IpcError,
    message::MessageTag,
    object::{CapabilityIndex, label},
    syscall::{CAPABILITY_SHIFT, Operation, Timeout, Timeouts},
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
///
/// # Panics
/// As [`call`].
#[inline]
pub fn send(to: CapabilityIndex, tag: MessageTag) -> Result<(), IpcError> {
    // SAFETY: without items it gives nothing away.
    unsafe { invoke(to, Operation::SEND, for_partners(tag), Timeouts::NEVER).map(|_| ()) }
}

/// Sends and waits for the answer of the same partner.
///
/// # Panics
/// If the tag says that there are items, or that it is for the kernel's tasks and threads: these go by
/// [`crate::capability::Cap`]'s methods.
#[inline]
pub fn call(to: CapabilityIndex, tag: MessageTag) -> Result<MessageTag, IpcError> {
    // SAFETY: as in `send`; what arrives does so in open memory.
    unsafe { call_any(to, for_partners(tag)) }
}

/// As [`call`], with anything in the message.
///
/// # Safety
/// As [`invoke`].
#[inline]
pub unsafe fn call_any(to: CapabilityIndex, tag: MessageTag) -> Result<MessageTag, IpcError> {
    // SAFETY: the caller's.
    unsafe { invoke(to, Operation::CALL, tag, Timeouts::NEVER).map(|received| received.tag) }
}

/// Waits for a message from the thread behind `from`.
#[inline]
pub fn receive(from: CapabilityIndex) -> Result<Received, IpcError> {
    // SAFETY: what arrives does so in open memory.
    unsafe { invoke(from, Operation::RECEIVE, MessageTag::default(), Timeouts::NEVER) }
}

/// Waits for a message from anybody.
#[inline]
pub fn wait() -> Result<Received, IpcError> {
    // SAFETY: as in `receive`.
    unsafe { invoke(CapabilityIndex::NIL, Operation::WAIT, MessageTag::default(), Timeouts::NEVER) }
}

/// Takes a message of anybody who waits to send one; fails with [`IpcError::Timeout`] if nobody does.
pub fn poll() -> Result<Received, IpcError> {
    // SAFETY: as in `receive`.
    unsafe { invoke(CapabilityIndex::NIL, Operation::WAIT, MessageTag::default(), Timeouts::ZERO) }
}

/// As [`send`], but waits no longer than this: fails with [`IpcError::SendTimeout`] then.
///
/// # Panics
/// As [`call`].
pub fn send_within(to: CapabilityIndex, tag: MessageTag, limit: Duration) -> Result<(), IpcError> {
    let timeouts = Timeouts::new(limit.into(), Timeout::NEVER);
    // SAFETY: as in `send`.
    unsafe { invoke(to, Operation::SEND, for_partners(tag), timeouts).map(|_| ()) }
}

/// As [`call`], but waits no longer than this until the partner takes the message, and then for its answer: fails
/// with [`IpcError::SendTimeout`] or [`IpcError::Timeout`] then. The partner owes no answer any more.
///
/// # Panics
/// As [`call`].
#[inline(always)]
pub fn call_within(
    to: CapabilityIndex,
    tag: MessageTag,
    limit: Duration,
) -> Result<MessageTag, IpcError> {
    let limit = Timeout::from(limit);
    let timeouts = Timeouts::new(limit, limit);
    // SAFETY: as in `call`.
    let answer = unsafe { invoke(to, Operation::CALL, for_partners(tag), timeouts) };
    answer.map(|received| received.tag)
}

/// As [`receive`], but no longer than this: fails with [`IpcError::Timeout`] then.
pub fn receive_within(from: CapabilityIndex, limit: Duration) -> Result<Received, IpcError> {
    let timeouts = Timeouts::new(Timeout::NEVER, limit.into());
    // SAFETY: as in `receive`.
    unsafe { invoke(from, Operation::RECEIVE, MessageTag::default(), timeouts) }
}

/// As [`wait`], but no longer than this: fails with [`IpcError::Timeout`] then.
pub fn wait_within(limit: Duration) -> Result<Received, IpcError> {
    let timeouts = Timeouts::new(Timeout::NEVER, limit.into());
    // SAFETY: as in `receive`.
    unsafe { invoke(CapabilityIndex::NIL, Operation::WAIT, MessageTag::default(), timeouts) }
}

/// Answers the last caller; does not wait for it if it is not ready.
///
/// # Panics
/// If the tag says that there are items.
#[inline]
pub fn reply(tag: MessageTag) -> Result<(), IpcError> {
    // SAFETY: as in `send`.
    unsafe { reply_any(plain(tag)) }
}

/// As [`reply`], with anything in the message.
///
/// # Safety
/// As [`invoke`].
#[inline]
pub unsafe fn reply_any(tag: MessageTag) -> Result<(), IpcError> {
    let operation = Operation(Operation::SEND.0 | Operation::REPLY.0);
    // SAFETY: the caller's.
    unsafe { invoke(CapabilityIndex::NIL, operation, tag, Timeouts::NEVER).map(|_| ()) }
}

/// Answers the last caller, then waits for a message from anybody.
///
/// # Panics
/// As [`reply`].
#[inline(always)]
pub fn reply_and_wait(tag: MessageTag) -> Result<Received, IpcError> {
    // SAFETY: as in `call`.
    unsafe { reply_any_and_wait(plain(tag)) }
}

/// As [`reply_and_wait`], with anything in the message.
///
/// # Safety
/// As [`invoke`].
#[inline(always)]
pub unsafe fn reply_any_and_wait(tag: MessageTag) -> Result<Received, IpcError> {
    // SAFETY: the caller's.
    unsafe { invoke(CapabilityIndex::NIL, Operation::REPLY_AND_WAIT, tag, Timeouts::NEVER) }
}

/// Sets aside the answer that is owed to the last caller, in an empty slot.
#[inline(always)]
pub fn set_aside(slot: CapabilityIndex) -> Result<(), IpcError> {
    // SAFETY: nothing is sent.
    unsafe { invoke(slot, Operation::SET_ASIDE, MessageTag::default(), Timeouts::NEVER) }
        .map(|_| ())
}

/// Any combination of operations, with timeouts.
///
/// # Safety
/// Items in the message registers give nobody the right to write to memory that a reference leads to. If
/// the message is for one of the kernel's tasks or threads, it does not map, or run, anything where a
/// reference of this program leads to.
#[inline(always)]
pub unsafe fn invoke(
    target: CapabilityIndex,
    operation: Operation,
    tag: MessageTag,
    timeouts: Timeouts,
) -> Result<Received, IpcError> {
    // SAFETY: the caller's.
    unsafe { invoke_target(target.0 << CAPABILITY_SHIFT | operation.0, tag, timeouts) }
}

/// The same with capability and operation in one word, as the system call takes them.
///
/// # Safety
/// As [`invoke`].
#[inline(always)]
pub unsafe fn invoke_target(
    first: Word,
    tag: MessageTag,
    timeouts: Timeouts,
) -> Result<Received, IpcError> {
    // SAFETY: the caller's.
    let (tag, label) = unsafe { arch::syscall(first, tag.0, timeouts.0) };
    let tag = MessageTag(tag);
    if tag.is_ipc_error() { Err(message::last_error()) } else { Ok(Received { tag, label }) }
}

/// The tag of a message that gives nothing away.
#[inline(always)]
fn plain(tag: MessageTag) -> MessageTag {
    assert!(tag.items() == 0, "a message with items goes by the methods for that");
    tag
}

/// The tag of a message that does nothing to a task or thread either.
#[inline(always)]
fn for_partners(tag: MessageTag) -> MessageTag {
    let is_for_kernel = matches!(tag.label(), label::TASK | label::THREAD);
    assert!(!is_for_kernel, "tasks and threads are asked by their methods");
    plain(tag)
}
