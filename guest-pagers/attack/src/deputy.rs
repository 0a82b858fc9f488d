//! A server with a capability that its clients lack, at an index at which they have another one; and
//! clients that want it used. While the server answers one, the other's message waits: with so much in it
//! that the server is interrupted when it takes it. The system call that begins again then must be the
//! server's, and not the sender's.
//!
//! The server's priority is below its clients', so that they always get to send, and that nobody makes a
//! system call between the sender's and the server's. So it needs no timer.

use crate::THROUGH;
use core::array;
use runtime::{
    capability::SERVER,
    ipc,
    memory::Pool,
    message, println,
    protocol::{
        flexpage::{Flexpage, Rights},
        layout::PAGER_AREA,
        message::MessageTag,
    },
    share::Item,
};

/// To the server: take what is in the message. The server itself never says that to anybody.
pub const TAKE: isize = 2;
/// To the server: answer.
const ANSWER: isize = 3;

/// An item: 256 small pages.
const ORDER: u32 = 20;
/// Items of a message: with 1024 pages no system call gets to its end at once.
const ITEMS: usize = 4;
/// Where they arrive: over and over again.
const WINDOW: Flexpage = Flexpage::memory(PAGER_AREA, ORDER + 2, Rights::all());
const ROUNDS: usize = 6;

/// The server. It has a capability to the victim, which it calls once only: when both are through.
pub fn serve() -> i32 {
    message::set_receive_window(WINDOW);
    let (mut clients, mut taken, mut answered) = (2, 0, 0);
    let mut received = ipc::wait();
    loop {
        match received.map(|received| (received.tag.label(), received.tag.items())) {
            Ok((THROUGH, 0)) => clients -= 1,
            Ok((TAKE, ITEMS)) => taken += 1,
            Ok((ANSWER, 0)) => answered += 1,
            _ => {
                println!("deputy: nobody has sent that: {received:?}");
                return 1;
            }
        }
        if clients == 0 {
            break;
        }
        received = ipc::reply_and_wait(MessageTag::new(0, 0, 0));
    }
    println!("deputy: {taken} taken, {answered} answered");
    let _ = SERVER.call(MessageTag::new(THROUGH, 0, 0));
    // The last client waits for the end.
    let _ = ipc::reply(MessageTag::new(0, 0, 0));
    0
}

/// Sends what takes long: over what came before, each of whose pages has to go first.
pub fn misuse() {
    let mut pool = Pool::new();
    let memories = [(); 2].map(|()| pool.take(ORDER).expect("memory"));
    for round in 0..ROUNDS {
        let items: [Item; ITEMS] = array::from_fn(|number| {
            let memory = &memories[(round + number) % 2];
            Item::map(number << ORDER, memory.flexpage(Rights::READ))
        });
        let _ = SERVER.call_with(TAKE, 0, items);
    }
}

/// Keeps the server busy, so that the other one queues.
pub fn distract() {
    for _ in 0..ROUNDS {
        let _ = SERVER.call(MessageTag::new(ANSWER, 0, 0));
    }
}
