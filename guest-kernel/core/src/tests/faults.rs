//! Page faults and exceptions.

use super::Bench;
use crate::memory::index::{TableIndex, TaskIndex, ThreadIndex};
use protocol::{
    Word,
    fault::{Access, PageFault},
    flexpage::{Flexpage, Rights},
    introspection::{
        NOBODY, ThreadState,
        record::{Event, Ids, Kind, Unresolved},
    },
    layout::USER_END,
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    syscall::Operation,
};

const NIL: CapabilityIndex = CapabilityIndex::NIL;
const ROOT: u16 = 1;
const FRAME: u64 = 0x200_0000;
const SOURCE: usize = 0x200_0000;

fn faulting_client() -> (Bench, u16) {
    let mut bench = Bench::new();
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    let client = bench.spawn(ROOT, 10);
    bench.enter(TaskIndex::ROOT, SOURCE, FRAME, Rights::READ_WRITE);
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    assert_eq!(bench.current(), client);
    (bench, client)
}

fn answer(bench: &mut Bench, items: &[MapItem]) {
    for (number, item) in items.iter().enumerate() {
        let words = item.to_words();
        bench.message(ROOT)[2 * number..2 * number + 2].copy_from_slice(&words);
    }
    bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag::new(0, 0, items.len()));
}

fn last_unresolved(bench: &Bench) -> Option<Unresolved> {
    bench.events().iter().rev().find_map(|traced| match traced.event {
        Event::Unresolved(fault) => Some(fault.reason),
        _ => None,
    })
}

#[test]
fn a_fault_becomes_a_message_and_its_answer_a_mapping() {
    let (mut bench, client) = faulting_client();
    // There is a page table already: the common case.
    bench.enter(bench.task_of(client), 0x1234_0000, FRAME, Rights::READ);
    bench.kernel.mappings.machine.records.clear();
    bench.kernel.page_fault(0x1234_5678, Access::WRITE);
    assert_eq!(bench.current(), ROOT);
    assert_eq!(bench.result(ROOT), (PageFault::TAG, client.into()));
    let words = [bench.message(ROOT)[0], bench.message(ROOT)[1]];
    let fault = PageFault::from_words(words);
    assert_eq!((fault.address, fault.access), (0x1234_5678, Access::WRITE));
    assert_eq!(fault.instruction, 0x40_0000);
    assert!(bench.thread(client).is(ThreadState::PageFault));

    let page = Flexpage::memory(SOURCE, 12, Rights::READ_WRITE);
    answer(&mut bench, &[MapItem::map(0x1234_5000, page)]);
    assert_eq!(bench.current(), client);
    let task = bench.task_of(client);
    let entry = bench.page(task, 0x1234_5000);
    assert!(entry.is_present());
    assert_eq!((entry.physical().0, entry.rights()), (FRAME, Rights::READ_WRITE));
    assert_eq!(bench.kinds(), [Kind::Fault, Kind::Resolve]);
    let [begin, end] = bench.events()[..] else { panic!("two records") };
    let (Event::Fault(fault), Event::Resolve(resolve)) = (begin.event, end.event) else {
        panic!("a fault and its end: {begin:?} {end:?}");
    };
    assert_eq!((fault.address, fault.number), (0x1234_5678, resolve.number));
    let (map, resume) = resolve.split(end.time);
    assert_eq!((map.destination, map.source), (0x1234_5000, page.address() as u32));
    assert_eq!((map.sent, map.physical), (page, FRAME));
    assert!(begin.time < resume.delivered && resume.delivered < resume.answered);
    assert!(resume.answered < end.time);
}

/// What the last record of a fault or exception says: who was asked, and whom the thread that it
/// happened to owes an answer.
fn last_asked(bench: &Bench) -> (Ids, u16) {
    let asked = bench.events().iter().rev().find_map(|traced| match traced.event {
        Event::Fault(fault) => Some((fault.pager, fault.owed)),
        Event::Exception(exception) => Some((exception.handler, exception.owed)),
        _ => None,
    });
    asked.expect("a record")
}

#[test]
fn a_fault_names_the_thread_that_waits_for_the_faulting_one() {
    let (mut bench, client) = faulting_client();
    bench.kernel.page_fault(0x5000, Access::empty());
    assert_eq!(last_asked(&bench), (Ids::new(1, ROOT), NOBODY));
    assert_eq!(bench.current(), ROOT);
    bench.kernel.page_fault(0x200_1000, Access::empty());
    assert_eq!(last_asked(&bench), (Ids::new(0, 0), client));
    assert_eq!(bench.current(), 0);
    bench.kernel.page_fault(0x200_1000, Access::empty());
    assert_eq!(last_asked(&bench), (Ids::NOBODY, ROOT));
    bench.kernel.exception(6, 0);
    assert_eq!(last_asked(&bench), (Ids::NOBODY, ROOT));
}

#[test]
fn a_fault_that_queues_is_not_served_yet() {
    let (mut bench, first) = faulting_client();
    bench.kernel.page_fault(0x5000, Access::empty());
    // The root task works for the first when a more important one faults.
    let second = bench.spawn(ROOT, 210);
    assert_eq!(bench.current(), second);
    bench.kernel.page_fault(0x5000, Access::empty());
    assert_eq!(last_asked(&bench), (Ids::new(1, ROOT), NOBODY));
    assert!(bench.thread(second).is(ThreadState::Sending));
    bench.kernel.page_fault(0x200_1000, Access::empty());
    assert_eq!(last_asked(&bench), (Ids::new(0, 0), first));
    // sigma0 lets it go on; it takes the second one's message and faults again.
    bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag(0));
    assert_eq!(bench.current(), ROOT);
    bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag(0));
    assert_eq!((bench.current(), bench.result(ROOT).1), (ROOT, second.into()));
    bench.kernel.page_fault(0x200_1000, Access::empty());
    assert_eq!(last_asked(&bench), (Ids::new(0, 0), second));
}

#[test]
fn a_refused_fault_reaches_the_exception_handler() {
    let (mut bench, client) = faulting_client();
    bench.kernel.page_fault(0x10, Access::EXECUTE);
    bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag::new(-22, 0, 0));
    assert_eq!(last_unresolved(&bench), Some(Unresolved::Refused));
    // The pager is the handler too and gets the exception at once.
    assert_eq!(bench.current(), ROOT);
    let (tag, sender) = bench.result(ROOT);
    assert_eq!((tag.label(), sender), (label::EXCEPTION, client.into()));
    assert_eq!(bench.message(ROOT)[..3], [14, Access::EXECUTE.bits().into(), 0x40_0000]);
    bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag::new(-1, 0, 0));
    assert!(bench.thread(client).is(ThreadState::Stopped));
    assert!(bench.kernel.current.get().is_none());
}

#[test]
fn an_exception_that_its_handler_refuses_is_recorded_as_such() {
    let (mut bench, client) = faulting_client();
    bench.kernel.exception(6, 0);
    bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag::new(-1, 0, 0));
    assert!(bench.thread(client).is(ThreadState::Stopped));
    let Some(Event::Unresolved(unresolved)) = bench.events().last().map(|last| last.event) else {
        panic!("a record");
    };
    assert_eq!((unresolved.reason, unresolved.number), (Unresolved::Refused, 1));
}

#[test]
fn an_exception_can_be_survived() {
    let (mut bench, client) = faulting_client();
    bench.kernel.exception(6, 0);
    assert_eq!(bench.current(), ROOT);
    bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag(0));
    assert_eq!(bench.current(), client);
}

#[test]
fn useless_answers_end() {
    let (mut bench, client) = faulting_client();
    for _ in 0..4 {
        bench.kernel.page_fault(0x5000, Access::empty());
        assert_eq!(bench.current(), ROOT);
        answer(&mut bench, &[]);
        assert_eq!(bench.current(), client);
    }
    bench.kernel.page_fault(0x5000, Access::empty());
    assert_eq!(last_unresolved(&bench), Some(Unresolved::NoProgress));
}

#[test]
fn a_page_with_too_few_rights_is_no_progress_either() {
    let (mut bench, _) = faulting_client();
    for _ in 0..4 {
        bench.kernel.page_fault(0x5000, Access::WRITE);
        let read_only = Flexpage::memory(SOURCE, 12, Rights::READ);
        answer(&mut bench, &[MapItem::map(0x5000, read_only)]);
    }
    assert_eq!(last_unresolved(&bench), None);
    bench.kernel.page_fault(0x5000, Access::WRITE | Access::PRESENT);
    answer(&mut bench, &[]);
    for _ in 0..4 {
        bench.kernel.page_fault(0x5000, Access::WRITE | Access::PRESENT);
        if bench.current() == ROOT {
            answer(&mut bench, &[]);
        }
    }
    assert_eq!(last_unresolved(&bench), Some(Unresolved::NoProgress));
}

#[test]
fn a_pager_that_dies_with_a_fault_does_not_hang_its_client() {
    let (mut bench, client) = faulting_client();
    bench.thread(client).record.set_exception_handler(0);
    bench.kernel.page_fault(0x5000, Access::empty());
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    assert_eq!(last_unresolved(&bench), Some(Unresolved::ReplyLost));
    assert!(bench.thread(client).is(ThreadState::Stopped));
}

#[test]
fn a_thread_without_pager_stops() {
    let (mut bench, client) = faulting_client();
    bench.thread(client).record.set_pager(500);
    bench.thread(client).record.set_exception_handler(500);
    bench.kernel.page_fault(0x5000, Access::empty());
    assert_eq!(last_unresolved(&bench), Some(Unresolved::NoPager));
    assert!(bench.thread(client).is(ThreadState::Stopped));
}

#[test]
fn nobody_can_map_above_three_gib() {
    let (mut bench, _) = faulting_client();
    for address in [USER_END, Word::MAX] {
        bench.kernel.mappings.machine.records.clear();
        bench.kernel.page_fault(address, Access::empty());
        assert_eq!(last_unresolved(&bench), Some(Unresolved::OutsideUserArea));
        // Its handler lets it go on: the next round.
        bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag(0));
    }
}

#[test]
fn sigma0_gets_its_memory_from_the_kernel() {
    let mut bench = Bench::new();
    bench.kernel.page_fault(0x200_1234, Access::empty());
    assert_eq!(bench.current(), 0);
    let entry = bench.page(TaskIndex::SIGMA0, 0x200_1000);
    assert_eq!((entry.is_present(), entry.physical().0), (true, 0x200_1000));
    // The kernel's pool is not sigma0's.
    bench.kernel.page_fault(0x20_0000, Access::empty());
    assert_eq!(last_unresolved(&bench), Some(Unresolved::NoPager));
    assert_eq!(
        bench.kernel.mappings.machine.status,
        Some(crate::threads::kernel::STATUS_ROOT_STOPPED)
    );
}

/// Wherever a thread waits with a fault, sending it elsewhere leaves its other registers alone.
#[test]
fn whoever_waits_with_a_fault_keeps_its_registers() {
    for is_queued in [false, true] {
        let (mut bench, client) = faulting_client();
        let thread = ThreadIndex::from_position(client);
        if is_queued {
            bench.kernel.cancel(ThreadIndex::from_position(ROOT));
            bench.kernel.current = thread.into();
        }
        bench.thread(client).context.set_result(MessageTag(0x1234), 0x5678);
        bench.kernel.page_fault(0x5000, Access::empty());
        let state = if is_queued { ThreadState::Sending } else { ThreadState::PageFault };
        assert!(bench.thread(client).is(state));
        bench.kernel.cancel(thread);
        assert_eq!(bench.result(client), (MessageTag(0x1234), 0x5678), "queued: {is_queued}");
    }
}

/// An answer of several pages, of which the pager has the first one only: the others help nobody.
#[test]
fn an_answer_that_lacks_the_page_is_useless() {
    let (mut bench, client) = faulting_client();
    let page = Flexpage::memory(SOURCE, 13, Rights::READ_WRITE);
    for _ in 0..8 {
        bench.kernel.page_fault(0x1234_1678, Access::WRITE);
        if bench.current() != ROOT || bench.result(ROOT).0 != PageFault::TAG {
            break;
        }
        answer(&mut bench, &[MapItem::map(0x1234_0000, page)]);
        assert_eq!(bench.current(), client);
    }
    assert_eq!(last_unresolved(&bench), Some(Unresolved::NoProgress));
}
