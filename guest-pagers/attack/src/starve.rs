//! A server of the same priority that never comes back, and a caller that waits for no answer.

use crate::thread;
use core::hint;
use runtime::{
    capability::FACTORY,
    ipc,
    memory::Pool,
    println,
    protocol::{
        message::MessageTag,
        object::CapabilityIndex,
        syscall::{Operation, Timeout, Timeouts},
    },
    time,
};

const SERVER: CapabilityIndex = CapabilityIndex(40);
const GATE: CapabilityIndex = CapabilityIndex(41);

extern "C" fn serve() -> ! {
    let _ = ipc::wait();
    loop {
        hint::spin_loop();
    }
}

pub fn run() {
    let mut stack = Pool::new().take(thread::STACK_ORDER).expect("a stack");
    let server = thread::create(SERVER, 1);
    thread::start(server, serve, &mut stack);
    FACTORY.create_gate_at(GATE, 0, server).expect("a gate");
    let _ = time::sleep(core::time::Duration::from_millis(20));
    let timeouts = Timeouts::new(Timeout::NEVER, Timeout::ZERO);
    // SAFETY: there are no items in the message.
    let answer = unsafe { ipc::invoke(GATE, Operation::CALL, MessageTag::default(), timeouts) };
    println!("starve: back with {:?}", answer.err());
}
