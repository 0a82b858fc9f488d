//! Ways into ring 0 that begin with a page at address 0, where registers that nobody has set up point:
//! the entry of 32-bit system calls, and the table of local descriptors. And virtual-8086 mode, which has
//! nothing but low addresses: a loop there, if interrupts are off, never ends.

use crate::{arch, code::Code, laboratory::Laboratory};
use runtime::{
    capability::TASK,
    memory::{Memory, Pool},
    println,
    protocol::{PAGE_SIZE, flexpage::Rights},
    share::Item,
};

/// In ring 0 this ends the machine, with this status: out 0xf4, al; in ring 3 it is an exception.
const STATUS: u8 = 66;
const PAYLOAD: [u8; 6] = [0xb0, STATUS, 0xe6, 0xf4, 0x0f, 0x0b];

/// jmp $
const LOOP: [u8; 2] = [0xeb, 0xfe];
/// The last page that virtual-8086 mode reaches, by the largest segment and offset.
const LAST_PAGE: usize = 0x10_f000;

/// The most that is tried in a mode.
const ATTEMPTS: usize = 8;

/// A call gate to the payload, which stands behind it.
const LOCAL_SELECTOR: u16 = 7;
const PAYLOAD_OFFSET: usize = 0x100;

pub fn run(laboratory: &mut Laboratory, mode: &str) {
    let mut page = Pool::new().page().expect("a page");
    let mapped = match mode {
        "ldt" => {
            let gate = call_gate(page.address() + PAYLOAD_OFFSET);
            page.write(0, &gate);
            page.write(PAYLOAD_OFFSET, &PAYLOAD);
            map(&page, 0)
        }
        "cstar" => {
            page.write(0, &PAYLOAD);
            map(&page, 0)
        }
        _ => {
            page.values().iter().for_each(|place| place.set(LOOP));
            map(&page, PAGE_SIZE).and(map(&page, LAST_PAGE))
        }
    };
    println!("{mode}: mapping the page: {mapped:?}");
    for (number, code) in codes(laboratory, mode, page.address()).into_iter().flatten().enumerate()
    {
        println!("{mode} {number}: {}", laboratory.attempt(&code));
    }
}

fn map(page: &Memory, address: usize) -> runtime::Result<()> {
    // SAFETY: nothing of this program is so far down.
    unsafe { TASK.map_anywhere(Item::map(address, page.flexpage(Rights::all()))) }
}

/// What is tried.
fn codes(laboratory: &Laboratory, mode: &str, page: usize) -> [Option<Code>; ATTEMPTS] {
    match mode {
        "ldt" => {
            let far = |call| Some(Code::new().far(call, LOCAL_SELECTOR));
            [far(true), far(false), None, None, None, None, None, None]
        }
        "cstar" => [thirty_two_bits(laboratory), None, None, None, None, None, None, None],
        _ => virtual_8086(page),
    }
}

/// To a loop, given by segment and offset. `page` is one that is mapped.
fn virtual_8086(page: usize) -> [Option<Code>; ATTEMPTS] {
    let (low, last) = ([PAGE_SIZE >> 4, 0], [0xffff, LAST_PAGE - 0xf_fff0]);
    [
        // With interrupts on; then with I/O privilege, single steps, a nested task; all at once.
        (0x200, low),
        (0x3200, low),
        (0x300, low),
        (0x4200, low),
        (0x25_7fd5, low),
        // With interrupts off; in the last page that the mode reaches; beyond.
        (0, low),
        (0, last),
        (0, [0, page]),
    ]
    .map(|(flags, target)| arch::virtual_8086(flags, target))
}

#[cfg(target_arch = "x86_64")]
fn thirty_two_bits(laboratory: &Laboratory) -> Option<Code> {
    Some(arch::in_32_bits(laboratory.address()))
}

/// All code is of 32 bits; `syscall` is tried with the other instructions.
#[cfg(target_arch = "x86")]
fn thirty_two_bits(_: &Laboratory) -> Option<Code> {
    None
}

/// For ring 3, into the kernel's code segment; as long as one of 64 bits.
fn call_gate(target: usize) -> [u8; 16] {
    let selector = arch::KERNEL_CODE.to_le_bytes();
    let [first, second, third, fourth] = (target as u32).to_le_bytes();
    let mut gate = [0; 16];
    gate[..8].copy_from_slice(&[first, second, selector[0], selector[1], 0, 0xec, third, fourth]);
    gate
}
