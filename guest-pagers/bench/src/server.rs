//! The other side: pages the client and answers its calls.

use crate::{client::PAGES, probe::touch};
use runtime::{
    Error, Result,
    capability::PARENT,
    memory::{self, Pool},
    message,
    pager::{Answer, Client, Pager, forward, serve},
    parent::Arrived,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        error::ObjectError,
        fault::{Exception, PageFault},
        flexpage::{Flexpage, Rights, align_down, low_mask},
        layout::PAGER_AREA,
        message::MessageTag,
    },
    share::Shareable,
};

/// Label of a message that is answered with the same words.
pub const ECHO: isize = 1;

/// Request to let one page arrive at [`WINDOW`] with the next message.
pub const ACCEPT: isize = 2;

/// Request to write to that page.
pub const WRITE: isize = 3;

/// Message whose answer is set aside before it is given.
pub const LATER: isize = 4;

/// Where a page of the client arrives in the server.
pub const WINDOW: Word = PAGER_AREA;

/// Where the client touches pages to have them paged. All lie in one page table.
pub const AREA: Word = PAGER_AREA;

/// Where the client touches blocks of pages, each of which is mapped alone.
pub const ONE_BY_ONE: Word = PAGER_AREA + (16 << 20);

/// Where the client touches blocks of pages that are mapped with the first one: a single flexpage of
/// small pages.
pub const AT_ONCE: Word = PAGER_AREA + (32 << 20);

const AFTER: Word = PAGER_AREA + (48 << 20);

/// Bytes of a block.
pub const BLOCK_SIZE: usize = 1 << BLOCK_ORDER;

/// Pages of a block.
pub const BLOCK_PAGES: usize = BLOCK_SIZE / PAGE_SIZE;

const BLOCK_ORDER: u32 = 21;

/// Gets and touches the pages to hand out, then serves for ever.
pub fn run() -> Result<()> {
    let mut pool = Pool::new();
    let first = page(&mut pool)?;
    let mut pages = [first; PAGES];
    for other in &mut pages[1..] {
        *other = page(&mut pool)?;
    }
    let block = block()?;
    serve(&mut Server { pages, block, window: Flexpage::NIL })
}

/// A page that is there.
fn page(pool: &mut Pool) -> Result<Shareable> {
    let mut memory = pool.page()?;
    memory.fill(0);
    Ok(memory.flexpage(Rights::READ_WRITE))
}

/// A piece of open memory of this program.
pub fn open_page(address: Word, order: u32) -> Result<Shareable> {
    let page = Flexpage::memory(address, order, Rights::READ_WRITE);
    Shareable::new(page).ok_or(Error::Object(ObjectError::InvalidArgument))
}

struct Server {
    pages: [Shareable; PAGES],
    /// 512 pages side by side.
    block: Word,
    /// What it accepts.
    window: Flexpage,
}

/// Gets a block. It comes in two parts, so that it cannot come as a superpage.
fn block() -> Result<Word> {
    let block = memory::receive(BLOCK_ORDER, |window| {
        let half = BLOCK_ORDER - 1;
        let part = |number: Word| {
            Flexpage::memory(window.address() + (number << half), half, Rights::READ_WRITE)
        };
        let first = PARENT.request_any(half, part(0))?;
        PARENT.request_any(half, part(1))?;
        Ok(Arrived { order: BLOCK_ORDER, ..first })
    })?;
    Ok(block.address)
}

impl Pager for Server {
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        let number = fault.address.wrapping_sub(AREA) / PAGE_SIZE;
        match self.pages.get(number) {
            Some(page) => Answer::map(align_down(fault.address, PAGE_ORDER), *page),
            None => self.other_fault(client, fault),
        }
    }

    fn exception(&mut self, _: Client, _: Exception) -> Answer {
        Answer::go_on()
    }

    fn request(&mut self, client: Client, tag: MessageTag) -> Answer {
        match (tag.label(), tag.words()) {
            (ECHO, 0) => Answer::words([]),
            (ECHO, 4) => Answer::words(message::read::<4>(0)),
            (LATER, 0) => later(client),
            _ => self.other_request(tag),
        }
    }
}

fn later(client: Client) -> Answer {
    match client.later() {
        Ok(reply) => Answer::words([]).to(reply),
        Err(error) => error.into(),
    }
}

impl Server {
    /// What is no part of a measurement.
    #[cold]
    #[inline(never)]
    fn other_request(&mut self, tag: MessageTag) -> Answer {
        match (tag.label(), tag.words()) {
            (ACCEPT, 0) => {
                self.window = Flexpage::memory(WINDOW, PAGE_ORDER, Rights::READ_WRITE);
                message::set_receive_window(self.window);
                Answer::words([])
            }
            (WRITE, 0) => {
                touch(WINDOW);
                Answer::words([])
            }
            _ => Answer::refuse(ObjectError::BadProtocol),
        }
    }

    /// A fault in a block, or on what the server has no opinion about.
    fn other_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        let order = match fault.address {
            ONE_BY_ONE..AT_ONCE => PAGE_ORDER,
            AT_ONCE..AFTER => BLOCK_ORDER,
            _ => {
                let answer = forward(client, fault);
                // What was to arrive next is still to come.
                message::set_receive_window(self.window);
                return answer;
            }
        };
        let inside = fault.address & low_mask(BLOCK_ORDER);
        match open_page(self.block + inside, order) {
            Ok(page) => Answer::map(align_down(fault.address, order), page),
            Err(error) => error.into(),
        }
    }
}
