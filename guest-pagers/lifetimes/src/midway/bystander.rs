//! A task that has nothing to do with all that.

use crate::{
    child::{Child, word},
    house::{House, gate_to},
};
use runtime::{
    Result,
    capability::{FACTORY, Gate, check},
    ipc,
    memory::Memory,
    message,
    owned::Owned,
    protocol::{Word, message::MessageTag},
};

const NUMBER: Word = 100;
const LOOK: isize = 1;
const PAGES: usize = 4;

pub struct Bystander {
    child: Child,
    gate: Owned<Gate>,
    pages: [Memory; PAGES],
}

impl Bystander {
    pub fn new(house: &mut House) -> Result<Self> {
        let child = house.child(FACTORY, NUMBER)?;
        let pages = [house.page()?, house.page()?, house.page()?, house.page()?];
        for (number, page) in pages.iter().enumerate() {
            child.give_page(number, page)?;
        }
        let gate = gate_to(&child, 1)?;
        child.start(work)?;
        Ok(Self { child, gate, pages })
    }

    /// Has it look at its pages, and write others values there.
    pub fn look(&self) -> Result<()> {
        check(self.gate.call(MessageTag::new(LOOK, 0, 0))?)?;
        let [mistakes, looks]: [Word; 2] = message::read(0);
        assert_eq!(mistakes, 0, "the bystander saw others' values at look {looks}");
        Ok(())
    }

    pub fn end(self, house: &mut House) -> Result<()> {
        house.end(self.child)?;
        self.gate.end()?;
        self.pages.into_iter().try_for_each(|page| house.pool.give_back(page))
    }
}

extern "C" fn work() -> ! {
    let (mut looks, mut mistakes) = (0, 0);
    let mut received = ipc::wait();
    loop {
        if received.is_ok() {
            for page in 0..PAGES {
                mistakes +=
                    Word::from(word(page).get() != if looks == 0 { 0 } else { looks + page });
                word(page).set(looks + 1 + page);
            }
            looks += 1;
            message::write(0, [mistakes, looks]);
        }
        received = ipc::reply_and_wait(MessageTag::new(0, 2, 0));
    }
}
