//! Gates, factories and tasks, as many as there can be; then threads that do nothing but run, as many as there can be.

use crate::scene::Scene;
use alloc::vec::Vec;
use children::child::spin;
use runtime::{
    Error, Result,
    capability::{Cap, DEBUGGER, FACTORY, Factory, THREAD},
    owned::{Mortal, Owned},
    println, program,
    protocol::{
        PAGE_ORDER, Word,
        error::ObjectError,
        flexpage::{Flexpage, Rights},
        layout::{STACK_END, UTCB_AREA},
        object::CapabilityIndex,
        utcb::UTCB_SIZE,
    },
};

/// What all of it may cost: bytes.
const LIMIT: Word = 320 << 10;

/// The UTCBs of all threads: 64 KiB.
const UTCBS: Flexpage = Flexpage::memory(UTCB_AREA, 16, Rights::READ_WRITE);
const MOST_THREADS: usize = (1 << 16) / UTCB_SIZE;

pub fn run(scene: &mut Scene) -> Result<()> {
    let factory = FACTORY.create_factory(LIMIT)?;
    more("gates", *factory, |factory| factory.create_gate(0, THREAD));
    more("factories", *factory, |factory| factory.create_factory(0));
    let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE);
    more("tasks", *factory, |factory| factory.create_task(area));
    let task = factory.create_task(UTCBS)?;
    DEBUGGER.set_name(*task, None, "bomb")?;
    program::image().try_for_each(|piece| task.map(piece))?;
    let nobody = CapabilityIndex::NIL;
    let mut runners = Vec::new();
    let (idle, error) = as_many_as_possible(|| {
        let thread = factory.create_thread()?;
        if runners.len() == MOST_THREADS {
            return Ok(Some(thread));
        }
        let runner = thread.bind(&task, nobody, nobody, UTCB_AREA + runners.len() * UTCB_SIZE)?;
        runner.start(run_on as *const () as usize, STACK_END)?;
        runners.push(runner);
        Ok(None)
    });
    println!(
        "thread-bomb: {} threads run, {} do not, one more: {error}",
        runners.len(),
        idle.len()
    );
    scene.stand()?;
    factory.end()?;
    Ok(())
}

/// Makes and ends as many as there can be.
fn more<T: Mortal>(
    what: &str,
    factory: Cap<Factory>,
    create: impl Fn(Cap<Factory>) -> Result<Owned<T>>,
) {
    let (all, error) = as_many_as_possible(|| create(factory).map(Some));
    println!("thread-bomb: {} {what}, one more: {error}", all.len());
}

/// All that are to be kept, and why there are no more.
fn as_many_as_possible<T>(mut create: impl FnMut() -> Result<Option<T>>) -> (Vec<T>, Error) {
    let mut all = Vec::new();
    let error = loop {
        match create() {
            Ok(one) => all.extend(one),
            Err(error) => break error,
        }
    };
    assert_eq!(error, Error::Object(ObjectError::NoMemory));
    (all, error)
}

extern "C" fn run_on() -> ! {
    spin()
}
