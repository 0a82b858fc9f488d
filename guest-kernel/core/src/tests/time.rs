//! Timeouts in every phase, the clock and turns, with a clock that the tests drive.

use super::{Bench, random::Random, soundness};
use crate::{
    memory::index::{TableIndex, ThreadIndex},
    threads::{alarm::Alarms, timing::SLICE},
};
use protocol::{
    error::IpcError,
    flexpage::{Flexpage, Rights},
    introspection::{
        ThreadState,
        record::{Event, Ids, Kind},
    },
    kip::KernelInfoPage,
    message::{MapItem, MessageTag},
    object::CapabilityIndex,
    syscall::{CAPABILITY_SHIFT, Operation, Timeout, Timeouts, set_time_in},
};
use std::collections::BTreeMap;

const NIL: CapabilityIndex = CapabilityIndex::NIL;
const PARENT: CapabilityIndex = CapabilityIndex::PARENT;
const ROOT: u16 = 1;
const NEVER: Timeout = Timeout::NEVER;

/// When the scene begins.
const START: u64 = 1 << 20;

/// A time that the format has exactly.
const LONG: u64 = 1 << 14;

fn within(microseconds: u64) -> Timeout {
    Timeout::at_least(microseconds)
}

/// sigma0 and the root task wait; a client of the root task runs. No time passes by itself.
fn scene() -> (Bench, u16) {
    let mut bench = Bench::new();
    bench.kernel.mappings.machine.has_stopped_clock = true;
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    let client = bench.spawn(ROOT, 10);
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    assert_eq!(bench.current(), client);
    // Whatever the timer was set for at the beginning.
    bench.kernel.pass(START - bench.kernel.mappings.machine.ticks());
    (bench, client)
}

/// A system call of the thread that runs.
fn call(
    bench: &mut Bench,
    operation: Operation,
    index: CapabilityIndex,
    tag: MessageTag,
    [send, receive]: [Timeout; 2],
) {
    let target = index.0 << CAPABILITY_SHIFT | operation.0;
    bench.kernel.system_call(target, tag.0, Timeouts::new(send, receive).0);
}

fn wait(bench: &mut Bench, timeout: Timeout) {
    call(bench, Operation::WAIT, NIL, MessageTag(0), [NEVER, timeout]);
}

fn sleep(bench: &mut Bench, timeout: Timeout) {
    call(bench, Operation::RECEIVE, NIL, MessageTag(0), [NEVER, timeout]);
}

/// Until when the thread waits.
fn deadline(bench: &Bench, thread: u16) -> Option<u64> {
    bench.kernel.deadline_of(ThreadIndex::from_position(thread))
}

/// The thread goes on, with this error.
fn assert_failed(bench: &mut Bench, thread: u16, error: IpcError) {
    assert!(bench.thread(thread).is(ThreadState::Ready), "{:?}", bench.thread(thread).state());
    assert!(bench.result(thread).0.is_ipc_error());
    assert_eq!(bench.error(thread), error as usize);
    soundness::check(bench).expect("sound");
}

/// It has waited, does so until shortly before that time has passed, and no longer.
fn assert_times_out(bench: &mut Bench, thread: u16, time: u64, error: IpcError) {
    let since = bench.kernel.mappings.machine.ticks();
    soundness::check(bench).expect("sound");
    assert_eq!(deadline(bench, thread), Some(since + time));
    bench.kernel.pass(time - 1);
    assert!(!bench.thread(thread).is(ThreadState::Ready));
    bench.kernel.pass(1);
    assert_failed(bench, thread, error);
}

#[test]
fn a_thread_sleeps() {
    let (mut bench, client) = scene();
    sleep(&mut bench, within(LONG));
    assert_eq!(bench.kernel.current.get(), None);
    assert_times_out(&mut bench, client, LONG, IpcError::Timeout);
    assert_eq!(bench.current(), client);
    assert_eq!(bench.kernel.mappings.machine.timer, None, "nobody needs it any more");
}

#[test]
fn nobody_sleeps_for_ever() {
    let (mut bench, client) = scene();
    sleep(&mut bench, NEVER);
    assert_failed(&mut bench, client, IpcError::NoPartner);
}

#[test]
fn an_open_wait_has_an_end() {
    let (mut bench, client) = scene();
    wait(&mut bench, within(LONG));
    assert_times_out(&mut bench, client, LONG, IpcError::Timeout);
}

#[test]
fn waiting_for_one_has_an_end() {
    let (mut bench, client) = scene();
    call(&mut bench, Operation::RECEIVE, PARENT, MessageTag(0), [NEVER, within(LONG)]);
    assert_times_out(&mut bench, client, LONG, IpcError::Timeout);
    assert!(bench.thread(ROOT).receivers.is_empty());
}

#[test]
fn who_sends_waits_no_longer_than_it_wants() {
    for operation in [Operation::SEND, Operation::CALL] {
        let (mut bench, client) = scene();
        // The root task works for another one.
        let other = bench.spawn(ROOT, 20);
        bench.call(Operation::CALL, PARENT, MessageTag(0));
        assert!(bench.thread(ROOT).caller == ThreadIndex::from_position(other).into());
        sleep(&mut bench, within(10 * LONG));
        call(&mut bench, operation, PARENT, MessageTag(0), [within(LONG), within(2)]);
        assert_times_out(&mut bench, client, LONG, IpcError::SendTimeout);
        assert!(bench.thread(ROOT).senders.is_empty());
    }
}

#[test]
fn a_caller_waits_for_its_answer_no_longer_than_it_wants_and_nothing_is_owed_then() {
    for is_slow in [false, true] {
        let (mut bench, client) = scene();
        bench.kernel.mappings.machine.is_slow = is_slow;
        // Messages that are traced go no quick way.
        bench.kernel.mappings.machine.wanted_records = Kind::DEFAULT_ENABLED;
        for round in 0..3 {
            let quick_ways = bench.kernel.mappings.machine.quick_ways;
            call(&mut bench, Operation::CALL, PARENT, MessageTag(0), [within(2), within(LONG)]);
            let went_quick = bench.kernel.mappings.machine.quick_ways != quick_ways;
            assert_eq!(went_quick, !is_slow && round == 1, "the first one has no alarm yet");
            if round == 0 {
                // It is answered in time.
                bench.kernel.pass(LONG / 2);
                bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag(0));
                assert_eq!(deadline(&bench, client), None);
                continue;
            }
            sleep(&mut bench, within(10 * LONG));
            assert_times_out(&mut bench, client, LONG, IpcError::Timeout);
            assert_eq!(bench.thread(ROOT).caller.get(), None);
            // The root task waits again.
            bench.kernel.pass(9 * LONG);
            bench.run(ROOT);
            bench.call(Operation::WAIT, NIL, MessageTag(0));
            bench.run(client);
        }
    }
}

/// What is known of an alarm is no longer so when it has moved.
#[test]
fn an_alarm_that_was_postponed_is_too_late_for_what_it_covered() {
    let (mut bench, client) = scene();
    bench.kernel.mappings.machine.wanted_records = Kind::DEFAULT_ENABLED;
    let limited = |bench: &mut Bench| {
        let quick_ways = bench.kernel.mappings.machine.quick_ways;
        call(bench, Operation::CALL, PARENT, MessageTag(0), [within(LONG), within(LONG)]);
        bench.kernel.mappings.machine.quick_ways != quick_ways
    };
    for is_quick in [false, true, true] {
        assert_eq!(limited(&mut bench), is_quick);
        bench.kernel.pass(10);
        bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag(0));
    }
    // The alarm comes, and is set anew for a time that is later.
    sleep(&mut bench, within(10 * LONG));
    bench.kernel.pass(LONG);
    bench.kernel.cancel(ThreadIndex::from_position(client));
    bench.run(client);
    assert!(!limited(&mut bench));
    sleep(&mut bench, within(20 * LONG));
    assert_times_out(&mut bench, client, LONG, IpcError::Timeout);
}

#[test]
fn a_queued_call_has_a_limit_to_its_answer_too() {
    let (mut bench, client) = scene();
    let other = bench.spawn(ROOT, 20);
    bench.call(Operation::CALL, PARENT, MessageTag(0));
    sleep(&mut bench, within(4));
    call(&mut bench, Operation::CALL, PARENT, MessageTag(0), [NEVER, within(LONG)]);
    assert_eq!(deadline(&bench, client), None, "its message was not taken yet");
    bench.kernel.pass(4);
    assert_eq!(bench.current(), ROOT);
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    assert_failed(&mut bench, other, IpcError::ReplyLost);
    bench.run(ROOT);
    sleep(&mut bench, within(10 * LONG));
    assert_times_out(&mut bench, client, LONG, IpcError::Timeout);
}

#[test]
fn no_time_for_an_answer_is_no_answer() {
    for queues in [false, true] {
        let (mut bench, client) = scene();
        if queues {
            bench.run_root_until_it_sleeps(4);
        }
        call(&mut bench, Operation::CALL, PARENT, MessageTag(0), [NEVER, Timeout::ZERO]);
        if queues {
            bench.kernel.pass(4);
            bench.run(ROOT);
            bench.call(Operation::WAIT, NIL, MessageTag(0));
        }
        assert_eq!(bench.result(ROOT).1, client.into(), "the message was taken");
        assert_failed(&mut bench, client, IpcError::Timeout);
        assert_eq!(bench.thread(ROOT).caller.get(), None);
    }
}

#[test]
fn an_absolute_time_stands_in_buffer_registers() {
    let (mut bench, client) = scene();
    let thread = ThreadIndex::from_position(client);
    let timeout = Timeout::until(20).expect("there is such a register");
    for (time, waits) in [(START + 1000, true), (START + 1000, false), (0, false)] {
        set_time_in(&mut bench.kernel.utcb(thread).buffer[20..], time);
        wait(&mut bench, timeout);
        assert_eq!(deadline(&bench, client), waits.then_some(time));
        bench.kernel.pass(if waits { 1000 } else { 0 });
        assert_failed(&mut bench, client, IpcError::Timeout);
    }
    call(&mut bench, Operation::SEND, PARENT, MessageTag(0), [Timeout(0xffff), NEVER]);
    assert_eq!(bench.error(client), IpcError::InvalidArgument as usize);
}

#[test]
fn a_message_in_time_ends_the_limit_and_its_alarm_finds_nobody() {
    let (mut bench, client) = scene();
    wait(&mut bench, within(LONG));
    let other = bench.spawn(client, 5);
    assert_eq!(bench.current(), other);
    bench.call(Operation::CALL, PARENT, MessageTag(0));
    assert_eq!((bench.current(), deadline(&bench, client)), (client, None));
    // It waits as long as it takes now.
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    bench.run(other);
    sleep(&mut bench, within(4 * LONG));
    bench.kernel.pass(2 * LONG);
    assert!(bench.thread(client).accepts_all());
    assert_eq!(bench.kernel.timing.alarms.all().len(), 1, "of the one that sleeps");
}

#[test]
fn a_later_limit_of_the_same_thread_needs_no_other_alarm() {
    let (mut bench, client) = scene();
    wait(&mut bench, within(1000));
    bench.kernel.cancel(ThreadIndex::from_position(client));
    bench.kernel.preempt();
    bench.kernel.pass(500);
    wait(&mut bench, within(1000));
    assert_eq!(
        bench.kernel.timing.alarms.all(),
        [(START + 1000, ThreadIndex::from_position(client))]
    );
    bench.kernel.pass(999);
    assert!(bench.thread(client).accepts_all());
    bench.kernel.pass(1);
    assert_failed(&mut bench, client, IpcError::Timeout);
}

#[test]
fn a_thread_that_ended_leaves_an_alarm_for_nobody() {
    let (mut bench, client) = scene();
    wait(&mut bench, within(LONG));
    bench.kernel.stop(ThreadIndex::from_position(client));
    bench.kernel.pass(LONG);
    assert!(bench.thread(client).is(ThreadState::Stopped));
    assert_eq!(bench.kernel.timing.alarms.first(), None);
}

#[test]
fn many_wake_at_once_a_few_at_a_time() {
    let (mut bench, client) = scene();
    let mut sleepers = vec![client];
    sleep(&mut bench, within(LONG));
    for _ in 0..30 {
        sleepers.push(bench.spawn(ROOT, 10));
        sleep(&mut bench, within(LONG));
    }
    let machine = &mut bench.kernel.mappings.machine;
    machine.pass(LONG);
    let mut interrupts = 0;
    let mut awake = 0;
    while bench.kernel.mappings.machine.timer.take().is_some() {
        bench.kernel.timer_interrupt();
        interrupts += 1;
        let now = sleepers.iter().filter(|thread| bench.thread(**thread).is(ThreadState::Ready));
        let now = now.count();
        assert!(now - awake <= 4, "{now} and {awake}");
        awake = now;
        if awake == sleepers.len() {
            break;
        }
    }
    assert_eq!((interrupts, awake), (8, 31));
    soundness::check(&mut bench).expect("sound");
}

#[test]
fn who_wakes_is_recorded() {
    let (mut bench, client) = scene();
    bench.kernel.mappings.machine.records.clear();
    call(&mut bench, Operation::RECEIVE, PARENT, MessageTag(0), [NEVER, within(LONG)]);
    bench.kernel.pass(LONG);
    let found: Vec<_> = bench
        .events()
        .into_iter()
        .filter_map(|traced| match traced.event {
            Event::TimedOut(timed) => Some((traced.who.thread(), timed)),
            _ => None,
        })
        .collect();
    let [(who, timed)] = found[..] else { panic!("{found:?}") };
    assert_eq!((who, timed.is_sending, timed.deadline), (client, false, START + LONG));
    assert_eq!(timed.partner, Ids::new(1, ROOT));
}

/// A system call that was left at a preemption point waits no longer for that.
#[test]
fn what_begins_again_keeps_its_time() {
    let (mut bench, client) = scene();
    // The client waits with a limit for anybody, and a sender with items is interrupted.
    let (source, target) = (0x4000_0000, 0x5000_0000);
    let sender = bench.spawn(client, 5);
    let task = bench.task_of(sender);
    bench.run(client);
    let window = Flexpage::memory(target, 21, Rights::all());
    bench.kernel.utcb(ThreadIndex::from_position(client)).buffer[0] = window.0;
    wait(&mut bench, within(LONG));
    for page in 0..512 {
        bench.enter(task, source + page * 0x1000, 0x200_0000 + page as u64 * 0x1000, Rights::all());
    }
    let item = MapItem::map(0, Flexpage::memory(source, 21, Rights::all()));
    bench.message(sender)[..2].copy_from_slice(&item.to_words());
    bench.run(sender);
    bench.kernel.mappings.machine.is_restless = true;
    bench.call(Operation::SEND, PARENT, MessageTag::new(0, 0, 1));
    bench.kernel.mappings.machine.is_restless = false;
    // Now it is the client who goes on, with the time that it had.
    assert!(bench.thread(client).is(ThreadState::Ready));
    let arguments = bench.thread(client).context.arguments();
    assert_eq!(arguments[2], Timeouts::new(NEVER, Timeout::BEGUN).0);
    bench.kernel.pass(LONG / 2);
    // The sender is sent elsewhere, and the client waits what is left.
    bench.kernel.cancel(ThreadIndex::from_position(sender));
    bench.run(client);
    bench.kernel.system_call(arguments[0], arguments[1], arguments[2]);
    assert_eq!(deadline(&bench, client), Some(START + LONG));
    bench.run(sender);
    sleep(&mut bench, within(4 * LONG));
    bench.kernel.pass(LONG / 2);
    assert_failed(&mut bench, client, IpcError::Timeout);
}

#[test]
fn a_thread_alone_has_no_ticks_and_two_take_turns_of_their_own() {
    let (mut bench, first) = scene();
    assert_eq!(bench.kernel.mappings.machine.timer, None, "it is alone");
    let second = bench.spawn(ROOT, 10);
    bench.kernel.set_slice(ThreadIndex::from_position(second), 3000);
    let mut ran = BTreeMap::new();
    for _ in 0..260 {
        *ran.entry(bench.current()).or_insert(0) += 1;
        bench.kernel.pass(500);
    }
    assert_eq!(u64::from(SLICE), 10_000);
    assert_eq!(ran, BTreeMap::from([(first, 200), (second, 60)]));
    bench.run(second);
    wait(&mut bench, NEVER);
    bench.kernel.pass(100_000);
    assert_eq!(bench.kernel.mappings.machine.timer, None, "it is alone again");
}

#[test]
fn who_wakes_and_is_more_important_takes_over_and_the_turn_goes_on_behind_it() {
    let (mut bench, first) = scene();
    let important = bench.spawn(ROOT, 20);
    assert_eq!(bench.current(), important);
    sleep(&mut bench, within(4000));
    let second = bench.spawn(ROOT, 10);
    assert_eq!(bench.current(), first);
    bench.kernel.pass(4000);
    assert_eq!(bench.current(), important);
    bench.kernel.pass(500);
    bench.call(Operation::WAIT, NIL, MessageTag(0));
    assert_eq!(bench.current(), first);
    bench.kernel.pass(5999);
    assert_eq!(bench.current(), first);
    bench.kernel.pass(1);
    assert_eq!(bench.current(), second);
}

#[test]
fn tasks_can_read_when_the_timer_last_came() {
    let (mut bench, _) = scene();
    sleep(&mut bench, within(LONG));
    bench.kernel.pass(LONG);
    let mappings = &mut bench.kernel.mappings;
    let page = mappings.sigma0.kernel_info_page;
    let info: &mut KernelInfoPage =
        crate::memory::machine::Memory::view(&mut mappings.machine, page);
    assert_eq!(info.last_interrupt, START + LONG);
    assert_ne!(info.timer_interrupts, 0);
}

/// The heap against a list.
#[test]
fn alarms_are_in_order() {
    use super::model::{ModelMachine, Shelf};
    for seed in 0..64 {
        let mut random = Random::new(seed);
        let mut alarms = Alarms::<ModelMachine>::new(Shelf::full(40), Shelf::full(40));
        let mut known = BTreeMap::<u16, u64>::new();
        for step in 0..2000 {
            let (thread, due) = ((random.next() % 40) as u16, random.next() % 1000);
            let first = known.values().min().copied();
            assert_eq!(alarms.first().map(|(due, _)| due), first);
            match random.next() % 4 {
                0 if first.is_some() => {
                    let (due, whose) = alarms.first().expect("just seen");
                    assert_eq!(known.remove(&whose.position()), Some(due));
                    alarms.remove_first();
                }
                1 if first.is_some() => {
                    let (_, whose) = alarms.first().expect("just seen");
                    alarms.postpone_first(due.max(first.unwrap_or(0)));
                    known.insert(whose.position(), due.max(first.unwrap_or(0)));
                }
                _ => {
                    alarms.set(ThreadIndex::from_position(thread), due);
                    let earlier = known.get(&thread).copied().unwrap_or(u64::MAX).min(due);
                    known.insert(thread, earlier);
                }
            }
            assert_eq!(alarms.defect(), None, "seed {seed}, step {step}");
            let found = alarms.all().into_iter().map(|(due, whose)| (whose.position(), due));
            assert_eq!(found.collect::<BTreeMap<_, _>>(), known, "seed {seed}, step {step}");
            for thread in 0..40 {
                let covers = alarms.covers(ThreadIndex::from_position(thread), due);
                assert_eq!(covers, known.get(&thread).is_some_and(|known| *known <= due));
            }
        }
    }
}

impl Bench {
    /// The root task takes no message for so long.
    fn run_root_until_it_sleeps(&mut self, time: u64) {
        let current = self.current();
        self.kernel.cancel(ThreadIndex::from_position(ROOT));
        self.run(ROOT);
        sleep(self, within(time));
        self.run(current);
    }
}
