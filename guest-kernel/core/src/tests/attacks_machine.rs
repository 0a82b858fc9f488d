//! Attacks on turns and on what begins again.

use super::Bench;
use crate::memory::index::{TableIndex, ThreadIndex};
use protocol::{
    flexpage::{Flexpage, Rights},
    introspection::ThreadState,
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::{Operation as _, task::Unmap},
    syscall::{CAPABILITY_SHIFT, Operation, Timeout, Timeouts},
};

const NIL: CapabilityIndex = CapabilityIndex::NIL;
const SERVER: CapabilityIndex = CapabilityIndex(30);
const ROOT: u16 = 1;
const PRIORITY: u8 = 10;

/// A server that runs, and a client of the same priority that could run. Nobody else could.
fn pair() -> (Bench, u16, u16) {
    let mut bench = Bench::new();
    bench.kernel.mappings.machine.has_stopped_clock = true;
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    let server = bench.spawn(ROOT, PRIORITY);
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    assert_eq!(bench.current(), server);
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    let client = bench.spawn(ROOT, PRIORITY);
    assert_eq!(bench.current(), client);
    let task = bench.task_of(client);
    bench.gate(task, SERVER, server, 7);
    // Whatever the timer was set for at the beginning.
    bench.kernel.pass(1 << 20);
    assert_eq!(bench.kernel.timing.turn_ends(), None);
    (bench, server, client)
}

/// Finding 1: the caller waits for no answer and can run at once, but the server's turn had no end.
#[test]
fn who_calls_and_waits_for_no_answer_gets_its_turn() {
    let (mut bench, server, client) = pair();
    let target = SERVER.0 << CAPABILITY_SHIFT | Operation::CALL.0;
    bench.kernel.system_call(target, 0, Timeouts::new(Timeout::NEVER, Timeout::ZERO).0);
    assert_eq!(bench.current(), server);
    // The server never comes back.
    bench.kernel.pass(1 << 24);
    assert_eq!(bench.current(), client, "it has waited 16 seconds");
}

/// Finding 1, too: a sender is told that its item failed, and the receiver begins again.
#[test]
fn whose_item_fails_gets_its_turn() {
    let (mut bench, server, client) = pair();
    bench.kernel.cancel(ThreadIndex::from_position(server));
    let task = bench.task_of(client);
    bench.enter(task, 0x4000_0000, 0x200_0000, Rights::all());
    let item = MapItem::map(0, Flexpage::memory(0x4000_0000, 12, Rights::all()));
    bench.message(client)[..2].copy_from_slice(&item.to_words());
    bench.call(Operation::SEND, SERVER, MessageTag::new(0, 0, 1));
    assert_eq!(bench.current(), server);
    assert_eq!(bench.kernel.timing.turn_ends(), None);
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    assert!(bench.thread(client).is(ThreadState::Ready));
    assert_eq!(bench.current(), server, "it begins again");
    // At its system call there may be something else by now: a loop without end.
    bench.kernel.pass(1 << 24);
    assert_eq!(bench.current(), client, "it has waited 16 seconds");
}

/// Finding 2: whoever is told of an end by `task::Unmap` or `task::Map` was ready, but did not run.
#[test]
fn who_learns_of_an_end_runs_if_it_is_more_important() {
    for is_valid in [true, false] {
        let (mut bench, server, client) = pair();
        bench.kernel.threads[ThreadIndex::from_position(server)].record.set_priority(PRIORITY + 1);
        let (task, own) = (bench.task_of(client), bench.task_of(server));
        let gate = bench.slot(task, SERVER.0 as u32);
        assert!(gate.is_some());
        // The server waits for a message from whoever has the gate, which leads to the client.
        bench.gate(task, CapabilityIndex(31), client, 8);
        let Some(crate::mapping::capability::Object::Gate(gate)) = bench.slot(task, 31) else {
            panic!("it is there")
        };
        bench.give(own, CapabilityIndex(31), crate::mapping::capability::Object::Gate(gate));
        bench.kernel.cancel(ThreadIndex::from_position(server));
        bench.kernel.preempt();
        assert_eq!(bench.current(), server);
        bench.call(Operation::RECEIVE, CapabilityIndex(31), MessageTag(0));
        assert_eq!(bench.current(), client);
        let flexpage = Flexpage::capabilities(31, 0, Rights::all()).0;
        let count = if is_valid { 1 } else { 2 };
        let words = [Unmap::NUMBER, 4 | Unmap::OWN_TOO, count, flexpage, 0];
        let words = &words[..Unmap::FIRST_FLEXPAGE + count];
        bench.message(client)[..words.len()].copy_from_slice(words);
        let tag = MessageTag::new(label::TASK, words.len(), 0);
        bench.call(Operation::CALL, CapabilityIndex::TASK, tag);
        assert_eq!(bench.result(client).0.label() != 0, !is_valid);
        assert!(bench.thread(server).is(ThreadState::Ready), "it was told");
        assert_eq!(bench.current(), server, "and is more important");
    }
}
