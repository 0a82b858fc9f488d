//! Selectors: in every segment register, and as the target of far jumps and calls.

use crate::{
    arch::{SEGMENTS, with_selector},
    code::Code,
    laboratory::Laboratory,
    report::Report,
};

/// The first `count` selectors, and some beyond: of both tables, with all privileges.
pub fn run(laboratory: &mut Laboratory, count: usize) {
    let count = count.min(1 << 16);
    let beyond = (0..16).flat_map(|bit| {
        let first = 1usize << bit;
        first..first + 8
    });
    let beyond = move || beyond.clone().filter(move |selector| (count..1 << 16).contains(selector));
    let all = || (0..count).chain(beyond());
    for (name, register) in SEGMENTS {
        let mut report = Report::new(name);
        for selector in all() {
            let outcome = laboratory.attempt(&with_selector(register, selector as u16));
            report.note(selector, outcome.about(selector & !3));
        }
    }
    for (name, call) in [("far jump", false), ("far call", true)] {
        let mut report = Report::new(name);
        for selector in all() {
            let outcome = laboratory.attempt(&Code::new().far(call, selector as u16));
            report.note(selector, outcome.about(selector & !3));
        }
    }
}
