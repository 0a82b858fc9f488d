//! Virtual-8086 mode, which no task shall have.
//!
//! A task cannot enter it by itself: `iretd` ignores that flag outside of ring 0. But QEMU's emulated
//! processor lets it. Whatever happens in that mode is an exception of the thread, which is in
//! protected mode from then on.

use crate::{
    arch::{local_apic, switch::leave_kernel},
    kernel_cell::kernel,
};

/// The processor's number for instructions that do not exist, which is what the mode is made of here.
const INVALID_OPCODE: u8 = 6;

/// The current thread has left virtual-8086 mode. Its frame is in its place, and one of user mode.
pub extern "C" fn handle_trap_in_virtual_8086() -> ! {
    let kernel = kernel();
    if let Some(current) = kernel.current.get() {
        let vector = kernel.threads[current].context.vector;
        kernel.exception(INVALID_OPCODE, 0);
        if vector == usize::from(local_apic::TIMER_VECTOR) {
            local_apic::end_of_interrupt();
            kernel.timer_interrupt();
        }
    }
    leave_kernel()
}
