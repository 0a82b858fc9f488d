//! What of other threads' registers can be seen: another thread fills all that it can.

use crate::{arch, thread};
use core::hint;
use runtime::{memory::Pool, println, protocol::object::CapabilityIndex};

const THREAD: CapabilityIndex = CapabilityIndex(40);

/// Looks, and the time between two of them: some of it is the other thread's.
const ROUNDS: usize = 200;
const TURNS: usize = 100_000;

extern "C" fn fill() -> ! {
    arch::fill_registers(0x5ec7_e75e)
}

pub fn run() {
    let mut stack = Pool::new().take(thread::STACK_ORDER).expect("a stack");
    let (own, _) = arch::leftovers();
    thread::start(thread::create(THREAD, 1), fill, &mut stack);
    let mut seen = [0; 2];
    for _ in 0..ROUNDS {
        (0..TURNS).for_each(|_| hint::spin_loop());
        let (selectors, environment) = arch::leftovers();
        // Instruction, its segment and number, operand, and its segment, with ones above.
        let [.., instruction, number, operand, segment] = environment;
        seen[0] += usize::from(selectors != own);
        seen[1] += usize::from(instruction | number | operand | segment & 0xffff != 0);
    }
    for (what, seen) in ["selectors", "pointers"].into_iter().zip(seen) {
        println!("leftovers: {what} {}", if seen == 0 { "none" } else { "seen" });
    }
}
