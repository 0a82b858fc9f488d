//! Slide "Page fault": the receive window is the whole space, so that a pager can map more than the
//! page that faulted.

use crate::area::{self, ask};
use runtime::{
    memory::{Memory, Pool},
    pager::{Answer, Client, Pager, forward, serve},
    println,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word, fault::PageFault, flexpage::Rights, message::MessageTag,
    },
};

/// Pages that the app touches, twice: a mebibyte.
const PAGES: usize = 256;
const ORDER: u32 = PAGE_ORDER + PAGES.ilog2();

/// To the pager: how many faults were there?
const COUNT: isize = 1;

/// Reads the same memory at two places.
pub fn app() {
    let expected = PAGES * (PAGES - 1) / 2;
    let mut before = 0;
    let mut read = |first: usize| {
        assert_eq!((first..first + PAGES).map(area::read).sum::<Word>(), expected);
        let [count]: [Word; 1] = ask(COUNT, []);
        let faults = count - before;
        before = count;
        faults
    };
    let one_by_one = read(0);
    println!("app: {PAGES} pages, each answered with a page: {one_by_one} faults");
    let at_once = read(PAGES);
    println!("app: {PAGES} pages, answered with a flexpage of 2^{ORDER}: {at_once} fault");
    println!("app: {} faults saved", one_by_one - at_once);
    assert_eq!((one_by_one, at_once), (PAGES, 1));
}

/// Offers its memory twice: first page by page, then as a whole.
pub fn pager() -> ! {
    let memory = Pool::new().take(ORDER).expect("a mebibyte");
    for number in 0..PAGES {
        area::word_in(&memory, number).set(number);
    }
    serve(&mut ManyPager { memory, faults: 0 })
}

struct ManyPager {
    memory: Memory,
    faults: Word,
}

impl Pager for ManyPager {
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        let Some(number) = area::page_of(fault) else { return forward(client, fault) };
        self.faults += 1;
        if number < PAGES {
            let page = self.memory.piece(number * PAGE_SIZE, PAGE_ORDER, Rights::READ);
            return Answer::map(fault.address, page);
        }
        // The second copy is aligned to its size too: the send base may lie anywhere in it.
        Answer::map(fault.address, self.memory.flexpage(Rights::READ))
    }

    fn request(&mut self, _: Client, _: MessageTag) -> Answer {
        Answer::words([self.faults])
    }
}
