//! `int n`, all of them.

use crate::{code::Code, laboratory::Laboratory, report::Report};

pub fn run(laboratory: &mut Laboratory) {
    let mut report = Report::new("int");
    for number in 0..=u8::MAX {
        let outcome = laboratory.attempt(&Code::new().then(&[0xcd, number]));
        // A gate that is not for tasks, or that is none: the error code names it. In 64-bit mode QEMU
        // counts two for each gate.
        let [gate, of_qemu] = [8, 16].map(|size| usize::from(number) * size + 2);
        report.note(number.into(), outcome.about(gate).about(of_qemu));
    }
}
