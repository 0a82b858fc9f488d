//! A gate of which nobody has a capability any more.

use crate::house::{Heard, House, listen};
use runtime::{
    Result,
    capability::{FACTORY, THREAD},
    println,
    protocol::{Word, flexpage::Rights, object::CapabilityIndex},
};

const HOLDER: Word = 71;
const LABEL: Word = 72;

/// Its server, which is this program, learns that the one who held it is gone.
pub fn gate(house: &mut House) -> Result<()> {
    let holder = house.child(FACTORY, HOLDER)?;
    let gate = FACTORY.create_gate(LABEL, THREAD)?;
    holder.task.map(gate.item(CapabilityIndex::SERVER, Rights::READ))?;
    house.end(holder)?;
    assert_eq!(listen(), Heard::Unheld(LABEL));
    println!("midway: a server whose client ends: nobody holds the gate {LABEL} any more");
    gate.end()
}
