//! 64-bit x86.

use super::{INSTRUCTION, STACK};
use crate::code::Code;
use core::arch::{asm, naked_asm};
use runtime::protocol::Word;

/// Runs the code at an address, until it comes back or is brought back.
///
/// # Safety
/// The code must leave alone what is this program's own.
#[unsafe(naked)]
pub unsafe extern "C" fn enter(code: Word) {
    naked_asm!(
        "push rbx",
        "push rbp",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "rdfsbase rax",
        "push rax",
        "mov [rip + {stack}], rsp",
        "lea rax, [rip + 2f]",
        "mov [rip + {instruction}], rax",
        "call rdi",
        "2:",
        "mov rsp, [rip + {stack}]",
        "push 2",
        "popfq",
        "pop rax",
        "wrfsbase rax",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop rbp",
        "pop rbx",
        "ret",
        stack = sym STACK,
        instruction = sym INSTRUCTION,
    )
}

/// A system call with nil as its capability, no operation, no tag and no timeouts.
pub const EMPTY_CALL: &[u8] = &[0x31, 0xff, 0x31, 0xf6, 0x31, 0xd2, 0x0f, 0x05];
/// The end of all flags that can end: push 2; popfq.
pub const CLEAR_FLAGS: &[u8] = &[0x6a, 2, 0x9d];

/// The kernel's code selector, and this task's.
pub const KERNEL_CODE: u16 = 0x10;
pub const USER_CODE: u16 = 0x33;
/// This task's data.
pub const USER_DATA: u16 = 0x2b;
/// What a selector of 32-bit code was or might be.
pub const CODE_32: u16 = 0x23;

impl Code {
    /// rax = `value`.
    pub fn load(self, value: Word) -> Self {
        self.then(&[0x48, 0xb8]).then(&value.to_le_bytes())
    }

    /// Flags = the lower half of `flags`.
    pub fn flags(self, flags: u32) -> Self {
        self.load(flags as Word).then(&[0x50, 0x9d])
    }

    /// A far jump or call to offset 0 of a selector.
    pub fn far(self, call: bool, selector: u16) -> Self {
        let operation = if call { 0x1d } else { 0x2d };
        // Through a pointer right behind, of 32 bits and the selector.
        let [low, high] = selector.to_le_bytes();
        self.then(&[0xff, operation, 0, 0, 0, 0, 0, 0, 0, 0, low, high])
    }

    /// iretq, with this frame and the stack of now; to the `ret` behind the code.
    pub fn interrupt_return(self, code: u16, stack: u16, flags: u32, target: Word) -> Self {
        // mov rsi, rsp; push ss, rsp, flags, cs, rip; iretq
        let pushed = self.then(&[0x48, 0x89, 0xe6]).load(stack.into()).then(&[0x50, 0x56]);
        let pushed = pushed.load(flags as Word).then(&[0x50]).load(code.into()).then(&[0x50]);
        pushed.load(target).then(&[0x50, 0x48, 0xcf])
    }

    /// An empty system call by a jump to the kernel's entry, with these flags and in r11 others.
    pub fn jump_to_entry(self, entry: Word, flags: u32, others: Word) -> Self {
        // mov r11, others; lea rcx, [behind the jump]; xor edi, esi, edx
        let code = self.load(others).then(&[0x49, 0x89, 0xc3]).flags(flags);
        let code = code.load(entry).then(&[0x31, 0xff, 0x31, 0xf6, 0x31, 0xd2]);
        // The flags that are set last are those that count: xor has changed some, which nobody minds.
        code.then(&[0x48, 0x8d, 0x0d, 2, 0, 0, 0, 0xff, 0xe0]).then(CLEAR_FLAGS)
    }
}

/// Selectors in segment registers, after which a system call is made.
pub const SEGMENTS: [(&str, u8); 5] =
    [("es", 0xc0), ("ss", 0xd0), ("ds", 0xd8), ("fs", 0xe0), ("gs", 0xe8)];

/// A segment register with a selector, and a system call with that.
pub fn with_selector(register: u8, selector: u16) -> Code {
    Code::new().load(selector.into()).then(&[0x8e, register]).then(EMPTY_CALL)
}

/// A system call by a jump to the kernel's entry with the direction flag set; gives the answer's tag.
pub fn system_call_backwards(entry: Word, target: Word, tag: Word) -> Word {
    let answer;
    // SAFETY: the kernel takes it as a system call, and keeps the registers that are not named.
    unsafe {
        asm!(
            "lea rcx, [rip + 2f]",
            "std",
            "jmp {entry}",
            "2:",
            "cld",
            entry = in(reg) entry,
            inout("rdi") target => _,
            inout("rsi") tag => _,
            inout("rdx") 0 => _,
            out("rax") answer,
            out("rcx") _,
            out("r8") _,
            out("r9") _,
            out("r10") _,
            inout("r11") 0x202 => _,
        );
    }
    answer
}

/// Addresses that are no user addresses, or at the end of them.
pub const POINTERS: [Word; 11] = [
    0x8000_0000_0000,
    0x7fff_ffff_ffff,
    0x7fff_ffff_fffe,
    0xffff_8000_0000_0000,
    0x8000_0000_0000_0000,
    0xffff_7fff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0xffff_8800_0010_9000,
    0xc000_0000,
    0xbfff_ffff,
    0x1_0000_0000,
];

/// What code can do with such an address in rax: jump, return, stack, push, system call.
pub const USES: [(&str, &[u8]); 5] = [
    ("jump", &[0xff, 0xe0]),
    ("return", &[0x50, 0xc3]),
    ("stack", &[0x48, 0x89, 0xc4, 0x0f, 0x0b]),
    ("push", &[0x48, 0x89, 0xc4, 0x50]),
    ("call", &[0x48, 0x89, 0xc4, 0x31, 0xff, 0x31, 0xf6, 0x31, 0xd2, 0x0f, 0x05, 0x0f, 0x0b]),
];

/// 32-bit code that makes a system call, entered by a far return.
pub fn in_32_bits(address: Word) -> Code {
    // push CODE_32; push the address of what is behind; retfq; syscall; ud2
    let code = Code::new().load(CODE_32.into()).then(&[0x50]).load(address + 24);
    code.then(&[0x50, 0x48, 0xcb]).then(&[0x0f, 0x05, 0x0f, 0x0b])
}

/// Nobody comes near virtual-8086 mode in 64 bits.
pub fn virtual_8086(_: u32, _: [Word; 2]) -> Option<Code> {
    None
}

/// Fills registers that are not kept by system calls, or that are easily forgotten, with a word, for
/// ever.
pub fn fill_registers(word: Word) -> ! {
    // SAFETY: never comes back, so that nothing it changes matters.
    unsafe {
        asm!(
            "movq xmm0, rax",
            "movq xmm15, rax",
            "movq mm0, rax",
            "emms",
            "fldpi",
            "fldl2e",
            "fmulp",
            "mov ecx, 0x2b",
            "mov es, ecx",
            "mov ds, ecx",
            "mov gs, ecx",
            "2:",
            "pause",
            "jmp 2b",
            in("rax") word,
            options(noreturn),
        );
    }
}

/// Selectors, and the pointers to the last x87 instruction and its operand.
pub fn leftovers() -> ([Word; 4], [u32; 7]) {
    let (ds, es, fs, gs);
    let mut environment = [0u32; 7];
    // SAFETY: reads registers into variables; the environment is 28 bytes long.
    unsafe {
        asm!(
            "mov {ds:e}, ds", "mov {es:e}, es", "mov {fs:e}, fs", "mov {gs:e}, gs",
            "fnstenv [{environment}]",
            "fldenv [{environment}]",
            environment = in(reg) environment.as_mut_ptr(),
            ds = out(reg) ds, es = out(reg) es, fs = out(reg) fs, gs = out(reg) gs,
        );
    }
    ([ds, es, fs, gs], environment)
}

/// Puts words into registers, waits, and says whether they are still there.
pub fn keeps_registers(word: Word, rounds: u32) -> bool {
    let (first, second, third): (Word, Word, Word);
    // SAFETY: uses registers, all of which are named.
    unsafe {
        asm!(
            "movq xmm1, {word}",
            "movq xmm14, {word}",
            "mov r12, {word}",
            "2:",
            "dec {rounds:e}",
            "jnz 2b",
            "movq {first}, xmm1",
            "movq {second}, xmm14",
            word = in(reg) word,
            rounds = inout(reg) rounds => _,
            first = out(reg) first,
            second = out(reg) second,
            out("r12") third,
        );
    }
    [first, second, third] == [word; 3]
}

/// Code for a thread whose registers others set: all of it goes on for ever, or is an exception.
pub const PIECES: [&[u8]; 9] = [
    // pause; jmp
    &[0xf3, 0x90, 0xeb, 0xfc],
    // ud2
    &[0x0f, 0x0b],
    // int 0x80
    &[0xcd, 0x80, 0xeb, 0xfc],
    // fwait; addps xmm0, xmm1; divps xmm0, xmm2; pause; jmp
    &[0x9b, 0x0f, 0x58, 0xc1, 0x0f, 0x5e, 0xc2, 0xf3, 0x90, 0xeb, 0xf5],
    // mov al, [rax]
    &[0x8a, 0x00, 0xeb, 0xfc],
    // int 0x30
    &[0xcd, 0x30],
    // mov al, fs:[0]; mov al, gs:[0]; jmp
    &[0x64, 0x8a, 0x04, 0x25, 0, 0, 0, 0, 0x65, 0x8a, 0x04, 0x25, 0, 0, 0, 0, 0xeb, 0xee],
    // in al, dx; jmp
    &[0xec, 0xeb, 0xfd],
    // int3; jmp
    &[0xcc, 0xeb, 0xfd],
];

/// The same system call for ever.
pub fn system_calls(target: Word, tag: Word, timeouts: Word) -> Code {
    // mov edi, target; mov esi, tag; mov edx, timeouts; syscall; jmp
    let code = Code::new().then(&[0xbf]).then(&(target as u32).to_le_bytes());
    let code = code.then(&[0xbe]).then(&(tag as u32).to_le_bytes());
    let code = code.then(&[0xba]).then(&(timeouts as u32).to_le_bytes());
    code.then(&[0x0f, 0x05, 0xeb, 0xed])
}

/// An open wait by a jump to the kernel's entry, behind which it goes on there.
pub fn wait_by_jump(entry: Word, behind: Word) -> Code {
    let code = Code::new().load(behind).then(&[0x48, 0x89, 0xc1, 0xbf, 6, 0, 0, 0]);
    let code = code.then(&[0x31, 0xf6, 0x31, 0xd2, 0x41, 0xbb, 2, 2, 0, 0]);
    code.load(entry).then(&[0xff, 0xe0])
}
