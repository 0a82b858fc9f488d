//! 32-bit x86: see `protocol::syscall` for the registers.

use core::arch::{asm, naked_asm};
// They are for code that the compiler makes up.
use memory_functions as _;
use policy::elf::Machine;
use protocol::{
    Word,
    utcb::{SELF_OFFSET, Utcb},
};

/// What images must be built for.
pub const MACHINE: Machine = Machine::Ia32;

/// The first instructions of every program.
///
/// An ordinary program finds its stack pointer set. sigma0 and the root task find it zero and take
/// the stack that the linker made for them.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    naked_asm!(
        "test esp, esp",
        "jnz 2f",
        "lea esp, [__boot_stack_end]",
        "2:",
        // The end of the chain of frames, for backtraces; and an aligned stack at the call.
        "xor ebp, ebp",
        "and esp, -16",
        "call {start}",
        "ud2",
        start = sym crate::start::start,
    )
}

/// The system call: capability and operation, tag, timeouts; gives the answer's tag and label.
#[inline(always)]
pub fn syscall(target: Word, tag: Word, timeouts: Word) -> (Word, Word) {
    let (answer, label);
    // SAFETY: the interrupt enters the kernel, which keeps all registers that are not named here and
    // touches no memory of this task but its UTCB (reached by raw pointers only, see `message`) and
    // what arrives in its receive window (memory that nothing refers to before, see `memory`).
    unsafe {
        asm!(
            "int 0x30",
            inout("eax") target => answer,
            inout("edx") tag => label,
            inout("ecx") timeouts => _,
            options(nostack),
        );
    }
    (answer, label)
}

/// This thread's UTCB.
#[inline(always)]
pub fn utcb() -> *mut Utcb {
    let address: *mut Utcb;
    // SAFETY: reads the word in which the kernel keeps the UTCB's own address. It never changes,
    // so that the compiler may keep what it read before.
    unsafe {
        asm!(
            "mov {address}, fs:[{offset}]",
            address = out(reg) address,
            offset = const SELF_OFFSET,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    address
}

/// Raises an exception, for the end of a task that has nobody to tell: the kernel stops it.
pub fn stop() -> ! {
    // SAFETY: an undefined instruction changes nothing.
    unsafe { asm!("ud2", options(noreturn, nomem, nostack)) }
}
