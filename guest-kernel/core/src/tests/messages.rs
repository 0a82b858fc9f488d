//! Sending, receiving, calling, replying.

use super::Bench;
use protocol::{
    error::IpcError, introspection::ThreadState, message::MessageTag, object::CapabilityIndex,
    syscall::Operation,
};

const NIL: CapabilityIndex = CapabilityIndex::NIL;
const PARENT: CapabilityIndex = CapabilityIndex::PARENT;
const ROOT: u16 = 1;

/// sigma0 (thread 0) and the root task (thread 1) wait; a client of the root task runs.
fn waiting_servers() -> (Bench, u16) {
    let mut bench = Bench::new();
    assert_eq!(bench.current(), 0);
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    assert_eq!(bench.current(), ROOT);
    let client = bench.spawn(ROOT, 10);
    assert_eq!(bench.current(), ROOT, "the root task is more important");
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    assert_eq!(bench.current(), client);
    (bench, client)
}

#[test]
fn a_call_carries_words_there_and_back() {
    let (mut bench, client) = waiting_servers();
    bench.message(client)[..3].copy_from_slice(&[11, 22, 33]);
    bench.message(ROOT)[2] = 99;
    bench.call(Operation::CALL, PARENT, MessageTag::new(7, 2, 0));
    assert_eq!(bench.current(), ROOT);
    assert_eq!(bench.result(ROOT), (MessageTag::new(7, 2, 0), client.into()));
    assert_eq!(bench.message(ROOT)[..3], [11, 22, 99], "only the counted words are copied");

    bench.message(ROOT)[0] = 44;
    bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag::new(-5, 1, 0));
    assert_eq!(bench.current(), client);
    assert_eq!(bench.result(client), (MessageTag::new(-5, 1, 0), 0));
    assert_eq!(bench.message(client)[..3], [44, 22, 33]);
    assert!(bench.thread(ROOT).is(ThreadState::Receiving));
}

#[test]
fn callers_of_a_busy_server_queue_in_order() {
    let (mut bench, first) = waiting_servers();
    bench.call(Operation::CALL, PARENT, MessageTag::new(1, 0, 0));
    // The server works for the first; two more come.
    let second = bench.spawn(ROOT, 210);
    assert_eq!(bench.current(), second);
    bench.call(Operation::CALL, PARENT, MessageTag::new(2, 0, 0));
    let third = bench.spawn(ROOT, 210);
    bench.call(Operation::CALL, PARENT, MessageTag::new(3, 0, 0));
    assert_eq!(bench.current(), ROOT);
    for client in [second, third] {
        bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag(0));
        assert_eq!(bench.result(ROOT).1, client.into());
        // The one answered before is more important than the server or waits for its turn.
        if bench.current() != ROOT {
            bench.call(Operation::WAIT, NIL, MessageTag(0));
        }
    }
    assert!(bench.thread(first).is(ThreadState::Ready));
}

#[test]
fn a_server_that_forgets_to_answer_loses_the_reply() {
    let (mut bench, client) = waiting_servers();
    bench.call(Operation::CALL, PARENT, MessageTag(0));
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    assert_eq!(bench.current(), client);
    assert!(bench.result(client).0.is_ipc_error());
    assert_eq!(bench.error(client), IpcError::ReplyLost as usize);
}

#[test]
fn senders_cannot_forge_the_error_flag() {
    let (mut bench, _) = waiting_servers();
    bench.call(Operation::CALL, PARENT, MessageTag::ipc_error());
    assert!(!bench.result(ROOT).0.is_ipc_error());
}

#[test]
fn malformed_system_calls_fail_for_their_caller_alone() {
    let (mut bench, client) = waiting_servers();
    let too_long = MessageTag::new(0, 63, 1);
    for (operation, index, tag, error) in [
        (Operation::CALL, PARENT, too_long, IpcError::InvalidArgument),
        (Operation(0), PARENT, MessageTag(0), IpcError::InvalidArgument),
        (Operation(5), PARENT, MessageTag(0), IpcError::InvalidArgument),
        (Operation::CALL, CapabilityIndex(77), MessageTag(0), IpcError::NoPartner),
        (Operation::CALL, CapabilityIndex(usize::MAX >> 12), MessageTag(0), IpcError::NoPartner),
        (Operation::CALL, NIL, MessageTag(0), IpcError::NoPartner),
        (Operation::RECEIVE, CapabilityIndex::TASK, MessageTag(0), IpcError::NoPartner),
    ] {
        bench.call(operation, index, tag);
        assert_eq!(bench.current(), client);
        assert!(bench.result(client).0.is_ipc_error());
        assert_eq!(bench.error(client), error as usize);
    }
}

#[test]
fn zero_timeouts_never_wait() {
    let (mut bench, client) = waiting_servers();
    bench.kernel.system_call(Operation::WAIT.0, 0, 1);
    assert_eq!((bench.current(), bench.error(client)), (client, IpcError::Timeout as usize));
    bench.call(Operation::CALL, PARENT, MessageTag(0));
    let other = bench.spawn(ROOT, 220);
    bench.kernel.system_call(PARENT.0 << 12 | Operation::CALL.0, 0, 1 << 16);
    assert_eq!((bench.current(), bench.error(other)), (other, IpcError::SendTimeout as usize));
}

#[test]
fn equal_priorities_share_the_processor() {
    let (mut bench, first) = waiting_servers();
    let second = bench.spawn(ROOT, 10);
    assert_eq!(bench.current(), first);
    bench.kernel.timer_tick();
    assert_eq!(bench.current(), second);
    bench.kernel.timer_tick();
    assert_eq!(bench.current(), first);
}
