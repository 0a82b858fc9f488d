//! 32-bit x86: see `protocol::syscall` for the registers.

use core::arch::{asm, naked_asm};
// They are for code that the compiler makes up.
use memory_functions as _;
use protocol::Word;

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

/// The time stamp counter.
#[inline]
pub fn time_stamp() -> u64 {
    // SAFETY: reading the counter, which the kernel leaves to all, has no effect.
    unsafe { core::arch::x86::_rdtsc() }
}

/// The system call: capability and operation, tag, timeouts; gives the answer's tag and label.
///
/// # Safety
/// As [`crate::ipc::invoke`].
#[inline(always)]
pub unsafe fn syscall(target: Word, tag: Word, timeouts: Word) -> (Word, Word) {
    let (answer, label);
    // SAFETY: the interrupt enters the kernel, which keeps all registers that are not named here and
    // touches no memory of this task but its UTCB (reached by raw pointers only, see `message`) and
    // what arrives in its receive window (open memory, see `share`), as far as the caller vouches.
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
