//! Mappings of mappings of mappings, as deep as it gets.

use runtime::{
    capability::TASK,
    memory::Pool,
    println,
    protocol::{
        PAGE_ORDER, PAGE_SIZE,
        flexpage::{Flexpage, Rights},
        message::MapItem,
    },
};

const START: usize = 0x2000_0000;

pub fn run(length: usize) {
    let mut memory = Pool::new().page().expect("a page");
    memory.bytes()[0] = 1;
    let mut from = memory.address();
    for number in 0..length {
        let to = START + number * PAGE_SIZE;
        let page = Flexpage::memory(from, PAGE_ORDER, Rights::READ);
        if let Err(error) = TASK.map(MapItem::map(to, page)) {
            println!("chain: {number}, then: {error}");
            return;
        }
        from = to;
    }
    println!("chain: all {length}");
}
