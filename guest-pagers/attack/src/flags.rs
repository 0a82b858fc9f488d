//! Every flag, and all of them: whatever is set when the kernel is entered must not matter.

use crate::{
    arch::{CLEAR_FLAGS, EMPTY_CALL},
    code::Code,
    laboratory::Laboratory,
    report::Report,
};
use runtime::{println, protocol::Word};

/// Flags are the bits below this.
const BITS: usize = 22;

/// Each alone (by its number), then all at once.
fn each() -> impl Iterator<Item = (usize, u32)> {
    let all = (BITS, (1 << BITS) - 1);
    (0..BITS).map(|bit| (bit, 1 << bit)).chain([all])
}

/// With each set: a system call, an exception, and a system call by a jump to the kernel's `entry`.
pub fn run(laboratory: &mut Laboratory, entry: Word) {
    let mut report = Report::new("flag, system call,");
    for (number, flags) in each() {
        let code = Code::new().flags(flags).then(EMPTY_CALL).then(CLEAR_FLAGS);
        report.note(number, laboratory.attempt(&code));
    }
    drop(report);
    let mut report = Report::new("flag, exception,");
    for (number, flags) in each() {
        // ud2
        let code = Code::new().flags(flags).then(&[0x0f, 0x0b]);
        report.note(number, laboratory.attempt(&code));
    }
    drop(report);
    by_jump(laboratory, entry);
}

#[cfg(target_arch = "x86_64")]
fn by_jump(laboratory: &mut Laboratory, entry: Word) {
    for (what, others) in [("flag, jump,", 0), ("flag, jump with all in r11,", Word::MAX)] {
        let mut report = Report::new(what);
        for (number, flags) in each() {
            let code = Code::new().jump_to_entry(entry, flags, others);
            report.note(number, laboratory.attempt(&code));
        }
    }
}

/// There is no such entry: system calls are interrupts.
#[cfg(target_arch = "x86")]
fn by_jump(_: &mut Laboratory, entry: Word) {
    assert_eq!(entry, 0, "there is no entry to jump to");
}

/// System calls for which the kernel copies text and words, by a jump to its entry.
#[cfg(target_arch = "x86_64")]
pub fn direction(_: &mut Laboratory, entry: Word) {
    use crate::arch::system_call_backwards;
    use runtime::{
        message,
        protocol::{
            message::MessageTag,
            object::{CapabilityIndex, label},
            operation::{Operation as _, console, debugger},
            syscall::{CAPABILITY_SHIFT, Operation},
        },
    };
    const TEXT: &[u8] = b"df: every byte of this line is written in its order, forwards\n";
    let call = |index: CapabilityIndex, protocol: isize, words: usize| {
        let target = index.0 << CAPABILITY_SHIFT | Operation::CALL.0;
        system_call_backwards(entry, target, MessageTag::new(protocol, words, 0).0)
    };
    println!("df: by a jump to the entry");
    message::write(0, console::Write { length: TEXT.len() }.encode());
    message::write_bytes(2, TEXT);
    let words = 2 + TEXT.len().div_ceil(size_of::<Word>());
    let written = call(CapabilityIndex::CONSOLE, label::CONSOLE, words);
    let name = b"attack";
    let object = CapabilityIndex::TASK;
    let request = debugger::SetName { object, image: None, length: name.len() };
    message::write(0, request.encode());
    message::write_bytes(4, name);
    let named = call(CapabilityIndex::DEBUGGER, label::DEBUGGER, 5);
    // A long message, whose protocol its receiver does not know.
    (0..63).for_each(|register| message::set(register, 0x1234_0000 + register));
    let refused = MessageTag(call(CapabilityIndex::PARENT, -77, 63)).label();
    println!("df: {written:#x} {named:#x} {refused}");
}

/// There is no such entry: system calls are interrupts.
#[cfg(target_arch = "x86")]
pub fn direction(laboratory: &mut Laboratory, entry: Word) {
    by_jump(laboratory, entry);
    println!("df: there is no entry to jump to");
}
