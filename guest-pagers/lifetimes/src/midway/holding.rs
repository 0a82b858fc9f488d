//! Who holds others' memory, and has handed it on.

use crate::{
    child::{PEER, report, spin, word},
    house::{Heard, House, expect, gate_to, listen},
};
use runtime::{
    Result,
    capability::FACTORY,
    ipc, message,
    pager::Answer,
    println,
    protocol::{
        PAGE_ORDER, Word,
        flexpage::{Flexpage, Rights, align_down},
        layout::PAGER_AREA,
        message::MessageTag,
        object::CapabilityIndex,
    },
    share::{Item, Shareable},
};

const MIDDLE: Word = 41;
const LAST: Word = 42;

const PAGE: isize = 1;
const READ: isize = 2;

/// A page of this program goes to one child, which maps it on to another one. With the first child goes what
/// the second one has got from it, and nothing else.
pub fn middle_ends(house: &mut House) -> Result<()> {
    let (middle, last) = (house.child(FACTORY, MIDDLE)?, house.child(FACTORY, LAST)?);
    let (page, value) = (house.page()?, 4711);
    page.values::<Word>()[0].set(value);
    middle.give_page(0, &page)?;
    let gate = gate_to(&last, 1)?;
    middle.task.map(gate.item(CapabilityIndex::SERVER, Rights::READ))?;
    last.start(receive_and_read)?;
    middle.start(hand_on)?;
    assert_eq!(expect(LAST, READ)[0], value);
    house.end(middle)?;
    // It reads on.
    let fault = loop {
        match listen() {
            Heard::Words(LAST, READ, _) => {}
            Heard::Fault(LAST, fault) => break fault,
            other => panic!("a fault was to come, but: {other:?}"),
        }
    };
    let address = align_down(fault.address, PAGE_ORDER);
    assert_eq!(address, PAGER_AREA);
    Answer::map(address, page.flexpage(Rights::READ)).send();
    assert_eq!(expect(LAST, READ)[0], value);
    println!("midway: a task that has mapped a page on: who got it faults, its first owner has it");
    house.end(last)?;
    house.pool.give_back(page)
}

extern "C" fn hand_on() -> ! {
    let flexpage = Flexpage::memory(PAGER_AREA, PAGE_ORDER, Rights::READ);
    if let Some(page) = Shareable::new(flexpage) {
        let _ = PEER.call_with(PAGE, 0, [Item::map(0, page)]);
    }
    spin()
}

extern "C" fn receive_and_read() -> ! {
    message::set_receive_window(Flexpage::memory(PAGER_AREA, PAGE_ORDER, Rights::READ));
    let _ = ipc::wait();
    let _ = ipc::reply(MessageTag::new(0, 0, 0));
    loop {
        report(READ, [word(0).get(), 0]);
    }
}
