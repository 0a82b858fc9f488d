//! A pager that computes a table of squares, page by page, when somebody looks at it.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use runtime::memory::Pool;
use runtime::pager::{Answer, Client, Pager, forward, serve};
use runtime::protocol::{fault::PageFault, flexpage::Rights, layout};

runtime::entry!(main);

fn main() -> ! {
    serve(&mut LazySquares { pool: Pool::new() })
}

struct LazySquares {
    pool: Pool,
}

impl Pager for LazySquares {
    fn page_fault(&mut self, client: Client, fault: PageFault) -> Answer {
        // Its text, data and stack are none of our business: the root task pages them.
        if !(layout::PAGER_AREA..layout::HEAP_BASE).contains(&fault.address) {
            return forward(client, fault);
        }
        let page = match self.pool.page() {
            Ok(page) => page,
            Err(error) => return error.into(),
        };
        let first = (fault.address - layout::PAGER_AREA) & !0xfff;
        let squares = page.values::<u64>();
        for (number, square) in (first / size_of::<u64>()..).zip(squares) {
            square.set((number as u64).pow(2));
        }
        Answer::map(fault.address, page.flexpage(Rights::READ))
    }
}
