//! A pager as it stands before a slow disk. It has one thread, which serves whoever comes; but it answers
//! nobody until as many wait as it was told. Then it goes over its disk once, from the first block to the
//! last one, and answers each client at the block that it waits for: an elevator.
//!
//! Arguments: `pager` and how many clients there are, or `client` and the block that it reads.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::vec::Vec;
use runtime::{
    Result,
    memory::Pool,
    pager::{Answer, Client, Pager, forward, serve},
    println,
    program::{arguments, pager_area},
    protocol::{
        PAGE_SIZE, Word,
        fault::PageFault,
        flexpage::Rights,
        layout::{HEAP_BASE, PAGER_AREA},
    },
    reply::Reply,
    share::Shareable,
};

runtime::entry!(main);

fn main() -> i32 {
    let words: Vec<&str> = arguments().split_whitespace().collect();
    match (&words[..], words.get(1).and_then(|number| number.parse().ok())) {
        (["client", _], Some(block)) => read(block),
        (["pager", _], Some(clients)) => {
            serve(&mut Elevator { pool: Pool::new(), clients, waiting: Vec::new() })
        }
        _ => {
            println!("elevator: the arguments are `pager CLIENTS` or `client BLOCK`");
            return 2;
        }
    }
    0
}

/// Reads a block of the disk: that is where its pager has it.
fn read(block: usize) {
    let disk = pager_area::<Word>((block + 1) * PAGE_SIZE / size_of::<Word>());
    let found = disk[block * PAGE_SIZE / size_of::<Word>()].get();
    assert_eq!(found, block, "the wrong block");
    println!("block {block} is here");
}

/// Somebody who waits for a block of the disk.
struct Waiting {
    block: usize,
    reply: Reply,
}

struct Elevator {
    pool: Pool,
    /// How many must wait before it begins.
    clients: usize,
    waiting: Vec<Waiting>,
}

impl Pager for Elevator {
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        if !(PAGER_AREA..HEAP_BASE).contains(&fault.address) {
            return forward(client, fault);
        }
        let block = (fault.address - PAGER_AREA) / PAGE_SIZE;
        match client.later() {
            Ok(reply) => self.waiting.push(Waiting { block, reply }),
            Err(error) => return error.into(),
        }
        if self.waiting.len() == self.clients {
            self.go_over_the_disk();
        }
        Answer::nothing()
    }
}

impl Elevator {
    fn go_over_the_disk(&mut self) {
        println!("pager: {} wait", self.waiting.len());
        let mut waiting = core::mem::take(&mut self.waiting);
        waiting.sort_unstable_by_key(|waiting| waiting.block);
        for Waiting { block, reply } in waiting {
            reply.answer(match self.read(block) {
                Ok(page) => Answer::map(PAGER_AREA + block * PAGE_SIZE, page),
                Err(error) => error.into(),
            });
        }
    }

    /// Reads a block into a page: what is on this disk is the number of each block.
    fn read(&mut self, block: usize) -> Result<Shareable> {
        let page = self.pool.page()?;
        page.values::<Word>().iter().for_each(|word| word.set(block));
        Ok(page.flexpage(Rights::READ))
    }
}
