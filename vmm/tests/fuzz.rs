//! System calls at random, beside a victim that does not notice: the kernel goes on, keeps its promises, and gets
//! all of its memory back.

mod common;

use common::{Target, on_every_target};

/// Few where ring 0 is interpreted; on one target as many as find something.
fn calls(on: Target) -> u64 {
    match on {
        Target::AMD64_ON_KVM => 2000,
        Target::AMD64_ON_QEMU => 200_000,
        _ => 40_000,
    }
}

fn a_storm_of_calls(on: Target) {
    let (seed, calls) = (20_261, calls(on));
    let (seed_text, calls_text) = (seed.to_string(), calls.to_string());
    let options = ["fuzz", "--seed", &seed_text, "--calls", &calls_text];
    let ran = on.run(&[&options[..], &["--quiet", "--check=4096"]].concat()).expect_status(0);
    assert!(ran.checks() > 0);
    let said = |prefix: &str| {
        let line = ran.stdout.lines().find_map(|line| line.strip_prefix(prefix));
        line.unwrap_or_else(|| panic!("no '{prefix}' in\n{}", ran.stdout))
    };
    assert_eq!(said("fuzz: seed "), format!("{seed}, {calls} calls"));
    let done = ran.stdout.lines().find(|line| line.contains(" calls in ")).expect("a number");
    let done = done.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok());
    assert!(done.is_some_and(|done| done >= calls), "{}", ran.stdout);
    let (before, after) =
        said("fuzz: kernel memory left: ").split_once(" bytes before, ").expect("two");
    assert_eq!(after, format!("{before} after"));
    let sum: u64 = (1..=8).map(|page: u64| page.pow(2)).sum();
    assert!(said("victim: ").starts_with(&format!("the sum is {sum}, ")), "{}", ran.stdout);
}

on_every_target!(a_storm_of_calls);
