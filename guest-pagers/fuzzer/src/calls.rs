//! What there is to call, by object. A new operation is one more function, and one more line in [`OBJECTS`].

use crate::dice::Dice;
use runtime::{
    ipc, message,
    protocol::{
        Word,
        flexpage::Rights,
        message::MessageTag,
        object::{CapabilityIndex, label},
        operation::{
            Operation as _, debugger, factory, interrupt, interrupts, scheduler, task, thread,
        },
        registers::{FLOATING_POINT_WORDS, ThreadRegisters},
        syscall::{Operation, Timeouts},
        utcb::{MESSAGE_REGISTERS, RECEIVE_WINDOWS},
    },
};

/// Writes a message, and says how it is sent.
type Generator = fn(&mut Dice) -> Call;

/// A system call, without its message.
struct Call {
    target: CapabilityIndex,
    operation: Operation,
    tag: MessageTag,
    timeouts: Timeouts,
}

const OBJECTS: [(&str, &[Generator]); 8] = [
    ("task", &[map, map, unmap]),
    (
        "thread",
        &[
            control,
            ex_regs,
            ex_regs_with,
            read_registers,
            write_registers,
            read_floating_point,
            write_floating_point,
            modify,
            take_gate,
        ],
    ),
    ("factory", &[create_task, create_thread, create_gate, create_factory]),
    ("scheduler", &[set_priority, yield_now, set_slice]),
    ("interrupt", &[bind, unbind, mask, unmask, create_interrupt]),
    ("debugger", &[set_name, null]),
    ("gate", &[send, call, wait, reply_and_wait, set_aside, answer]),
    ("anything", &[anything]),
];

/// Makes one call.
pub fn make(dice: &mut Dice) {
    let (_, generators) = OBJECTS[dice.below(OBJECTS.len())];
    let mut call = generators[dice.below(generators.len())](dice);
    if dice.once_in(4) {
        spoil(dice, &mut call);
    }
    // SAFETY: in the worst case this task does not go on, which is what it is for: it refers to nothing but its
    // stack, and others to nothing of it.
    unsafe {
        (0..RECEIVE_WINDOWS).for_each(|window| message::set_window(window, dice.window()));
        let _ = ipc::invoke(call.target, call.operation, call.tag, call.timeouts);
    }
}

/// Makes a call a little wrong.
fn spoil(dice: &mut Dice, call: &mut Call) {
    match dice.below(5) {
        0 => call.target = dice.capability(),
        1 => call.operation = Operation(dice.below(16)),
        2 => call.tag = MessageTag(dice.number()),
        3 => call.timeouts = dice.timeouts(),
        _ => message::set(dice.below(8), dice.number()),
    }
}

/// To an object of the kernel's, mostly one of the right kind.
fn invoke<const N: usize>(protocol: isize, object: CapabilityIndex, words: [Word; N]) -> Call {
    message::write(0, words);
    let tag = MessageTag::new(protocol, N, 0);
    Call { target: object, operation: Operation::CALL, tag, timeouts: Timeouts::NEVER }
}

fn a_task(dice: &mut Dice) -> CapabilityIndex {
    if dice.once_in(4) { dice.capability() } else { CapabilityIndex::TASK }
}

fn map(dice: &mut Dice) -> Call {
    let [base, flexpage] = dice.item();
    invoke(label::TASK, a_task(dice), [task::Map::NUMBER, base, flexpage])
}

fn unmap(dice: &mut Dice) -> Call {
    let count = dice.below(4);
    let take = if dice.once_in(3) { dice.rights() } else { Rights::READ };
    let request = task::Unmap { take, own_too: dice.once_in(2), flexpages: count };
    let mut call = invoke(label::TASK, a_task(dice), request.encode());
    for number in 0..count {
        message::set(task::Unmap::FIRST_FLEXPAGE + number, dice.flexpage().0);
    }
    call.tag = MessageTag::new(label::TASK, task::Unmap::FIRST_FLEXPAGE + count, 0);
    call
}

fn a_thread(dice: &mut Dice) -> CapabilityIndex {
    if dice.once_in(4) { dice.capability() } else { dice.thread() }
}

fn control(dice: &mut Dice) -> Call {
    let (pager, exception_handler) = (dice.capability(), dice.capability());
    let request =
        thread::Control { pager, exception_handler, task: a_task(dice), utcb: dice.utcb() };
    invoke(label::THREAD, a_thread(dice), request.encode())
}

fn pointers(dice: &mut Dice) -> thread::ExRegs {
    const KEEP: Word = thread::ExRegs::KEEP;
    let instruction = if dice.once_in(3) { KEEP } else { dice.instruction() };
    let stack = if dice.once_in(3) { KEEP } else { dice.number() };
    thread::ExRegs { instruction, stack }
}

fn ex_regs(dice: &mut Dice) -> Call {
    let request = pointers(dice);
    invoke(label::THREAD, a_thread(dice), request.encode())
}

fn ex_regs_with(dice: &mut Dice) -> Call {
    let flags = thread::ExRegsFlags::from_bits_truncate(dice.below(4));
    let request = thread::ExRegsWith { pointers: pointers(dice), flags };
    invoke(label::THREAD, a_thread(dice), request.encode())
}

fn read_registers(dice: &mut Dice) -> Call {
    invoke(label::THREAD, a_thread(dice), thread::ReadRegisters.encode())
}

fn write_registers(dice: &mut Dice) -> Call {
    let mut registers = ThreadRegisters::from_words(core::array::from_fn(|_| dice.number()));
    registers.general.instruction = dice.instruction();
    invoke(label::THREAD, a_thread(dice), thread::WriteRegisters { registers }.encode())
}

/// Number of the first word, and how many.
fn piece(dice: &mut Dice) -> [Word; 2] {
    [dice.below(FLOATING_POINT_WORDS + 2), dice.below(thread::FloatingPointPiece::MAX_WORDS + 2)]
}

fn read_floating_point(dice: &mut Dice) -> Call {
    let [first, count] = piece(dice);
    let request = [thread::ReadFloatingPoint::NUMBER, first, count];
    invoke(label::THREAD, a_thread(dice), request)
}

fn write_floating_point(dice: &mut Dice) -> Call {
    let [first, count] = piece(dice);
    let request = [thread::WriteFloatingPoint::NUMBER, first, count];
    let mut call = invoke(label::THREAD, a_thread(dice), request);
    const FIRST: usize = thread::FloatingPointPiece::FIRST;
    let words = FIRST + count.min(thread::FloatingPointPiece::MAX_WORDS);
    (FIRST..words).for_each(|word| message::set(word, dice.number()));
    call.tag = MessageTag::new(label::THREAD, words, 0);
    call
}

fn modify(dice: &mut Dice) -> Call {
    let mut gate = || if dice.once_in(3) { None } else { Some(dice.capability()) };
    let (pager, exception_handler) = (gate(), gate());
    let foreign = if dice.once_in(3) { None } else { Some(dice.once_in(2)) };
    let request = thread::Modify { pager, exception_handler, foreign };
    invoke(label::THREAD, a_thread(dice), request.encode())
}

fn take_gate(dice: &mut Dice) -> Call {
    let request = thread::TakeGate { gate: dice.capability(), label: dice.number() };
    invoke(label::THREAD, a_thread(dice), request.encode())
}

fn an_interrupt(dice: &mut Dice) -> CapabilityIndex {
    if dice.once_in(4) { dice.capability() } else { CapabilityIndex::FIRST_INTERRUPT }
}

fn bind(dice: &mut Dice) -> Call {
    let request = interrupt::Bind { gate: dice.capability() };
    invoke(label::INTERRUPT, an_interrupt(dice), request.encode())
}

fn unbind(dice: &mut Dice) -> Call {
    invoke(label::INTERRUPT, an_interrupt(dice), interrupt::Unbind.encode())
}

fn mask(dice: &mut Dice) -> Call {
    invoke(label::INTERRUPT, an_interrupt(dice), interrupt::Mask.encode())
}

fn unmask(dice: &mut Dice) -> Call {
    invoke(label::INTERRUPT, an_interrupt(dice), interrupt::Unmask.encode())
}

/// Nobody here has the interrupts.
fn create_interrupt(dice: &mut Dice) -> Call {
    let interrupt = dice.below(2 * interrupts::INTERRUPTS as Word) as u16;
    let request = interrupts::Create { slot: dice.slot(), interrupt };
    invoke(label::INTERRUPT, dice.capability(), request.encode())
}

fn a_factory(dice: &mut Dice) -> CapabilityIndex {
    if dice.once_in(8) { dice.capability() } else { CapabilityIndex::FACTORY }
}

fn create_task(dice: &mut Dice) -> Call {
    let (slot, utcb_area) = (dice.slot(), dice.flexpage());
    invoke(label::FACTORY, a_factory(dice), factory::CreateTask { slot, utcb_area }.encode())
}

fn create_thread(dice: &mut Dice) -> Call {
    let slot = dice.slot();
    invoke(label::FACTORY, a_factory(dice), factory::CreateThread { slot }.encode())
}

fn create_gate(dice: &mut Dice) -> Call {
    let (slot, label, receiver) = (dice.slot(), dice.number(), dice.capability());
    let request = factory::CreateGate { slot, label, receiver };
    invoke(label::FACTORY, a_factory(dice), request.encode())
}

fn create_factory(dice: &mut Dice) -> Call {
    let request = factory::CreateFactory { slot: dice.slot(), limit: dice.below(1 << 16) };
    invoke(label::FACTORY, a_factory(dice), request.encode())
}

/// Nobody here has a scheduler.
fn set_priority(dice: &mut Dice) -> Call {
    let request =
        scheduler::SetPriority { thread: dice.capability(), priority: dice.below(256) as u8 };
    invoke(label::SCHEDULER, dice.capability(), request.encode())
}

fn set_slice(dice: &mut Dice) -> Call {
    let microseconds = dice.below(2 * scheduler::SetSlice::SHORTEST as Word) as u32;
    let request = scheduler::SetSlice { thread: dice.capability(), microseconds };
    invoke(label::SCHEDULER, dice.capability(), request.encode())
}

fn yield_now(dice: &mut Dice) -> Call {
    invoke(label::SCHEDULER, dice.capability(), scheduler::Yield.encode())
}

fn set_name(dice: &mut Dice) -> Call {
    let length = dice.below(12);
    let request = debugger::SetName { object: dice.capability(), image: None, length };
    let mut call = invoke(label::DEBUGGER, CapabilityIndex::DEBUGGER, request.encode());
    const FIRST: usize = debugger::SetName::FIRST_BYTES;
    (0..2).for_each(|word| message::set(FIRST + word, dice.number()));
    call.tag = MessageTag::new(label::DEBUGGER, FIRST + 2, 0);
    call
}

fn null(_: &mut Dice) -> Call {
    invoke(label::DEBUGGER, CapabilityIndex::DEBUGGER, debugger::Null.encode())
}

/// A message with words and items to whatever the operation is for.
fn to(dice: &mut Dice, target: CapabilityIndex, operation: Operation) -> Call {
    let (words, items) = (dice.below(6), dice.below(3));
    (0..words).for_each(|word| message::set(word, dice.number()));
    (0..items).for_each(|item| message::write(words + 2 * item, dice.item()));
    let tag = MessageTag::new(dice.below(8) as isize, words, items);
    Call { target, operation, tag, timeouts: dice.timeouts() }
}

fn send(dice: &mut Dice) -> Call {
    let target = dice.capability();
    to(dice, target, Operation::SEND)
}

fn call(dice: &mut Dice) -> Call {
    let target = dice.capability();
    to(dice, target, Operation::CALL)
}

fn wait(dice: &mut Dice) -> Call {
    let operation = if dice.once_in(4) { Operation::RECEIVE } else { Operation::WAIT };
    let target = dice.capability();
    to(dice, target, operation)
}

fn reply_and_wait(dice: &mut Dice) -> Call {
    to(dice, CapabilityIndex::NIL, Operation::REPLY_AND_WAIT)
}

fn set_aside(dice: &mut Dice) -> Call {
    let slot = dice.slot();
    to(dice, slot, Operation::SET_ASIDE)
}

fn answer(dice: &mut Dice) -> Call {
    let slot = dice.slot();
    let operation = if dice.once_in(2) { Operation::SEND } else { Operation::ANSWER_AND_WAIT };
    to(dice, slot, operation)
}

/// No sense at all.
fn anything(dice: &mut Dice) -> Call {
    let words = dice.below(MESSAGE_REGISTERS + 1);
    (0..words).for_each(|word| message::set(word, dice.number()));
    let protocol = match dice.below(2) {
        0 => -(dice.below(40) as isize),
        _ => dice.number() as isize,
    };
    Call {
        target: dice.capability(),
        operation: Operation(dice.below(16)),
        tag: MessageTag::new(protocol, words.min(63), dice.below(8)),
        timeouts: dice.timeouts(),
    }
}
