//! A fault whose pager ends, and a pager whose client does.

use crate::{
    child::{Child, report, spin, word},
    house::{Heard, House, expect, gate_to, listen},
};
use runtime::{
    Result,
    capability::{FACTORY, check},
    memory::Memory,
    pager::{Answer, Client, Pager, serve},
    println,
    protocol::{
        Word, fault::PageFault, flexpage::Rights, message::MessageTag, object::CapabilityIndex,
    },
};

const CLIENT: Word = 21;
const PAGER: Word = 22;

/// The pager has got the fault.
const GOT: isize = 1;

const PAGE_FAULT_VECTOR: Word = 14;

/// The client's page, at which it has nothing, and the pager's, that says when to answer.
const MISSING: usize = 7;
const SIGN: usize = 0;

/// The fault is unresolved, and an exception of the client.
pub fn pager_ends(house: &mut House) -> Result<()> {
    let (client, pager, sign) = begin(house)?;
    house.end(pager)?;
    assert_eq!(listen(), Heard::Exception(CLIENT, PAGE_FAULT_VECTOR));
    println!("midway: who waits for a pager that ends: exception {PAGE_FAULT_VECTOR}");
    house.end(client)?;
    house.pool.give_back(sign)
}

/// The pager's answer reaches nobody, and it goes on.
pub fn client_ends(house: &mut House) -> Result<()> {
    let (client, pager, sign) = begin(house)?;
    let gate = gate_to(&pager, 1)?;
    house.end(client)?;
    sign.values::<Word>()[0].set(1);
    check(gate.call(MessageTag::new(0, 0, 0))?)?;
    println!("midway: a pager whose client ends: it serves the next one");
    house.end(pager)?;
    house.pool.give_back(sign)
}

/// A client whose fault its pager holds.
fn begin(house: &mut House) -> Result<(Child, Child, Memory)> {
    let client = house.child_with_pager(FACTORY, CLIENT, CapabilityIndex::PAGER)?;
    let pager = house.child(FACTORY, PAGER)?;
    let sign = house.page()?;
    pager.give_page(SIGN, &sign)?;
    // Through the table of the client: its end is the gate's.
    let gate = gate_to(&pager, CLIENT)?;
    client.task.map(gate.item(CapabilityIndex::PAGER, Rights::READ))?;
    pager.start(hold)?;
    client.start(touch)?;
    expect(PAGER, GOT);
    gate.hand_over(&client.task, CapabilityIndex::SERVER)?;
    Ok((client, pager, sign))
}

extern "C" fn touch() -> ! {
    word(MISSING).set(1);
    spin()
}

extern "C" fn hold() -> ! {
    serve(&mut Holder)
}

struct Holder;

impl Pager for Holder {
    fn page_fault(&mut self, _: Client, fault: PageFault) -> Answer {
        report(GOT, [fault.address, 0]);
        while word(SIGN).get() == 0 {
            core::hint::spin_loop();
        }
        // It has nothing there itself; nor is there anybody to get it.
        Answer::words([])
    }

    fn request(&mut self, _: Client, _: MessageTag) -> Answer {
        Answer::words([])
    }
}
