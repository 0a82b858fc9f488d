//! What becomes of traps, on both architectures: the entries call this when they have pushed a frame.

use super::{
    STACK_END, STACK_PAGES, interrupts, io_apic, local_apic,
    own::entry::{INSTRUCTION, VECTOR, fault_access, registers_in},
    processor,
    switch::{leave_kernel, leave_to},
};
use crate::{hardware::Hardware, kernel_cell::kernel, last_words};
use kernel_core::Kernel;
use protocol::PAGE_SIZE;

/// The vector of double faults.
pub const DOUBLE_FAULT: usize = 8;

/// The current thread touched `address` in a way that its page tables do not allow.
#[inline(always)]
pub extern "C" fn handle_page_fault(address: usize, error: usize) -> ! {
    kernel().take_page_fault(address, fault_access(error), |next, entered| leave_to(next, entered));
    leave_kernel()
}

/// The current thread has left user mode other than by a system call or a page fault.
pub extern "C" fn handle_trap() -> ! {
    let kernel = kernel();
    if let Some(current) = kernel.current.get() {
        let context = &kernel.threads[current].context;
        let (vector, error) = (context.vector, context.error_code);
        if vector < usize::from(local_apic::TIMER_VECTOR) {
            kernel.exception(vector as u8, error);
        } else {
            take_interrupt(kernel, vector);
        }
    }
    leave_kernel()
}

/// An interrupt has come in user mode.
pub fn take_interrupt(kernel: &mut Kernel<Hardware>, vector: usize) {
    if vector == usize::from(local_apic::TIMER_VECTOR) {
        local_apic::end_of_interrupt();
        kernel.timer_interrupt();
    } else if let Some(interrupt) = io_apic::interrupt(vector) {
        interrupts::take(interrupt);
        kernel.interrupt_came(interrupt);
    } else if vector == usize::from(local_apic::REMINDER_VECTOR) {
        local_apic::end_of_interrupt();
        while let Some(interrupt) = interrupts::noted() {
            kernel.interrupt_came(interrupt);
        }
    }
}

/// Only interrupts may interrupt the kernel, and only in an interrupt window; the kernel goes on after
/// that. What the machine itself reports (NMI, double fault, machine check) ends here too, wherever
/// the processor was.
pub extern "C" fn handle_trap_in_kernel(frame: *const usize) {
    const ERROR: usize = VECTOR + size_of::<usize>();
    // SAFETY: the entry code has just pushed a frame there, at least as far as the flags.
    let [vector, error, instruction] =
        unsafe { [VECTOR, ERROR, INSTRUCTION].map(|offset| *frame.byte_add(offset)) };
    if vector == usize::from(local_apic::TIMER_VECTOR) {
        interrupts::note_tick();
    } else if let Some(interrupt) = io_apic::interrupt(vector) {
        interrupts::note(interrupt);
    } else if vector == usize::from(local_apic::REMINDER_VECTOR) {
        interrupts::note_reminder();
    } else if vector != usize::from(local_apic::SPURIOUS_VECTOR) {
        // SAFETY: as above; the entry code leaves out no register.
        last_words::note_registers(unsafe { registers_in(frame) });
        if vector == DOUBLE_FAULT {
            double_fault(instruction);
        }
        let address = processor::fault_address();
        panic!(
            "trap {vector} (error {error:#x}, address {address:#x}) at {instruction:#x}: the kernel cannot go on"
        );
    }
}

/// The kernel cannot even take an exception of its own, at that instruction: mostly since its stack is full.
pub fn double_fault(instruction: usize) -> ! {
    const GUARD_PAGE: usize = STACK_END - (1 + STACK_PAGES) * PAGE_SIZE;
    let address = processor::fault_address();
    if (GUARD_PAGE..GUARD_PAGE + PAGE_SIZE).contains(&address) {
        panic!("double fault at {instruction:#x}: the kernel's stack is full");
    }
    panic!("double fault (address {address:#x}) at {instruction:#x}: the kernel cannot go on");
}
