//! Objects of every kind end, in whatever they are, by others and by themselves: what they took comes back
//! to the last byte, and whoever waits for them learns it.

use super::{
    Bench,
    quick::compare,
    soundness::{self, Census},
};
use crate::{
    mapping::capability::Object,
    memory::index::{FactoryIndex, MaybeThread, TableIndex, TaskIndex, ThreadIndex},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    error::{IpcError, ObjectError},
    fault::Access,
    flexpage::{Flexpage, Rights},
    introspection::{
        ThreadState,
        mapping::ObjectKind,
        record::{Event, Traced},
    },
    layout::UTCB_AREA,
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::{Operation as _, factory, task, thread},
    syscall::Operation,
};

/// Where the boss keeps what it makes.
const FACTORY: Word = 40;
const TASK: Word = 41;
const THREAD: Word = 42;
const GATE: Word = 43;
/// A gate to the boss, and one to its second thread.
const TO_BOSS: Word = 44;
const TO_SERVER: Word = 45;

/// Where a task has its gates.
const PARENT: Word = CapabilityIndex::PARENT.0;
const SERVER: Word = CapabilityIndex::SERVER.0;

const START: Word = 0x40_0100;
const PAGES: Word = 0x50_0000;
const FRAMES: u64 = 0x300_0000;

/// How many there must be of what must not leave anything behind.
const MANY: u64 = 100_000;
const TASKS: u64 = 5_000;

/// A task that makes others, and a server of its own.
pub struct Yard {
    pub bench: Bench,
    pub boss: u16,
    server: u16,
    task: TaskIndex,
}

/// All that must be as before.
#[derive(Debug, PartialEq, Eq)]
pub struct Accounts {
    census: Census,
    left: u64,
    used: Vec<u64>,
}

impl Yard {
    pub fn new() -> Self {
        let mut bench = Bench::new();
        for _ in 0..2 {
            bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
        }
        let server = bench.spawn(1, 200);
        bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
        let boss = bench.spawn(1, 100);
        let task = bench.task_of(boss);
        bench.give(task, CapabilityIndex::FACTORY, Object::Factory(FactoryIndex::from_position(0)));
        bench.gate(task, CapabilityIndex(TO_BOSS), boss, 0xb055);
        bench.gate(task, CapabilityIndex(TO_SERVER), server, 0x5e11);
        for page in 0..4 {
            let frame = FRAMES + page * PAGE_SIZE as u64;
            bench.enter(task, PAGES + page as usize * PAGE_SIZE, frame, Rights::all());
        }
        bench.kernel.threads[ThreadIndex::from_position(boss)].context.set_pointers(START, 0);
        let mut yard = Self { bench, boss, server, task };
        // The tables that come once, and stay.
        yard.make_family();
        yard.give_up(FACTORY);
        // It was told that nobody holds its gate any more.
        yard.enter(server, Operation::WAIT, 0, MessageTag(0));
        yard
    }

    /// A system call of a thread until the kernel is left. Whether it begins again.
    pub fn enter(
        &mut self,
        number: u16,
        operation: Operation,
        index: Word,
        tag: MessageTag,
    ) -> bool {
        self.bench.run(number);
        let thread = ThreadIndex::from_position(number);
        self.bench.kernel.threads[thread].context.set_pointers(START, 0);
        self.bench.call(operation, CapabilityIndex(index), tag);
        let known = &self.bench.kernel.threads[thread];
        known.is(ThreadState::Ready) && known.context.instruction() != START
    }

    /// A call of an object by the boss; `others` act whenever it is left midway.
    pub fn call_among<const N: usize>(
        &mut self,
        (index, label): (Word, isize),
        message: [Word; N],
        mut others: impl FnMut(&mut Self),
    ) -> Result<(), ObjectError> {
        let boss = self.boss;
        self.bench.message(boss)[..N].copy_from_slice(&message);
        while self.enter(boss, Operation::CALL, index, MessageTag::new(label, N, 0)) {
            others(self);
        }
        let answer = self.bench.result(boss).0;
        ObjectError::from_label(answer.label()).map_or(Ok(()), Err)
    }

    fn call<const N: usize>(&mut self, index: Word, label: isize, message: [Word; N]) {
        let done = self.call_among((index, label), message, |_| {});
        assert_eq!(done, Ok(()), "{index} {label} {message:?}");
    }

    /// Takes away what the boss has in a slot, and all that was derived from it.
    pub fn give_up(&mut self, slot: Word) {
        self.give_up_among(slot, |_| {});
    }

    fn give_up_among(&mut self, slot: Word, others: impl FnMut(&mut Self)) {
        let page = Flexpage::capabilities(slot, 0, Rights::empty()).0;
        let all = Word::from(Rights::all().bits()) | task::Unmap::OWN_TOO;
        let own = (CapabilityIndex::TASK.0, label::TASK);
        let done = self.call_among(own, [task::Unmap::NUMBER, all, 1, page], others);
        assert_eq!(done, Ok(()));
    }

    /// A factory of 4 MiB, and from that a task with a thread that runs.
    fn make_family(&mut self) {
        self.call(3, label::FACTORY, [factory::CreateFactory::NUMBER, FACTORY, 4 << 20]);
        self.make_task(FACTORY);
    }

    fn make_task(&mut self, from: Word) {
        let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE).0;
        self.call(from, label::FACTORY, [factory::CreateTask::NUMBER, TASK, area]);
        self.call(from, label::FACTORY, [factory::CreateThread::NUMBER, THREAD]);
        self.call(from, label::FACTORY, [factory::CreateGate::NUMBER, GATE, 7, THREAD]);
        for (slot, own) in
            [(TASK, 1), (THREAD, 2), (FACTORY, 3), (TO_BOSS, PARENT), (TO_SERVER, SERVER)]
        {
            if from == FACTORY || slot != FACTORY {
                self.map(Flexpage::capabilities(slot, 0, Rights::all()), own << PAGE_ORDER);
            }
        }
        self.call(
            THREAD,
            label::THREAD,
            [thread::Control::NUMBER, PARENT, PARENT, TASK, UTCB_AREA],
        );
        self.call(THREAD, label::THREAD, [thread::ExRegs::NUMBER, START, 0]);
        for page in 0..3 {
            let address = PAGES + page * PAGE_SIZE;
            self.map(Flexpage::memory(address, PAGE_ORDER, Rights::all()), address);
        }
    }

    fn map(&mut self, flexpage: Flexpage, base: Word) {
        let [base, flexpage] = MapItem::map(base, flexpage).to_words();
        self.call(TASK, label::TASK, [task::Map::NUMBER, base, flexpage]);
    }

    /// The thread that the boss has in a slot.
    fn child(&mut self) -> u16 {
        match self.bench.slot(self.task, THREAD as u32) {
            Some(Object::Thread(thread)) => thread.position(),
            other => panic!("no thread but {other:?}"),
        }
    }

    pub fn accounts(&mut self) -> Accounts {
        self.bench.drain();
        soundness::check(&mut self.bench).expect("sound");
        let census = Census::of(&self.bench);
        let mappings = &self.bench.kernel.mappings;
        let factories = census.factories.iter().map(|number| FactoryIndex::from_position(*number));
        let used = factories.map(|factory| mappings.factories[factory].record.used).collect();
        let left = mappings.pool.left();
        Accounts { census, left, used }
    }

    fn ended(&mut self) -> Vec<ObjectKind> {
        let ended = |traced: &Traced| match traced.event {
            Event::ObjectEnded(ended) => Some(ended.object.kind()),
            _ => None,
        };
        let kinds = self.bench.events().iter().filter_map(ended).collect();
        self.bench.kernel.mappings.machine.records.clear();
        kinds
    }
}

#[test]
fn many_of_each_kind_leave_nothing_behind() {
    let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE).0;
    for way in [
        [factory::CreateTask::NUMBER, TASK, area, 0],
        [factory::CreateThread::NUMBER, TASK, 0, 0],
        [factory::CreateGate::NUMBER, TASK, 7, CapabilityIndex::THREAD.0],
        [factory::CreateFactory::NUMBER, TASK, 1 << 20, 0],
    ] {
        let mut yard = Yard::new();
        let before = yard.accounts();
        for _ in 0..MANY {
            yard.call(3, label::FACTORY, way);
            yard.give_up(TASK);
            yard.bench.kernel.mappings.machine.records.clear();
            yard.bench.kernel.mappings.machine.flushed.clear();
        }
        assert_eq!(yard.accounts(), before, "{way:?}");
    }
}

/// With mappings, a message that was answered, and its first capabilities anywhere.
#[test]
fn thousands_of_tasks_leave_nothing_behind() {
    let mut yard = Yard::new();
    let before = yard.accounts();
    for number in 0..TASKS {
        yard.make_family();
        let (child, server) = (yard.child(), yard.server);
        yard.enter(child, Operation::CALL, SERVER, MessageTag::new(1, 2, 0));
        assert_eq!(yard.bench.current(), server);
        if number % 2 == 0 {
            yard.enter(server, Operation::REPLY_AND_WAIT, 0, MessageTag(0));
        }
        yard.bench.kernel.mappings.machine.is_restless = number % 3 == 0;
        yard.give_up(FACTORY);
        yard.bench.kernel.mappings.machine.is_restless = false;
        if number % 2 != 0 {
            yard.enter(server, Operation::REPLY_AND_WAIT, 0, MessageTag(0));
        }
        let ended = yard.ended();
        let kinds = [ObjectKind::Task, ObjectKind::Thread, ObjectKind::Gate, ObjectKind::Factory];
        for kind in kinds {
            assert!(ended.contains(&kind), "{kind:?} of {ended:?}");
        }
        yard.bench.kernel.mappings.machine.flushed.clear();
    }
    assert_eq!(yard.accounts(), before);
}

/// What a thread can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Inactive,
    Ready,
    Current,
    Sending,
    SendingToGate,
    ReceivingOpen,
    ReceivingClosed,
    AwaitingReply,
    OwingReply,
    FaultQueued,
    FaultTaken,
    Exception,
    Stopped,
    MidMessage,
    MidUnmap,
}

const STATES: [State; 15] = [
    State::Inactive,
    State::Ready,
    State::Current,
    State::Sending,
    State::SendingToGate,
    State::ReceivingOpen,
    State::ReceivingClosed,
    State::AwaitingReply,
    State::OwingReply,
    State::FaultQueued,
    State::FaultTaken,
    State::Exception,
    State::Stopped,
    State::MidMessage,
    State::MidUnmap,
];

impl Yard {
    /// Brings the child into a state.
    fn bring(&mut self, state: State) {
        let (child, server) = (self.child(), self.server);
        let nothing = MessageTag(0);
        match state {
            State::Inactive | State::Ready => {}
            State::Current => self.bench.run(child),
            // The boss is busy.
            State::Sending => _ = self.enter(child, Operation::SEND, PARENT, nothing),
            State::SendingToGate => {
                // The gate is the child's own.
                let to_boss = Flexpage::capabilities(TO_BOSS, 0, Rights::all());
                self.map(to_boss, 20 << PAGE_ORDER);
                self.enter(child, Operation::CALL, 20, nothing);
            }
            State::ReceivingOpen => _ = self.enter(child, Operation::WAIT, 0, nothing),
            State::ReceivingClosed => _ = self.enter(child, Operation::RECEIVE, PARENT, nothing),
            State::AwaitingReply => {
                self.enter(child, Operation::CALL, SERVER, nothing);
                assert_eq!(self.bench.current(), server);
            }
            State::OwingReply => {
                self.enter(child, Operation::WAIT, 0, nothing);
                // The server calls through a gate to the child.
                let task = self.bench.task_of(server);
                self.bench.gate(task, CapabilityIndex(30), child, 3);
                let waiting = ThreadIndex::from_position(server);
                self.bench.kernel.cancel(waiting);
                self.enter(server, Operation::CALL, 30, nothing);
            }
            State::FaultQueued | State::FaultTaken => {
                if state == State::FaultTaken {
                    let thread = ThreadIndex::from_position(child);
                    self.bench.kernel.threads[thread].record.set_pager(SERVER as u16);
                }
                self.bench.run(child);
                self.bench.kernel.page_fault(0x60_0000, Access::WRITE);
            }
            State::Exception | State::Stopped => {
                let handler = if state == State::Exception { SERVER } else { 0 };
                let thread = ThreadIndex::from_position(child);
                self.bench.kernel.threads[thread].record.set_exception_handler(handler as u16);
                self.bench.run(child);
                self.bench.kernel.exception(6, 0);
            }
            State::MidMessage => {
                // As many pages as there can be, to the server.
                let item = MapItem::map(0, Flexpage::memory(PAGES, PAGE_ORDER + 6, Rights::all()));
                self.bench.message(child)[..2].copy_from_slice(&item.to_words());
                self.bench.message(server);
                let window = Flexpage::WHOLE_SPACE.0;
                self.bench.kernel.utcb(ThreadIndex::from_position(server)).buffer[0] = window;
                self.bench.kernel.mappings.machine.is_restless = true;
                self.enter(child, Operation::CALL, SERVER, MessageTag::new(0, 0, 1));
                self.bench.kernel.mappings.machine.is_restless = false;
            }
            State::MidUnmap => {
                let all = Flexpage::memory(PAGES, PAGE_ORDER + 6, Rights::empty()).0;
                let words = [task::Unmap::NUMBER, Word::from(Rights::all().bits()), 1, all];
                self.bench.message(child)[..4].copy_from_slice(&words);
                self.bench.kernel.mappings.machine.is_restless = true;
                let midway =
                    self.enter(child, Operation::CALL, 1, MessageTag::new(label::TASK, 4, 0));
                self.bench.kernel.mappings.machine.is_restless = false;
                assert!(midway);
            }
        }
        self.bench.kernel.mappings.machine.records.clear();
    }

    /// Lets the boss run again, whoever does, and the server wait.
    fn settle(&mut self) {
        self.bench.drain();
        let (boss, server) = (self.boss, self.server);
        for number in [boss, server] {
            self.bench.kernel.mappings.machine.is_restless = false;
            let thread = ThreadIndex::from_position(number);
            if number == server && self.bench.kernel.threads[thread].is(ThreadState::Ready) {
                self.bench.run(server);
                self.bench.kernel.utcb(thread).buffer[0] = 0;
                for _ in 0..8 {
                    if self.bench.current() == server {
                        self.enter(server, Operation::WAIT, 0, MessageTag(0));
                    }
                }
            }
        }
    }
}

/// By which of the capabilities of the boss a thread ends.
const ROOTS: [Word; 3] = [THREAD, TASK, FACTORY];

#[test]
fn a_thread_ends_in_whatever_it_is() {
    for state in STATES {
        for root in ROOTS {
            for is_restless in [false, true] {
                let mut yard = Yard::new();
                let before = yard.accounts();
                yard.make_family();
                yard.bring(state);
                let child = yard.child();
                yard.bench.kernel.mappings.machine.is_restless = is_restless;
                let mut left = 0;
                yard.give_up_among(root, |yard| {
                    left += 1;
                    soundness::check(&mut yard.bench).expect("sound midway");
                });
                yard.bench.kernel.mappings.machine.is_restless = false;
                let gone = &yard.bench.kernel.threads[ThreadIndex::from_position(child)];
                let stopped = [ThreadState::Unused, ThreadState::Stopped];
                assert!(stopped.iter().any(|state| gone.is(*state)), "{state:?} by {root}");
                assert!(left != 0 || !is_restless, "{state:?} by {root}");
                soundness::check(&mut yard.bench).expect("sound");
                for slot in [THREAD, TASK, GATE, FACTORY] {
                    yard.give_up(slot);
                }
                if state == State::OwingReply {
                    let (tag, _) = yard.bench.result(yard.server);
                    let lost = yard.bench.error(yard.server);
                    assert!(tag.is_ipc_error() && lost == IpcError::ReplyLost as Word);
                    continue;
                }
                yard.settle();
                assert_eq!(yard.accounts(), before, "{state:?} by {root}");
            }
        }
    }
}

/// States in which nobody else has to do with a thread.
const ALONE: [State; 8] = [
    State::Inactive,
    State::Ready,
    State::Current,
    State::ReceivingOpen,
    State::AwaitingReply,
    State::FaultTaken,
    State::Exception,
    State::Stopped,
];

#[test]
fn a_thread_or_gate_ends_the_quick_way_as_the_general_way() {
    for state in STATES {
        let mut yards = [false, true].map(|is_slow| {
            let mut yard = Yard::new();
            let machine = &mut yard.bench.kernel.mappings.machine;
            (machine.is_slow, machine.has_stopped_clock) = (is_slow, true);
            yard.make_family();
            yard.bring(state);
            yard
        });
        for slot in [GATE, THREAD] {
            let ways = yards.each_mut().map(|yard| {
                let page = Flexpage::capabilities(slot, 0, Rights::empty()).0;
                let derived = [task::Unmap::NUMBER, Word::from(Rights::READ.bits()), 1, page];
                yard.call(CapabilityIndex::TASK.0, label::TASK, derived);
                let before = yard.bench.kernel.mappings.machine.quick_ways;
                yard.give_up(slot);
                yard.bench.kernel.mappings.machine.quick_ways - before
            });
            let is_alone = slot == GATE || ALONE.contains(&state);
            assert_eq!(ways, [usize::from(is_alone), 0], "{state:?}, {slot}");
            let [quick, slow] = yards.each_mut().map(|yard| &mut yard.bench);
            // The test lets others run than the most important one; the quick way wakes nobody, and
            // leaves it at that.
            quick.kernel.preempt();
            slow.kernel.preempt();
            compare([quick, slow], 0);
            soundness::check(quick).expect("sound");
        }
    }
}

/// The thread that runs takes away its own first capability, or that of its task, or factory.
#[test]
fn whoever_ends_itself_is_gone_at_once() {
    for own in [1, 2, 3] {
        for is_restless in [false, true] {
            let mut yard = Yard::new();
            let before = yard.accounts();
            yard.make_family();
            let child = yard.child();
            // What it gets is the first capability itself.
            let flexpage =
                Flexpage::capabilities([TASK, THREAD, FACTORY][own - 1], 0, Rights::all());
            let item = MapItem { send_base: (50 + own) << PAGE_ORDER, grant: true, flexpage };
            let [base, words] = item.to_words();
            yard.call(TASK, label::TASK, [task::Map::NUMBER, base, words]);
            let page = Flexpage::capabilities(50 + own, 0, Rights::empty()).0;
            let all = Word::from(Rights::all().bits()) | task::Unmap::OWN_TOO;
            yard.bench.message(child)[..4].copy_from_slice(&[task::Unmap::NUMBER, all, 1, page]);
            yard.bench.kernel.mappings.machine.is_restless = is_restless;
            while yard.enter(child, Operation::CALL, 1, MessageTag::new(label::TASK, 4, 0)) {}
            yard.bench.kernel.mappings.machine.is_restless = false;
            assert_ne!(
                yard.bench.kernel.current,
                MaybeThread::from(ThreadIndex::from_position(child))
            );
            yard.bench.drain();
            for slot in [THREAD, TASK, GATE, FACTORY] {
                yard.give_up(slot);
            }
            assert_eq!(yard.accounts(), before, "{own}");
        }
    }
}

#[test]
fn a_server_learns_once_that_nobody_holds_its_gate() {
    for waits_before in [false, true] {
        let mut yard = Yard::new();
        yard.make_family();
        let server = yard.server;
        let thread = ThreadIndex::from_position(server);
        if !waits_before {
            yard.bench.kernel.cancel(thread);
        }
        let to_server = Flexpage::capabilities(TO_SERVER, 0, Rights::all());
        yard.map(to_server, 60 << PAGE_ORDER);
        yard.bench.kernel.mappings.machine.records.clear();
        yard.give_up(TASK);
        if !waits_before {
            yard.enter(server, Operation::WAIT, 0, MessageTag(0));
        }
        let told = (MessageTag::new(label::GATE_UNHELD, 0, 0), 0x5e11);
        assert_eq!(yard.bench.result(server), told);
        assert!(yard.bench.kernel.threads[thread].is(ThreadState::Ready));
        yard.enter(server, Operation::WAIT, 0, MessageTag(0));
        assert!(yard.bench.kernel.threads[thread].is(ThreadState::Receiving), "once");
    }
}

#[test]
fn a_gate_that_is_held_again_is_none_of_those() {
    let mut yard = Yard::new();
    yard.make_family();
    let server = yard.server;
    let thread = ThreadIndex::from_position(server);
    yard.bench.kernel.cancel(thread);
    for slot in [TASK, THREAD, GATE] {
        yard.give_up(slot);
    }
    yard.make_task(FACTORY);
    yard.enter(server, Operation::WAIT, 0, MessageTag(0));
    yard.enter(server, Operation::WAIT, 0, MessageTag(0));
    assert!(yard.bench.kernel.threads[thread].is(ThreadState::Receiving));
}

/// Whoever waits at a gate when it ends.
#[test]
fn who_waits_at_a_gate_that_ends_is_turned_away() {
    for operation in [Operation::SEND, Operation::CALL, Operation::RECEIVE] {
        let mut yard = Yard::new();
        yard.make_family();
        let (child, task) =
            (yard.child(), TaskIndex::from_position(yard.bench.thread(yard.boss).record.task));
        yard.bench.gate(task, CapabilityIndex(70), yard.boss, 5);
        yard.map(Flexpage::capabilities(70, 0, Rights::all()), 70 << PAGE_ORDER);
        yard.enter(child, operation, 70, MessageTag(0));
        yard.give_up(70);
        let (tag, error) = (yard.bench.result(child).0, yard.bench.error(child));
        assert!(tag.is_ipc_error() && error == IpcError::NoPartner as Word, "{operation:?}");
        assert!(yard.bench.thread(child).is(ThreadState::Ready));
        soundness::check(&mut yard.bench).expect("sound");
    }
}

/// A factory within a factory, and the first capabilities in the hands of those that end with it.
#[test]
fn trees_of_tasks_that_hold_each_other_end() {
    for is_restless in [false, true] {
        let mut yard = Yard::new();
        let before = yard.accounts();
        yard.call(3, label::FACTORY, [factory::CreateFactory::NUMBER, FACTORY, 8 << 20]);
        yard.call(FACTORY, label::FACTORY, [factory::CreateFactory::NUMBER, 60, 4 << 20]);
        yard.call(60, label::FACTORY, [factory::CreateFactory::NUMBER, 61, 2 << 20]);
        for (number, from) in [60, 61].into_iter().enumerate() {
            yard.make_task(from);
            // Each task holds the first capability to the factory that its own comes from, and its own.
            for (place, slot) in [from, TASK, THREAD, GATE].into_iter().enumerate() {
                let flexpage = Flexpage::capabilities(slot, 0, Rights::all());
                let send_base = (80 + place) << PAGE_ORDER;
                let [base, words] = MapItem { send_base, grant: slot != TASK, flexpage }.to_words();
                if number == 0 || slot != from {
                    yard.call(TASK, label::TASK, [task::Map::NUMBER, base, words]);
                }
            }
            let flexpage = Flexpage::capabilities(TASK, 0, Rights::all());
            let [base, words] =
                MapItem { send_base: 90 << PAGE_ORDER, grant: true, flexpage }.to_words();
            yard.call(TASK, label::TASK, [task::Map::NUMBER, base, words]);
        }
        yard.bench.kernel.mappings.machine.is_restless = is_restless;
        yard.give_up_among(FACTORY, |yard| soundness::check(&mut yard.bench).expect("sound"));
        yard.bench.kernel.mappings.machine.is_restless = false;
        for slot in [60, 61, TASK, THREAD, GATE] {
            yard.give_up(slot);
        }
        assert_eq!(yard.accounts(), before);
    }
}
