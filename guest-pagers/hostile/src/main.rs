//! Makes system calls at random: any capability, operation, tag and message. Arguments: a seed, and
//! how many calls.
//!
//! It may well end itself, by mapping something over its own stack or by sending its own thread
//! elsewhere. What it must not do is to harm the kernel, its parent, or any other program.
#![no_std]
#![no_main]

use runtime::{
    ipc, message, println, program,
    protocol::{
        Word,
        flexpage::Flexpage,
        message::MessageTag,
        object::{CapabilityIndex, label},
        syscall::{Operation, Timeouts},
    },
    random::Random,
};

runtime::entry!(main);

fn main() -> i32 {
    let mut numbers = program::arguments().split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(seed)), Some(Ok(calls))) = (numbers.next(), numbers.next()) else {
        println!("hostile: the arguments are a seed and a number of calls");
        return 2;
    };
    let mut random = Random::new(seed);
    for _ in 0..calls {
        random_call(&mut random);
    }
    0
}

fn random_call(random: &mut Random) {
    let target = target(random);
    let operation = Operation(random.below(16));
    // Nobody will ever send to this program: only its parent, as an answer.
    let waits = operation.contains(Operation::RECEIVE) && operation != Operation::CALL;
    let timeouts = if waits { Timeouts::ZERO } else { Timeouts(random.below(2) << 16) };
    // SAFETY: in the worst case it does not live on, which is what it is for.
    unsafe { message::set_any_receive_window(Flexpage(word(random))) };
    for register in 0..random.below(8) {
        message::set(register, word(random));
    }
    let tag = MessageTag::new(protocol_label(random), random.below(10), random.below(4));
    // SAFETY: as above. Whatever it says is fine.
    let _ = unsafe { ipc::invoke(target, operation, tag, timeouts) };
}

/// Mostly capabilities that there are; its own task and thread less often, as those calls tend to
/// end the program, and never the console, which is for others to read.
fn target(random: &mut Random) -> CapabilityIndex {
    let rarely = random.below(64) == 0;
    match CapabilityIndex(random.below(20)) {
        CapabilityIndex::TASK | CapabilityIndex::THREAD if !rarely => CapabilityIndex::PARENT,
        CapabilityIndex::CONSOLE => CapabilityIndex(word(random) >> 12),
        index => index,
    }
}

fn protocol_label(random: &mut Random) -> isize {
    let known = -(random.below(32) as isize);
    // That would be the end of the program.
    if known == label::EXIT { 0 } else { known }
}

/// A word as a flexpage, as a map item, as a small number, or as anything.
fn word(random: &mut Random) -> Word {
    let any = random.number() as Word;
    match random.below(4) {
        0 => any & !0xfff | (12 + random.below(20)) << 6 | 1 << 4 | random.below(8),
        1 => any & !0xfff | 8 | random.below(2) << 1,
        2 => random.below(256),
        _ => any,
    }
}
