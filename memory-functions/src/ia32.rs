//! The functions for ia32.
//!
//! They take their arguments from the stack, keep `ebx`, `esi`, `edi` and `ebp`, and find the
//! direction flag clear, as C says. They are written in assembly because the compiler would make
//! loops that copy into calls of these very functions.

use core::{arch::naked_asm, ffi::c_int};

/// Copies `length` bytes between areas that do not overlap; gives `to`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    naked_asm!(
        "push esi",
        "push edi",
        "mov edi, [esp + 12]",
        "mov esi, [esp + 16]",
        "mov edx, [esp + 20]",
        "mov eax, edi",
        // Four bytes at a time, then the others.
        "mov ecx, edx",
        "shr ecx, 2",
        "rep movsd",
        "mov ecx, edx",
        "and ecx, 3",
        "rep movsb",
        "pop edi",
        "pop esi",
        "ret",
    )
}

/// Copies `length` bytes between areas that may overlap; gives `to`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8 {
    naked_asm!(
        // Only if `to` begins inside the source would copying upwards overwrite what is still to
        // be copied.
        "mov eax, [esp + 4]",
        "mov edx, eax",
        "sub edx, [esp + 8]",
        "mov ecx, [esp + 12]",
        "cmp edx, ecx",
        "jae {memcpy}",
        "push esi",
        "push edi",
        "lea edi, [eax + ecx - 1]",
        "mov esi, [esp + 16]",
        "lea esi, [esi + ecx - 1]",
        "std",
        "rep movsb",
        "cld",
        "pop edi",
        "pop esi",
        "ret",
        memcpy = sym memcpy,
    )
}

/// Sets `length` bytes to the lowest byte of `value`; gives `to`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: c_int, length: usize) -> *mut u8 {
    naked_asm!(
        "push edi",
        "mov edi, [esp + 8]",
        "movzx eax, byte ptr [esp + 12]",
        "imul eax, eax, 0x01010101",
        "mov edx, [esp + 16]",
        "mov ecx, edx",
        "shr ecx, 2",
        "rep stosd",
        "mov ecx, edx",
        "and ecx, 3",
        "rep stosb",
        "mov eax, [esp + 8]",
        "pop edi",
        "ret",
    )
}

/// Compares `length` bytes: negative, zero or positive, as the first ones that differ.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(left: *const u8, right: *const u8, length: usize) -> c_int {
    naked_asm!(
        "push esi",
        "push edi",
        "mov esi, [esp + 12]",
        "mov edi, [esp + 16]",
        "mov ecx, [esp + 20]",
        // Also sets the flags to "equal", which they stay if there is nothing to compare.
        "xor eax, eax",
        "repe cmpsb",
        "je 2f",
        "movzx eax, byte ptr [esi - 1]",
        "movzx edx, byte ptr [edi - 1]",
        "sub eax, edx",
        "2:",
        "pop edi",
        "pop esi",
        "ret",
    )
}

/// As [`memcmp`], but only whether the result is zero counts.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(left: *const u8, right: *const u8, length: usize) -> c_int {
    naked_asm!("jmp {memcmp}", memcmp = sym memcmp)
}

/// The number of bytes before the first zero.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    naked_asm!(
        "push edi",
        "mov edi, [esp + 8]",
        "xor eax, eax",
        "mov ecx, -1",
        "repne scasb",
        // It counted down from -1, the zero included.
        "not ecx",
        "lea eax, [ecx - 1]",
        "pop edi",
        "ret",
    )
}
