//! The budgets for the kernel's main operations, held against exact instruction counts.

use xtask::{
    Architecture, Workspace,
    architecture::{AMD64, IA32},
    bench::{budget, exact::Counts},
};

fn check(architecture: &'static Architecture) {
    let counts = Counts::measure(&Workspace::find(), architecture)
        .unwrap_or_else(|error| panic!("cannot count: {error:#}. Run ./scripts/test"));
    let exceeded = budget::exceeded(&counts);
    assert!(exceeded.is_empty(), "over budget: {exceeded:#?}\n{counts:#?}");
}

#[test]
fn operations_of_amd64_stay_within_their_budgets() {
    check(&AMD64);
}

#[test]
fn operations_of_ia32_stay_within_their_budgets() {
    check(&IA32);
}
