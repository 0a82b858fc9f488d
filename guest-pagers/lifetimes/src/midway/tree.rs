//! A whole tree of tasks, each of which pages the next one.

use crate::{
    child::{Child, OWN, word},
    house::{Heard, House, gate_to, listen},
};
use core::hint::spin_loop;
use runtime::{
    Error, Result,
    capability::FACTORY,
    objects::Take,
    pager::{Answer, Client, Pager, serve},
    println,
    protocol::{
        PAGE_ORDER, Word,
        error::{IpcError, ObjectError},
        fault::PageFault,
        flexpage::{Flexpage, Rights, align_down},
        layout::PAGER_AREA,
        message::MessageTag,
        object::CapabilityIndex,
    },
    share::Shareable,
};

const FIRST: Word = 61;
const DEPTH: usize = 4;

/// What all of them may cost.
const LIMIT: Word = 1 << 20;

/// How often the last one has its page, and loses it.
const TIMES: Word = 3;

/// The factory that has made them all ends, in the midst of their faults.
pub fn factory(house: &mut House) -> Result<()> {
    let factory = FACTORY.create_factory(LIMIT)?;
    let mut children: [Option<Child>; DEPTH] = [const { None }; DEPTH];
    for number in 0..DEPTH {
        let pager = if number == 0 { CapabilityIndex::PARENT } else { CapabilityIndex::PAGER };
        let child = house.child_with_pager(*factory, FIRST + number, pager)?;
        if let Some(above) = number.checked_sub(1).and_then(|above| children[above].as_ref()) {
            let gate = factory.create_gate(FIRST + number, *above.thread)?;
            child.task.map(gate.item(CapabilityIndex::PAGER, Rights::READ))?;
            // It lives as long as the factory.
            gate.leak();
        }
        children[number] = Some(child);
    }
    let children = children.map(|child| child.expect("all were made"));
    let (page, counter) = (house.page()?, house.page()?);
    let (last, others) = children.split_last().expect("there are some");
    last.give_page(1, &counter)?;
    for child in others {
        child.start(relay)?;
    }
    last.start(read_and_lose)?;
    match listen() {
        Heard::Fault(FIRST, fault) => {
            let place = align_down(fault.address, PAGE_ORDER);
            Answer::map(place, page.flexpage(Rights::READ)).send();
        }
        other => panic!("the first one was to fault, but: {other:?}"),
    }
    while counter.values::<Word>()[0].get() < TIMES {
        spin_loop();
    }
    let gate = gate_to(&children[DEPTH - 2], 1)?;
    factory.end()?;
    println!("midway: a factory and the {DEPTH} tasks that it has made, each the next one's pager");
    let nobody = Err(Error::Ipc(IpcError::NoPartner));
    assert_eq!(gate.call(MessageTag::new(0, 0, 0)), nobody);
    for child in children {
        house.pool.give_back(child.leave())?;
    }
    house.pool.give_back(page)?;
    house.pool.give_back(counter)
}

extern "C" fn relay() -> ! {
    serve(&mut Relay)
}

struct Relay;

impl Pager for Relay {
    fn page_fault(&mut self, _: Client, fault: PageFault) -> Answer {
        // What it maps it must have.
        word(0).get();
        let page = Flexpage::memory(PAGER_AREA, PAGE_ORDER, Rights::READ);
        match Shareable::new(page) {
            Some(page) => Answer::map(align_down(fault.address, PAGE_ORDER), page),
            None => Answer::refuse(ObjectError::InvalidArgument),
        }
    }
}

extern "C" fn read_and_lose() -> ! {
    loop {
        word(0).get();
        let page = Flexpage::memory(PAGER_AREA, PAGE_ORDER, Rights::empty());
        let _ = OWN.unmap([page], Take::EVERYTHING.own_too());
        word(1).set(word(1).get() + 1);
    }
}
