//! Slides "Flexpage offset": where an item goes when it is smaller than the receive window, and which
//! part of it when it is larger.
//!
//! The sender has eight pages with the numbers 0 to 7 in them. What it sends, and with which send base,
//! the receiver chooses.

use crate::area;
use core::ops::Range;
use runtime::{
    capability::{SERVER, check},
    memory::{Memory, Pool},
    message,
    pager::{Answer, Client, Pager, serve},
    print, println,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        error::ObjectError,
        flexpage::{Flexpage, Rights},
        message::MessageTag,
    },
    share::Item,
};

/// The sender's pages.
const PAGES: usize = 8;
const ORDER: u32 = PAGE_ORDER + PAGES.ilog2();

/// To the sender: words `number of the first page, order, send base`.
const SEND: isize = 1;

/// The window is larger: the send base says where in it the page arrives.
pub fn larger() {
    println!("The send flexpage is one page, the receive window has eight.");
    let window = Flexpage::memory(area::address(0), ORDER, Rights::READ);
    for (page, base) in [(3, 0), (5, 3), (6, 7), (2, 8 + 4)] {
        let arrived = receive(page, PAGE_ORDER, base, window);
        let place = base % PAGES;
        assert_eq!(arrived, place..place + 1);
        assert_eq!(area::read(place), page);
        draw("sends ", 0..PAGES, page..page + 1, |number| number);
        draw("window", 0..PAGES, arrived, area::read);
    }
}

/// The window is smaller: the send base says which part arrives.
pub fn smaller() {
    println!("The send flexpage has eight pages, the receive window two.");
    let window = Flexpage::memory(area::address(4), PAGE_ORDER + 1, Rights::READ);
    for base in [0, 2, 5, 8 + 6] {
        let arrived = receive(0, ORDER, base, window);
        let part = (base % PAGES) & !1;
        assert_eq!(arrived, 4..6);
        assert_eq!([area::read(4), area::read(5)], [part, part + 1]);
        draw("sends ", 0..PAGES, 0..PAGES, |number| number);
        draw("window", 4..6, arrived, area::read);
    }
}

/// Has the sender send, and gives the pages of the area at which it arrived.
fn receive(page: usize, order: u32, base: usize, window: Flexpage) -> Range<usize> {
    println!("\nsend base: page {base}");
    message::write(0, [page, order as Word, base * PAGE_SIZE]);
    let tag = MessageTag::new(SEND, 3, 0);
    let answer = message::accept(window, || SERVER.call(tag)).and_then(check);
    let answer = answer.unwrap_or_else(|error| panic!("nothing came: {error}"));
    let item = message::items(answer).next().expect("an item");
    let first = (item.send_base - area::address(0)) / PAGE_SIZE;
    first..first + (1 << (item.flexpage.order() - PAGE_ORDER))
}

/// Draws pages in a row: of those in `full` what they hold.
fn draw(name: &str, pages: Range<usize>, full: Range<usize>, contents: fn(usize) -> Word) {
    print!("  {name} {:1$}", "", 3 * pages.start);
    for page in pages {
        match full.contains(&page) {
            true => print!("[{}]", contents(page)),
            false => print!("[ ]"),
        }
    }
    println!();
}

/// Sends what it is told to.
pub fn sender() -> ! {
    let memory = Pool::new().take(ORDER).expect("eight pages");
    for number in 0..PAGES {
        area::word_in(&memory, number).set(number);
    }
    serve(&mut Sender { memory })
}

struct Sender {
    memory: Memory,
}

impl Pager for Sender {
    fn request(&mut self, _: Client, tag: MessageTag) -> Answer {
        let [page, order, base] = message::read(0);
        if tag.label() != SEND || tag.words() != 3 || page >= PAGES || order > ORDER as Word {
            return Answer::refuse(ObjectError::InvalidArgument);
        }
        let flexpage = self.memory.piece(page * PAGE_SIZE, order as u32, Rights::READ);
        Answer::items([Item::map(base, flexpage)])
    }
}
