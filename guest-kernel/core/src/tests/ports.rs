//! I/O instructions of tasks: what becomes of them if the processor does not allow them.

use super::Bench;
use crate::{
    ipc::port_fault::GENERAL_PROTECTION_VECTOR,
    memory::index::{TableIndex, TaskIndex, ThreadIndex},
    threads::state::State,
};
use protocol::{
    PAGE_ORDER, Word,
    fault::{Access, PortFault},
    flexpage::{Flexpage, Rights},
    introspection::{
        NOBODY, ThreadState,
        record::{Event, Fault, Ids, Kind, MapStatus, Traced, Unresolved},
    },
    layout::USER_END,
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::{Operation as _, task},
    syscall::Operation,
};

const NIL: CapabilityIndex = CapabilityIndex::NIL;
const ROOT: u16 = 1;
const CODE: Word = 0x40_0000;
const FRAME: u64 = 0x200_0000;

/// IN al, dx.
const IN: &[u8] = &[0xec];
/// OUT dx, eax.
const OUT_4: &[u8] = &[0xef];

/// A client of the root task that is at an instruction with `port` in dx.
fn client_at(code: &[u8], port: u16) -> (Bench, u16) {
    let mut bench = Bench::new();
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    let client = bench.spawn(ROOT, 10);
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    assert_eq!(bench.current(), client);
    bench.enter(bench.task_of(client), CODE, FRAME, Rights::READ_EXECUTE);
    put_code(&mut bench, client, CODE, code);
    bench.thread(client).context.set_result(MessageTag(0), port.into());
    bench.kernel.mappings.machine.records.clear();
    (bench, client)
}

fn put_code(bench: &mut Bench, client: u16, address: Word, code: &[u8]) {
    let frame = FRAME + (address - CODE) as u64;
    bench.kernel.mappings.machine.user_memory.extend((frame..).zip(code.iter().copied()));
    bench.thread(client).context.set_pointers(address, 0x1000);
}

fn protection_fault(bench: &mut Bench) {
    bench.kernel.exception(GENERAL_PROTECTION_VECTOR, 0);
}

/// The root task has been asked about a port fault of `client`.
fn asked(bench: &mut Bench, client: u16) -> PortFault {
    assert_eq!(bench.current(), ROOT);
    assert_eq!(bench.result(ROOT), (PortFault::TAG, client.into()));
    assert!(bench.thread(client).is(ThreadState::PortFault));
    PortFault::from_words([bench.message(ROOT)[0], bench.message(ROOT)[1]])
}

fn answer(bench: &mut Bench, items: &[MapItem]) {
    for (number, item) in items.iter().enumerate() {
        let words = item.to_words();
        bench.message(ROOT)[2 * number..2 * number + 2].copy_from_slice(&words);
    }
    bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag::new(0, 0, items.len()));
}

fn unresolved(bench: &Bench) -> Vec<Unresolved> {
    let reason = |traced: &Traced| match traced.event {
        Event::Unresolved(fault) => Some(fault.reason),
        _ => None,
    };
    bench.events().iter().filter_map(reason).collect()
}

/// The first record is of a fault.
fn recorded_fault(bench: &Bench) -> Fault {
    match bench.events()[..] {
        [Traced { event: Event::Fault(fault), .. }, ..] => fault,
        ref other => panic!("{other:?}"),
    }
}

/// The root task has been told of a general protection fault, not of a port fault.
fn assert_exception(bench: &mut Bench, client: u16) {
    let (tag, sender) = bench.result(ROOT);
    assert_eq!((tag.label(), sender), (label::EXCEPTION, client.into()));
    assert_eq!(bench.message(ROOT)[..2], [GENERAL_PROTECTION_VECTOR.into(), 0]);
    assert!(bench.thread(client).is(ThreadState::Exception));
}

#[test]
fn a_forbidden_port_becomes_a_message() {
    let (mut bench, client) = client_at(OUT_4, 0x3fa);
    protection_fault(&mut bench);
    let fault = asked(&mut bench, client);
    assert_eq!(fault, PortFault { ports: Flexpage::io_ports(0x3f8, 3), instruction: CODE });
    assert_eq!(bench.kinds(), [Kind::Fault]);
    let fault = recorded_fault(&bench);
    assert_eq!(fault.access, Access::PORT | Access::WRITE);
    assert_eq!((fault.address, fault.instruction, fault.number), (0x3fa, CODE as u64, 1));
    assert_eq!((fault.pager, fault.owed), (Ids::new(1, ROOT), NOBODY));
}

#[test]
fn reading_one_port_asks_for_one() {
    let (mut bench, client) = client_at(IN, 0x3ff);
    protection_fault(&mut bench);
    assert_eq!(asked(&mut bench, client).ports, Flexpage::io_ports(0x3ff, 0));
    assert_eq!(recorded_fault(&bench).access, Access::PORT);
}

#[test]
fn other_protection_faults_are_exceptions() {
    const HLT: &[u8] = &[0xf4];
    const IN_2: &[u8] = &[0x66, 0xed];
    for (code, port) in [(HLT, 0x3f8), (IN_2, 0xffff)] {
        let (mut bench, client) = client_at(code, port);
        protection_fault(&mut bench);
        assert_exception(&mut bench, client);
        assert_eq!(bench.kinds(), [Kind::Exception]);
    }
    // With an error code it is about a segment.
    let (mut bench, client) = client_at(IN, 0x3f8);
    bench.kernel.exception(GENERAL_PROTECTION_VECTOR, 0x38);
    assert_eq!(bench.message(ROOT)[..2], [GENERAL_PROTECTION_VECTOR.into(), 0x38]);
    assert!(bench.thread(client).is(ThreadState::Exception));
}

#[test]
fn an_instruction_may_lie_in_two_pages() {
    let last = CODE + 0xfff;
    let (mut bench, client) = client_at(IN, 0);
    put_code(&mut bench, client, last, &[0xe4, 0x60]);
    protection_fault(&mut bench);
    // The second page is missing: whatever it was, it is no I/O instruction.
    assert_exception(&mut bench, client);
    answer(&mut bench, &[]);
    bench.enter(bench.task_of(client), CODE + 0x1000, FRAME + 0x1000, Rights::READ_EXECUTE);
    protection_fault(&mut bench);
    assert_eq!(asked(&mut bench, client).ports, Flexpage::io_ports(0x60, 0));
}

#[test]
fn nothing_is_read_where_no_code_can_be() {
    for instruction in [0, 0x1234_5678, USER_END - 1, USER_END, Word::MAX] {
        let (mut bench, client) = client_at(IN, 0);
        bench.thread(client).context.set_pointers(instruction, 0);
        protection_fault(&mut bench);
        assert_exception(&mut bench, client);
    }
}

#[test]
fn a_refused_port_fault_reaches_the_exception_handler() {
    let (mut bench, client) = client_at(IN, 0x3ff);
    protection_fault(&mut bench);
    bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag::new(-1, 0, 0));
    assert_eq!(unresolved(&bench), [Unresolved::Refused]);
    assert_exception(&mut bench, client);
    bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag::new(-1, 0, 0));
    assert!(bench.thread(client).is(ThreadState::Stopped));
    assert_eq!(unresolved(&bench).len(), 1, "recorded once");
}

/// Neither nothing nor memory at the address that is the port's number is an answer.
#[test]
fn answers_without_the_port_end() {
    let page = Flexpage::memory(0x200_0000, 12, Rights::all());
    for items in [&[][..], &[MapItem::map(0, page)]] {
        let (mut bench, client) = client_at(IN, 0x3ff);
        bench.enter(TaskIndex::ROOT, 0x200_0000, FRAME, Rights::all());
        for _ in 0..4 {
            protection_fault(&mut bench);
            asked(&mut bench, client);
            answer(&mut bench, items);
            assert_eq!(bench.current(), client);
        }
        protection_fault(&mut bench);
        assert_eq!(unresolved(&bench), [Unresolved::NoProgress]);
        assert_exception(&mut bench, client);
    }
}

#[test]
fn a_busy_pager_gets_it_later() {
    let (mut bench, client) = client_at(IN, 0x3ff);
    let root = ThreadIndex::from_position(ROOT);
    bench.thread(ROOT).enter(State::Ready);
    protection_fault(&mut bench);
    assert!(bench.thread(client).is(ThreadState::Sending));
    bench.kernel.current = root.into();
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    assert_eq!(asked(&mut bench, client).instruction, CODE);
}

#[test]
fn a_pager_that_forgets_to_answer_leaves_an_exception() {
    let (mut bench, client) = client_at(IN, 0x3ff);
    bench.thread(client).record.set_exception_handler(0);
    protection_fault(&mut bench);
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    assert_eq!(unresolved(&bench), [Unresolved::ReplyLost]);
    assert!(bench.thread(client).is(ThreadState::Stopped));
}

#[test]
fn a_thread_without_pager_gets_an_exception() {
    let (mut bench, client) = client_at(IN, 0x3ff);
    bench.thread(client).record.set_pager(0);
    protection_fault(&mut bench);
    assert_eq!(unresolved(&bench), [Unresolved::NoPager]);
    assert_exception(&mut bench, client);
}

/// The root task gets ports from sigma0.
fn give_to_root(bench: &mut Bench, ports: Flexpage) {
    let item = MapItem::map(ports.address() << PAGE_ORDER, ports);
    let outcome = bench.map_item(TaskIndex::SIGMA0, TaskIndex::ROOT, item, Flexpage::WHOLE_SPACE);
    assert_eq!(outcome.status, MapStatus::Done);
}

/// A client that got what it asked for, and tries again.
fn served_client(code: &[u8], port: u16) -> (Bench, u16) {
    let (mut bench, client) = client_at(code, port);
    protection_fault(&mut bench);
    let ports = asked(&mut bench, client).ports;
    give_to_root(&mut bench, ports);
    answer(&mut bench, &[MapItem::map(ports.address() << PAGE_ORDER, ports)]);
    assert_eq!(bench.current(), client);
    protection_fault(&mut bench);
    (bench, client)
}

/// What the processor knows of a task's ports.
fn known(bench: &Bench, client: u16) -> Vec<(u16, u64)> {
    match &bench.kernel.mappings.machine.ports {
        Some((owner, words)) if *owner == bench.task_of(client) => {
            words.iter().map(|(word, usable)| (*word, *usable)).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn with_the_port_the_instruction_goes_on() {
    let (bench, client) = served_client(OUT_4, 0x3fa);
    assert_eq!(bench.current(), client);
    assert_eq!(known(&bench, client), [(0x3f8 / 64, 0xff << (0x3f8 % 64))]);
    assert_eq!(bench.kernel.faults, 1);
}

#[test]
fn an_access_over_two_words_needs_both() {
    const PIECES: [Flexpage; 2] = [Flexpage::io_ports(0x3fe, 1), Flexpage::io_ports(0x400, 1)];
    let (mut bench, client) = client_at(OUT_4, 0x3fe);
    for ports in PIECES {
        give_to_root(&mut bench, ports);
        protection_fault(&mut bench);
        // One flexpage that holds all four.
        assert_eq!(asked(&mut bench, client).ports, Flexpage::io_ports(0, 11));
        answer(&mut bench, &[MapItem::map(ports.address() << PAGE_ORDER, ports)]);
    }
    protection_fault(&mut bench);
    assert_eq!(bench.current(), client);
    assert_eq!(known(&bench, client), [(0xf, 3 << 62), (0x10, 3)]);
}

/// INS and OUTS have other reasons to raise a protection fault: it is not tried for ever.
#[test]
fn a_fault_that_ports_do_not_explain_is_an_exception() {
    const INS: &[u8] = &[0x6c];
    let (mut bench, client) = served_client(INS, 0x3ff);
    assert_eq!(bench.current(), client);
    protection_fault(&mut bench);
    assert_exception(&mut bench, client);
}

#[test]
fn a_task_gets_its_ports_back_after_another_one_ran() {
    let (mut bench, client) = served_client(IN, 0x3ff);
    bench.kernel.mappings.machine.ports_suspended = true;
    bench.kernel.mappings.machine.records.clear();
    protection_fault(&mut bench);
    assert_eq!(bench.current(), client);
    assert!(!bench.kernel.mappings.machine.ports_suspended);
    // Another task does not get them.
    let intruder = bench.spawn(ROOT, 20);
    assert_eq!(bench.current(), intruder);
    bench.enter(bench.task_of(intruder), CODE, FRAME, Rights::READ_EXECUTE);
    put_code(&mut bench, intruder, CODE, IN);
    bench.thread(intruder).context.set_result(MessageTag(0), 0x3ff);
    bench.kernel.mappings.machine.ports_suspended = true;
    protection_fault(&mut bench);
    asked(&mut bench, intruder);
    assert!(bench.kernel.mappings.machine.ports_suspended);
}

#[test]
fn a_port_that_is_taken_away_is_gone_at_once() {
    let (mut bench, client) = served_client(IN, 0x3ff);
    assert_eq!(known(&bench, client).len(), 1);
    let page = Flexpage::io_ports(0x3ff, 0);
    bench.message(client)[..4].copy_from_slice(&[
        task::Unmap::NUMBER,
        Word::from(Rights::READ.bits()) | task::Unmap::OWN_TOO,
        1,
        page.0,
    ]);
    bench.call(Operation::CALL, CapabilityIndex::TASK, MessageTag::new(label::TASK, 4, 0));
    assert_eq!(bench.result(client).0.label(), 0);
    assert_eq!(known(&bench, client), []);
    protection_fault(&mut bench);
    asked(&mut bench, client);
}

#[test]
fn sigma0_has_all_ports_but_the_kernels() {
    for (port, may) in [(0x3ff, true), (0x21, false)] {
        let mut bench = Bench::new();
        bench.kernel.page_fault(FRAME as Word, Access::EXECUTE);
        bench.kernel.mappings.machine.user_memory.insert(FRAME, IN[0]);
        bench.thread(0).context.set_pointers(FRAME as Word, 0);
        bench.thread(0).context.set_result(MessageTag(0), port);
        protection_fault(&mut bench);
        assert_eq!(known(&bench, 0).len(), usize::from(may));
        let reason = if may { None } else { Some(Unresolved::NoPager) };
        assert_eq!(unresolved(&bench).first().copied(), reason);
    }
}

#[test]
fn a_port_is_never_mapped_as_another_one() {
    let (mut bench, client) = served_client(IN, 0x3ff);
    let neighbour = bench.spawn(ROOT, 20);
    let (from, to) = (bench.task_of(client), bench.task_of(neighbour));
    let mut send = |ports, base: Word, window| {
        let item = MapItem::map(base << PAGE_ORDER, ports);
        let outcome = bench.map_item(from, to, item, window);
        (outcome.status, outcome.destination, outcome.order, outcome.entries)
    };
    let one = Flexpage::io_ports(0x3ff, 0);
    assert_eq!(send(one, 0x80, Flexpage::WHOLE_SPACE), (MapStatus::Done, 0x3ff, 0, 1));
    assert_eq!(send(one, 0x80, Flexpage::io_ports(0x3f8, 3)), (MapStatus::Done, 0x3ff, 0, 1));
    // The window is smaller: what of it is sent.
    let eight = Flexpage::io_ports(0x3f8, 3);
    assert_eq!(send(eight, 0x3f8, Flexpage::io_ports(0x3fe, 1)), (MapStatus::Done, 0x3fe, 1, 1));
    for window in [Flexpage::io_ports(0x80, 0), Flexpage::io_ports(0x80, 4)] {
        assert_eq!(send(one, 0x80, window).0, MapStatus::Overflow);
    }
}
