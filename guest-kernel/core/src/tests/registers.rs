//! Registers of other threads, exceptions with all of them, and foreign threads.

use super::Bench;
use crate::{arch::Context, memory::index::TaskIndex};
use protocol::{
    Word,
    error::ObjectError,
    fault::{Access, Exception, vector},
    introspection::{ThreadState, record::Kind},
    layout::USER_END,
    message::MessageTag,
    object::{CapabilityIndex, label},
    operation::{
        Operation as _,
        thread::{
            ExRegs, ExRegsFlags, ExRegsWith, FloatingPointPiece, Modify, ReadFloatingPoint,
            ReadRegisters, WriteFloatingPoint, WriteRegisters,
        },
    },
    registers::{Registers, ThreadRegisters, USER_FLAGS},
    syscall::Operation,
};

const CLIENT: CapabilityIndex = CapabilityIndex(30);
const SELF: CapabilityIndex = CapabilityIndex::THREAD;
const KEEP: Word = ExRegs::KEEP;
const EVERYTHING: Registers = registers(Word::MAX);

const fn registers(word: Word) -> Registers {
    Registers {
        instruction: word,
        stack: word,
        flags: word,
        ax: word,
        bx: word,
        cx: word,
        dx: word,
        si: word,
        di: word,
        bp: word,
        #[cfg(target_pointer_width = "64")]
        r: [word; 8],
    }
}

/// A handler, and a client whose exceptions it gets.
struct Pair {
    bench: Bench,
    handler: u16,
    client: u16,
}

impl Pair {
    fn new() -> Self {
        let mut bench = Bench::new();
        let handler = bench.spawn(1, 60);
        let client = bench.spawn(handler, 50);
        let task = bench.task_of(handler);
        let thread = crate::memory::index::TableIndex::from_position(client);
        bench.give(task, CLIENT, crate::mapping::capability::Object::Thread(thread));
        Self { bench, handler, client }
    }

    /// The handler invokes a thread with these words; gives the label of the answer.
    fn invoke(&mut self, index: CapabilityIndex, words: &[Word]) -> isize {
        self.bench.run(self.handler);
        self.bench.message(self.handler)[..words.len()].copy_from_slice(words);
        self.bench.call(Operation::CALL, index, MessageTag::new(label::THREAD, words.len(), 0));
        self.bench.result(self.handler).0.label()
    }

    /// The client waits for the handler's answer to its call.
    fn call(&mut self) {
        self.bench.run(self.handler);
        self.bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
        self.bench.run(self.client);
        self.bench.call(Operation::CALL, CapabilityIndex::PARENT, MessageTag(0));
        assert!(self.bench.thread(self.client).is(ThreadState::Receiving));
    }

    /// The client waits with an exception.
    fn raise(&mut self) {
        self.bench.run(self.handler);
        self.bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
        self.bench.run(self.client);
        self.bench.thread(self.client).context.vector = 6;
        self.bench.kernel.exception(6, 0);
        assert!(self.bench.thread(self.client).is(ThreadState::Exception));
    }

    /// The handler answers with the registers in its message, and goes on.
    fn answer(&mut self, words: usize) {
        self.bench.run(self.handler);
        let tag = MessageTag::new(0, words, 0);
        let answer = Operation(Operation::SEND.0 | Operation::REPLY.0);
        self.bench.call(answer, CapabilityIndex::NIL, tag);
    }

    fn context(&mut self) -> &mut Context {
        &mut self.bench.thread(self.client).context
    }
}

fn error(error: ObjectError) -> isize {
    error.tag().label()
}

#[test]
fn what_is_written_is_read_again_in_every_state() {
    for prepare in [|_: &mut Pair| {}, Pair::raise] {
        let mut pair = Pair::new();
        prepare(&mut pair);
        let before = pair.bench.thread(pair.client).state();
        let mut all = ThreadRegisters { general: registers(0x1234), ..Default::default() };
        all.general.flags = 0x302;
        let write = WriteRegisters { registers: all }.encode();
        assert_eq!(pair.invoke(CLIENT, &write), 0);
        assert_eq!(pair.invoke(CLIENT, &ReadRegisters.encode()), 0);
        let read = &pair.bench.message(pair.handler)[ReadRegisters::FIRST..];
        assert_eq!(ThreadRegisters::from_words(*read.first_chunk().unwrap()), all);
        assert_eq!(pair.bench.thread(pair.client).state(), before, "it does what it did");
        assert!(pair.context().is_harmless());
        assert!(pair.bench.kinds().contains(&Kind::RegistersSet));
    }
}

/// What an earlier trap has left is of no use to anybody, and where it goes on is where it is.
#[test]
fn a_thread_in_a_system_call_shows_and_takes_what_that_keeps() {
    let mut pair = Pair::new();
    pair.context().set_registers(&registers(0xdead));
    pair.context().set_pointers(0x40_0000, 0x5000);
    pair.call();
    assert_eq!(pair.invoke(CLIENT, &ReadRegisters.encode()), 0);
    let read = &pair.bench.message(pair.handler)[ReadRegisters::FIRST..];
    let mut all = ThreadRegisters::from_words(*read.first_chunk().unwrap());
    assert_eq!((all.general.stack, all.general.bx, all.general.bp), (0x5000, 0xdead, 0xdead));
    #[cfg(target_pointer_width = "64")]
    assert_eq!([all.general.ax, all.general.si, all.general.r[0]], [0; 3]);
    all.general.bx = 0x77;
    assert_eq!(pair.invoke(CLIENT, &WriteRegisters { registers: all }.encode()), 0);
    all.general.instruction += 2;
    let write = WriteRegisters { registers: all }.encode();
    assert_eq!(pair.invoke(CLIENT, &write), error(ObjectError::Busy));
    pair.answer(0);
    assert_eq!(
        (pair.context().instruction(), pair.context().registers(true).bx),
        (0x40_0000, 0x77)
    );
}

#[test]
fn nothing_that_is_written_harms() {
    let mut pair = Pair::new();
    pair.raise();
    // In an answer ...
    let exception = Exception { vector: 0, error_code: 0, registers: EVERYTHING };
    pair.bench.message(pair.handler)[..Exception::WORDS].copy_from_slice(&exception.to_words());
    pair.answer(Exception::WORDS);
    let set = pair.context().registers(true);
    assert!(pair.context().is_harmless());
    assert_eq!((set.instruction, set.flags & !0x202, set.ax), (USER_END, USER_FLAGS, Word::MAX));
    // ... and in an operation.
    for instruction in [USER_END, Word::MAX, USER_END | 1 << (Word::BITS - 1)] {
        let general = Registers { instruction, ..EVERYTHING };
        let registers = ThreadRegisters { general, ..Default::default() };
        let write = WriteRegisters { registers }.encode();
        assert_eq!(pair.invoke(CLIENT, &write), error(ObjectError::OutOfRange));
    }
    #[cfg(target_pointer_width = "64")]
    for (fs_base, gs_base) in [(USER_END, 0), (0, USER_END), (1 << 47, 0), (0, Word::MAX)] {
        let registers = ThreadRegisters { general: registers(0), fs_base, gs_base };
        let write = WriteRegisters { registers }.encode();
        assert_eq!(pair.invoke(CLIENT, &write), error(ObjectError::OutOfRange));
    }
    for first in 0..protocol::registers::FLOATING_POINT_WORDS {
        let piece = FloatingPointPiece::new(first, 1).unwrap();
        let [number, first, count] = WriteFloatingPoint(piece).encode();
        assert_eq!(pair.invoke(CLIENT, &[number, first, count, Word::MAX]), 0);
        assert_eq!(pair.invoke(CLIENT, &ReadFloatingPoint(piece).encode()), 0);
    }
    assert!(pair.context().is_harmless());
}

#[test]
fn nobody_operates_on_its_own_registers_or_on_a_thread_without_a_task() {
    let mut pair = Pair::new();
    let trigger = ExRegsWith {
        pointers: ExRegs { instruction: KEEP, stack: KEEP },
        flags: ExRegsFlags::TRIGGER,
    };
    let invalid = error(ObjectError::InvalidArgument);
    assert_eq!(pair.invoke(SELF, &ReadRegisters.encode()), invalid);
    assert_eq!(pair.invoke(SELF, &trigger.encode()), invalid);
    pair.bench.thread(pair.client).record.set_task(protocol::introspection::NOBODY);
    assert_eq!(pair.invoke(CLIENT, &ReadRegisters.encode()), invalid);
    pair.bench.thread(pair.client).record.set_task(4);
}

#[test]
fn a_triggered_exception_reaches_the_handler_whatever_the_thread_does() {
    let trigger = ExRegsWith {
        pointers: ExRegs { instruction: 0x1000, stack: KEEP },
        flags: ExRegsFlags::TRIGGER,
    };
    for prepare in [|_: &mut Pair| {}, Pair::call, Pair::raise] {
        let mut pair = Pair::new();
        prepare(&mut pair);
        assert_eq!(pair.invoke(CLIENT, &trigger.encode()), 0);
        assert!(pair.bench.thread(pair.client).is(ThreadState::Sending));
        pair.bench.run(pair.handler);
        pair.bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
        let words = *pair.bench.message(pair.handler).first_chunk().unwrap();
        let Exception { vector, registers, .. } = Exception::from_words(words);
        assert_eq!((vector, registers.instruction), (vector::TRIGGERED, 0x1000));
        pair.answer(0);
        assert!(pair.bench.thread(pair.client).is(ThreadState::Ready));
        assert!(pair.context().is_harmless());
    }
}

#[test]
fn without_a_handler_a_triggered_exception_stops() {
    let mut pair = Pair::new();
    let none = Modify { exception_handler: Some(CapabilityIndex::NIL), ..Default::default() };
    assert_eq!(pair.invoke(CLIENT, &none.encode()), 0);
    let trigger = ExRegsWith {
        pointers: ExRegs { instruction: KEEP, stack: KEEP },
        flags: ExRegsFlags::TRIGGER,
    };
    assert_eq!(pair.invoke(CLIENT, &trigger.encode()), 0);
    assert!(pair.bench.thread(pair.client).is(ThreadState::Stopped));
}

#[test]
fn who_keeps_its_ipc_goes_on_waiting() {
    let mut pair = Pair::new();
    pair.call();
    let with = |instruction| ExRegsWith {
        pointers: ExRegs { instruction, stack: 0x9000 },
        flags: ExRegsFlags::KEEP_IPC,
    };
    assert_eq!(pair.invoke(CLIENT, &with(0x1000).encode()), error(ObjectError::Busy));
    assert_eq!(pair.invoke(CLIENT, &with(KEEP).encode()), 0);
    assert!(pair.bench.thread(pair.client).is(ThreadState::Receiving));
    pair.answer(0);
    assert_eq!(pair.context().stack(), 0x9000);
}

#[test]
fn pager_and_handler_change_separately() {
    let mut pair = Pair::new();
    let before = pair.bench.thread(pair.client).pager();
    let handler = Some(CapabilityIndex(77));
    let new = Modify { exception_handler: handler, ..Default::default() };
    assert_eq!(pair.invoke(CLIENT, &new.encode()), 0);
    let thread = pair.bench.thread(pair.client);
    assert_eq!((thread.pager(), Some(thread.exception_handler())), (before, handler));
    let beyond = Modify { pager: Some(CapabilityIndex(1 << 16)), ..Default::default() };
    assert_eq!(pair.invoke(CLIENT, &beyond.encode()), error(ObjectError::OutOfRange));
}

#[test]
fn system_calls_of_foreign_threads_are_exceptions() {
    let mut pair = Pair::new();
    let foreign = Modify { foreign: Some(true), ..Default::default() };
    assert_eq!(pair.invoke(CLIENT, &foreign.encode()), 0);
    let (task, code) = (pair.bench.task_of(pair.client), 0x40_0000);
    let rights = protocol::flexpage::Rights::READ_EXECUTE;
    pair.bench.enter(task, code, 0x300_0000, rights);
    let memory = &mut pair.bench.kernel.mappings.machine.user_memory;
    memory.extend([(0x300_0000, 0xcd), (0x300_0001, 0x80)]);
    let expect = |pair: &mut Pair, wanted, instruction| {
        let words = *pair.bench.message(pair.handler).first_chunk().unwrap();
        let Exception { vector, error_code, registers } = Exception::from_words(words);
        assert_eq!((vector, error_code, registers.instruction), (wanted, 0, instruction));
        pair.answer(0);
    };
    let wait = |pair: &mut Pair| {
        pair.bench.run(pair.handler);
        pair.bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag(0));
    };
    // As hardware says it, and as a software KVM does.
    for (raised, error_code) in [(13, 0x402), (6, 0)] {
        wait(&mut pair);
        pair.bench.run(pair.client);
        pair.context().set_pointers(code, 0);
        pair.bench.kernel.exception(raised, error_code);
        expect(&mut pair, vector::INTERRUPT_80, code + 2);
    }
    wait(&mut pair);
    pair.bench.run(pair.client);
    pair.bench.kernel.foreign_system_call();
    expect(&mut pair, vector::SYSTEM_CALL, code + 2);
    // Its page faults are those of others.
    wait(&mut pair);
    pair.bench.run(pair.client);
    pair.bench.kernel.page_fault(0x50_0000, Access::WRITE);
    assert!(pair.bench.thread(pair.client).is(ThreadState::PageFault));
    assert_ne!(task, TaskIndex::ROOT);
}
