//! A server with a capability that its clients lack, at an index at which they have another one; and
//! clients that want it used. One keeps the server busy, so that the other one's message waits: with
//! so much in it that the server is interrupted when it takes it. The system call that begins again then
//! must be the server's, and not the sender's.

use crate::THROUGH;
use runtime::{
    capability::SERVER,
    ipc,
    memory::Pool,
    message, println,
    protocol::{
        flexpage::{Flexpage, Rights},
        message::{MapItem, MessageTag},
    },
};

/// To the server: take what is in the message. The server itself never says that to anybody.
pub const TAKE: isize = 2;
/// To the server: work for a while.
const WORK: isize = 3;

/// What is sent: 256 small pages.
const ORDER: u32 = 20;
/// Where it arrives: over and over again.
const WINDOW: Flexpage = Flexpage::memory(0x2000_0000, ORDER, Rights::all());
const ROUNDS: usize = 6;
/// How long the server works: longer than a time slice, so that others queue.
const TURNS: usize = 5_000_000;

/// The server. It has a capability to the victim, which it calls once only: when both are through.
pub fn serve() -> i32 {
    message::set_receive_window(WINDOW);
    let mut clients = 2;
    let mut received = ipc::wait();
    while clients > 0 {
        if let Ok(received) = received {
            match received.tag.label() {
                THROUGH => clients -= 1,
                WORK => (0..TURNS).for_each(|_| core::hint::spin_loop()),
                _ => {}
            }
        }
        if clients == 0 {
            let _ = ipc::reply(MessageTag::new(0, 0, 0));
            break;
        }
        received = ipc::reply_and_wait(MessageTag::new(0, 0, 0));
    }
    println!("deputy: through");
    let _ = SERVER.call(MessageTag::new(THROUGH, 0, 0));
    0
}

/// Sends what takes long: over what came before, each of whose pages has to go first.
pub fn misuse() {
    let mut pool = Pool::new();
    let memories = [(); 2].map(|()| pool.take(ORDER).expect("memory"));
    for round in 0..ROUNDS {
        message::write_items(0, [MapItem::map(0, memories[round % 2].flexpage(Rights::READ))]);
        let _ = SERVER.call(MessageTag::new(TAKE, 0, 1));
    }
}

/// Keeps the server busy, so that others queue.
pub fn distract() {
    for _ in 0..ROUNDS {
        let _ = SERVER.call(MessageTag::new(WORK, 0, 0));
    }
}
