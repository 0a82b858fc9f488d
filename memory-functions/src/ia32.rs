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

/// These run where a 64-bit host runs programs with 32-bit words.
#[cfg(test)]
mod tests {
    use super::{bcmp, memcmp, memcpy, memmove, memset, strlen};
    use std::hint::black_box;

    const SIZE: usize = 48;

    /// No byte is like its neighbours.
    fn pattern() -> [u8; SIZE] {
        std::array::from_fn(|index| (index * 7 + 3) as u8)
    }

    /// Bytes `from` on, copied to `to` on by way of another place, one by one.
    fn copied(from: usize, to: usize, length: usize) -> Vec<u8> {
        let source = pattern();
        (0..SIZE)
            .map(|index| match index.wrapping_sub(to) {
                offset if offset < length => source[from + offset],
                _ => source[index],
            })
            .collect()
    }

    #[test]
    fn copies_are_right_however_the_areas_lie() {
        for length in 0..20 {
            for (from, to) in (0..28).flat_map(|from| (0..28).map(move |to| (from, to))) {
                let expected = copied(from, to, length);
                let mut bytes = pattern();
                let place = bytes.as_mut_ptr();
                // SAFETY: both areas end inside the array.
                let result = unsafe { memmove(place.add(to), place.add(from), length) };
                assert_eq!((result, &bytes[..]), (place.wrapping_add(to), &expected[..]));
                if from.abs_diff(to) >= length {
                    let mut bytes = pattern();
                    let place = bytes.as_mut_ptr();
                    // SAFETY: both areas end inside the array, and do not overlap.
                    let result = unsafe { memcpy(place.add(to), place.add(from), length) };
                    assert_eq!((result, &bytes[..]), (place.wrapping_add(to), &expected[..]));
                }
            }
        }
    }

    #[test]
    fn only_the_lowest_byte_of_the_value_is_set() {
        for (start, length) in (0..8).flat_map(|start| (0..20).map(move |length| (start, length))) {
            let mut bytes = pattern();
            // SAFETY: the area ends inside the array.
            unsafe { memset(bytes.as_mut_ptr().add(start), 0x1a5, length) };
            for (index, byte) in bytes.into_iter().enumerate() {
                let is_set = (start..start + length).contains(&index);
                assert_eq!(byte, if is_set { 0xa5 } else { pattern()[index] });
            }
        }
    }

    #[test]
    fn the_first_difference_decides() {
        let compare = |left: &[u8; SIZE], right: &[u8; SIZE], length| {
            let (left, right) = (black_box(left).as_ptr(), black_box(right).as_ptr());
            // SAFETY: both arrays have as many bytes.
            let (order, differ) =
                unsafe { (memcmp(left, right, length), bcmp(left, right, length)) };
            assert_eq!(order == 0, differ == 0);
            order.signum()
        };
        let left = pattern();
        for place in 0..SIZE {
            let mut right = pattern();
            right[place] = !right[place];
            let expected = if left[place] < right[place] { -1 } else { 1 };
            assert_eq!(compare(&left, &right, place), 0);
            assert_eq!(compare(&left, &right, place + 1), expected);
            assert_eq!(compare(&left, &right, SIZE), expected);
        }
    }

    #[test]
    fn a_length_ends_at_the_first_zero() {
        for length in 0..9 {
            let mut text = [b'x'; 10];
            text[length] = 0;
            // SAFETY: there is a zero.
            assert_eq!(unsafe { strlen(black_box(&text).as_ptr()) }, length);
        }
    }
}
