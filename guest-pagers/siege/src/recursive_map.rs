//! Two tasks map a page to each other, back and forth, each from what the other one has mapped; and in the end over
//! what all of it comes from.

use crate::scene::Scene;
use children::house::gate_to;
use runtime::{
    Result,
    capability::{TASK, check},
    message,
    objects::Take,
    pager::{Answer, Client, Pager, serve},
    println,
    protocol::{
        PAGE_ORDER, Word,
        flexpage::{Flexpage, Rights},
        layout::PAGER_AREA,
        message::MessageTag,
    },
    share::{Item, Shareable},
};

const OTHER: Word = 1;
/// To the other one: here it is.
const HERE: isize = 1;

/// Longer than any chain of mappings can be.
const MOST: usize = 1000;

/// Where the page is that a task got as its `number`th.
const fn place(number: usize) -> Word {
    PAGER_AREA + (number << PAGE_ORDER)
}

fn page(number: usize) -> Shareable {
    let page = Flexpage::memory(place(number), PAGE_ORDER, Rights::READ);
    Shareable::new(page).expect("nobody can write there")
}

pub fn run(scene: &mut Scene) -> Result<()> {
    let memory = scene.house.page()?;
    let other = scene.child("other", OTHER)?;
    let gate = gate_to(&other, 0)?;
    other.start(hand_back)?;
    TASK.map(Item::map(place(0), memory.flexpage(Rights::READ)))?;
    let refused = (0..MOST).find_map(|times| {
        let window = Flexpage::memory(place(times + 1), PAGE_ORDER, Rights::READ);
        let call = || gate.call_with(HERE, 0, [Item::map(0, page(times))]).and_then(check);
        message::accept(window, call).err().map(|error| (times, error))
    });
    let Some((times, error)) = refused else { panic!("a chain of mappings has no end") };
    println!("recursive-map: there and back {times} times, once more: {error}");
    // From the last but one, which can still be mapped on.
    let over = TASK.map(Item::map(place(0), page(times - 1)));
    println!("recursive-map: over where it comes from: {}", outcome(over));
    scene.stand()?;
    gate.end()?;
    scene.house.end(other)?;
    let all = Flexpage::memory(PAGER_AREA, (MOST << PAGE_ORDER).ilog2() + 1, Rights::empty());
    TASK.unmap([all], Take::EVERYTHING.own_too())?;
    scene.house.pool.give_back(memory)
}

fn outcome<T>(outcome: Result<T>) -> &'static str {
    match outcome {
        Ok(_) => "done",
        Err(_) => "refused",
    }
}

extern "C" fn hand_back() -> ! {
    message::set_receive_window(Flexpage::memory(place(0), PAGE_ORDER, Rights::READ));
    serve(&mut HandBack { times: 0 })
}

struct HandBack {
    times: usize,
}

impl Pager for HandBack {
    fn request(&mut self, _: Client, _: MessageTag) -> Answer {
        let arrived = page(self.times);
        self.times += 1;
        let next = Flexpage::memory(place(self.times), PAGE_ORDER, Rights::READ);
        message::set_receive_window(next);
        Answer::items([Item::map(0, arrived)])
    }
}
