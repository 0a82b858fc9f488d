//! Makes system calls at random, and near-valid ones, from several threads of several tasks. Arguments: a seed,
//! and how many calls. Equal seeds give each thread the same calls; which of them come between others' is up to the
//! timer.
//!
//! | module | what it knows |
//! |---|---|
//! | [`calls`] | what there is to call: a table of generators by object |
//! | [`dice`] | what is chosen at random |
//! | [`round`] | the tasks and threads, and how they are kept going |
//!
//! In the end nothing of it is left, and as much kernel memory as before; else the program ends with a panic. So it
//! does if nobody makes a call any more though all could.
#![no_std]
#![no_main]

mod calls;
mod dice;
mod round;

use children::{house::House, quota};
use round::Round;
use runtime::{
    Result,
    capability::{FACTORY, SERVER},
    println, program,
    protocol::message::MessageTag,
};

runtime::entry!(main);

/// To a server that wants to know: this program is through.
const THROUGH: isize = 3;

/// What each round comes to, at most.
const CALLS_A_ROUND: usize = 2000;

fn main() -> i32 {
    let status = start();
    // It has no server if nobody wants to know.
    let _ = SERVER.call(MessageTag::new(THROUGH, 0, 0));
    status
}

fn start() -> i32 {
    let mut numbers = program::arguments().split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(seed)), Some(Ok(calls)), None) = (numbers.next(), numbers.next(), numbers.next())
    else {
        println!("fuzz: the arguments are a seed and a number of calls");
        return 2;
    };
    println!("fuzz: seed {seed}, {calls} calls");
    match run(seed, calls as usize) {
        Ok(()) => 0,
        Err(error) => {
            println!("fuzz: {error}");
            1
        }
    }
}

fn run(seed: u64, calls: usize) -> Result<()> {
    let mut house = House::default();
    // Everything that is needed again and again is there from then on.
    Round::new(&mut house, seed)?.end(&mut house)?;
    let before = quota::left(FACTORY)?;
    let (mut done, mut rounds, mut repairs) = (0, 0, 0);
    while done < calls {
        let seed = seed.wrapping_add(rounds);
        let mut round = Round::new(&mut house, seed)?;
        done += round.run(CALLS_A_ROUND.min(calls - done));
        repairs += round.repairs;
        round.end(&mut house)?;
        let after = quota::left(FACTORY)?;
        assert_eq!(before, after, "kernel memory before and after the round with seed {seed}");
        rounds += 1;
    }
    println!("fuzz: {done} calls in {rounds} rounds; all were set going again {repairs} times");
    let after = quota::left(FACTORY)?;
    println!("fuzz: kernel memory left: {before} bytes before, {after} after");
    Ok(())
}
