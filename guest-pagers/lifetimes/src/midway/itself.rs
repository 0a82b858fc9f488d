//! Who ends itself.

use super::{learned, say};
use crate::{
    child::{OWN, PEER, SELF, report, spin},
    house::{Heard, House, expect, gate_to, listen},
};
use runtime::{
    Result,
    capability::FACTORY,
    ipc,
    objects::Take,
    protocol::{
        Word,
        error::IpcError,
        flexpage::{Flexpage, Rights},
        message::MessageTag,
        object::CapabilityIndex,
    },
};

const ONE: Word = 51;
const PARTNER: Word = 52;

const READY: isize = 1;
const LEARNED: isize = 2;

/// A task that was handed the first capability to itself takes that away from itself.
pub fn task(house: &mut House) -> Result<()> {
    let (one, other) = (house.child(FACTORY, ONE)?, house.child(FACTORY, PARTNER)?);
    let gate = gate_to(&other, 1)?;
    one.task.map(gate.item(CapabilityIndex::SERVER, Rights::READ))?;
    other.start(end_itself)?;
    expect(PARTNER, READY);
    let (thread, own_gate, stack) = other.release()?;
    one.start(call)?;
    expect(ONE, READY);
    // Its gate to its parent is nobody's now: that, too, is heard, before the other or after.
    let (mut word, mut is_unheld) = (None, false);
    while word.is_none() || !is_unheld {
        match listen() {
            Heard::Unheld(PARTNER) => is_unheld = true,
            Heard::Words(ONE, LEARNED, [learned, _]) => word = Some(learned),
            other => panic!("the task was to end itself, but: {other:?}"),
        }
    }
    let word = word.unwrap_or_default();
    let what = format_args!("who waits for an answer of a task that ends itself");
    say(what, word, IpcError::ReplyLost);
    house.end(one)?;
    thread.end()?;
    own_gate.end()?;
    house.pool.give_back(stack)
}

extern "C" fn call() -> ! {
    report(READY, [0, 0]);
    let outcome = PEER.call(MessageTag::new(0, 0, 0));
    report(LEARNED, [learned(outcome), 0]);
    spin()
}

extern "C" fn end_itself() -> ! {
    report(READY, [0, 0]);
    let _ = ipc::wait();
    let first = Flexpage::capabilities(SELF.0, 0, Rights::empty());
    let _ = OWN.unmap([first], Take::EVERYTHING.own_too());
    // Nobody comes here.
    report(READY, [0, 0]);
    spin()
}
