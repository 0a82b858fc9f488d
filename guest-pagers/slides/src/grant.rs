//! Slide "Page granting": the sender's mapping moves to the receiver. "Attention: aliases remain": what
//! was derived from it before stays.

use crate::area::{self, ask};
use runtime::{
    capability::TASK,
    memory::{Memory, Pool},
    objects::Take,
    pager::{Answer, Client, Pager, forward, serve},
    println,
    protocol::{Word, fault::PageFault, flexpage::Rights, message::MessageTag},
};

/// To the friend: what do you read?
const READ: isize = 1;

/// Gets a page by grant that somebody else has by map.
pub fn app() {
    let friend_reads = || {
        let [value]: [Word; 1] = ask(READ, []);
        value
    };
    assert_eq!(friend_reads(), 1);
    println!("app: my friend has the page by map, and reads 1");
    area::write(0, 2);
    println!("app: got the page by grant, and wrote 2");
    assert_eq!(friend_reads(), 2);
    println!("app: my friend reads 2: aliases remain");
    assert_eq!(area::read(1), 3);
    println!("app: page 1 is another page, it reads 3");
    assert_eq!(area::read(0), 2);
    println!("app: page 0 still reads 2");
}

/// Says what it reads in its page 0.
pub fn friend() -> ! {
    serve(&mut Friend)
}

struct Friend;

impl Pager for Friend {
    fn request(&mut self, _: Client, _: MessageTag) -> Answer {
        let value = area::read(0);
        Answer::words([value])
    }
}

/// Maps its page to who reads it, grants it to who writes.
pub fn pager() -> ! {
    let mut pool = Pool::new();
    let mut new_page = |value| {
        let page = pool.page().expect("a page");
        area::word_in(&page, 0).set(value);
        page
    };
    serve(&mut GrantPager { page: new_page(1), other: new_page(3), has_tried_again: false })
}

struct GrantPager {
    page: Memory,
    other: Memory,
    has_tried_again: bool,
}

impl Pager for GrantPager {
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        use runtime::protocol::fault::Access;
        let rights = Rights::READ_WRITE;
        match area::page_of(fault) {
            None => forward(client, fault),
            Some(0) if fault.access.contains(Access::WRITE) => {
                println!("pager: grants its page");
                Answer::grant(fault.address, self.page.flexpage(rights))
            }
            Some(0) => {
                println!("pager: maps its page");
                Answer::map(fault.address, self.page.flexpage(Rights::READ))
            }
            Some(_) if !self.has_tried_again => {
                self.has_tried_again = true;
                println!("pager: tries to map the page again, and to take it back");
                // What is not its own any more it can neither take back nor give.
                TASK.unmap([self.page.flexpage(rights)], Take::EVERYTHING).expect("an answer");
                Answer::map(fault.address, self.page.flexpage(rights))
            }
            Some(_) => {
                println!("pager: that did nothing, so it maps another page");
                Answer::map(fault.address, self.other.flexpage(rights))
            }
        }
    }
}
