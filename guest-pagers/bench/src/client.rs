//! The side that measures.

use crate::{
    cycle, mapping,
    probe::{known_loop, touch},
    samples::{SAMPLES, Spread, WARM_UP},
    server,
};
use core::hint::black_box;
use runtime::{
    Error, Result,
    capability::{DEBUGGER, SERVER, check},
    message, println,
    protocol::{PAGE_SIZE, Word, message::MessageTag},
    share::Item,
};

/// Measures everything and prints the report: one line of JSON, in ticks of the time stamp counter.
pub fn run() -> Result<()> {
    let known_loop = known_loop();
    let null_syscall = Spread::of(|_| DEBUGGER.null())?;
    let ipc_call = Spread::of(|_| echo([]))?;
    let ipc_call_4_words = Spread::of(|round| echo([round, 1, 2, 3]).map(black_box))?;
    let page_fault = Spread::of(|round| {
        touch(server::AREA + round * PAGE_SIZE);
        Ok(())
    })?;
    // What was measured did what it should.
    if echo([5, 6, 7, 8])? != [5, 6, 7, 8] {
        return Err(Error::BadAnswer);
    }
    let ipc_call_later = Spread::of(|_| ask(server::LATER, []))?;
    let mapping = mapping::measure()?;
    let cycles = cycle::measure()?;
    println!(
        r#"{{"known_loop":{known_loop},"samples":{SAMPLES},"null_syscall":{null_syscall},"ipc_call":{ipc_call},"ipc_call_4_words":{ipc_call_4_words},"page_fault":{page_fault},"ipc_call_later":{ipc_call_later},{mapping},{cycles}}}"#
    );
    Ok(())
}

/// Pages that one measurement of page faults touches.
pub const PAGES: usize = WARM_UP + SAMPLES;

/// Sends words to the server, which answers with the same, and reads them.
#[inline(always)]
fn echo<const N: usize>(words: [Word; N]) -> Result<[Word; N]> {
    message::write(0, words);
    let answer = check(SERVER.call(MessageTag::new(server::ECHO, N, 0))?)?;
    assert!(answer.words() == N, "the server sends back what it gets");
    Ok(message::read(0))
}

/// Sends the server a request with these items.
#[inline(always)]
pub fn ask<const N: usize>(request: isize, items: [Item; N]) -> Result<()> {
    check(SERVER.call_with(request, 0, items)?).map(|_| ())
}
