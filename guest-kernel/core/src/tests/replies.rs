//! Answers that were set aside: whatever was asked, whoever answers, and however it ends.

use super::Bench;
use crate::{
    ipc::port_fault::GENERAL_PROTECTION_VECTOR,
    mapping::capability::Object,
    memory::index::{TableIndex, TaskIndex, ThreadIndex},
    tests::algebra::database::Reader,
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    error::{IpcError, ObjectError},
    fault::{Access, Exception, PageFault, PortFault},
    flexpage::{Flexpage, Rights},
    introspection::{
        ThreadState,
        record::{Event, Ids, Unresolved},
    },
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::{Operation as _, task, thread},
    syscall::{CAPABILITY_SHIFT, Operation},
};

const NIL: CapabilityIndex = CapabilityIndex::NIL;
const PARENT: CapabilityIndex = CapabilityIndex::PARENT;
/// Where answers are set aside.
const SLOT: CapabilityIndex = CapabilityIndex(40);
const OTHER_SLOT: CapabilityIndex = CapabilityIndex(41);
/// The other task.
const TASK: CapabilityIndex = CapabilityIndex(50);
/// The client's thread.
const CLIENT: CapabilityIndex = CapabilityIndex(51);

const INVALID_OPCODE: u8 = 6;
const CODE: Word = 0x40_0000;
const FRAME: u64 = 0x200_0000;
/// What servers hand out.
const SOURCE: Word = 0x300_0000;
const PORT: u16 = 0x3f8;
/// What the client touches.
const ADDRESS: Word = 0x1234_5000;

/// What a client waits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Call,
    PageFault,
    PortFault,
    Exception,
}

const WAYS: [Way; 4] = [Way::Call, Way::PageFault, Way::PortFault, Way::Exception];

impl Way {
    fn state(self) -> ThreadState {
        match self {
            Self::Call => ThreadState::Receiving,
            Self::PageFault => ThreadState::PageFault,
            Self::PortFault => ThreadState::PortFault,
            Self::Exception => ThreadState::Exception,
        }
    }

    fn tag(self) -> MessageTag {
        match self {
            Self::Call => MessageTag::new(7, 2, 0),
            Self::PageFault => PageFault::TAG,
            Self::PortFault => PortFault::TAG,
            Self::Exception => Exception::TAG,
        }
    }
}

/// Two servers, each with a task, and clients of the first one, whose handlers of exceptions it is too.
struct Stage {
    bench: Bench,
    server: u16,
    other: u16,
    client: u16,
    second: u16,
    /// Nodes in use when nothing is set aside.
    nodes: u32,
}

impl Stage {
    fn new() -> Self {
        let mut bench = Bench::new();
        for _ in 0..2 {
            bench.call(Operation::WAIT, NIL, MessageTag(0));
        }
        let [server, other] = [1, 1].map(|parent| bench.spawn(parent, 100));
        let [client, second] = [server, server].map(|parent| bench.spawn(parent, 100));
        let [own, others] = [server, other].map(|thread| bench.task_of(thread));
        for task in [own, others] {
            bench.enter(task, SOURCE, FRAME, Rights::all());
            let port = Flexpage::io_ports(PORT.into(), 0);
            let item = MapItem::map(Word::from(PORT) << PAGE_ORDER, port);
            bench.map_item(TaskIndex::SIGMA0, task, item, Flexpage::WHOLE_SPACE);
            bench.give(task, CLIENT, Object::Thread(ThreadIndex::from_position(client)));
        }
        for (task, else_) in [(own, others), (others, own)] {
            bench.give(task, TASK, Object::Task(else_));
        }
        // IN al, dx.
        for client in [client, second] {
            bench.enter(bench.task_of(client), CODE, FRAME + 0x5000, Rights::READ_EXECUTE);
            let window = Flexpage::WHOLE_SPACE;
            bench.kernel.utcb(ThreadIndex::from_position(client)).buffer[0] = window.0;
        }
        bench.kernel.mappings.machine.user_memory.insert(FRAME + 0x5000, 0xec);
        bench.kernel.mappings.machine.records.clear();
        let nodes = Reader::new(&bench).count_nodes().expect("sound");
        let mut stage = Self { bench, server, other, client, second, nodes };
        stage.serve();
        stage
    }

    fn call(&mut self, thread: u16, operation: Operation, index: CapabilityIndex, tag: MessageTag) {
        self.bench.run(thread);
        self.bench.call(operation, index, tag);
    }

    /// The server waits for the next.
    fn serve(&mut self) {
        self.call(self.server, Operation::WAIT, NIL, MessageTag(0));
    }

    /// A client asks the server, which takes it.
    fn ask(&mut self, client: u16, way: Way) {
        self.bench.run(client);
        self.bench.thread(client).context.set_pointers(CODE, 0x1000);
        match way {
            Way::Call => {
                self.bench.message(client)[..2].copy_from_slice(&[client.into(), 0x77]);
                self.bench.call(Operation::CALL, PARENT, way.tag());
            }
            Way::PageFault => self.bench.kernel.page_fault(ADDRESS + 8, Access::WRITE),
            Way::PortFault => {
                self.bench.thread(client).context.set_result(MessageTag(0), PORT.into());
                self.bench.kernel.exception(GENERAL_PROTECTION_VECTOR, 0);
            }
            Way::Exception => self.bench.kernel.exception(INVALID_OPCODE, 0),
        }
        assert!(self.bench.thread(client).is(way.state()), "{way:?}");
        assert_eq!(self.bench.result(self.server), (way.tag(), client.into()));
    }

    /// An operation of a thread object or task of `thread`'s.
    fn invoke(
        &mut self,
        thread: u16,
        index: CapabilityIndex,
        label: isize,
        words: &[Word],
    ) -> MessageTag {
        self.bench.run(thread);
        self.bench.message(thread)[..words.len()].copy_from_slice(words);
        self.bench.call(Operation::CALL, index, MessageTag::new(label, words.len(), 0));
        self.bench.result(thread).0
    }

    /// Whether what a thread owes was set aside, or why not.
    fn set_aside(&mut self, thread: u16, slot: CapabilityIndex) -> Result<(), IpcError> {
        self.call(thread, Operation::SET_ASIDE, slot, MessageTag(0));
        let (tag, label) = self.bench.result(thread);
        if tag.is_ipc_error() {
            return Err(IpcError::from_word(self.bench.error(thread)).expect("an error"));
        }
        assert_eq!((tag, label), (MessageTag(0), 0));
        Ok(())
    }

    /// A client has asked, the server has set its answer aside, and waits for the next.
    fn later(way: Way) -> Self {
        let mut stage = Self::new();
        stage.ask_later(stage.client, way, SLOT);
        stage
    }

    fn ask_later(&mut self, client: u16, way: Way, slot: CapabilityIndex) {
        self.ask(client, way);
        assert_eq!(self.set_aside(self.server, slot), Ok(()));
        let thread = ThreadIndex::from_position(client);
        assert_eq!(self.object(self.server, slot), Some(Object::Reply(thread)));
        let waiting = self.bench.thread(client);
        assert!(waiting.is(way.state()) && waiting.waits_for_reply(), "{way:?}");
        assert_eq!(waiting.partner(), None);
        assert!(self.bench.thread(self.server).caller.get().is_none());
        self.serve();
        assert!(self.bench.thread(client).waits_for_reply(), "nobody has forgotten it");
    }

    /// What a slot of a thread's task holds.
    fn object(&mut self, thread: u16, slot: CapabilityIndex) -> Option<Object> {
        let task = self.bench.task_of(thread);
        let mappings = &mut self.bench.kernel.mappings;
        let found = mappings.tasks[task].capabilities.get(&mut mappings.machine, slot);
        found.map(|capability| capability.object)
    }

    /// Writes an answer that helps. Returns its tag.
    fn write_answer(&mut self, thread: u16, way: Way) -> MessageTag {
        let item = match way {
            Way::PortFault => {
                MapItem::map(Word::from(PORT) << PAGE_ORDER, Flexpage::io_ports(PORT.into(), 0))
            }
            _ => MapItem::map(ADDRESS, Flexpage::memory(SOURCE, PAGE_ORDER, Rights::READ_WRITE)),
        };
        let [first, second] = item.to_words();
        let message = self.bench.message(thread);
        match way {
            Way::Call => {
                message[..4].copy_from_slice(&[0xa0, 0xa1, first, second]);
                MessageTag::new(5, 2, 1)
            }
            Way::Exception => MessageTag(0),
            Way::PageFault | Way::PortFault => {
                message[..2].copy_from_slice(&[first, second]);
                MessageTag::new(0, 0, 1)
            }
        }
    }

    /// Answers from a slot.
    fn answer(&mut self, thread: u16, operation: Operation, slot: CapabilityIndex, way: Way) {
        self.bench.run(thread);
        let tag = self.write_answer(thread, way);
        self.bench.call(operation, slot, tag);
    }

    /// The client has got what [`Self::answer`] says.
    fn expect_answered(&mut self, client: u16, way: Way) {
        let task = self.bench.task_of(client);
        let waiting = self.bench.thread(client);
        assert!(waiting.is(ThreadState::Ready) && !waiting.waits_for_reply(), "{way:?}");
        let page = self.bench.page(task, ADDRESS);
        match way {
            Way::Call => {
                assert_eq!(self.bench.result(client), (MessageTag::new(5, 2, 1), 0));
                assert_eq!(self.bench.message(client)[..2], [0xa0, 0xa1]);
                assert_eq!(page.rights(), Rights::READ_WRITE);
            }
            Way::PageFault => assert_eq!(page.rights(), Rights::READ_WRITE),
            Way::PortFault => {
                let usable = self.bench.kernel.usable_ports(task, PORT & !63);
                assert_eq!(usable, 1 << (PORT % 64));
            }
            Way::Exception => {}
        }
    }

    /// No capability is left, and nothing that it took.
    fn expect_gone(&mut self, slots: &[(u16, CapabilityIndex)]) {
        for (thread, slot) in slots {
            assert_eq!(self.object(*thread, *slot), None);
        }
        let reader = Reader::new(&self.bench);
        let mapped = u32::from(self.bench.kernel.mappings.interrupted_walks);
        assert_eq!(mapped, 0);
        assert!(reader.count_nodes().expect("sound") <= self.nodes + 2, "nodes are left over");
    }

    /// What became of a client whose answer was dropped.
    fn expect_lost(&mut self, way: Way) {
        let client = self.client;
        match way {
            Way::Call => {
                assert!(self.bench.thread(client).is(ThreadState::Ready));
                assert!(self.bench.result(client).0.is_ipc_error());
                assert_eq!(self.bench.error(client), IpcError::ReplyLost as Word);
            }
            // The server is its handler too, and gets the exception at once.
            Way::PageFault | Way::PortFault => {
                let waiting = self.bench.thread(client);
                assert!(waiting.is(ThreadState::Exception), "{way:?}");
                assert!(!waiting.waits_for_reply());
                assert_eq!(self.unresolved(), [Unresolved::ReplyLost]);
            }
            Way::Exception => {
                assert!(self.bench.thread(client).is(ThreadState::Stopped));
                assert_eq!(self.unresolved(), [Unresolved::ReplyLost]);
            }
        }
        self.expect_gone(&[(self.server, SLOT)]);
    }

    /// What is of interest in what has been recorded.
    fn recorded<T>(&self, of_interest: impl Fn(Event) -> Option<T>) -> Vec<T> {
        self.bench.events().iter().filter_map(|traced| of_interest(traced.event)).collect()
    }

    fn unresolved(&self) -> Vec<Unresolved> {
        self.recorded(|event| match event {
            Event::Unresolved(fault) => Some(fault.reason),
            _ => None,
        })
    }

    /// Takes away what is in a slot of a thread's task.
    fn drop_slot(&mut self, thread: u16, slot: CapabilityIndex) {
        let flexpage = Flexpage::capabilities(slot.0, 0, Rights::empty());
        let words = [task::Unmap::NUMBER, 7 | task::Unmap::OWN_TOO, 1, flexpage.0];
        let tag = self.invoke(thread, CapabilityIndex::TASK, label::TASK, &words);
        assert_eq!(tag, MessageTag::new(0, 4, 0));
    }

    /// Hands the capability in SLOT of the server to the other's OTHER_SLOT, or tries to copy it.
    fn hand_over(&mut self, grant: bool) -> MessageTag {
        self.make_server_run();
        let flexpage = Flexpage::capabilities(SLOT.0, 0, Rights::all());
        let send_base = OTHER_SLOT.0 << PAGE_ORDER;
        let [first, second] = MapItem { send_base, grant, flexpage }.to_words();
        self.invoke(self.server, TASK, label::TASK, &[task::Map::NUMBER, first, second])
    }

    /// The server waits for a message: somebody sends it one.
    fn make_server_run(&mut self) {
        if !self.bench.thread(self.server).is(ThreadState::Ready) {
            self.call(self.second, Operation::SEND, PARENT, MessageTag::new(3, 0, 0));
        }
        assert!(self.bench.thread(self.server).is(ThreadState::Ready));
    }
}

const HOW: [Operation; 2] = [Operation::SEND, Operation::ANSWER_AND_WAIT];

#[test]
fn an_answer_that_comes_later_is_the_answer() {
    for (way, how) in WAYS.iter().flat_map(|way| HOW.map(|how| (*way, how))) {
        let mut stage = Stage::later(way);
        let (server, client) = (stage.server, stage.client);
        // Another one is served in between.
        stage.ask(stage.second, Way::Call);
        stage.bench.run(server);
        stage.bench.call(Operation::REPLY_AND_WAIT, NIL, MessageTag(0));
        assert!(stage.bench.thread(stage.second).is(ThreadState::Ready));
        assert!(stage.bench.thread(client).waits_for_reply());
        stage.make_server_run();
        stage.bench.kernel.mappings.machine.records.clear();
        stage.answer(server, how, SLOT, way);
        stage.expect_answered(client, way);
        stage.expect_gone(&[(server, SLOT)]);
        let waits = stage.bench.thread(server).accepts_all();
        assert_eq!(waits, how == Operation::ANSWER_AND_WAIT, "{way:?}");
        if how == Operation::SEND {
            assert_eq!(stage.bench.result(server), (MessageTag(0), 0));
        }
        let resumed = stage.recorded(|event| match event {
            Event::Resume(resume) => Some(resume.by),
            _ => None,
        });
        let by_server = Ids::new(stage.bench.task_of(server).position(), server);
        let expected = if way == Way::Call { vec![] } else { vec![by_server] };
        assert_eq!(resumed, expected, "{way:?}");
        // It is there once.
        stage.make_server_run();
        stage.call(server, Operation::SEND, SLOT, MessageTag(0));
        assert_eq!(stage.bench.error(server), IpcError::NoPartner as Word);
    }
}

#[test]
fn many_wait_and_are_answered_in_another_order() {
    const COUNT: u16 = 30;
    let mut stage = Stage::new();
    let server = stage.server;
    let clients: Vec<_> = (0..COUNT).map(|_| stage.bench.spawn(server, 100)).collect();
    for (number, client) in clients.iter().enumerate() {
        stage.ask_later(*client, Way::PageFault, CapabilityIndex(100 + number));
    }
    stage.make_server_run();
    for number in (0..COUNT).map(|number| number * 7 % COUNT) {
        let client = clients[usize::from(number)];
        let slot = CapabilityIndex(100 + Word::from(number));
        stage.answer(server, Operation::SEND, slot, Way::PageFault);
        stage.expect_answered(client, Way::PageFault);
    }
    let slots: Vec<_> =
        (0..COUNT).map(|number| (server, CapabilityIndex(100 + Word::from(number)))).collect();
    for (thread, slot) in slots {
        assert_eq!(stage.object(thread, slot), None);
    }
}

#[test]
fn somebody_else_answers_who_was_granted_it() {
    for way in WAYS {
        let mut stage = Stage::later(way);
        assert_eq!(stage.hand_over(true), MessageTag(0));
        let (server, other, client) = (stage.server, stage.other, stage.client);
        assert_eq!(stage.object(server, SLOT), None);
        let thread = ThreadIndex::from_position(client);
        assert_eq!(stage.object(other, OTHER_SLOT), Some(Object::Reply(thread)));
        stage.call(server, Operation::SEND, SLOT, MessageTag(0));
        assert_eq!(stage.bench.error(server), IpcError::NoPartner as Word);
        assert!(stage.bench.thread(client).waits_for_reply());
        stage.answer(other, Operation::SEND, OTHER_SLOT, way);
        stage.expect_answered(client, way);
        stage.expect_gone(&[(server, SLOT), (other, OTHER_SLOT)]);
    }
}

/// By a message, too, and to a slot of the same task.
#[test]
fn it_is_granted_in_messages() {
    let mut stage = Stage::later(Way::PageFault);
    let (server, other, client) = (stage.server, stage.other, stage.client);
    let own = stage.bench.task_of(server);
    stage.bench.gate(own, CapabilityIndex(60), other, 9);
    let window = Flexpage::capabilities(OTHER_SLOT.0, 0, Rights::all());
    stage.bench.kernel.utcb(ThreadIndex::from_position(other)).buffer[0] = window.0;
    stage.call(other, Operation::WAIT, NIL, MessageTag(0));
    stage.make_server_run();
    for grant in [false, true] {
        let flexpage = Flexpage::capabilities(SLOT.0, 0, Rights::all());
        let words = MapItem { send_base: 0, grant, flexpage }.to_words();
        stage.bench.message(server)[..2].copy_from_slice(&words);
        stage.call(server, Operation::SEND, CapabilityIndex(60), MessageTag::new(1, 0, 1));
        let [first, second] = [0, 1].map(|word| stage.bench.message(other)[word]);
        let arrived = MapItem::from_words([first, second]).expect("an item").flexpage;
        assert_eq!(arrived.rights().is_empty(), !grant, "the receiver is told what arrived");
        let found = [(server, SLOT), (other, OTHER_SLOT)].map(|(t, slot)| stage.object(t, slot));
        assert_eq!(found.map(|object| object.is_some()), [!grant, grant]);
        if !grant {
            stage.call(other, Operation::WAIT, NIL, MessageTag(0));
        }
    }
    stage.answer(other, Operation::SEND, OTHER_SLOT, Way::PageFault);
    stage.expect_answered(client, Way::PageFault);
}

#[test]
fn it_is_never_copied() {
    for way in WAYS {
        let mut stage = Stage::later(way);
        assert_eq!(stage.hand_over(false), ObjectError::NoSuchCapability.tag());
        assert_eq!(stage.object(stage.other, OTHER_SLOT), None);
        // Among others only these arrive.
        let own = stage.bench.task_of(stage.server);
        stage.bench.give(own, OTHER_SLOT, Object::Console);
        let flexpage = Flexpage::capabilities(SLOT.0, 1, Rights::all());
        let [first, second] = MapItem::map(SLOT.0 << PAGE_ORDER, flexpage).to_words();
        let tag =
            stage.invoke(stage.server, TASK, label::TASK, &[task::Map::NUMBER, first, second]);
        assert_eq!(tag, MessageTag(0));
        assert_eq!(stage.object(stage.other, SLOT), None);
        assert_eq!(stage.object(stage.other, OTHER_SLOT), Some(Object::Console));
        stage.answer(stage.server, Operation::SEND, SLOT, way);
        stage.expect_answered(stage.client, way);
    }
}

#[test]
fn refusing_later_is_refusing() {
    for way in WAYS {
        let mut stage = Stage::later(way);
        let (server, client) = (stage.server, stage.client);
        stage.make_server_run();
        stage.call(server, Operation::SEND, SLOT, MessageTag::new(-1, 0, 0));
        match way {
            Way::Call => {
                assert_eq!(stage.bench.result(client), (MessageTag::new(-1, 0, 0), 0));
                assert!(stage.bench.thread(client).is(ThreadState::Ready));
            }
            Way::PageFault | Way::PortFault => {
                assert_eq!(stage.unresolved(), [Unresolved::Refused]);
                // The exception waits until the handler asks.
                assert!(stage.bench.thread(client).is(ThreadState::Sending));
            }
            Way::Exception => {
                assert_eq!(stage.unresolved(), [Unresolved::Refused]);
                assert!(stage.bench.thread(client).is(ThreadState::Stopped));
            }
        }
        stage.expect_gone(&[(server, SLOT)]);
    }
}

#[test]
fn useless_answers_are_counted() {
    let mut stage = Stage::new();
    for _ in 0..4 {
        stage.ask_later(stage.client, Way::PageFault, SLOT);
        stage.make_server_run();
        stage.call(stage.server, Operation::ANSWER_AND_WAIT, SLOT, MessageTag(0));
        assert!(stage.bench.thread(stage.client).is(ThreadState::Ready));
        assert_eq!(stage.unresolved(), []);
    }
    stage.bench.run(stage.client);
    stage.bench.kernel.page_fault(ADDRESS + 8, Access::WRITE);
    assert_eq!(stage.unresolved(), [Unresolved::NoProgress]);
}

#[test]
fn who_drops_it_lets_the_caller_know() {
    for way in WAYS {
        let mut stage = Stage::later(way);
        stage.make_server_run();
        if way == Way::PageFault || way == Way::PortFault {
            // Its handler is free to take the exception.
            stage.serve();
            assert_eq!(stage.hand_over(true), MessageTag(0));
            stage.serve();
            stage.drop_slot(stage.other, OTHER_SLOT);
        } else {
            stage.drop_slot(stage.server, SLOT);
        }
        stage.expect_lost(way);
    }
}

#[test]
fn who_maps_over_it_drops_it() {
    for way in WAYS {
        let mut stage = Stage::later(way);
        assert_eq!(stage.hand_over(true), MessageTag(0));
        let flexpage = Flexpage::capabilities(CLIENT.0, 0, Rights::all());
        let [first, second] = MapItem::map(OTHER_SLOT.0 << PAGE_ORDER, flexpage).to_words();
        let tag =
            stage.invoke(stage.server, TASK, label::TASK, &[task::Map::NUMBER, first, second]);
        assert_eq!(tag, MessageTag(0));
        let client = ThreadIndex::from_position(stage.client);
        assert_eq!(stage.object(stage.other, OTHER_SLOT), Some(Object::Thread(client)));
        if matches!(way, Way::PageFault | Way::PortFault) {
            assert_eq!(stage.unresolved(), [Unresolved::ReplyLost]);
            assert!(stage.bench.thread(stage.client).is(ThreadState::Sending));
            stage.serve();
        }
        stage.expect_lost(way);
    }
}

/// One answer is granted over another one.
#[test]
fn one_takes_the_place_of_another() {
    let mut stage = Stage::later(Way::Call);
    stage.ask_later(stage.second, Way::Call, OTHER_SLOT);
    stage.bench.kernel.make_ready(ThreadIndex::from_position(stage.server));
    stage.bench.run(stage.server);
    let flexpage = Flexpage::capabilities(OTHER_SLOT.0, 0, Rights::all());
    let [first, second] = MapItem::grant(SLOT.0 << PAGE_ORDER, flexpage).to_words();
    let words = [task::Map::NUMBER, first, second];
    let tag = stage.invoke(stage.server, CapabilityIndex::TASK, label::TASK, &words);
    assert_eq!(tag, MessageTag(0));
    assert!(stage.bench.thread(stage.client).is(ThreadState::Ready));
    assert_eq!(stage.bench.error(stage.client), IpcError::ReplyLost as Word);
    let left = ThreadIndex::from_position(stage.second);
    assert_eq!(stage.object(stage.server, SLOT), Some(Object::Reply(left)));
    stage.answer(stage.server, Operation::SEND, SLOT, Way::Call);
    stage.expect_answered(stage.second, Way::Call);
    stage.expect_gone(&[(stage.server, SLOT), (stage.server, OTHER_SLOT)]);
}

#[test]
fn it_ends_with_its_caller() {
    for (way, is_stopped) in WAYS.iter().flat_map(|way| [(*way, false), (*way, true)]) {
        let mut stage = Stage::later(way);
        let (server, client) = (stage.server, stage.client);
        if is_stopped {
            stage.bench.kernel.stop(ThreadIndex::from_position(client));
            stage.bench.kernel.settle();
        } else {
            let words = [thread::ExRegs::NUMBER, CODE, 0x1000];
            let tag = stage.invoke(stage.other, CLIENT, label::THREAD, &words);
            assert_eq!(tag, MessageTag::new(0, 3, 0));
            assert!(stage.bench.thread(client).is(ThreadState::Ready));
            if way == Way::Call {
                assert_eq!(stage.bench.error(client), IpcError::Cancelled as Word);
            }
        }
        stage.expect_gone(&[(server, SLOT)]);
        assert!(stage.bench.thread(server).accepts_all(), "the server learns nothing of it");
        stage.make_server_run();
        stage.call(server, Operation::SEND, SLOT, MessageTag(0));
        assert_eq!(stage.bench.error(server), IpcError::NoPartner as Word);
        assert_eq!(stage.bench.thread(client).is(ThreadState::Stopped), is_stopped);
    }
}

/// What was set aside for a call is no answer to the next call of the same thread.
#[test]
fn a_later_call_has_another_answer() {
    for way in WAYS {
        let mut stage = Stage::later(way);
        let (server, client) = (stage.server, stage.client);
        let words = [thread::ExRegs::NUMBER, CODE, 0x1000];
        stage.invoke(stage.other, CLIENT, label::THREAD, &words);
        stage.ask_later(client, way, OTHER_SLOT);
        stage.make_server_run();
        stage.call(server, Operation::SEND, SLOT, MessageTag(0));
        assert_eq!(stage.bench.error(server), IpcError::NoPartner as Word);
        assert!(stage.bench.thread(client).waits_for_reply());
        stage.answer(server, Operation::SEND, OTHER_SLOT, way);
        stage.expect_answered(client, way);
    }
}

#[test]
fn what_cannot_be_set_aside() {
    let mut stage = Stage::new();
    let (server, client) = (stage.server, stage.client);
    stage.make_server_run();
    assert_eq!(stage.set_aside(server, SLOT), Err(IpcError::NoPartner));
    stage.serve();
    stage.ask(client, Way::Call);
    for slot in [NIL, PARENT, CapabilityIndex(4096), CapabilityIndex(0xf_ffff)] {
        assert_eq!(stage.set_aside(server, slot), Err(IpcError::InvalidArgument), "{slot:?}");
    }
    // Without memory for its node it is owed as before.
    let task = stage.bench.task_of(server);
    let factory = stage.bench.kernel.mappings.tasks[task].factory;
    let record = stage.bench.kernel.mappings.factories[factory].record;
    let mut poor = record;
    (poor.free_nodes, poor.limit) = (0, poor.used);
    stage.bench.kernel.mappings.factories[factory].record = poor;
    assert_eq!(stage.set_aside(server, SLOT), Err(IpcError::MapFailed));
    stage.bench.kernel.mappings.factories[factory].record = record;
    let caller = stage.bench.thread(server).caller;
    assert_eq!(caller.get(), Some(ThreadIndex::from_position(client)));
    assert_eq!(stage.set_aside(server, SLOT), Ok(()));
    assert_eq!(stage.set_aside(server, OTHER_SLOT), Err(IpcError::NoPartner));
}

#[test]
fn it_is_no_partner_and_no_object() {
    for way in WAYS {
        let mut stage = Stage::later(way);
        let (server, client) = (stage.server, stage.client);
        stage.make_server_run();
        stage.call(server, Operation::RECEIVE, SLOT, MessageTag(0));
        assert_eq!(stage.bench.error(server), IpcError::NoPartner as Word);
        for label in [0, label::THREAD, label::TASK] {
            stage.call(server, Operation::CALL, SLOT, MessageTag::new(label, 1, 0));
            assert_eq!(stage.bench.result(server).0, ObjectError::BadProtocol.tag());
        }
        stage.call(server, Operation::ANSWER_AND_WAIT, PARENT, MessageTag(0));
        assert_eq!(stage.bench.error(server), IpcError::InvalidArgument as Word);
        stage.call(server, Operation::ANSWER_AND_WAIT, OTHER_SLOT, MessageTag(0));
        assert_eq!(stage.bench.error(server), IpcError::NoPartner as Word);
        // Nobody can take it for one that waits for a message.
        stage.bench.gate(stage.bench.task_of(stage.second), CapabilityIndex(60), client, 1);
        stage.call(stage.second, Operation::SEND, CapabilityIndex(60), MessageTag(0));
        assert!(stage.bench.thread(stage.second).is(ThreadState::Sending));
        assert!(stage.bench.thread(client).waits_for_reply());
    }
}

/// Who answers one that it had set aside and waits forgets whom it owes an answer, as with any wait.
#[test]
fn waiting_loses_what_is_owed_otherwise() {
    let mut stage = Stage::later(Way::Call);
    let (server, client, second) = (stage.server, stage.client, stage.second);
    stage.ask(second, Way::Call);
    stage.answer(server, Operation::ANSWER_AND_WAIT, SLOT, Way::Call);
    stage.expect_answered(client, Way::Call);
    assert!(stage.bench.thread(server).accepts_all());
    assert!(stage.bench.thread(second).is(ThreadState::Ready));
    assert_eq!(stage.bench.error(second), IpcError::ReplyLost as Word);
}

/// An answer whose item takes the capability itself along.
#[test]
fn an_answer_may_grant_itself() {
    let mut stage = Stage::later(Way::Call);
    let (server, client) = (stage.server, stage.client);
    let window = Flexpage::capabilities(OTHER_SLOT.0, 0, Rights::all());
    stage.bench.kernel.utcb(ThreadIndex::from_position(client)).buffer[0] = window.0;
    stage.make_server_run();
    let item = MapItem::grant(0, Flexpage::capabilities(SLOT.0, 0, Rights::all()));
    stage.bench.message(server)[..2].copy_from_slice(&item.to_words());
    stage.call(server, Operation::SEND, SLOT, MessageTag::new(0, 0, 1));
    assert!(stage.bench.thread(client).is(ThreadState::Ready));
    stage.expect_gone(&[(server, SLOT), (client, OTHER_SLOT)]);
}

/// What others may do whenever an answer with items is left at a preemption point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meddling {
    Nothing,
    /// The client is sent elsewhere.
    Cancel,
    /// The client is sent elsewhere, asks again, and that is set aside in the same slot.
    CancelAndAskAgain,
    /// The capability is handed to somebody else.
    HandOver,
    /// Somebody drops it.
    Drop,
    /// What the items come from is taken away.
    Unmap,
}

const MEDDLINGS: [Meddling; 6] = [
    Meddling::Nothing,
    Meddling::Cancel,
    Meddling::CancelAndAskAgain,
    Meddling::HandOver,
    Meddling::Drop,
    Meddling::Unmap,
];

const PAGES: Word = 64;

impl Stage {
    /// The pages that a long answer brings.
    fn fill(&mut self) {
        let task = self.bench.task_of(self.server);
        for page in 0..PAGES {
            let offset = page * PAGE_SIZE;
            self.bench.enter(
                task,
                SOURCE + 0x10_0000 + offset,
                FRAME + 0x10_0000 + offset as u64,
                Rights::all(),
            );
        }
    }

    fn long_answer(&mut self) -> MessageTag {
        for number in 0..4 {
            let offset = number * PAGES / 4 * PAGE_SIZE;
            let flexpage =
                Flexpage::memory(SOURCE + 0x10_0000 + offset, PAGE_ORDER + 4, Rights::READ_WRITE);
            let words = MapItem::map(ADDRESS & !0xf_ffff | offset, flexpage).to_words();
            let place = 2 * number;
            self.bench.message(self.server)[place..place + 2].copy_from_slice(&words);
        }
        MessageTag::new(0, 0, 4)
    }

    /// Another server, in the task of the first one, in whose name others act.
    fn meddle(&mut self, meddling: Meddling, way: Way) {
        let other = self.other;
        match meddling {
            Meddling::Nothing => {}
            Meddling::Cancel | Meddling::CancelAndAskAgain => {
                let words = [thread::ExRegs::NUMBER, CODE, 0x1000];
                self.invoke(other, CLIENT, label::THREAD, &words);
                assert_eq!(self.object(self.server, SLOT), None);
                if meddling == Meddling::CancelAndAskAgain {
                    // As if another thread of the server's task had been asked, and had set that aside.
                    let task = self.bench.task_of(self.server);
                    self.bench.gate(self.bench.task_of(self.client), CapabilityIndex(60), other, 1);
                    self.bench.thread(self.client).record.set_pager(60);
                    self.bench.thread(self.client).record.set_exception_handler(60);
                    self.call(other, Operation::WAIT, NIL, MessageTag(0));
                    self.bench.run(self.client);
                    match way {
                        Way::Call => {
                            self.bench.call(Operation::CALL, CapabilityIndex(60), MessageTag(0));
                        }
                        _ => self.bench.kernel.page_fault(ADDRESS + 8, Access::WRITE),
                    }
                    assert_eq!(self.set_aside(other, OTHER_SLOT), Ok(()));
                    let flexpage = Flexpage::capabilities(OTHER_SLOT.0, 0, Rights::all());
                    let item = MapItem::grant(SLOT.0 << PAGE_ORDER, flexpage);
                    let from = self.bench.task_of(other);
                    self.bench.map_item(from, task, item, Flexpage::WHOLE_SPACE);
                }
            }
            Meddling::HandOver => {
                let flexpage = Flexpage::capabilities(SLOT.0, 0, Rights::all());
                let item = MapItem::grant(OTHER_SLOT.0 << PAGE_ORDER, flexpage);
                let [from, to] = [self.server, other].map(|thread| self.bench.task_of(thread));
                self.bench.run(other);
                self.bench.map_item(from, to, item, Flexpage::WHOLE_SPACE);
            }
            Meddling::Drop => {
                let flexpage = Flexpage::capabilities(SLOT.0, 0, Rights::empty());
                let words = [task::Unmap::NUMBER, 7 | task::Unmap::OWN_TOO, 1, flexpage.0];
                self.invoke(other, TASK, label::TASK, &words);
            }
            Meddling::Unmap => {
                let flexpage =
                    Flexpage::memory(SOURCE + 0x10_0000, PAGE_ORDER + 6, Rights::empty());
                let words = [task::Unmap::NUMBER, 7 | task::Unmap::OWN_TOO, 1, flexpage.0];
                self.invoke(other, TASK, label::TASK, &words);
            }
        }
    }
}

/// At each preemption point of a long answer somebody does something. The answer is complete in the end, or
/// there is nobody any more who waits for it; and nothing is left over.
#[test]
fn an_answer_with_items_is_whole_whatever_comes_between() {
    for (way, meddling) in [Way::Call, Way::PageFault]
        .into_iter()
        .flat_map(|way| MEDDLINGS.map(|meddling| (way, meddling)))
    {
        let mut midway = 0;
        for point in 0..100 {
            let mut stage = Stage::later(way);
            stage.fill();
            stage.make_server_run();
            let (server, client) = (stage.server, stage.client);
            stage.bench.run(server);
            let tag = stage.long_answer();
            let target = SLOT.0 << CAPABILITY_SHIFT | Operation::SEND.0;
            stage.bench.kernel.mappings.stretch.steps = 50;
            let mut restarts = 0;
            loop {
                stage.bench.kernel.mappings.machine.is_restless = true;
                stage.bench.run(server);
                stage.bench.kernel.system_call(target, tag.0, 0);
                stage.bench.kernel.mappings.machine.is_restless = false;
                if stage.bench.thread(server).undertaking.is_none() {
                    break;
                }
                assert!(stage.bench.thread(client).waits_for_reply(), "nobody else can reach it");
                if restarts == point {
                    stage.meddle(meddling, way);
                    midway += 1;
                }
                restarts += 1;
            }
            let error = stage.bench.result(server).0.is_ipc_error();
            stage.expect_whole(way, meddling, restarts > point, error);
            if restarts <= point {
                break;
            }
        }
        assert!(midway > 3, "{way:?}, {meddling:?}: left midway {midway} times");
    }
}

impl Stage {
    fn expect_whole(&mut self, way: Way, meddling: Meddling, is_met: bool, has_failed: bool) {
        let (server, other, client) = (self.server, self.other, self.client);
        let what = format!("{way:?}, {meddling:?}, {is_met}");
        let waiting = self.bench.thread(client);
        let (is_ready, waits) = (waiting.is(ThreadState::Ready), waiting.waits_for_reply());
        let task = self.bench.task_of(client);
        let pages = |stage: &mut Self| {
            let base = ADDRESS & !0xf_ffff;
            (0..PAGES)
                .filter(|page| stage.bench.page(task, base + page * PAGE_SIZE).is_present())
                .count()
        };
        match meddling {
            _ if !is_met => {
                assert!(is_ready && !has_failed, "{what}");
                assert_eq!(pages(self), PAGES, "{what}");
                self.expect_slots_empty(&what);
            }
            Meddling::Nothing => {
                assert!(is_ready && !has_failed, "{what}");
                assert_eq!(pages(self), PAGES, "{what}");
                self.expect_slots_empty(&what);
            }
            Meddling::Cancel | Meddling::Drop => {
                assert!(has_failed && !waits, "{what}");
                assert_eq!(self.bench.error(server), IpcError::NoPartner as Word, "{what}");
                self.expect_slots_empty(&what);
            }
            // It is another answer, which begins anew and is whole.
            Meddling::CancelAndAskAgain => {
                assert!(is_ready && !has_failed, "{what}");
                assert_eq!(pages(self), PAGES, "{what}");
                self.expect_slots_empty(&what);
            }
            Meddling::HandOver => {
                assert!(has_failed && waits, "{what}");
                self.bench.run(other);
                self.bench.call(Operation::SEND, OTHER_SLOT, MessageTag(0));
                assert!(self.bench.thread(client).is(ThreadState::Ready), "{what}");
                self.expect_slots_empty(&what);
            }
            Meddling::Unmap => {
                assert!(is_ready && !has_failed, "{what}");
                self.expect_slots_empty(&what);
            }
        }
        assert_eq!(self.bench.kernel.mappings.interrupted_walks, 0, "{what}");
    }

    fn expect_slots_empty(&mut self, what: &str) {
        for (thread, slot) in
            [(self.server, SLOT), (self.other, OTHER_SLOT), (self.client, OTHER_SLOT)]
        {
            assert_eq!(self.object(thread, slot), None, "{what}");
        }
    }
}
