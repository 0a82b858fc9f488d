//! A thread's registers, as others read and write them ([`crate::operation::thread`]) and as exception
//! messages have them ([`crate::fault::Exception`]): the same names on both architectures, for what is
//! 64 bits wide on `amd64` and 32 on `ia32`.

use crate::{Word, layout::USER_END};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

/// The flags that a task may set: arithmetic, trap (single step), direction, alignment check,
/// identification. All others are the kernel's, whatever is written.
pub const USER_FLAGS: Word = 0x24_0dd5;

/// The trap flag: an exception with vector 1 after each instruction.
pub const TRAP_FLAG: Word = 1 << 8;

/// Bytes of the floating-point state: what FXSAVE stores (on `amd64` FXSAVE64).
///
/// The last 48 bytes are none of it, and the four from [`MXCSR_MASK_OFFSET`] on are the processor's: they
/// cannot be changed, and of the former nothing can be read. Bits of MXCSR that the processor has not got
/// stay clear. On `ia32` the kernel leaves SSE off, and only x87 and MMX are kept.
pub const FLOATING_POINT_SIZE: usize = 512;

/// Words of that.
pub const FLOATING_POINT_WORDS: usize = FLOATING_POINT_SIZE / size_of::<Word>();

/// Where MXCSR stands in it.
pub const MXCSR_OFFSET: usize = 24;

/// Where the bits stand that the processor has in MXCSR.
pub const MXCSR_MASK_OFFSET: usize = 28;

/// General registers, instruction pointer, stack pointer and flags.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Registers {
    /// Instruction pointer. Beyond the user area there is nothing: whoever is sent there faults.
    pub instruction: Word,
    /// Stack pointer.
    pub stack: Word,
    /// Flags, of which [`USER_FLAGS`] can be changed.
    pub flags: Word,
    /// `rax` or `eax`.
    pub ax: Word,
    /// `rbx` or `ebx`.
    pub bx: Word,
    /// `rcx` or `ecx`.
    pub cx: Word,
    /// `rdx` or `edx`.
    pub dx: Word,
    /// `rsi` or `esi`.
    pub si: Word,
    /// `rdi` or `edi`.
    pub di: Word,
    /// `rbp` or `ebp`.
    pub bp: Word,
    /// `r8` to `r15`.
    #[cfg(target_pointer_width = "64")]
    pub r: [Word; 8],
}

impl Registers {
    /// How many words.
    pub const WORDS: usize = size_of::<Self>() / size_of::<Word>();

    /// As messages have them, in the order of the fields.
    #[inline]
    pub fn to_words(self) -> [Word; Self::WORDS] {
        transmute!(self)
    }

    /// Reads them.
    #[inline]
    pub fn from_words(words: [Word; Self::WORDS]) -> Self {
        transmute!(words)
    }
}

/// All registers of a thread but its floating-point state.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ThreadRegisters {
    /// What exception messages have too.
    pub general: Registers,
    /// Base of FS: the thread's UTCB unless it was changed. On `ia32` segments are the kernel's, and
    /// nobody changes them: FS is the thread's UTCB, the others are flat.
    #[cfg(target_pointer_width = "64")]
    pub fs_base: Word,
    /// Base of GS.
    #[cfg(target_pointer_width = "64")]
    pub gs_base: Word,
}

impl ThreadRegisters {
    /// How many words.
    pub const WORDS: usize = size_of::<Self>() / size_of::<Word>();

    /// As messages have them, in the order of the fields.
    #[inline]
    pub fn to_words(self) -> [Word; Self::WORDS] {
        transmute!(self)
    }

    /// Reads them.
    #[inline]
    pub fn from_words(words: [Word; Self::WORDS]) -> Self {
        transmute!(words)
    }

    /// Whether what is executed and the bases of segments lie in the user area.
    pub fn lie_in_user_area(&self) -> bool {
        #[cfg(target_pointer_width = "64")]
        let addresses = [self.general.instruction, self.fs_base, self.gs_base];
        #[cfg(not(target_pointer_width = "64"))]
        let addresses = [self.general.instruction];
        addresses.into_iter().all(|address| address < USER_END)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_in_the_order_of_the_fields() {
        let words: [Word; ThreadRegisters::WORDS] = core::array::from_fn(|number| number + 1);
        let all = ThreadRegisters::from_words(words);
        assert_eq!(all.to_words(), words);
        let Registers { instruction, stack, flags, ax, bp, .. } = all.general;
        assert_eq!([instruction, stack, flags, ax, bp], [1, 2, 3, 4, 10]);
        assert_eq!(all.general.to_words()[..], words[..Registers::WORDS]);
        #[cfg(target_pointer_width = "64")]
        assert_eq!((all.general.r[0], all.fs_base, all.gs_base), (11, 19, 20));
    }
}
