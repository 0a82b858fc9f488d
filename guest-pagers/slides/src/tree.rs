//! One frame over a tree of tasks, taken back at its root.
//!
//! ```text
//!             top
//!           /     \        A node's pager is the one above it: it has nothing but what it got from
//!        node1   node2     there, and maps it on.
//!        / \      / \
//!       3   4    5   6     A node's server is the one with the next smaller number: what the last one
//!      / \  |              asks, all do.
//!     7   8 9
//! ```

use crate::area::{self, ask};
use runtime::{
    capability::TASK,
    memory::{Memory, Pool},
    objects::Take,
    pager::{Answer, Client, Pager, forward, serve},
    println,
    protocol::{Word, fault::PageFault, flexpage::Rights, message::MessageTag},
};

/// To the next smaller number: how many tasks are you and those after you, and what is the sum of
/// what you read?
const READ: isize = 1;
/// To the next smaller number: have the top take the page from all, and write word 0 to it.
const REVOKE: isize = 2;

/// The last node: makes all others read.
pub fn last() {
    let read = || {
        let own = area::read(0);
        let [tasks, sum]: [Word; 2] = ask(READ, []);
        (tasks + 1, sum + own)
    };
    let (tasks, sum) = read();
    println!("{tasks} tasks read the page: the sum is {sum}");
    assert_eq!((tasks, sum), (10, 10));
    let []: [Word; 0] = ask(REVOKE, [2]);
    println!("the top took it back and wrote 2");
    let (tasks, sum) = read();
    println!("{tasks} tasks read the page: the sum is {sum}");
    assert_eq!((tasks, sum), (10, 20));
}

/// Between the last one and the top.
pub fn node() -> ! {
    serve(&mut Node)
}

struct Node;

impl Pager for Node {
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        if area::page_of(fault).is_none() {
            return forward(client, fault);
        }
        // Only what it has itself can it map: if need be, it faults now.
        area::read(0);
        Answer::map(fault.address, area::page(0))
    }

    fn request(&mut self, _: Client, tag: MessageTag) -> Answer {
        if tag.label() == REVOKE {
            let []: [Word; 0] = ask(REVOKE, runtime::message::read::<1>(0));
            return Answer::words([]);
        }
        let own = area::read(0);
        let [tasks, sum]: [Word; 2] = ask(READ, []);
        Answer::words([tasks + 1, sum + own])
    }
}

/// The root of the tree: the page is its own.
pub fn top() -> ! {
    let page = Pool::new().page().expect("a page");
    area::word_in(&page, 0).set(1);
    serve(&mut Top { page })
}

struct Top {
    page: Memory,
}

impl Pager for Top {
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        match area::page_of(fault) {
            Some(_) => Answer::map(fault.address, self.page.flexpage(Rights::READ)),
            None => forward(client, fault),
        }
    }

    fn request(&mut self, _: Client, tag: MessageTag) -> Answer {
        if tag.label() == READ {
            return Answer::words([1, area::word_in(&self.page, 0).get()]);
        }
        let value = runtime::message::get(0);
        if let Err(error) = TASK.unmap([self.page.flexpage(Rights::READ)], Take::EVERYTHING) {
            return error.into();
        }
        area::word_in(&self.page, 0).set(value);
        Answer::words([])
    }
}
