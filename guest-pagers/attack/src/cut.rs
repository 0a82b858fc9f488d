//! One thread takes a page back from hundreds; whenever it is interrupted in that, another one takes the
//! page back from the first one's parent.

use crate::thread;
use core::{
    hint,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};
use runtime::{
    capability::TASK,
    memory::Pool,
    objects::Take,
    println,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        flexpage::{Flexpage, Rights},
        layout::PAGER_AREA,
        object::CapabilityIndex,
    },
    share::{Item, Shareable},
};

const THREAD: CapabilityIndex = CapabilityIndex(40);

/// Mapped from the page, and what is mapped from that.
const CHILD: Word = PAGER_AREA;
const GRANDCHILDREN: Word = PAGER_AREA + 0x100_0000;
const COUNT: usize = 700;
/// Mapped from the page before the child: they come to stand behind it in the list.
const SIBLINGS: Word = PAGER_AREA + 0x40_0000;

/// Rounds without an interruption.
const MOST_ROUNDS: usize = 2000;

static PAGE: AtomicUsize = AtomicUsize::new(0);
static IS_BUSY: AtomicUsize = AtomicUsize::new(0);
static ROUNDS: AtomicUsize = AtomicUsize::new(0);
static IS_OVER: AtomicUsize = AtomicUsize::new(0);

fn page(address: Word) -> Shareable {
    let page = Flexpage::memory(address, PAGE_ORDER, Rights::READ);
    Shareable::new(page).expect("nobody can write there")
}

fn map(from: Word, to: Word) {
    // What it comes from may be gone by now.
    let _ = TASK.map(Item::map(to, page(from)));
}

pub fn run(rounds: usize) {
    let mut pool = Pool::new();
    let mut memory = pool.page().expect("a page");
    memory.fill(1);
    PAGE.store(memory.address(), SeqCst);
    let mut stack = pool.take(thread::STACK_ORDER).expect("a stack");
    thread::start(thread::create(THREAD, 1), take_back, &mut stack);
    let mut hits = 0;
    // On a fast machine it may take longer until it is interrupted for the first time.
    while ROUNDS.load(SeqCst) < if hits > 0 { rounds } else { MOST_ROUNDS } {
        if IS_BUSY.load(SeqCst) != 0 {
            hits += 1;
            let _ = TASK.unmap([page(memory.address())], Take::EVERYTHING);
            while IS_BUSY.load(SeqCst) != 0 {
                hint::spin_loop();
            }
        }
    }
    IS_OVER.store(1, SeqCst);
    while IS_OVER.load(SeqCst) == 1 {
        hint::spin_loop();
    }
    println!("cut: {}", if hits > 0 { "interrupted" } else { "never interrupted" });
}

extern "C" fn take_back() -> ! {
    while IS_OVER.load(SeqCst) == 0 {
        let page_itself = PAGE.load(SeqCst);
        (0..3).for_each(|number| map(page_itself, SIBLINGS + number * PAGE_SIZE));
        map(page_itself, CHILD);
        (0..COUNT).for_each(|number| map(CHILD, GRANDCHILDREN + number * PAGE_SIZE));
        IS_BUSY.store(1, SeqCst);
        let _ = TASK.unmap([page(CHILD)], Take::EVERYTHING);
        IS_BUSY.store(0, SeqCst);
        ROUNDS.fetch_add(1, SeqCst);
    }
    IS_OVER.store(2, SeqCst);
    loop {
        hint::spin_loop();
    }
}
