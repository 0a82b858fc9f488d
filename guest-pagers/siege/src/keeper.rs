//! The victim's pager and server. Others may talk to it, but it does for them what it does for strangers.

use alloc::vec::Vec;
use runtime::{
    Result,
    capability::TASK,
    memory::{Memory, Pool},
    message,
    objects::Take,
    pager::{Answer, Client, Pager, forward, serve},
    protocol::{
        PAGE_ORDER, Word,
        error::ObjectError,
        fault::PageFault,
        flexpage::{Rights, align_down},
        layout::{HEAP_BASE, PAGER_AREA},
        message::MessageTag,
    },
    reply::Reply,
};

/// From the victim: add the number in word 0. The answer is the sum so far.
pub const ADD: isize = 1;
/// From the victim: take all pages back, and begin the sum anew. The answer says how many are through.
pub const AGAIN: isize = 2;
/// From an attacker: it has done its worst. Answered when the victim has done its work.
pub const THROUGH: isize = 3;
/// From the victim: it has done its work.
pub const DONE: isize = 4;

/// What the victim looks at: the first word of page `n` is `(n + 1)²`.
pub const PAGES: usize = 8;

pub fn run() -> ! {
    serve(&mut Keeper::default())
}

#[derive(Default)]
struct Keeper {
    pool: Pool,
    pages: [Option<Memory>; PAGES],
    /// Whose pager this is: the first one that has faulted.
    victim: Option<Client>,
    sum: Word,
    /// Those who are through.
    waiting: Vec<Reply>,
    is_done: bool,
}

impl Pager for Keeper {
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        self.victim.get_or_insert(client);
        if !(PAGER_AREA..HEAP_BASE).contains(&fault.address) {
            return forward(client, fault);
        }
        let number = (fault.address - PAGER_AREA) >> PAGE_ORDER;
        match self.page(number) {
            Ok(page) => {
                let address = align_down(fault.address, PAGE_ORDER);
                Answer::map(address, page.flexpage(Rights::READ))
            }
            Err(error) => error.into(),
        }
    }

    fn request(&mut self, client: Client, tag: MessageTag) -> Answer {
        match (tag.label(), self.victim == Some(client)) {
            (ADD, true) => {
                self.sum += message::get(0);
                Answer::words([self.sum])
            }
            (AGAIN, true) => match self.take_back() {
                Ok(()) => Answer::words([self.waiting.len()]),
                Err(error) => error.into(),
            },
            (DONE, true) => {
                self.is_done = true;
                self.waiting.drain(..).for_each(|reply| reply.answer(Answer::words([])));
                Answer::words([])
            }
            (THROUGH, false) if self.is_done => Answer::words([]),
            (THROUGH, false) => match client.later() {
                Ok(reply) => {
                    self.waiting.push(reply);
                    Answer::nothing()
                }
                Err(error) => error.into(),
            },
            (ADD | AGAIN | DONE, false) => Answer::refuse(ObjectError::PermissionDenied),
            _ => Answer::refuse(ObjectError::BadProtocol),
        }
    }
}

impl Keeper {
    fn page(&mut self, number: usize) -> Result<&Memory> {
        let place = self.pages.get_mut(number);
        let place = place.ok_or(runtime::Error::Object(ObjectError::InvalidArgument))?;
        if place.is_none() {
            let page = self.pool.page()?;
            page.values::<Word>()[0].set((number + 1).pow(2));
            *place = Some(page);
        }
        place.as_ref().ok_or(runtime::Error::BadAnswer)
    }

    fn take_back(&mut self) -> Result<()> {
        self.sum = 0;
        let pages = self.pages.iter().flatten();
        pages.map(|page| page.flexpage(Rights::empty())).try_for_each(|page| {
            TASK.unmap([page], Take::EVERYTHING)?;
            Ok(())
        })
    }
}
