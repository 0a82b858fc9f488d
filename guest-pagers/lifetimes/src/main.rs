//! Objects live and die: makes tasks, threads and whole trees of them, and ends them in the midst of what they
//! do. The rest must go on unharmed, and all memory must come back.
//!
//! | argument | what it does |
//! |---|---|
//! | `creation` | step by step, what the slides say about making a task |
//! | `midway` | one case after the other: what is being done, who is ended, and who learns it |
//! | `churn SEED ROUNDS` | so many rounds of all kinds of objects, made and ended |
//!
//! | module | what it knows |
//! |---|---|
//! | [`children`] | tasks of this program's making, what it hears of them, and how much kernel memory is left |
//! | [`creation`], [`midway`], [`churn`] | the scenarios |
//!
//! An expectation that is not met ends the program with a panic.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

mod churn;
mod creation;
mod midway;

use children::{child, house, quota};
use runtime::{println, program};

runtime::entry!(main);

fn main() -> i32 {
    let mut words = program::arguments().split_whitespace();
    let mode = words.next().unwrap_or_default();
    let mut numbers = words.map(str::parse::<usize>);
    let done = match (mode, numbers.next(), numbers.next()) {
        ("creation", None, None) => creation::run(),
        ("midway", None, None) => midway::run(),
        ("churn", Some(Ok(seed)), Some(Ok(rounds))) => churn::run(seed as u64, rounds),
        _ => {
            println!(
                "lifetimes: the arguments are `creation`, `midway`, or `churn`, a seed and a number of rounds"
            );
            return 2;
        }
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            println!("{mode}: {error}");
            1
        }
    }
}
