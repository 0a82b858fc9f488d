//! More threads in this task.

use runtime::{
    capability::{Cap, FACTORY, TASK, Thread},
    memory::Memory,
    protocol::{Word, layout::UTCB_AREA, object::CapabilityIndex, utcb::UTCB_SIZE},
};

/// Bytes of a stack, as a binary logarithm.
pub const STACK_ORDER: u32 = 14;

/// UTCB number `number` of this task. The first thread has number 0.
pub const fn utcb(number: usize) -> Word {
    UTCB_AREA + number * UTCB_SIZE
}

/// Where a thread's stack pointer is when it starts: as if its function had been called.
pub const fn top(stack: &Memory) -> Word {
    stack.address() + (1 << STACK_ORDER) - 16 - size_of::<Word>()
}

/// Makes a thread with UTCB `number`, and its capability in `slot`.
pub fn create(slot: CapabilityIndex, number: usize) -> Cap<Thread> {
    let thread = FACTORY.create_thread_at(slot).expect("a thread");
    let parent = CapabilityIndex::PARENT;
    // SAFETY: it does nothing yet, and the UTCB is its own.
    unsafe { thread.control(parent, parent, TASK, utcb(number)).expect("its task") };
    thread
}

/// Lets it run `body`, from the beginning, on a stack of which all is there: nobody pages a pager.
pub fn start(thread: Cap<Thread>, body: extern "C" fn() -> !, stack: &mut Memory) {
    stack.fill(0);
    // SAFETY: the stack is there and nobody else's, and `body` is a function that never returns.
    unsafe { thread.ex_regs(body as *const () as usize, top(stack)).expect("it runs") };
}
