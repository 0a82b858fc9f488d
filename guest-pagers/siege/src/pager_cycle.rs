//! Two tasks, each the other one's pager, and both fault.

use crate::scene::{Scene, connect};
use children::child::{rest, word};
use runtime::{Result, println, protocol::object::CapabilityIndex};

/// A page that nobody has.
const MISSING: usize = 7;

pub fn run(scene: &mut Scene) -> Result<()> {
    let (a, b) = (scene.client("a", 1)?, scene.client("b", 2)?);
    let to_b = connect(&a, CapabilityIndex::PAGER, &b, 1)?;
    let to_a = connect(&b, CapabilityIndex::PAGER, &a, 2)?;
    a.start(touch)?;
    b.start(touch)?;
    println!("pager-cycle: a faults, and b should page it; b faults, and a should page it");
    scene.stand()?;
    scene.house.end(a)?;
    scene.house.end(b)?;
    to_b.end()?;
    to_a.end()
}

extern "C" fn touch() -> ! {
    word(MISSING).set(1);
    rest()
}
