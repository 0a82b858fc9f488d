//! Who has the processor.

use crate::{
    child::{spin, word},
    house::House,
};
use core::hint::spin_loop;
use runtime::{Result, capability::FACTORY, memory::Memory, println, protocol::Word};

/// Longer than a time slice, in turns of a small loop, on any machine that is not very fast; on such a one
/// less is seen, and nothing is wrong.
const A_WHILE: u32 = 2_000_000;

pub fn task(house: &mut House) -> Result<()> {
    let child = house.child(FACTORY, 1)?;
    let page = house.page()?;
    child.give_page(0, &page)?;
    child.start(count)?;
    wait_for(&page, 0);
    house.end(child)?;
    assert_still(&page, 0);
    println!("midway: a task that runs: it counts no more");
    house.pool.give_back(page)
}

/// One of two threads of a task.
pub fn thread(house: &mut House) -> Result<()> {
    let child = house.child(FACTORY, 2)?;
    let page = house.page()?;
    child.give_page(0, &page)?;
    let second = child.second_thread(FACTORY)?;
    child.start(count)?;
    child.start_second(&second, count_beside)?;
    wait_for(&page, 0);
    wait_for(&page, 1);
    second.end()?;
    assert_still(&page, 1);
    let before = page.values::<Word>()[0].get();
    while page.values::<Word>()[0].get() == before {
        spin_loop();
    }
    println!("midway: a thread that runs: it counts no more, the other one of its task does");
    house.end(child)?;
    house.pool.give_back(page)
}

fn wait_for(page: &Memory, counter: usize) {
    while page.values::<Word>()[counter].get() == 0 {
        spin_loop();
    }
}

fn assert_still(page: &Memory, counter: usize) {
    let before = page.values::<Word>()[counter].get();
    (0..A_WHILE).for_each(|_| spin_loop());
    assert_eq!(page.values::<Word>()[counter].get(), before, "it still counts");
}

extern "C" fn count() -> ! {
    loop {
        word(0).set(word(0).get() + 1);
    }
}

extern "C" fn count_beside() -> ! {
    let counter = &runtime::program::pager_area::<Word>(2)[1];
    loop {
        if counter.get() == Word::MAX {
            spin();
        }
        counter.set(counter.get() + 1);
    }
}
