//! The budgets for the kernel's main operations, held against exact instruction counts.

use xtask::{
    Workspace,
    bench::{budget, exact::Counts},
};

#[test]
fn operations_stay_within_their_budgets() {
    let counts = Counts::measure(&Workspace::find())
        .unwrap_or_else(|error| panic!("cannot count: {error:#}. Run ./scripts/test"));
    let exceeded = budget::exceeded(&counts);
    assert!(exceeded.is_empty(), "over budget: {exceeded:#?}\n{counts:#?}");
}
