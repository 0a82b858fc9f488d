//! Gates that come to lead to another thread.

use super::{Bench, soundness};
use crate::{
    mapping::capability::{Capability, Object},
    memory::index::{TableIndex, ThreadIndex},
    threads::queue::Queue,
};
use protocol::{
    Word,
    error::{IpcError, ObjectError},
    fault::{Access, PageFault},
    flexpage::{Flexpage, Rights},
    introspection::ThreadState,
    message::MessageTag,
    object::{CapabilityIndex, label},
    operation::{Operation as _, task, thread::TakeGate},
    syscall::Operation,
};

const NIL: CapabilityIndex = CapabilityIndex::NIL;
/// The gate that this is about, in every task.
const GATE: CapabilityIndex = CapabilityIndex(30);
/// The thread that it comes to lead to, in the root task.
const NEW: CapabilityIndex = CapabilityIndex(31);
const OLD_LABEL: Word = 7;
const NEW_LABEL: Word = 8;
const ROOT: u16 = 1;

/// The root task rules over a gate that leads to `old`, and over `new`; clients have the gate.
struct Scene {
    bench: Bench,
    old: u16,
    new: u16,
    clients: Vec<u16>,
}

impl Scene {
    fn new(clients: usize) -> Self {
        let mut bench = Bench::new();
        bench.call(Operation::WAIT, NIL, MessageTag(0));
        let root = bench.task_of(ROOT);
        let old = bench.spawn(ROOT, 50);
        let new = bench.spawn(ROOT, 50);
        bench.gate(root, GATE, old, OLD_LABEL);
        let gate = bench.slot(root, GATE.0 as u32).expect("a gate");
        bench.give(root, NEW, Object::Thread(ThreadIndex::from_position(new)));
        let clients: Vec<u16> = (0..clients).map(|_| bench.spawn(ROOT, 60)).collect();
        for thread in clients.iter().copied().chain([old, new]) {
            let task = bench.task_of(thread);
            bench.give(task, GATE, gate);
            bench.thread(thread).record.set_pager(GATE.0 as u16);
        }
        Self { bench, old, new, clients }
    }

    fn call(&mut self, thread: u16, operation: Operation, index: CapabilityIndex, tag: Word) {
        self.bench.run(thread);
        self.bench.call(operation, index, MessageTag(tag));
    }

    fn wait(&mut self, thread: u16) {
        self.call(thread, Operation::WAIT, NIL, 0);
    }

    /// Each client calls, and stays in the queue of the thread that is busy.
    fn all_call(&mut self) {
        for number in 0..self.clients.len() {
            let client = self.clients[number];
            self.bench.message(client)[0] = number;
            self.call(client, Operation::CALL, GATE, MessageTag::new(3, 1, 0).0);
            assert!(self.bench.thread(client).is(ThreadState::Sending));
        }
    }

    /// The root task lets the gate lead to the new thread.
    fn take(&mut self) {
        assert_eq!(self.ask(GATE, NEW), None);
        self.check();
    }

    fn ask(&mut self, gate: CapabilityIndex, thread: CapabilityIndex) -> Option<ObjectError> {
        let request = TakeGate { gate, label: NEW_LABEL }.encode();
        self.bench.message(ROOT)[..3].copy_from_slice(&request);
        self.call(ROOT, Operation::CALL, thread, MessageTag::new(label::THREAD, 3, 0).0);
        ObjectError::from_label(self.bench.result(ROOT).0.label())
    }

    fn check(&mut self) {
        self.bench.drain();
        soundness::check(&mut self.bench).expect("sound");
    }

    /// The new thread takes a message; who has sent it, by its first word.
    fn next(&mut self) -> Word {
        if self.bench.thread(self.new).is(ThreadState::Ready) {
            self.wait(self.new);
        }
        let (tag, label) = self.bench.result(self.new);
        assert_eq!((tag.label(), label), (3, NEW_LABEL));
        self.bench.message(self.new)[0]
    }

    fn error(&mut self, thread: u16) -> Word {
        assert!(self.bench.thread(thread).is(ThreadState::Ready));
        assert!(self.bench.result(thread).0.is_ipc_error());
        self.bench.error(thread)
    }
}

#[test]
fn who_waits_at_the_gate_waits_on_in_the_same_order() {
    let mut scene = Scene::new(4);
    scene.all_call();
    scene.take();
    for number in 0..4 {
        assert_eq!(scene.next(), number);
    }
    // And again, with some who have come in between.
    let mut scene = Scene::new(4);
    scene.all_call();
    for _ in 0..3 {
        scene.take();
    }
    assert_eq!(scene.next(), 0);
    scene.take();
    for number in 1..4 {
        assert_eq!(scene.next(), number);
    }
}

#[test]
fn who_was_taken_before_is_answered_by_who_has_taken_it() {
    let mut scene = Scene::new(2);
    scene.wait(scene.old);
    let [first, second] = [0, 1].map(|number| scene.clients[number]);
    scene.call(first, Operation::CALL, GATE, MessageTag::new(3, 0, 0).0);
    assert_eq!(scene.bench.result(scene.old).1, OLD_LABEL);
    scene.take();
    scene.call(scene.old, Operation::REPLY_AND_WAIT, NIL, MessageTag::new(5, 0, 0).0);
    assert_eq!(scene.bench.result(first).0.label(), 5);
    // What is sent from now on goes elsewhere.
    scene.bench.message(second)[0] = 9;
    scene.call(second, Operation::CALL, GATE, MessageTag::new(3, 1, 0).0);
    assert!(scene.bench.thread(scene.old).is(ThreadState::Receiving));
    assert_eq!(scene.next(), 9);
}

#[test]
fn a_thread_that_waits_for_anybody_gets_what_was_waiting() {
    let mut scene = Scene::new(2);
    scene.all_call();
    scene.wait(scene.new);
    scene.take();
    assert!(scene.bench.thread(scene.new).is(ThreadState::Ready), "it asks again");
    assert_eq!(scene.bench.thread(scene.new).context.arguments(), [Operation::WAIT.0, 0, 0]);
    assert_eq!([scene.next(), scene.next()], [0, 1]);
}

/// It has named whom it waits for in a way that only itself knows.
#[test]
fn a_thread_that_waits_for_one_in_particular_asks_again() {
    let mut scene = Scene::new(1);
    scene.all_call();
    let client = ThreadIndex::from_position(scene.clients[0]);
    let task = scene.bench.task_of(scene.new);
    scene.bench.give(task, CapabilityIndex(40), Object::Thread(client));
    scene.call(scene.new, Operation::RECEIVE, CapabilityIndex(40), 0);
    assert!(scene.bench.thread(scene.new).is(ThreadState::Receiving));
    scene.take();
    assert_eq!(scene.error(scene.new), IpcError::Cancelled as Word);
    scene.call(scene.new, Operation::RECEIVE, CapabilityIndex(40), 0);
    assert_eq!(scene.bench.result(scene.new), (MessageTag::new(3, 1, 0), NEW_LABEL));
}

#[test]
fn who_waits_for_a_message_through_the_gate_learns_that_nobody_is_there() {
    let mut scene = Scene::new(1);
    let client = scene.clients[0];
    scene.call(client, Operation::RECEIVE, GATE, 0);
    assert_eq!(scene.bench.thread(client).queue(), Some(Queue::Receivers));
    scene.take();
    assert_eq!(scene.error(client), IpcError::NoPartner as Word);
    // So does the thread itself, if it waits to send to who it is by now.
    let mut scene = Scene::new(0);
    scene.call(scene.new, Operation::CALL, GATE, 0);
    scene.take();
    assert_eq!(scene.error(scene.new), IpcError::NoPartner as Word);
}

#[test]
fn a_fault_that_waits_goes_to_the_new_pager() {
    let mut scene = Scene::new(1);
    let client = scene.clients[0];
    scene.bench.run(client);
    scene.bench.kernel.page_fault(0x5000, Access::empty());
    assert!(scene.bench.thread(client).is(ThreadState::Sending));
    scene.take();
    scene.wait(scene.new);
    assert_eq!(scene.bench.result(scene.new), (PageFault::TAG, NEW_LABEL));
    assert_eq!(scene.bench.message(scene.new)[0], 0x5000);
    assert!(scene.bench.thread(client).is(ThreadState::PageFault));
}

#[test]
fn nobody_waits_for_a_thread_that_is_stopped() {
    let mut scene = Scene::new(3);
    scene.all_call();
    let new = ThreadIndex::from_position(scene.new);
    scene.bench.kernel.ready.remove(&mut scene.bench.kernel.threads, new);
    scene.bench.kernel.stop(new);
    scene.take();
    for client in scene.clients.clone() {
        assert_eq!(scene.error(client), IpcError::NoPartner as Word);
    }
}

/// It was to be told to the old one, and is told to the new one.
#[test]
fn that_nobody_holds_the_gate_is_told_to_the_new_thread() {
    let mut scene = Scene::new(1);
    let all = [scene.clients[0], scene.old, scene.new].map(|thread| scene.bench.task_of(thread));
    for task in all {
        let page = Flexpage::capabilities(GATE.0, 0, Rights::empty());
        let take = Rights::all();
        let request = task::Unmap { take, own_too: true, flexpages: 1 }.encode();
        let thread = [scene.clients[0], scene.old, scene.new]
            .into_iter()
            .find(|thread| scene.bench.task_of(*thread) == task)
            .expect("its thread");
        scene.bench.message(thread)[..3].copy_from_slice(&request);
        scene.bench.message(thread)[3] = page.0;
        let tag = MessageTag::new(label::TASK, 4, 0).0;
        scene.call(thread, Operation::CALL, CapabilityIndex::TASK, tag);
    }
    scene.check();
    let old = ThreadIndex::from_position(scene.old);
    assert!(scene.bench.kernel.threads[old].news.first().is_some());
    scene.take();
    assert!(scene.bench.kernel.threads[old].news.first().is_none());
    scene.wait(scene.new);
    let unheld = (MessageTag::new(label::GATE_UNHELD, 0, 0), NEW_LABEL);
    assert_eq!(scene.bench.result(scene.new), unheld);
}

#[test]
fn to_lead_a_gate_elsewhere_takes_the_right_to_control_it() {
    let mut scene = Scene::new(0);
    let root = scene.bench.task_of(ROOT);
    let gate = scene.bench.slot(root, GATE.0 as u32).expect("a gate");
    let weak = CapabilityIndex(50);
    let rights = Rights::READ_WRITE;
    scene.bench.give_with(root, weak, Capability { object: gate, rights });
    assert_eq!(scene.ask(weak, NEW), Some(ObjectError::PermissionDenied));
    assert_eq!(scene.ask(NEW, NEW), Some(ObjectError::InvalidArgument));
    assert_eq!(scene.ask(CapabilityIndex(51), NEW), Some(ObjectError::NoSuchCapability));
    scene.check();
    let Object::Gate(gate) = gate else { panic!("it is a gate") };
    assert_eq!(scene.bench.kernel.gates[gate].thread().position(), scene.old);
}
