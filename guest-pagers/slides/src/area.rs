//! The pages that the pagers here offer: page 0 is at the beginning of the pager area. Others may
//! write there too, or take a page away. What is read and written is a page's first word.

use runtime::{
    capability::{SERVER, check},
    memory::Memory,
    message,
    program::pager_area,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        fault::PageFault,
        flexpage::{Flexpage, Rights},
        layout::{HEAP_BASE, PAGER_AREA},
        message::MessageTag,
    },
    share::{Shareable, Volatile},
};

const WORDS_A_PAGE: usize = PAGE_SIZE / size_of::<Word>();

/// Where page `number` is.
pub const fn address(number: usize) -> Word {
    PAGER_AREA + number * PAGE_SIZE
}

/// Page `number`, for somebody who may read it.
pub fn page(number: usize) -> Shareable {
    let page = Flexpage::memory(address(number), PAGE_ORDER, Rights::READ);
    Shareable::new(page).expect("the pager area is open memory")
}

/// Reads the first word of page `number`.
pub fn read(number: usize) -> Word {
    word(number).get()
}

/// Writes the first word of page `number`.
pub fn write(number: usize, value: Word) {
    word(number).set(value);
}

fn word(number: usize) -> &'static Volatile<Word> {
    &pager_area((HEAP_BASE - PAGER_AREA) / size_of::<Word>())[number * WORDS_A_PAGE]
}

/// The page that a fault is about, unless that is the client's own affair: its text, data, stack.
pub fn page_of(fault: PageFault) -> Option<usize> {
    let is_inside = (PAGER_AREA..HEAP_BASE).contains(&fault.address);
    is_inside.then(|| (fault.address - PAGER_AREA) / PAGE_SIZE)
}

/// The first word of page `number` of some memory.
pub fn word_in(memory: &Memory, number: usize) -> &Volatile<Word> {
    &memory.values()[number * WORDS_A_PAGE]
}

/// Asks this program's server something, and gives the first words of its answer.
pub fn ask<const N: usize, const A: usize>(question: isize, words: [Word; N]) -> [Word; A] {
    message::write(0, words);
    let answer = SERVER.call(MessageTag::new(question, N, 0)).and_then(check);
    let answer = answer.unwrap_or_else(|error| panic!("the server does not answer: {error}"));
    assert_eq!(answer.words(), A);
    message::read(0)
}
