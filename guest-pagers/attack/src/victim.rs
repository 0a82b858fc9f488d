//! Works until its clients are through, and looks whether anybody has touched what is its own. Its
//! argument is how many clients it has.

use crate::{THROUGH, arch, deputy};
use runtime::{
    ipc,
    memory::Pool,
    println, program,
    protocol::{PAGE_SIZE, message::MessageTag},
};

const ORDER: u32 = 16;
const PAGES: usize = (1 << ORDER) / PAGE_SIZE;
/// Time between two looks, in turns of a small loop.
const TURNS: u32 = 20_000;
/// Looks after the last client.
const MORE: usize = 5;

pub fn run() -> i32 {
    let clients = program::arguments().split_whitespace().nth(1);
    let mut clients = clients.and_then(|text| text.parse::<usize>().ok()).unwrap_or(1);
    let memory = Pool::new().take(ORDER).expect("memory");
    let (mut looks, mut more) = (0, MORE);
    while more > 0 {
        let mark = 0x0bad_cafe ^ looks;
        let bytes = memory.values::<u8>();
        for (number, byte) in bytes.iter().enumerate() {
            byte.set((number / PAGE_SIZE) as u8 ^ mark as u8);
        }
        if !arch::keeps_registers(mark, TURNS) {
            println!("victim: somebody has changed its registers");
            return 1;
        }
        let expected = |number: usize| (number / PAGE_SIZE) as u8 ^ mark as u8;
        if let Some(at) = (0..bytes.len()).find(|at| bytes[*at].get() != expected(*at)) {
            println!("victim: somebody has changed its memory at {at:#x}");
            return 1;
        }
        looks += 1;
        if clients == 0 {
            more -= 1;
            continue;
        }
        if let Ok(received) = ipc::poll() {
            match received.tag.label() {
                THROUGH => clients -= 1,
                deputy::TAKE => {
                    println!("victim: somebody speaks to it in the name of its only friend");
                    return 1;
                }
                _ => {}
            }
            // The last one waits for the end. Who asked may be gone.
            if clients > 0 {
                let _ = ipc::reply(MessageTag::new(0, 0, 0));
            }
        }
    }
    println!("victim: {} pages and all registers as they were", PAGES);
    let _ = ipc::reply(MessageTag::new(0, 0, 0));
    0
}
