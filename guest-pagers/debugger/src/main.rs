//! A debugger at user level, and what it debugs: a task with a page of code, whose exception handler it is.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use runtime::{
    Error, Result,
    capability::{DEBUGGER, FACTORY, THREAD},
    ipc,
    memory::Pool,
    message,
    pager::Answer,
    println,
    protocol::{
        PAGE_ORDER, Word,
        fault::Exception,
        flexpage::{Flexpage, Rights},
        layout::{PAGER_AREA, STACK_END, UTCB_AREA},
        object::{CapabilityIndex, label},
        operation::thread::{ExRegs, ExRegsFlags, Modify},
        registers::{FLOATING_POINT_WORDS, Registers, TRAP_FLAG},
    },
    share::Item,
};

runtime::entry!(main);

/// The same bytes on both architectures.
const CODE: [u8; 22] = [
    0xb8, 5, 0, 0, 0,    // mov eax, 5
    0xcc, // int3
    0x31, 0xc9, // xor ecx, ecx
    0x01, 0xc1, // add ecx, eax
    0x83, 0xe8, 1, // sub eax, 1
    0x75, 0xf9, // jnz to the addition
    0xcc, // int3
    0xcd, 0x80, // int 0x80
    0x0f, 0x0b, // ud2
    0xeb, 0xfe, // jmp to itself
];
/// Where the addition is.
const ADDITION: Word = PAGER_AREA + 8;

fn main() -> i32 {
    match debug() {
        Ok(()) => 0,
        Err(error) => {
            println!("debugger: {error}");
            1
        }
    }
}

fn debug() -> Result<()> {
    let mut page = Pool::new().page()?;
    page.fill(0);
    page.write(0, &CODE);
    let task = FACTORY.create_task(Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE))?;
    DEBUGGER.set_name(*task, None, "debuggee")?;
    let gate = FACTORY.create_gate(0, THREAD)?;
    task.map(gate.item(CapabilityIndex::PARENT, Rights::READ))?;
    task.map(Item::map(PAGER_AREA, page.flexpage(Rights::READ_EXECUTE)))?;
    let parent = CapabilityIndex::PARENT;
    let thread = FACTORY.create_thread()?.bind(&task, parent, parent, UTCB_AREA)?;
    thread.start(PAGER_AREA, STACK_END)?;

    let mut at = next("breakpoint")?;
    for _ in 0..4 {
        at = go_on("step", Registers { flags: at.flags | TRAP_FLAG, ..at })?;
    }
    at = go_on("breakpoint", Registers { flags: at.flags & !TRAP_FLAG, ..at })?;
    at = go_on("changed: breakpoint", Registers { instruction: ADDITION, ax: 2, ..at })?;
    thread.modify(Modify { foreign: Some(true), ..Modify::default() })?;
    at = go_on("foreign: system call", at)?;
    at = go_on("answered: exception", Registers { ax: 42, ..at })?;

    // It waits with an exception: nothing of it is in the processor.
    let mut all = thread.registers()?;
    all.general = Registers { instruction: at.instruction + 2, cx: 7, ..at };
    thread.set_registers(all)?;
    thread.set_floating_point([Word::MAX; FLOATING_POINT_WORDS])?;
    Answer::go_on().send();
    thread
        .divert(ExRegs { instruction: ExRegs::KEEP, stack: ExRegs::KEEP }, ExRegsFlags::TRIGGER)?;
    next("triggered: exception")?;
    let state = thread.floating_point()?;
    println!("debugger: it masks the floating-point exceptions {:#x}", state[0] & 0x3f);
    thread.end()?;
    task.end()
}

/// Lets it go on with these registers until the next exception.
fn go_on(what: &str, registers: Registers) -> Result<Registers> {
    Answer::go_on_with(registers).send();
    next(what)
}

/// Waits for an exception, and prints it.
fn next(what: &str) -> Result<Registers> {
    if ipc::wait()?.tag.label() != label::EXCEPTION {
        return Err(Error::BadAnswer);
    }
    let Exception { vector, registers, .. } = Exception::from_words(message::read(0));
    let Registers { instruction, ax, cx, .. } = registers;
    println!("debugger: {what} {vector:#x} at +{:#x}: ax={ax} cx={cx}", instruction - PAGER_AREA);
    Ok(registers)
}
