//! Others end what is in the midst of something. A bystander keeps its own all the time; and when all is over,
//! as much kernel memory is left as before.

mod bystander;
mod faulting;
mod holding;
mod itself;
mod mapping;
mod running;
mod tree;
mod unheld;
mod waiting;

use crate::{house::House, quota};
use bystander::Bystander;
use core::fmt;
use runtime::{Error, Result, capability::FACTORY, println, protocol::error::IpcError};

type Case = fn(&mut House) -> Result<()>;

const CASES: [Case; 13] = [
    running::task,
    running::thread,
    waiting::caller,
    waiting::queued,
    waiting::receiver,
    faulting::pager_ends,
    faulting::client_ends,
    mapping::long_map,
    mapping::long_unmap,
    holding::middle_ends,
    itself::task,
    unheld::gate,
    tree::factory,
];

/// Each case twice: the first time may leave tables that are needed again.
pub fn run() -> Result<()> {
    let mut house = House::default();
    let bystander = Bystander::new(&mut house)?;
    round(&mut house, &bystander)?;
    let before = quota::left(FACTORY)?;
    round(&mut house, &bystander)?;
    let after = quota::left(FACTORY)?;
    println!("midway: kernel memory left: {before} bytes before, {after} after");
    assert_eq!(before, after);
    bystander.end(&mut house)
}

fn round(house: &mut House, bystander: &Bystander) -> Result<()> {
    for case in CASES {
        case(house)?;
        bystander.look()?;
    }
    Ok(())
}

/// What somebody who waited has learned, as a word.
fn learned<T>(outcome: Result<T>) -> usize {
    match outcome {
        Err(Error::Ipc(error)) => error as usize,
        Err(_) => 1,
        Ok(_) => 0,
    }
}

/// Says in words what was learned.
fn say(what: fmt::Arguments, word: usize, expected: IpcError) {
    let error = IpcError::from_word(word).map(Error::Ipc);
    match error {
        Some(error) => println!("midway: {what}: {error}"),
        None => println!("midway: {what}: nothing"),
    }
    assert_eq!(error, Some(Error::Ipc(expected)));
}
