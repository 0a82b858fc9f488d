//! A pager whose answers are no help, and a client that tries each of them.

use crate::scene::{Scene, connect};
use children::{
    child::{report, rest, word},
    house::{Heard, expect, listen},
};
use runtime::{
    Result,
    pager::{Answer, Client, Pager, serve},
    println,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        error::ObjectError,
        fault::PageFault,
        flexpage::{Flexpage, Rights, align_down},
        layout::PAGER_AREA,
        object::CapabilityIndex,
    },
    share::Shareable,
};

const CLIENT: Word = 1;
const PAGER: Word = 2;

/// The client's access was possible.
const WRITTEN: isize = 1;

const PAGE_FAULT_VECTOR: Word = 14;

/// Says what the client is to try: both have it.
const SIGN: usize = 0;
/// The client's page for lie `number` is this many pages further.
const FIRST: usize = 1;
/// What the pager has, and where it has nothing.
const OWN: Word = PAGER_AREA + 16 * PAGE_SIZE;
const NOTHING: Word = PAGER_AREA + 32 * PAGE_SIZE;
/// Where the client has not faulted.
const ELSEWHERE: Word = PAGER_AREA + 48 * PAGE_SIZE;

/// The lies, and in the end the truth.
const LIES: [&str; 6] = [
    "done, but nothing is sent",
    "here is a page that it has not got",
    "here is a page, at another address",
    "here is a page, but not to be written",
    "here is something of no size",
    "no, for no reason",
];
const TRUTH: usize = LIES.len();

pub fn run(scene: &mut Scene) -> Result<()> {
    let (client, pager) = (scene.client("client", CLIENT)?, scene.child("liar", PAGER)?);
    let (sign, page) = (scene.house.page()?, scene.house.page()?);
    client.give_page(SIGN, &sign)?;
    pager.give_page((OWN - PAGER_AREA) >> PAGE_ORDER, &page)?;
    let gate = connect(&client, CapabilityIndex::PAGER, &pager, CLIENT)?;
    pager.start(lie)?;
    for (number, lie) in LIES.into_iter().enumerate() {
        sign.values::<Word>()[0].set(number);
        client.start(write)?;
        assert_eq!(listen(), Heard::Exception(CLIENT, PAGE_FAULT_VECTOR), "{lie}");
        println!("pager-lies: \"{lie}\": its client gets exception {PAGE_FAULT_VECTOR}");
    }
    sign.values::<Word>()[0].set(TRUTH);
    client.start(write)?;
    expect(CLIENT, WRITTEN);
    println!("pager-lies: then it maps what it has, and its client goes on");
    scene.stand()?;
    gate.end()?;
    scene.house.end(client)?;
    scene.house.end(pager)?;
    scene.house.pool.give_back(sign)?;
    scene.house.pool.give_back(page)
}

extern "C" fn write() -> ! {
    word(FIRST + word(SIGN).get()).set(1);
    report(WRITTEN, [0, 0]);
    rest()
}

extern "C" fn lie() -> ! {
    serve(&mut Liar)
}

struct Liar;

impl Pager for Liar {
    fn page_fault(&mut self, _: Client, fault: PageFault) -> Answer {
        let place = align_down(fault.address, PAGE_ORDER);
        let own = |rights| Flexpage::memory(OWN, PAGE_ORDER, rights);
        let answer = |place, flexpage| match Shareable::new(flexpage) {
            Some(flexpage) => Answer::map(place, flexpage),
            None => Answer::refuse(ObjectError::InvalidArgument),
        };
        match ((place - PAGER_AREA) >> PAGE_ORDER) - FIRST {
            0 => Answer::words([]),
            1 => answer(place, Flexpage::memory(NOTHING, PAGE_ORDER, Rights::all())),
            2 => answer(ELSEWHERE, own(Rights::all())),
            3 => answer(place, own(Rights::READ)),
            4 => answer(place, Flexpage::memory(OWN, 0, Rights::READ)),
            TRUTH => answer(place, own(Rights::READ_WRITE)),
            _ => Answer::refuse(ObjectError::InvalidArgument),
        }
    }
}
