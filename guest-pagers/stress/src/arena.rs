//! What all tasks have: some memory, some I/O ports, some capabilities, always at the same place.

use runtime::{
    port::Port,
    program::pager_area,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        flexpage::{Flexpage, Rights},
        layout::PAGER_AREA,
    },
    share::Volatile,
};

/// Memory: 4 MiB, one or two superpages.
pub const ORDER: u32 = 22;
/// Small pages in it.
pub const PAGES: usize = 1 << (ORDER - PAGE_ORDER);

/// Ports: no device answers there.
pub const FIRST_PORT: Word = 0x100;
pub const PORTS_ORDER: u32 = 6;

/// Capabilities.
pub const FIRST_CAPABILITY: Word = 64;
pub const CAPABILITIES_ORDER: u32 = 5;
pub const CAPABILITIES: Word = 1 << CAPABILITIES_ORDER;

/// All of the memory.
pub const fn memory(rights: Rights) -> Flexpage {
    Flexpage::memory(PAGER_AREA, ORDER, rights)
}

/// All of the ports.
pub const fn ports() -> Flexpage {
    Flexpage::io_ports(FIRST_PORT, PORTS_ORDER)
}

/// What a page's first word is, beside the page's number: foreign memory looks otherwise.
const MARK: Word = 0x5afe_0000;

/// Words 0 and 1 of a page.
fn words(page: usize) -> &'static [Volatile<Word>] {
    const WORDS_A_PAGE: usize = PAGE_SIZE / size_of::<Word>();
    &pager_area(PAGES * WORDS_A_PAGE)[page * WORDS_A_PAGE..][..2]
}

/// Writes the page's number into it: done once, by the top task.
pub fn number(page: usize) {
    words(page)[0].set(MARK | page);
}

/// Reads the number of whatever page is there now.
///
/// # Panics
/// If it is no page of an arena.
pub fn read(page: usize) -> usize {
    let word = words(page)[0].get();
    let number = word ^ MARK;
    assert!(number < PAGES, "page {page} reads {word:#x}: not of the arena");
    number
}

/// Writes to whatever page is there now.
pub fn write(page: usize, value: Word) {
    words(page)[1].set(value);
}

/// Reads a port, at which there is nothing.
pub fn read_port(offset: Word) {
    Port((FIRST_PORT + offset) as u16).read();
}
