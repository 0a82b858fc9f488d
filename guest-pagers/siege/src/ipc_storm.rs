//! Tasks that do nothing but send to the victim's server: in the victim's name, with no sense, with items that
//! nobody wants, and without waiting for an answer.

use crate::{keeper::ADD, scene::Scene};
use children::{
    child::{PEER, report, rest},
    house::{Heard, listen},
};
use runtime::{
    Error, Result,
    capability::{SERVER, check},
    message, println,
    protocol::{
        Word,
        error::{IpcError, ObjectError},
        flexpage::Rights,
        message::MessageTag,
        object::CapabilityIndex,
        utcb::MESSAGE_REGISTERS,
    },
    share::{Item, Shareable},
};

const SENDERS: usize = 3;
/// Of each kind of message, from each.
const TIMES: usize = 40;

/// What a sender has counted: refused in the victim's name, refused as nonsense.
const REFUSED: isize = 1;
/// Items that failed, messages that were sent.
const OTHERS: isize = 2;

const NONSENSE: isize = 99;

/// What each sender has to offer.
const PAGE: usize = 0;

pub fn run(scene: &mut Scene) -> Result<()> {
    let mut senders = [const { None }; SENDERS];
    for (number, place) in senders.iter_mut().enumerate() {
        let (child, page) = (scene.child("sender", number)?, scene.house.page()?);
        child.give_page(PAGE, &page)?;
        child.task.map(SERVER.item(PEER.index(), Rights::READ))?;
        child.start(send)?;
        *place = Some((child, page));
    }
    let (mut refused, mut others) = ([0; 2], [0; 2]);
    for _ in 0..2 * SENDERS {
        let (sums, words) = match listen() {
            Heard::Words(_, REFUSED, words) => (&mut refused, words),
            Heard::Words(_, OTHERS, words) => (&mut others, words),
            other => panic!("a sender was to say what it has counted, but: {other:?}"),
        };
        sums.iter_mut().zip(words).for_each(|(sum, word)| *sum += word);
    }
    println!("ipc-storm: in the victim's name: {} refused", refused[0]);
    println!("ipc-storm: with no sense: {} refused", refused[1]);
    println!("ipc-storm: with an item that nobody wants: {} failed", others[0]);
    println!("ipc-storm: without waiting for an answer: {} sent", others[1]);
    scene.stand()?;
    for (child, page) in senders.into_iter().flatten() {
        scene.house.end(child)?;
        scene.house.pool.give_back(page)?;
    }
    Ok(())
}

extern "C" fn send() -> ! {
    let (mut refused, mut others) = ([0; 2], [0; 2]);
    let item = Item::map(0, Shareable::capabilities(CapabilityIndex::PARENT.0, 0, Rights::READ));
    for _ in 0..TIMES {
        message::write(0, [Word::MAX]);
        refused[0] += is(call(MessageTag::new(ADD, 1, 0)), ObjectError::PermissionDenied);
        let nonsense = MessageTag::new(NONSENSE, MESSAGE_REGISTERS, 0);
        refused[1] += is(call(nonsense), ObjectError::BadProtocol);
        let unwanted = PEER.call_with(NONSENSE, 0, [item]);
        others[0] += Word::from(unwanted == Err(Error::Ipc(IpcError::WindowOverflow)));
        others[1] += Word::from(PEER.send(nonsense).is_ok());
    }
    report(REFUSED, refused);
    report(OTHERS, others);
    rest()
}

fn call(tag: MessageTag) -> Result<MessageTag> {
    PEER.call(tag).and_then(check)
}

fn is<T>(outcome: Result<T>, error: ObjectError) -> Word {
    Word::from(outcome.err() == Some(Error::Object(error)))
}
