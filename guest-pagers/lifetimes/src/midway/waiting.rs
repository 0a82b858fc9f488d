//! Who waits for somebody that ends: for an answer, to be heard, or for a message of nobody else.

use super::{learned, say};
use crate::{
    child::{Body, Child, PEER, report, spin},
    house::{House, expect, gate_to},
};
use runtime::{
    Error, Result,
    capability::FACTORY,
    ipc,
    protocol::{
        Word, error::IpcError, flexpage::Rights, message::MessageTag, object::CapabilityIndex,
    },
};

/// The partner has taken the message.
const TAKEN: isize = 1;
/// The one who waits is about to.
const READY: isize = 2;
/// It has learned something.
const LEARNED: isize = 3;

const ONE: Word = 11;
const PARTNER: Word = 12;

/// Its message was taken, and an answer is due.
pub fn caller(house: &mut House) -> Result<()> {
    each_way(house, call, take_and_spin, Some(TAKEN), "an answer", IpcError::ReplyLost)
}

/// Nobody has taken its message.
pub fn queued(house: &mut House) -> Result<()> {
    each_way(house, call, spin_at_once, None, "the ear", IpcError::NoPartner)
}

/// Nobody else's message will do.
pub fn receiver(house: &mut House) -> Result<()> {
    each_way(house, receive, spin_at_once, None, "a message", IpcError::NoPartner)
}

/// How the partner ends.
type End = fn(&mut House, Child) -> Result<()>;

/// Ends the partner's task, then another one's thread.
fn each_way(
    house: &mut House,
    waiting: Body,
    partner: Body,
    sign: Option<isize>,
    what: &str,
    expected: IpcError,
) -> Result<()> {
    let ways: [(&str, End); 2] = [("task", House::end), ("thread", House::end_thread_first)];
    for (name, end) in ways {
        let word = case(house, waiting, partner, sign, end)?;
        say(format_args!("who waits for {what} of a {name} that ends"), word, expected);
    }
    Ok(())
}

/// Gives what the one who waited has learned.
fn case(
    house: &mut House,
    waiting: Body,
    partner: Body,
    sign: Option<isize>,
    end: End,
) -> Result<Word> {
    let (one, other) = (house.child(FACTORY, ONE)?, house.child(FACTORY, PARTNER)?);
    let gate = gate_to(&other, 1)?;
    one.task.map(gate.item(CapabilityIndex::SERVER, Rights::READ))?;
    other.start(partner)?;
    one.start(waiting)?;
    expect(ONE, READY);
    if let Some(sign) = sign {
        expect(PARTNER, sign);
    }
    end(house, other)?;
    let [word, _] = expect(ONE, LEARNED);
    // Whoever comes later learns the same as who was there.
    assert_eq!(gate.call(MessageTag::new(0, 0, 0)), Err(Error::Ipc(IpcError::NoPartner)));
    house.end(one)?;
    Ok(word)
}

extern "C" fn call() -> ! {
    report(READY, [0, 0]);
    let outcome = PEER.call(MessageTag::new(0, 0, 0));
    report(LEARNED, [learned(outcome), 0]);
    spin()
}

extern "C" fn receive() -> ! {
    report(READY, [0, 0]);
    let outcome = ipc::receive(PEER.index()).map_err(Error::Ipc);
    report(LEARNED, [learned(outcome), 0]);
    spin()
}

extern "C" fn take_and_spin() -> ! {
    let _ = ipc::wait();
    report(TAKEN, [0, 0]);
    spin()
}

extern "C" fn spin_at_once() -> ! {
    spin()
}
