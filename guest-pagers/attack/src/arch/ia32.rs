//! 32-bit x86.

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
        "push ebx",
        "push ebp",
        "push esi",
        "push edi",
        "mov eax, fs",
        "push eax",
        "mov eax, [esp + 24]",
        "mov [{stack}], esp",
        "lea ecx, [2f]",
        "mov [{instruction}], ecx",
        "call eax",
        "2:",
        // Whatever the code has loaded into them.
        "mov eax, 0x23",
        "mov ds, eax",
        "mov es, eax",
        "mov ss, eax",
        "mov esp, [{stack}]",
        "push 2",
        "popfd",
        "pop eax",
        "mov fs, eax",
        "pop edi",
        "pop esi",
        "pop ebp",
        "pop ebx",
        "ret",
        stack = sym STACK,
        instruction = sym INSTRUCTION,
    )
}

/// A system call with nil as its capability, no operation, no tag and no timeouts.
pub const EMPTY_CALL: &[u8] = &[0x31, 0xc0, 0x31, 0xd2, 0x31, 0xc9, 0xcd, 0x30];
/// The end of all flags that can end: push 2; popfd.
pub const CLEAR_FLAGS: &[u8] = &[0x6a, 2, 0x9d];

/// The kernel's code selector, and this task's.
pub const KERNEL_CODE: u16 = 0x08;
pub const USER_CODE: u16 = 0x1b;
/// This task's data.
pub const USER_DATA: u16 = 0x23;

impl Code {
    /// eax = `value`.
    pub fn load(self, value: Word) -> Self {
        self.then(&[0xb8]).then(&value.to_le_bytes())
    }

    /// Flags = `flags`.
    pub fn flags(self, flags: u32) -> Self {
        self.load(flags as Word).then(&[0x50, 0x9d])
    }

    /// A far jump or call to offset 0 of a selector.
    pub fn far(self, call: bool, selector: u16) -> Self {
        let [low, high] = selector.to_le_bytes();
        self.then(&[if call { 0x9a } else { 0xea }, 0, 0, 0, 0, low, high])
    }

    /// iretd, with this frame. To the same privilege it pops no stack, to any other it must not go.
    pub fn interrupt_return(self, code: u16, _: u16, flags: u32, target: Word) -> Self {
        // push flags, cs, eip; iretd
        let pushed = self.load(flags as Word).then(&[0x50]).load(code.into()).then(&[0x50]);
        pushed.load(target).then(&[0x50, 0xcf])
    }
}

/// Selectors in segment registers, after which a system call is made.
pub const SEGMENTS: [(&str, u8); 5] =
    [("es", 0xc0), ("ss", 0xd0), ("ds", 0xd8), ("fs", 0xe0), ("gs", 0xe8)];

/// A segment register with a selector, and a system call with that.
pub fn with_selector(register: u8, selector: u16) -> Code {
    Code::new().load(selector.into()).then(&[0x8e, register]).then(EMPTY_CALL)
}

/// Addresses that are no user addresses, or at the end of them.
pub const POINTERS: [Word; 5] = [0xc000_0000, 0xbfff_ffff, 0xc010_9000, 0xffff_ffff, 0xfee0_0000];

/// What code can do with such an address in eax: jump, return, stack, push, system call.
pub const USES: [(&str, &[u8]); 5] = [
    ("jump", &[0xff, 0xe0]),
    ("return", &[0x50, 0xc3]),
    ("stack", &[0x89, 0xc4, 0x0f, 0x0b]),
    ("push", &[0x89, 0xc4, 0x50]),
    ("call", &[0x89, 0xc4, 0x31, 0xc0, 0x31, 0xd2, 0x31, 0xc9, 0xcd, 0x30, 0x0f, 0x0b]),
];

/// A frame with the flag of virtual-8086 mode and `flags`, to a segment and an offset in it.
pub fn virtual_8086(flags: u32, [segment, offset]: [Word; 2]) -> Option<Code> {
    const VIRTUAL_8086: u32 = 0x2_0002;
    // gs, fs, ds, es, ss; esp; flags; cs; eip.
    let code = Code::new().then(&[0x6a, 0, 0x6a, 0, 0x6a, 0, 0x6a, 0, 0x6a, 0]);
    let code = code.load(0x1800).then(&[0x50]).load((VIRTUAL_8086 | flags) as Word);
    let code = code.then(&[0x50]).load(segment).then(&[0x50]);
    Some(code.load(offset).then(&[0x50, 0xcf]))
}

/// Fills registers that are easily forgotten, for ever.
pub fn fill_registers(word: Word) -> ! {
    // SAFETY: never comes back, so that nothing it changes matters.
    unsafe {
        asm!(
            "fldpi",
            "fldl2e",
            "fmulp",
            "mov ecx, 0x23",
            "mov gs, ecx",
            "2:",
            "pause",
            "jmp 2b",
            in("eax") word,
            options(noreturn),
        );
    }
}

/// Selectors, and the pointers to the last x87 instruction and its operand.
pub fn leftovers() -> ([Word; 4], [u32; 7]) {
    let (es, gs);
    let mut environment = [0u32; 7];
    // SAFETY: reads registers into variables; the environment is 28 bytes long.
    unsafe {
        asm!(
            "mov {es:e}, es", "mov {gs:e}, gs",
            "fnstenv [{environment}]",
            "fldenv [{environment}]",
            environment = in(reg) environment.as_mut_ptr(),
            es = out(reg) es, gs = out(reg) gs,
        );
    }
    ([USER_DATA.into(), es, 0, gs], environment)
}

/// Puts words into registers, waits, and says whether they are still there.
pub fn keeps_registers(word: Word, rounds: u32) -> bool {
    let first: Word;
    // SAFETY: uses registers, all of which are named.
    unsafe {
        asm!(
            "movd mm1, {word}",
            "2:",
            "dec {rounds}",
            "jnz 2b",
            "movd {first}, mm1",
            "emms",
            word = in(reg) word,
            rounds = inout(reg) rounds => _,
            first = lateout(reg) first,
        );
    }
    first == word
}

/// Code for a thread whose registers others set: all of it goes on for ever, or is an exception.
pub const PIECES: [&[u8]; 9] = [
    // pause; jmp
    &[0xf3, 0x90, 0xeb, 0xfc],
    // ud2
    &[0x0f, 0x0b],
    // int 0x80
    &[0xcd, 0x80, 0xeb, 0xfc],
    // fwait; fld1; faddp; pause; jmp
    &[0x9b, 0xd9, 0xe8, 0xde, 0xc1, 0xf3, 0x90, 0xeb, 0xf7],
    // mov al, [eax]
    &[0x8a, 0x00, 0xeb, 0xfc],
    // int 0x31
    &[0xcd, 0x31],
    // mov al, fs:[0]; mov al, gs:[0]; jmp
    &[0x64, 0xa0, 0, 0, 0, 0, 0x65, 0xa0, 0, 0, 0, 0, 0xeb, 0xf2],
    // in al, dx; jmp
    &[0xec, 0xeb, 0xfd],
    // int3; jmp
    &[0xcc, 0xeb, 0xfd],
];

/// The same system call for ever.
pub fn system_calls(target: Word, tag: Word, timeouts: Word) -> Code {
    // mov eax, target; mov edx, tag; mov ecx, timeouts; int 0x30; jmp
    let code = Code::new().load(target).then(&[0xba]).then(&tag.to_le_bytes());
    code.then(&[0xb9]).then(&timeouts.to_le_bytes()).then(&[0xcd, 0x30, 0xeb, 0xed])
}

/// Nobody jumps to the entry here.
pub fn wait_by_jump(_: Word, _: Word) -> Code {
    system_calls(6, 0, 0)
}
