//! Slide "Page mapping": an entry in the receiver's space that leads to the sender's frame.
//!
//! | page of the app | what its pager answers |
//! |---|---|
//! | 0 | its own page, to read and write |
//! | 1 | the same page, to read only; when the app writes there, to write too |
//! | 2 | first an address at which it has nothing itself, then its page |

use crate::area;
use runtime::{
    memory::{Memory, Pool},
    pager::{Answer, Client, Pager, forward, serve},
    println,
    protocol::{
        fault::{Access, PageFault},
        flexpage::Rights,
    },
};

/// Touches its pager's page at three addresses.
pub fn app() {
    area::write(0, 42);
    println!("app: wrote 42 to page 0");
    assert_eq!(area::read(1), 42);
    println!("app: page 1 reads 42: it is the same frame");
    area::write(1, 43);
    assert_eq!(area::read(0), 43);
    println!("app: wrote 43 to page 1, page 0 reads 43");
    assert_eq!(area::read(2), 43);
    println!("app: page 2 reads 43");
}

/// Offers one page at three addresses.
pub fn pager() -> ! {
    let page = Pool::new().page().expect("a page");
    serve(&mut MapPager { page, has_tried_nothing: false })
}

struct MapPager {
    page: Memory,
    has_tried_nothing: bool,
}

impl Pager for MapPager {
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        let Some(number) = area::page_of(fault) else { return forward(client, fault) };
        let value = area::word_in(&self.page, 0).get();
        let is_write = fault.access.contains(Access::WRITE);
        let flexpage = match number {
            1 if !is_write => self.page.flexpage(Rights::READ),
            2 if !self.has_tried_nothing => {
                self.has_tried_nothing = true;
                println!("pager: page 2: sends what it has not got itself");
                area::page(0)
            }
            _ => self.page.flexpage(Rights::READ_WRITE),
        };
        println!(
            "pager: page {number}, {}: my page reads {value}",
            if is_write { "write" } else { "read" }
        );
        Answer::map(fault.address, flexpage)
    }
}
