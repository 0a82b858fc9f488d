//! Mappings of mappings of mappings, as deep as it gets.

use runtime::{
    capability::TASK,
    memory::Pool,
    println,
    protocol::{
        PAGE_ORDER, PAGE_SIZE,
        flexpage::{Flexpage, Rights},
        layout::PAGER_AREA,
    },
    share::{Item, Shareable},
};

const START: usize = PAGER_AREA;

pub fn run(length: usize) {
    let mut memory = Pool::new().page().expect("a page");
    memory.fill(1);
    let mut from = memory.address();
    for number in 0..length {
        let to = START + number * PAGE_SIZE;
        let page = Flexpage::memory(from, PAGE_ORDER, Rights::READ);
        let page = Shareable::new(page).expect("nobody can write there");
        if let Err(error) = TASK.map(Item::map(to, page)) {
            println!("chain: {number}, then: {error}");
            return;
        }
        from = to;
    }
    println!("chain: all {length}");
}
