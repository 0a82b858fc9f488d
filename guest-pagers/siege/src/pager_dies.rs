//! Pagers that end, or stop, before they answer.

use crate::scene::{Scene, connect};
use children::{
    child::{Child, report, rest, spin, word},
    house::{Heard, expect, listen},
};
use runtime::{
    Result,
    capability::Gate,
    ipc,
    owned::Owned,
    println,
    protocol::{Word, object::CapabilityIndex},
};

const CLIENT: Word = 1;
const PAGER: Word = 2;

/// The pager has heard of the fault.
const HEARD: isize = 1;
/// It has other things to do. Its client has run before.
const BUSY: isize = 2;

const PAGE_FAULT_VECTOR: Word = 14;

/// A page that nobody has.
const MISSING: usize = 7;

pub fn run(scene: &mut Scene) -> Result<()> {
    before_it_hears(scene)?;
    before_it_answers(scene)?;
    by_a_fault_of_its_own(scene)?;
    scene.stand()
}

fn before_it_hears(scene: &mut Scene) -> Result<()> {
    let (client, pager, gate) = begin(scene, "deaf pager")?;
    client.start(touch)?;
    pager.start(be_busy)?;
    expect(PAGER, BUSY);
    scene.house.end(pager)?;
    conclude(scene, "ends before it hears of the fault", client, gate)
}

fn before_it_answers(scene: &mut Scene) -> Result<()> {
    let (client, pager, gate) = begin(scene, "mute pager")?;
    pager.start(hear)?;
    client.start(touch)?;
    expect(PAGER, HEARD);
    scene.house.end(pager)?;
    conclude(scene, "ends before it answers", client, gate)
}

fn by_a_fault_of_its_own(scene: &mut Scene) -> Result<()> {
    let (client, pager, gate) = begin(scene, "clumsy pager")?;
    pager.start(stumble)?;
    client.start(touch)?;
    // Waiting for the next message is no answer to a fault, nor to an exception.
    assert!(matches!(listen(), Heard::Fault(PAGER, _)));
    assert_eq!(listen(), Heard::Exception(PAGER, PAGE_FAULT_VECTOR));
    conclude(scene, "stumbles over a fault of its own", client, gate)?;
    scene.house.end(pager)
}

fn begin(scene: &mut Scene, name: &str) -> Result<(Child, Child, Owned<Gate>)> {
    let (client, pager) = (scene.client("client", CLIENT)?, scene.child(name, PAGER)?);
    let gate = connect(&client, CapabilityIndex::PAGER, &pager, CLIENT)?;
    Ok((client, pager, gate))
}

/// The client's fault has become an exception.
fn conclude(scene: &mut Scene, what: &str, client: Child, gate: Owned<Gate>) -> Result<()> {
    assert_eq!(listen(), Heard::Exception(CLIENT, PAGE_FAULT_VECTOR));
    println!("pager-dies: it {what}: its client gets exception {PAGE_FAULT_VECTOR}");
    gate.end()?;
    scene.house.end(client)
}

extern "C" fn touch() -> ! {
    word(MISSING).set(1);
    rest()
}

extern "C" fn be_busy() -> ! {
    report(BUSY, [0, 0]);
    spin()
}

extern "C" fn hear() -> ! {
    let _ = ipc::wait();
    report(HEARD, [0, 0]);
    rest()
}

extern "C" fn stumble() -> ! {
    let _ = ipc::wait();
    word(MISSING).set(1);
    rest()
}
