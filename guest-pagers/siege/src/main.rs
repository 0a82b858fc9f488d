//! Attacks by what every task may do: mapping, making objects, sending, and being a bad pager or handler. A
//! victim works beside all that, and must not notice.
//!
//! | argument | what it does |
//! |---|---|
//! | `keeper` | pages and serves the victim, and hears who has done its worst |
//! | `victim ATTACKERS ROUNDS` | works until so many have done their worst, and so many rounds more |
//! | `mapbomb`, `thread-bomb`, `ipc-storm`, `recursive-map` | take all that they can get |
//! | `pager-cycle`, `handler-chain` | have threads wait for each other |
//! | `pager-dies`, `pager-lies`, `pager-sleeps` | are pagers that do not what a pager must do |
//!
//! An attack brings about what it can and then tells the keeper, which answers when the victim has done its work
//! beside that. Then the attack ends what it has made, and looks whether all kernel memory is back. An expectation
//! that is not met ends the program with a panic.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

mod handler_chain;
mod ipc_storm;
mod keeper;
mod mapbomb;
mod pager_cycle;
mod pager_dies;
mod pager_lies;
mod pager_sleeps;
mod recursive_map;
mod scene;
mod thread_bomb;
mod victim;

use children::quota;
use keeper::THROUGH;
use runtime::{
    Result,
    capability::{FACTORY, SERVER},
    println, program,
    protocol::message::MessageTag,
};
use scene::Scene;

runtime::entry!(main);

type Attack = fn(&mut Scene) -> Result<()>;

const ATTACKS: [(&str, Attack); 9] = [
    ("mapbomb", mapbomb::run),
    ("thread-bomb", thread_bomb::run),
    ("ipc-storm", ipc_storm::run),
    ("recursive-map", recursive_map::run),
    ("pager-cycle", pager_cycle::run),
    ("handler-chain", handler_chain::run),
    ("pager-dies", pager_dies::run),
    ("pager-lies", pager_lies::run),
    ("pager-sleeps", pager_sleeps::run),
];

fn main() -> i32 {
    let mut words = program::arguments().split_whitespace();
    let name = words.next().unwrap_or_default();
    let mut numbers = words.map(str::parse::<usize>);
    match (name, numbers.next(), numbers.next()) {
        ("keeper", None, None) => keeper::run(),
        ("victim", Some(Ok(attackers)), Some(Ok(rounds))) => victim::run(attackers, rounds),
        _ => match ATTACKS.into_iter().find(|(attack, _)| *attack == name) {
            Some((name, attack)) => run(name, attack),
            None => {
                println!("siege: there is no part `{name}`");
                2
            }
        },
    }
}

/// An attack from beginning to end. Gives the exit status.
fn run(name: &str, attack: Attack) -> i32 {
    let attack = || {
        let mut scene = Scene::new()?;
        let before = quota::left(FACTORY)?;
        attack(&mut scene)?;
        let after = quota::left(FACTORY)?;
        println!("{name}: kernel memory left: {before} bytes before, {after} after");
        assert_eq!(before, after);
        Ok(())
    };
    match attack() {
        Ok(()) => 0,
        Err::<(), runtime::Error>(error) => {
            println!("{name}: {error}");
            // The others need not wait for it.
            let _ = SERVER.call(MessageTag::new(THROUGH, 0, 0));
            1
        }
    }
}
