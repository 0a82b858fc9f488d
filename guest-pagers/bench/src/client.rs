//! The side that measures.

use crate::{
    cycle, mapping,
    probe::{known_loop, raise, touch},
    samples::{SAMPLES, Spread, WARM_UP},
    server,
};
use core::{hint::black_box, time::Duration};
use runtime::{
    Error, Result,
    capability::{DEBUGGER, SERVER, THREAD, check},
    ipc, message, println,
    protocol::{PAGE_SIZE, Word, message::MessageTag, operation::thread::Modify},
    share::Item,
};

/// Measures everything and prints the report: one line of JSON, in ticks of the time stamp counter.
pub fn run() -> Result<()> {
    let known_loop = known_loop();
    let null_syscall = Spread::of(|_| DEBUGGER.null())?;
    let ipc_call = Spread::of(|_| echo([]))?;
    let ipc_call_within = Spread::of(|_| echo_within())?;
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
    let exception = exception()?;
    let mapping = mapping::measure()?;
    let cycles = cycle::measure()?;
    println!(
        r#"{{"known_loop":{known_loop},"samples":{SAMPLES},"null_syscall":{null_syscall},"ipc_call":{ipc_call},"ipc_call_within":{ipc_call_within},"ipc_call_4_words":{ipc_call_4_words},"page_fault":{page_fault},"ipc_call_later":{ipc_call_later},"exception":{exception},{mapping},{cycles}}}"#
    );
    Ok(())
}

/// More than all measurements take together, so that no alarm rings.
const LIMIT: Duration = Duration::from_secs(3600);

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

/// The same without words, and not longer than this.
#[inline(always)]
fn echo_within() -> Result<()> {
    let tag = MessageTag::new(server::ECHO, 0, 0);
    check(ipc::call_within(SERVER.index(), tag, LIMIT)?).map(|_| ())
}

/// An exception that the server lets go.
fn exception() -> Result<Spread> {
    let handler = Some(SERVER.index());
    THREAD.modify(Modify { exception_handler: handler, ..Modify::default() })?;
    Spread::of(|_| {
        raise();
        Ok(())
    })
}

/// Sends the server a request with these items.
#[inline(always)]
pub fn ask<const N: usize>(request: isize, items: [Item; N]) -> Result<()> {
    check(SERVER.call_with(request, 0, items)?).map(|_| ())
}
