//! Threads that wait for each other, in chains and circles of every length, when one of them stops.

use super::Bench;
use crate::{
    mapping::capability::Object,
    memory::index::{TableIndex, ThreadIndex},
};
use protocol::{
    error::IpcError,
    fault::Access,
    introspection::ThreadState,
    message::MessageTag,
    object::{CapabilityIndex, label},
    syscall::{CAPABILITY_SHIFT, Operation},
};

const NIL: CapabilityIndex = CapabilityIndex::NIL;
const PARENT: CapabilityIndex = CapabilityIndex::PARENT;
const SLOT: CapabilityIndex = CapabilityIndex(30);
const INVALID_OPCODE: u8 = 6;

/// How a thread waits for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// For its answer to a call that it has taken.
    Call,
    /// Until it takes the call.
    Queue,
    /// For its answer to an exception.
    Exception,
    /// Until it takes the message of the exception.
    QueuedException,
    /// For its answer to a page fault, which becomes an exception then.
    Fault,
    /// For a message from it and nobody else.
    ClosedReceive,
}

const WAYS: [Way; 6] =
    [Way::Call, Way::Queue, Way::Exception, Way::QueuedException, Way::Fault, Way::ClosedReceive];

/// Threads, each with a gate to the next one in PARENT, which is its pager and exception handler too,
/// and the next one itself in SLOT.
struct Chain {
    bench: Bench,
    first: u16,
    length: u16,
}

impl Chain {
    fn new(length: u16) -> Self {
        let mut bench = Bench::new();
        for _ in 0..2 {
            bench.call(Operation::WAIT, NIL, MessageTag(0));
        }
        let first = bench.kernel.threads.used();
        let next = |number| first + (number + 1) % length;
        for number in 0..length {
            bench.spawn(next(number), 100);
        }
        for number in 0..length {
            let task = bench.task_of(first + number);
            let next = ThreadIndex::from_position(next(number));
            bench.give(task, SLOT, Object::Thread(next));
        }
        bench.kernel.mappings.machine.records.clear();
        Self { bench, first, length }
    }

    fn run(&mut self, number: u16) {
        self.bench.run(self.first + number);
    }

    /// Lets a thread wait for the next one.
    fn wait(&mut self, number: u16, way: Way) {
        let next = (number + 1) % self.length;
        let takes = matches!(way, Way::Call | Way::Exception | Way::Fault);
        if takes {
            self.run(next);
            self.bench.call(Operation::WAIT, NIL, MessageTag(0));
        }
        self.run(number);
        match way {
            Way::Call | Way::Queue => {
                self.bench.call(Operation::CALL, PARENT, MessageTag(0));
            }
            Way::Exception | Way::QueuedException => {
                self.bench.kernel.exception(INVALID_OPCODE, 0);
            }
            Way::Fault => self.bench.kernel.page_fault(0x5000, Access::empty()),
            Way::ClosedReceive => {
                let target = SLOT.0 << CAPABILITY_SHIFT | Operation::RECEIVE.0;
                self.bench.kernel.system_call(target, 0, 0);
            }
        }
        assert!(!self.bench.thread(self.first + number).is(ThreadState::Ready), "{way:?}");
    }

    /// Stops a thread, by an exception that nobody handles.
    fn stop(&mut self, number: u16) {
        self.bench.thread(self.first + number).record.set_exception_handler(0);
        let thread = ThreadIndex::from_position(self.first + number);
        if self.bench.kernel.threads[thread].is(ThreadState::Ready) {
            self.run(number);
            self.bench.kernel.exception(INVALID_OPCODE, 0);
        } else {
            self.bench.kernel.stop(thread);
            self.bench.kernel.settle();
        }
    }

    fn state(&mut self, number: u16) -> u32 {
        self.bench.thread(self.first + number).record.state.into()
    }

    /// What became of a thread that waited for one that has stopped.
    fn expect_told(&mut self, number: u16, way: Way) {
        let (state, error) = match way {
            Way::Call => (ThreadState::Ready, Some(IpcError::ReplyLost)),
            Way::Queue | Way::ClosedReceive => (ThreadState::Ready, Some(IpcError::NoPartner)),
            Way::Exception | Way::QueuedException | Way::Fault => (ThreadState::Stopped, None),
        };
        assert_eq!(self.state(number), state as u32, "{way:?}");
        if let Some(error) = error {
            let thread = self.first + number;
            assert!(self.bench.result(thread).0.is_ipc_error());
            assert_eq!(self.bench.error(thread), error as usize, "{way:?}");
        }
    }

    /// How much of the stack the kernel uses while it does something.
    fn depth(&mut self, act: impl FnOnce(&mut Self)) -> usize {
        let here = core::ptr::from_ref(&self).addr();
        self.bench.kernel.mappings.machine.deepest.set(here);
        act(self);
        here - self.bench.kernel.mappings.machine.deepest.get()
    }
}

#[test]
fn whoever_waits_for_a_thread_that_stops_learns_it() {
    for way in WAYS {
        let mut chain = Chain::new(3);
        chain.wait(0, way);
        chain.stop(1);
        chain.expect_told(0, way);
        assert_eq!(chain.state(2), ThreadState::Ready as u32, "a third one has no part in it");
    }
}

/// Threads that stop one after the other use no more of the kernel's stack however many they are.
#[test]
fn chains_of_every_length_and_kind_end_on_a_small_stack() {
    let ends = [Way::Exception, Way::QueuedException, Way::Fault];
    for kinds in ends.iter().flat_map(|one| ends.iter().map(move |two| [*one, *two])) {
        let mut depths = Vec::new();
        for length in [3, 4, 10, 100] {
            let mut chain = Chain::new(length);
            let ways: Vec<_> =
                (0..length - 1).map(|number| kinds[usize::from(number) % 2]).collect();
            // From the end, so that who is waited for can still take a message.
            for (number, way) in (0..length - 1).zip(&ways) {
                chain.wait(number, *way);
            }
            depths.push(chain.depth(|chain| chain.stop(length - 1)));
            for (number, way) in (0..length - 1).zip(&ways) {
                chain.expect_told(number, *way);
            }
        }
        let (least, most) = (depths[0], depths[depths.len() - 1]);
        assert!(most < least + 1024, "{kinds:?}: {depths:?} bytes of stack");
    }
}

/// Each handles the exceptions of the one before, and all have raised one.
#[test]
fn circles_of_every_length_end_when_one_is_stopped() {
    for length in [2, 3, 10, 100] {
        let mut chain = Chain::new(length);
        for number in 0..length {
            chain.wait(number, Way::QueuedException);
        }
        let depth = chain.depth(|chain| chain.stop(length / 2));
        for number in 0..length {
            assert_eq!(chain.state(number), ThreadState::Stopped as u32, "{number} of {length}");
        }
        assert!(depth < 0x2000, "{depth} bytes of stack for {length}");
    }
}

/// A server that loses an answer it owes because it takes the exception of who waited for that ...
#[test]
fn answers_that_are_lost_one_after_the_other_need_no_stack() {
    let mut depths = Vec::new();
    for length in [3, 100] {
        let mut chain = Chain::new(length);
        for number in 0..length - 2 {
            chain.wait(number, Way::Fault);
        }
        // The last one of them is served; it forgets to answer, and whoever waited for it learns it.
        let last = length - 2;
        chain.run(last);
        depths.push(chain.depth(|chain| {
            chain.bench.call(Operation::WAIT, NIL, MessageTag(0));
        }));
    }
    assert!(depths[1] < depths[0] + 1024, "{depths:?} bytes of stack");
}

/// Many wait for one: interrupts come in between.
#[test]
fn a_crowd_at_a_thread_that_stops_does_not_keep_interrupts_off() {
    const CROWD: u16 = 100;
    let mut bench = Bench::new();
    for _ in 0..2 {
        bench.call(Operation::WAIT, NIL, MessageTag(0));
    }
    let server = bench.spawn(1, 10);
    bench.thread(server).record.set_exception_handler(0);
    let crowd: Vec<_> = (0..CROWD)
        .map(|_| {
            let thread = bench.spawn(server, 20);
            assert_eq!(bench.current(), thread);
            bench.call(Operation::CALL, PARENT, MessageTag::new(label::SIGMA0, 0, 0));
            thread
        })
        .collect();
    assert_eq!(bench.current(), server);
    let before = bench.kernel.mappings.machine.interrupt_windows;
    bench.kernel.exception(INVALID_OPCODE, 0);
    let windows = bench.kernel.mappings.machine.interrupt_windows - before;
    assert!(windows >= u64::from(CROWD) / 32, "{windows} windows");
    for thread in crowd {
        assert_eq!(bench.error(thread), IpcError::NoPartner as usize);
        assert!(bench.thread(thread).is(ThreadState::Ready));
    }
}

/// Whoever waits for an answer may get a fault of the same thread instead, if it is its pager, and takes
/// that for one. It is owed no other answer then, and may wait for that thread in another way.
#[test]
fn a_fault_is_an_answer_too() {
    for is_slow in [true, false] {
        let mut chain = Chain::new(2);
        chain.bench.kernel.mappings.machine.is_slow = is_slow;
        chain.bench.kernel.mappings.machine.is_silent = true;
        let [pager, client] = [chain.first, chain.first + 1];
        chain.wait(0, Way::Call);
        assert_eq!(chain.bench.current(), client);
        chain.bench.kernel.page_fault(0x5000, Access::empty());
        assert_eq!(chain.bench.current(), pager);
        assert!(chain.bench.thread(client).is(ThreadState::PageFault));
        // The pager answers, and waits for a message from the other and nobody else.
        let reply = Operation(Operation::SEND.0 | Operation::REPLY.0);
        chain.bench.call(reply, NIL, MessageTag(0));
        chain.run(0);
        let target = SLOT.0 << CAPABILITY_SHIFT | Operation::RECEIVE.0;
        chain.bench.kernel.system_call(target, 0, 0);
        assert_eq!(chain.bench.current(), client);
        chain.bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag(0));
        for number in 0..2 {
            let thread = chain.bench.thread(chain.first + number);
            let (is_ready, queue) = (thread.is(ThreadState::Ready), thread.queue());
            assert!(!(is_ready && queue.is_some()), "{number} is ready, and in a queue");
        }
    }
}
