//! Returns from interrupts that there were none of: to every privilege, with every flag.

use crate::{
    arch::{KERNEL_CODE, USER_CODE, USER_DATA},
    code::Code,
    laboratory::{Laboratory, Outcome},
};
use runtime::println;

const CODE_SELECTORS: [u16; 12] =
    [USER_CODE, KERNEL_CODE, KERNEL_CODE | 3, 0x23, 0x1b, 0x2b, 0x30, 0x32, 0x43, 0x3b, 0, 7];
const STACK_SELECTORS: [u16; 7] = [USER_DATA, USER_DATA & !3, 0, 3, 0x18, 0x33, 7];
/// Plain, I/O privilege, nested task, virtual-8086, resume, trap, alignment check, all.
const FLAGS: [u32; 8] = [0x202, 0x3202, 0x4202, 0x2_0202, 0x1_0202, 0x302, 0x4_0202, 0x3f_ffff];

pub fn run(laboratory: &mut Laboratory) {
    // Somewhere behind the code, from where it comes back.
    let target = laboratory.address() + 60;
    let mut returned = 0;
    let mut exceptions = [0; 32];
    for code in CODE_SELECTORS {
        for stack in STACK_SELECTORS {
            for flags in FLAGS {
                let attempt = Code::new().interrupt_return(code, stack, flags, target);
                match laboratory.attempt_again(&attempt, 2) {
                    Outcome::Returned => returned += 1,
                    Outcome::Exception { vector, .. } => exceptions[vector % 32] += 1,
                }
            }
        }
    }
    println!("returns: {returned} returned");
    for (vector, count) in exceptions.into_iter().enumerate().filter(|(_, count)| *count != 0) {
        println!("returns: {count} exception {vector}");
    }
}
