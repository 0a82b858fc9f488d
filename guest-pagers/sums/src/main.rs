//! Adds up numbers in the registers of the floating-point unit, for many time slices, beside others who do the
//! same with other numbers: what comes out is right only if these registers are each thread's own.
//!
//! The argument is the number that is added.
#![no_std]
#![no_main]

use core::arch::asm;
use runtime::{println, program};

runtime::entry!(main);

/// So many that a processor takes longer than a time slice for them.
const TURNS: u32 = 100_000_000;

fn main() -> i32 {
    let Ok(step) = program::arguments().parse::<u32>() else {
        println!("sums: the argument is a number, at most 1000");
        return 2;
    };
    println!("sums: {step} begins");
    let expected = u64::from(TURNS) * u64::from(step);
    let sums = sums(step.into());
    let is_right = sums.iter().all(|sum| *sum == expected);
    println!("sums: {step} times {TURNS} is {sums:?}");
    i32::from(!is_right)
}

/// In a register of the x87 unit and in one of SSE; all sums are below 2 to the 53rd.
#[cfg(target_arch = "x86_64")]
fn sums(step: u64) -> [u64; 2] {
    let mut in_x87 = step;
    let in_sse: u64;
    // SAFETY: the compiler uses none of these registers, and nothing is written but the two sums.
    unsafe {
        asm!(
            "fild qword ptr [{in_x87}]",
            "fldz",
            "cvtsi2sd xmm1, qword ptr [{in_x87}]",
            "pxor xmm0, xmm0",
            "2:",
            "fadd st(0), st(1)",
            "addsd xmm0, xmm1",
            "dec {turns:e}",
            "jnz 2b",
            "fistp qword ptr [{in_x87}]",
            "fstp st(0)",
            "cvttsd2si {in_sse}, xmm0",
            in_x87 = in(reg) &raw mut in_x87,
            in_sse = out(reg) in_sse,
            turns = inout(reg) TURNS => _,
        );
    }
    [in_x87, in_sse]
}

/// In a register of the x87 unit, as there is no SSE; all sums are below 2 to the 53rd.
#[cfg(target_arch = "x86")]
fn sums(step: u64) -> [u64; 1] {
    let mut in_x87 = step;
    // SAFETY: the compiler leaves the stack of the x87 unit empty between two statements, as this does, and
    // nothing is written but the sum.
    unsafe {
        asm!(
            "fild qword ptr [{in_x87}]",
            "fldz",
            "2:",
            "fadd st(0), st(1)",
            "dec {turns}",
            "jnz 2b",
            "fistp qword ptr [{in_x87}]",
            "fstp st(0)",
            in_x87 = in(reg) &raw mut in_x87,
            turns = inout(reg) TURNS => _,
        );
    }
    [in_x87]
}
