//! Tasks, each the exception handler of the one before; each raises an exception when it is to handle one.

use crate::scene::{Scene, connect};
use children::{
    child::{Child, Handlers},
    house::gate_to,
};
use runtime::{
    Result, arch, ipc, println,
    protocol::{Word, message::MessageTag, object::CapabilityIndex},
};

const LENGTH: usize = 5;
const NAMES: [&str; LENGTH] = ["first", "second", "third", "fourth", "last"];

/// Where each has the gate to its handler. The last one has none there.
const HANDLER: CapabilityIndex = CapabilityIndex::SERVER;

pub fn run(scene: &mut Scene) -> Result<()> {
    let mut children: [Option<Child>; LENGTH] = [const { None }; LENGTH];
    let handlers = Handlers { pager: CapabilityIndex::PARENT, exceptions: HANDLER };
    for (number, name) in NAMES.into_iter().enumerate() {
        children[number] = Some(scene.child_with(name, number as Word, handlers)?);
    }
    let children = children.map(|child| child.expect("all were made"));
    let mut gates = [const { None }; LENGTH];
    for (number, pair) in children.windows(2).enumerate() {
        gates[number] = Some(connect(&pair[0], HANDLER, &pair[1], number)?);
    }
    for child in &children[1..] {
        child.start(handle)?;
    }
    children[0].start(raise)?;
    // Whoever stops answers nobody any more.
    let to_first = gate_to(&children[0], 0)?;
    let outcome = to_first.call(MessageTag::new(0, 0, 0));
    let outcome = outcome.expect_err("nobody lets the first one go on");
    println!("handler-chain: {LENGTH} exceptions, one in the handler of the other: {outcome}");
    scene.stand()?;
    to_first.end()?;
    gates.into_iter().flatten().try_for_each(|gate| gate.end())?;
    children.into_iter().try_for_each(|child| scene.house.end(child))
}

extern "C" fn raise() -> ! {
    arch::stop()
}

extern "C" fn handle() -> ! {
    let _ = ipc::wait();
    arch::stop()
}
