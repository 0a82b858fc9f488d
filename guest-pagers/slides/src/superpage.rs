//! A superpage is one entry of the page directory: 2 MiB on amd64, 4 MiB on ia32. It is mapped as one
//! when both sides have room for it, and small pages can be mapped out of it.

use crate::area::{self, ask};
use runtime::{
    boot::kernel_info,
    capability::TASK,
    memory::{Memory, Pool},
    objects::Take,
    pager::{Answer, Client, Pager, forward, serve},
    println,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word, fault::PageFault, flexpage::Rights, message::MessageTag,
    },
    share::Shareable,
};

/// Small pages that the pager offers a second time, behind the superpage.
const SMALL: usize = 4;

/// To the pager: how many faults were there?
const COUNT: isize = 1;
/// To the pager: take the first two pages back.
const TAKE_PART: isize = 2;

fn superpage_order() -> u32 {
    kernel_info().superpage_order
}

/// Small pages in a superpage.
fn pages() -> usize {
    1 << (superpage_order() - PAGE_ORDER)
}

/// Reads a superpage, and some pages of it once more elsewhere.
pub fn app() {
    let expected = pages() * (pages() - 1) / 2;
    let read_all = || assert_eq!((0..pages()).map(area::read).sum::<Word>(), expected);
    let read_small = |number| assert_eq!(area::read(pages() + number), number);

    read_all();
    println!("app: read {} pages with {} fault: a superpage", pages(), faults());
    (0..SMALL).for_each(read_small);
    println!("app: read {SMALL} pages of it elsewhere, with {} faults", faults());

    let []: [Word; 0] = ask(TAKE_PART, []);
    (2..SMALL).for_each(read_small);
    assert_eq!(faults(), 0);
    println!("app: after the first two pages were taken, pages 2 and 3 are still there");
    (0..2).for_each(read_small);
    assert_eq!(faults(), 2);
    println!("app: pages 0 and 1 came back with 2 faults");
    read_all();
    assert_eq!(faults(), 1);
    println!("app: the superpage, which was taken as a whole, came back with 1 fault");
}

/// Faults since the last time.
fn faults() -> Word {
    let [count] = ask(COUNT, []);
    count
}

/// Offers a superpage, and behind it some of its pages as small ones.
pub fn pager() -> ! {
    let memory = Pool::new().take(superpage_order()).expect("a superpage");
    for number in 0..pages() {
        area::word_in(&memory, number).set(number);
    }
    serve(&mut SuperPager { memory, faults: 0 })
}

struct SuperPager {
    memory: Memory,
    faults: Word,
}

impl SuperPager {
    fn piece(&self, page: usize, order: u32) -> Shareable {
        self.memory.piece(page * PAGE_SIZE, order, Rights::READ)
    }
}

impl Pager for SuperPager {
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        let Some(number) = area::page_of(fault) else { return forward(client, fault) };
        self.faults += 1;
        match number.checked_sub(pages()) {
            None => Answer::map(fault.address, self.memory.flexpage(Rights::READ)),
            Some(small) => Answer::map(fault.address, self.piece(small, PAGE_ORDER)),
        }
    }

    fn request(&mut self, _: Client, tag: MessageTag) -> Answer {
        if tag.label() == TAKE_PART {
            return match TASK.unmap([self.piece(0, PAGE_ORDER + 1)], Take::EVERYTHING) {
                Ok(_) => Answer::words([]),
                Err(error) => error.into(),
            };
        }
        Answer::words([core::mem::take(&mut self.faults)])
    }
}
