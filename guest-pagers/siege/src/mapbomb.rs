//! A task maps its page to twice as many places each time, until there is no kernel memory for more.

use crate::scene::Scene;
use children::{
    child::{OWN, report, rest},
    house::expect,
};
use runtime::{
    Error, Result,
    capability::{DEBUGGER, FACTORY},
    println,
    protocol::{
        PAGE_ORDER, Word,
        error::ObjectError,
        flexpage::{Flexpage, Rights},
        layout::PAGER_AREA,
    },
    share::{Item, Shareable},
};

const BOMB: Word = 1;
/// What all of it may cost: bytes.
const LIMIT: Word = 384 << 10;

/// The bomb goes off so often; the last one is left as it is.
const TIMES: usize = 2;

/// There is no memory for more: the binary logarithm of how much was mapped.
const OVER: isize = 1;
/// Something else is the matter.
const ODD: isize = 2;

pub fn run(scene: &mut Scene) -> Result<()> {
    for time in 1..=TIMES {
        let factory = FACTORY.create_factory(LIMIT)?;
        let (bomb, page) = (scene.house.child(*factory, BOMB)?, scene.house.page()?);
        DEBUGGER.set_name(*bomb.task, None, "bomb")?;
        bomb.give_page(0, &page)?;
        bomb.start(double)?;
        let [order, _] = expect(BOMB, OVER);
        let places = 1usize << (order - PAGE_ORDER as usize);
        let error = Error::Object(ObjectError::NoMemory);
        println!("mapbomb: a page at {places} places, twice as many: {error}");
        if time == TIMES {
            scene.stand()?;
        }
        factory.end()?;
        scene.house.pool.give_back(bomb.leave())?;
        scene.house.pool.give_back(page)?;
    }
    Ok(())
}

/// Doubles what is mapped until that fails.
extern "C" fn double() -> ! {
    let mut order = PAGE_ORDER;
    let outcome = loop {
        let Some(all) = Shareable::new(Flexpage::memory(PAGER_AREA, order, Rights::READ)) else {
            break ODD;
        };
        match OWN.map(Item::map(PAGER_AREA + (1 << order), all)) {
            Ok(()) => order += 1,
            Err(Error::Object(ObjectError::NoMemory)) => break OVER,
            Err(_) => break ODD,
        }
    };
    report(outcome, [order as Word, 0]);
    rest()
}
