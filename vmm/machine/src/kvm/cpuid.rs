//! Which of the features that KVM offers the guest's processor has.

use kvm_bindings::{CpuId, kvm_cpuid_entry2};

/// Of leaf 1, ECX: FMA, XSAVE, OSXSAVE, AVX, F16C.
const EXTENDED_STATE: u32 = 1 << 12 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 29;

/// Of leaf 7, EBX: AVX2 and all kinds of AVX-512.
const WIDE_7_EBX: u32 =
    1 << 5 | 1 << 16 | 1 << 17 | 1 << 21 | 1 << 26 | 1 << 27 | 1 << 28 | 1 << 30 | 1 << 31;
/// ECX: AVX512_VBMI, AVX512_VBMI2, VAES, VPCLMULQDQ, AVX512_VNNI, AVX512_BITALG, AVX512_VPOPCNTDQ.
const WIDE_7_ECX: u32 = 1 << 1 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 14;
/// EDX: AVX512_4VNNIW, AVX512_4FMAPS, AVX512_VP2INTERSECT, AVX512_FP16, and AMX, which is kept the same way.
const WIDE_7_EDX: u32 = 1 << 2 | 1 << 3 | 1 << 8 | 1 << 22 | 1 << 23 | 1 << 24 | 1 << 25;

/// The processor has number 0, and no registers but those that FXSAVE keeps: the kernel switches AVX off,
/// but a KVM without hardware for it lets it be used all the same, and then the upper halves are nobody's.
/// A program that asks before is told that there are none.
///
/// Leaves and bits: Intel manual volume 2, CPUID; AMD manual volume 3, appendix E.
pub(super) fn for_guest(mut features: CpuId) -> CpuId {
    features.as_mut_slice().iter_mut().for_each(restrict);
    features
}

fn restrict(entry: &mut kvm_cpuid_entry2) {
    match (entry.function, entry.index) {
        (1, _) => {
            // KVM says the number of the processor that asked.
            entry.ebx &= 0x00FF_FFFF;
            entry.ecx &= !EXTENDED_STATE;
        }
        (7, 0) => {
            entry.ebx &= !WIDE_7_EBX;
            entry.ecx &= !WIDE_7_ECX;
            entry.edx &= !WIDE_7_EDX;
        }
        // More of AVX and AMX; sizes of the areas that XSAVE needs, AMX, AVX10; XOP and FMA4.
        (7, _) | (0xD | 0x1D | 0x1E | 0x24, _) => clear(entry),
        (0x8000_0001, _) => entry.ecx &= !(1 << 11 | 1 << 16),
        (0xB | 0x1F, _) => entry.edx = 0,
        _ => {}
    }
}

fn clear(entry: &mut kvm_cpuid_entry2) {
    [entry.eax, entry.ebx, entry.ecx, entry.edx] = [0; 4];
}

#[cfg(test)]
mod tests {
    use super::*;

    const FSGSBASE: u32 = 1;

    /// What becomes of a leaf in which all bits are set: eax, ebx, ecx, edx.
    fn of_all(function: u32, index: u32) -> [u32; 4] {
        let all = [!0; 4];
        let mut entry = kvm_cpuid_entry2 { function, index, ..Default::default() };
        [entry.eax, entry.ebx, entry.ecx, entry.edx] = all;
        let features = for_guest(CpuId::from_entries(&[entry]).unwrap());
        let entry = features.as_slice()[0];
        [entry.eax, entry.ebx, entry.ecx, entry.edx]
    }

    #[test]
    fn the_guest_has_processor_0() {
        assert_eq!(of_all(1, 0)[1], 0x00FF_FFFF);
        assert_eq!([of_all(0xB, 0)[3], of_all(0x1F, 1)[3]], [0; 2]);
    }

    #[test]
    fn there_is_no_state_but_what_fxsave_keeps() {
        assert_eq!(of_all(1, 0)[2] & (1 << 26 | 1 << 27 | 1 << 28), 0);
        assert_eq!(of_all(7, 0)[1] & (1 << 5 | 1 << 16), 0);
        for (function, index) in [(0xD, 0), (0xD, 1), (0xD, 2), (7, 1), (7, 2)] {
            assert_eq!(of_all(function, index), [0; 4], "{function:#x}.{index}");
        }
    }

    #[test]
    fn all_else_stays() {
        // SSE3, SSE4, RDRAND; FXSAVE, SSE2; FSGSBASE, SMEP, SMAP; UMIP.
        let [_, _, ecx, edx] = of_all(1, 0);
        assert_eq!((ecx & 0x4018_0001, edx), (0x4018_0001, !0));
        let [_, ebx, ecx, _] = of_all(7, 0);
        let wanted = FSGSBASE | 1 << 7 | 1 << 20;
        assert_eq!((ebx & wanted, ecx & 4), (wanted, 4));
        assert_eq!(of_all(0x8000_0008, 0), [!0; 4]);
    }
}
