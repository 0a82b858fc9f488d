//! What it costs to map and to unmap.

use crate::{client::ask, probe::touch, samples::Spread, server};
use core::fmt;
use runtime::{
    Error, Result,
    capability::TASK,
    memory::{Memory, Pool},
    objects::Take,
    protocol::{PAGE_ORDER, PAGE_SIZE, Word, flexpage::Rights, layout::PAGER_AREA},
    share::{Item, Shareable},
};

/// Mappings to take back at once. The first is none at all: what an unmap takes in any case.
const REVOKED: [usize; 6] = [0, 1, 10, 100, 1000, 10_000];

/// Where this program maps a page of its own again and again: room for the most of [`REVOKED`].
const COPIES: Word = PAGER_AREA + (80 << 20);

/// What was measured.
pub struct Costs {
    map: Spread,
    unmap: Spread,
    one_item: Spread,
    one_by_one: Spread,
    touched: Spread,
    revoked: [Spread; REVOKED.len()],
}

/// Measures everything.
pub fn measure() -> Result<Costs> {
    let mut page = Pool::new().page()?;
    page.fill(0);
    let shared = page.flexpage(Rights::READ_WRITE);
    let (map, unmap) = map_and_unmap(shared)?;
    let one_item = Spread::of_few(|_| Ok(()), |round| touch_all(server::AT_ONCE, round))?;
    let one_by_one = Spread::of_few(|_| Ok(()), |round| touch_all(server::ONE_BY_ONE, round))?;
    // The pages of the first round, which are there.
    let touched = Spread::of_few(|_| Ok(()), |_| touch_all(server::AT_ONCE, 0))?;
    let mut revoked = [Spread::default(); REVOKED.len()];
    for (spread, count) in revoked.iter_mut().zip(REVOKED) {
        *spread = revoke(&page, count)?;
    }
    Ok(Costs { map, unmap, one_item, one_by_one, touched, revoked })
}

/// A call that brings the server a page, and taking that page back.
fn map_and_unmap(page: Shareable) -> Result<(Spread, Spread)> {
    let accept = || ask(server::ACCEPT, []);
    let give = || ask(server::ECHO, [Item::map(server::WINDOW, page)]);
    let take_back = || TASK.unmap([page], Take::EVERYTHING);
    let prepare_map = |_| {
        take_back()?;
        accept()
    };
    let prepare_unmap = |_| {
        accept()?;
        give()
    };
    let map = Spread::of_prepared(prepare_map, |_| give())?;
    let unmap = Spread::of_prepared(prepare_unmap, |_| take_back())?;
    // What was measured did what it should: the server can write to the page until it is taken back.
    prepare_unmap(0)?;
    ask(server::WRITE, [])?;
    let written = [take_back()?, take_back()?].map(|[noted]| noted.written);
    if written == [true, false] { Ok((map, unmap)) } else { Err(Error::BadAnswer) }
}

/// Touches 512 pages that its pager maps one by one or all at once, unless they are there.
fn touch_all(area: Word, round: usize) -> Result<()> {
    for number in 0..server::BLOCK_PAGES {
        touch(area + round * server::BLOCK_SIZE + number * PAGE_SIZE);
    }
    Ok(())
}

/// Takes back `count` mappings of a page.
fn revoke(page: &Memory, count: usize) -> Result<Spread> {
    let source = page.flexpage(Rights::READ_WRITE);
    Spread::of_few(|_| copy(source, count), |_| TASK.unmap([source], Take::EVERYTHING))
}

/// Maps `page` to this task itself, `count` times side by side. What is there already is mapped on,
/// as much at once as can be.
fn copy(page: Shareable, count: usize) -> Result<()> {
    let mut done = 0;
    while done < count {
        let (source, size) = match done {
            0 => (page, 1),
            _ => {
                let order = done.trailing_zeros().min((count - done).ilog2());
                (server::open_page(COPIES, order + PAGE_ORDER)?, 1 << order)
            }
        };
        TASK.map(Item::map(COPIES + done * PAGE_SIZE, source))?;
        done += size;
    }
    Ok(())
}

/// As members of a JSON object.
impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { map, unmap, one_item, one_by_one, touched, revoked } = self;
        write!(f, r#""ipc_call_map":{map},"unmap_1":{unmap},"#)?;
        write!(f, r#""map_512_one_item":{one_item},"map_512_faults":{one_by_one},"#)?;
        write!(f, r#""touch_512":{touched}"#)?;
        for (count, spread) in REVOKED.into_iter().zip(revoked) {
            write!(f, r#","revoke_{count}":{spread}"#)?;
        }
        Ok(())
    }
}
