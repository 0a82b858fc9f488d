//! The other side: pages the client and answers its calls.

use crate::client::PAGES;
use runtime::{
    Result,
    memory::Pool,
    message,
    pager::{Answer, Client, Pager, forward, serve},
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        error::ObjectError,
        fault::PageFault,
        flexpage::{Flexpage, Rights, align_down},
        layout::PAGER_AREA,
        message::MessageTag,
    },
};

/// Label of a message that is answered with the same words.
pub const ECHO: isize = 1;

/// Where the client touches pages to have them paged. All lie in one page table.
pub const AREA: Word = PAGER_AREA;

/// Gets and touches the pages to hand out, then serves for ever.
pub fn run() -> Result<()> {
    let mut pool = Pool::new();
    let mut pages = [Flexpage::NIL; PAGES];
    for page in &mut pages {
        let mut memory = pool.page()?;
        memory.bytes().fill(0);
        *page = memory.flexpage(Rights::READ_WRITE);
    }
    serve(&mut Server { pages })
}

struct Server {
    pages: [Flexpage; PAGES],
}

impl Pager for Server {
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        let number = fault.address.wrapping_sub(AREA) / PAGE_SIZE;
        match self.pages.get(number) {
            Some(page) => Answer::map(align_down(fault.address, PAGE_ORDER), *page),
            None => forward(client, fault),
        }
    }

    fn request(&mut self, _client: Client, tag: MessageTag) -> Answer {
        match (tag.label(), tag.words()) {
            (ECHO, 0) => Answer::words([]),
            (ECHO, 4) => Answer::words(message::read::<4>(0)),
            _ => Answer::refuse(ObjectError::BadProtocol),
        }
    }
}
