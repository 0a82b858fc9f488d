//! Slide "Page un-mapping": takes a page back from everybody who has it, in the terms of who gave it,
//! and nobody has to agree.

use crate::area::{self, ask};
use runtime::{
    Error,
    capability::TASK,
    memory::{Memory, Pool},
    objects::{Take, Use},
    pager::{Answer, Client, Pager, forward, serve},
    println,
    protocol::{
        Word,
        error::ObjectError,
        fault::{Access, PageFault},
        flexpage::Rights,
        message::MessageTag,
    },
};

/// To the pager: take nothing, only say what was done to the page.
const LOOK: isize = 1;
/// To the pager: take the right to write.
const TAKE_WRITE: isize = 2;
/// To the pager: take the page from all others.
const TAKE_PAGE: isize = 3;
/// To the pager: take the page from all, yourself too.
const TAKE_OWN_TOO: isize = 4;

/// Has its page taken away, and uses it again.
pub fn app() {
    area::write(0, 1);
    println!("app: wrote 1");
    assert_eq!(unmap(LOOK), Use { accessed: true, written: true });
    assert_eq!(unmap(LOOK), Use::default());
    assert_eq!(area::read(0), 1);
    assert_eq!(unmap(LOOK), Use { accessed: true, written: false });
    println!("app: the pager can tell whether I read or wrote since it last asked");

    unmap(TAKE_WRITE);
    assert_eq!(area::read(0), 1);
    println!("app: without the right to write I still read 1");
    area::write(0, 2);
    println!("app: wrote 2, which took a fault");

    assert!(unmap(TAKE_PAGE).written);
    assert_eq!(area::read(0), 2);
    println!("app: the page was taken and came back with a fault: it reads 2");

    unmap(TAKE_OWN_TOO);
    assert_eq!(area::read(0), 100);
    println!("app: the pager has taken its own page too: what came now reads 100");
}

fn unmap(what: isize) -> Use {
    let [accessed, written] = ask(what, []);
    Use { accessed: accessed != 0, written: written != 0 }
}

/// Maps a page, and takes it back when it is told to.
pub fn pager() -> ! {
    let mut pool = Pool::new();
    let page = pool.page().expect("a page");
    serve(&mut UnmapPager { pool, page })
}

struct UnmapPager {
    pool: Pool,
    page: Memory,
}

impl Pager for UnmapPager {
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        if area::page_of(fault).is_none() {
            return forward(client, fault);
        }
        let write = fault.access.contains(Access::WRITE);
        let value = area::word_in(&self.page, 0).get();
        println!("pager: {} fault: my page reads {value}", if write { "write" } else { "read" });
        Answer::map(fault.address, self.page.flexpage(Rights::READ_WRITE))
    }

    fn request(&mut self, _: Client, tag: MessageTag) -> Answer {
        match self.unmap(tag.label()) {
            Ok(Use { accessed, written }) => {
                Answer::words([Word::from(accessed), Word::from(written)])
            }
            Err(error) => error.into(),
        }
    }
}

impl UnmapPager {
    fn unmap(&mut self, what: isize) -> Result<Use, Error> {
        let (take, text) = match what {
            LOOK => (Take::NOTHING, "looks"),
            TAKE_WRITE => (Take::rights(Rights::WRITE), "takes the right to write"),
            TAKE_PAGE => (Take::EVERYTHING, "takes the page"),
            TAKE_OWN_TOO => (Take::EVERYTHING.own_too(), "takes the page, its own mapping too"),
            _ => return Err(Error::Object(ObjectError::UnknownOperation)),
        };
        let [done] = TASK.unmap([self.page.flexpage(Rights::empty())], take)?;
        println!("pager: {text}: accessed {}, written {}", done.accessed, done.written);
        if what == TAKE_OWN_TOO {
            // The old one is no longer there to be mapped, or to be read.
            self.page = self.pool.page()?;
            area::word_in(&self.page, 0).set(100);
        }
        Ok(done)
    }
}
