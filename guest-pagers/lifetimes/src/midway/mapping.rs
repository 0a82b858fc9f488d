//! Who maps, or takes back, so much that it takes long.

use crate::{
    child::{Body, OWN, report, spin, word},
    house::{House, expect},
};
use core::hint::spin_loop;
use runtime::{
    Result,
    capability::FACTORY,
    objects::Take,
    println,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        flexpage::{Flexpage, Rights},
        layout::PAGER_AREA,
    },
    share::{Item, Shareable},
};

const MAPPER: Word = 31;
/// It has begun, and will not stop.
const BEGUN: isize = 1;

/// How often it is ended, each time at another moment.
const TIMES: usize = 3;

/// What it has: 256 small pages. What it makes of them, behind.
const ORDER: u32 = PAGE_ORDER + 8;
const SOURCE: Word = PAGER_AREA + (1 << ORDER);
const COPY: Word = PAGER_AREA + (2 << ORDER);

const COPIES: usize = 2;

pub fn long_map(house: &mut House) -> Result<()> {
    end_midway(house, map_on)?;
    println!("midway: who maps 256 pages: ended {TIMES} times");
    Ok(())
}

pub fn long_unmap(house: &mut House) -> Result<()> {
    end_midway(house, take_back)?;
    println!("midway: who takes back 256 pages: ended {TIMES} times");
    Ok(())
}

fn end_midway(house: &mut House, body: Body) -> Result<()> {
    let mut memory = house.pool.take(ORDER)?;
    memory.fill(0);
    let (counter, mark) = (house.page()?, 0x5afe);
    memory.values::<Word>()[0].set(mark);
    for time in 0..TIMES {
        let child = house.child(FACTORY, MAPPER)?;
        child.give_page(0, &counter)?;
        // Page by page, so that it has no superpage.
        for page in 0..1 << (ORDER - PAGE_ORDER) {
            let piece = memory.piece(page * PAGE_SIZE, PAGE_ORDER, Rights::READ_WRITE);
            child.task.map(Item::map(SOURCE + page * PAGE_SIZE, piece))?;
        }
        counter.values::<Word>()[0].set(0);
        child.start(body)?;
        expect(MAPPER, BEGUN);
        while counter.values::<Word>()[0].get() <= time {
            spin_loop();
        }
        house.end(child)?;
        assert_eq!(memory.values::<Word>()[0].get(), mark, "its parent's memory is as it was");
    }
    house.pool.give_back(counter)?;
    house.pool.give_back(memory)
}

fn all(at: Word) -> Flexpage {
    Flexpage::memory(at, ORDER, Rights::READ)
}

/// Most of the time it is in a map.
extern "C" fn map_on() -> ! {
    report(BEGUN, [0, 0]);
    let Some(source) = Shareable::new(all(SOURCE)) else { spin() };
    loop {
        for copy in 0..COPIES {
            let _ = OWN.map(Item::map(COPY + (copy << ORDER), source));
        }
        let copies = Flexpage::memory(COPY, ORDER + COPIES.ilog2(), Rights::empty());
        let _ = OWN.unmap([copies], Take::EVERYTHING.own_too());
        word(0).set(word(0).get() + 1);
    }
}

/// Most of the time it is in an unmap.
extern "C" fn take_back() -> ! {
    report(BEGUN, [0, 0]);
    let Some(source) = Shareable::new(all(SOURCE)) else { spin() };
    loop {
        for copy in 0..COPIES {
            let _ = OWN.map(Item::map(COPY + (copy << ORDER), source));
        }
        let _ = OWN.unmap([all(SOURCE)], Take::rights(Rights::WRITE));
        let _ = OWN.unmap([all(SOURCE)], Take::EVERYTHING);
        word(0).set(word(0).get() + 1);
    }
}
