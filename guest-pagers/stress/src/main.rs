//! Maps, grants and takes back at random: memory, I/O ports and capabilities, over a tree of tasks.
//!
//! Each task pages those below it, and asks another one now and then; it knows nothing but its arena, the
//! same addresses in all tasks, in which anything may come and go. Pagers and servers have smaller
//! numbers than their clients: nobody waits in a circle.
//!
//! Arguments: `top`, `inner` (others depend on it) or `leaf`, then a seed and a number of rounds.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

mod arena;
mod dice;
mod worker;

use dice::Dice;
use runtime::{
    Result,
    capability::{CONSOLE, DEBUGGER, PARENT, TASK},
    pager::serve,
    println, program,
    protocol::{flexpage::Rights, object::CapabilityIndex},
};
use worker::Worker;

runtime::entry!(main);

fn main() -> i32 {
    let mut words = program::arguments().split_whitespace();
    let role = words.next().unwrap_or_default();
    let mut numbers = words.map(str::parse::<u64>);
    let (Some(Ok(seed)), Some(Ok(rounds))) = (numbers.next(), numbers.next()) else {
        println!("stress: the arguments are top, inner or leaf, a seed and a number of rounds");
        return 2;
    };
    let mut worker = Worker::new(Dice::new(seed), role == "top");
    if role == "top" {
        fill_arena().unwrap_or_else(|error| panic!("cannot begin: {error}"));
    }
    for _ in 0..rounds {
        worker.round();
    }
    if role != "leaf" {
        serve(&mut worker);
    }
    println!("{rounds} rounds: {} pages read, all of them of the arena", worker.pages_read);
    0
}

/// What there is to be handed on: all of it begins with the top task.
fn fill_arena() -> Result<()> {
    PARENT.request_any(arena::ORDER, arena::memory(Rights::all()))?;
    for page in 0..arena::PAGES {
        arena::number(page);
    }
    PARENT.request_ports(arena::ports())?;
    for offset in 0..arena::CAPABILITIES {
        let index = CapabilityIndex(arena::FIRST_CAPABILITY + offset);
        let item = match offset % 2 {
            0 => CONSOLE.item(index, Rights::READ),
            _ => DEBUGGER.item(index, Rights::READ),
        };
        TASK.map(item)?;
    }
    Ok(())
}
