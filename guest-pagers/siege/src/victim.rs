//! Somebody who only does his work: he looks at pages that his pager brings, and has his server add what is there.

use crate::keeper::{ADD, AGAIN, DONE, PAGES};
use runtime::{
    capability::{SERVER, check},
    message, println,
    program::pager_area,
    protocol::{PAGE_SIZE, Word, message::MessageTag},
};

/// Works until `attackers` are through, and `rounds` rounds more.
pub fn run(attackers: usize, rounds: usize) -> i32 {
    let (mut beside, mut after) = (0, 0);
    let mut sum = 0;
    while after < rounds {
        let through = ask(AGAIN, 0);
        sum = round();
        if through < attackers { beside += 1 } else { after += 1 }
    }
    println!("victim: the sum is {sum}, {beside} times before the worst, {after} times after");
    ask(DONE, 0);
    0
}

/// The sum of what is in all pages.
fn round() -> Word {
    const WORDS: usize = PAGE_SIZE / size_of::<Word>();
    let pages = pager_area::<Word>(PAGES * WORDS);
    let own: Word = (0..PAGES).map(|page| pages[page * WORDS].get()).sum();
    let added = (0..PAGES).map(|page| ask(ADD, pages[page * WORDS].get())).last();
    assert_eq!(Some(own), added, "the server has got something else");
    own
}

/// Asks the server; it has always an answer.
fn ask(what: isize, word: Word) -> Word {
    message::write(0, [word]);
    let answer = SERVER.call(MessageTag::new(what, 1, 0)).and_then(check);
    answer.unwrap_or_else(|error| panic!("the server does not answer: {error}"));
    message::get(0)
}
