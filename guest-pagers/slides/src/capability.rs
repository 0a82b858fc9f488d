//! Slide "Flexpage types": capabilities are mapped, granted and taken back like pages.
//!
//! The owner has a gate to the echo program. The app gets it from the owner, and loses it again.

use crate::area::ask;
use runtime::{
    Error, Result,
    capability::{Cap, Gate, SERVER, TASK, Task, check},
    message,
    objects::Take,
    pager::{Answer, Client, Pager, serve},
    println,
    protocol::{
        Word,
        error::{IpcError, ObjectError},
        flexpage::{Flexpage, Rights},
        message::MessageTag,
        object::CapabilityIndex,
    },
    share::{Item, Shareable},
};

/// To the owner: map me your gate.
const MAP: isize = 1;
/// To the owner: grant me a copy of it.
const GRANT: isize = 2;
/// To the owner: map me your task, word 0 says with which rights.
const MAP_TASK: isize = 3;
/// To the owner: take back all that came from your gate.
const REVOKE: isize = 4;
/// To the owner: call the echo yourself.
const CALL: isize = 5;

/// To the echo: answer with word 0 and your caller.
const ECHO: isize = 6;

const NO_FLEXPAGES: [Flexpage; 0] = [];

/// Where the app wants its capabilities.
const MAPPED: CapabilityIndex = CapabilityIndex(32);
const GRANTED: CapabilityIndex = CapabilityIndex(33);
const OWNERS_TASK: CapabilityIndex = CapabilityIndex(34);
/// Where the owner has the copy that it grants.
const COPY: CapabilityIndex = CapabilityIndex(35);

/// Gets a gate in two ways, uses it, loses it.
pub fn app() {
    let (mapped, granted) = (Cap::<Gate>::new(MAPPED), Cap::<Gate>::new(GRANTED));
    assert_eq!(echo(mapped), Err(Error::Ipc(IpcError::NoPartner)));
    receive(MAP, MAPPED, Rights::READ);
    let caller = echo(mapped).expect("an echo");
    println!("app: the gate that came by map works; it makes me client {caller}, as its owner");
    receive(GRANT, GRANTED, Rights::READ);
    assert_eq!(echo(granted), Ok(caller));
    println!("app: the one that came by grant works too");

    let task = Cap::<Task>::new(OWNERS_TASK);
    receive(MAP_TASK, OWNERS_TASK, Rights::READ);
    let refused = Err(Error::Object(ObjectError::PermissionDenied));
    assert_eq!(task.unmap(NO_FLEXPAGES, Take::NOTHING), refused);
    println!("app: the owner's task came without the right to modify it: the kernel refuses");
    receive(MAP_TASK, OWNERS_TASK, Rights::READ_WRITE);
    assert_eq!(task.unmap(NO_FLEXPAGES, Take::NOTHING), Ok([]));
    println!("app: it came again with that right: rights grow to what is allowed");

    let []: [Word; 0] = ask(REVOKE, []);
    for gate in [mapped, granted] {
        assert_eq!(echo(gate), Err(Error::Ipc(IpcError::NoPartner)));
    }
    println!("app: revoked: behind both gates there is nobody");
    assert_eq!(ask(CALL, []), [caller]);
    println!("app: the owner still has its own");
}

/// Asks the owner for a capability, and lets it arrive at `index`.
fn receive(what: isize, index: CapabilityIndex, rights: Rights) {
    message::write(0, [rights.bits().into()]);
    let window = Flexpage::capabilities(index.0, 0, rights);
    let tag = MessageTag::new(what, 1, 0);
    let answer = message::accept(window, || SERVER.call(tag)).and_then(check);
    assert_eq!(answer.expect("an answer").items(), 1);
}

/// Calls the echo; gives what it says of its caller.
fn echo(gate: Cap<Gate>) -> Result<Word> {
    message::write(0, [42]);
    check(gate.call(MessageTag::new(ECHO, 1, 0))?)?;
    let [value, caller] = message::read(0);
    assert_eq!(value, 42);
    Ok(caller)
}

/// Gives away capabilities.
pub fn owner() -> ! {
    serve(&mut Owner)
}

struct Owner;

impl Pager for Owner {
    fn request(&mut self, _: Client, tag: MessageTag) -> Answer {
        match self.answer(tag.label()) {
            Ok(answer) => answer,
            Err(error) => error.into(),
        }
    }
}

impl Owner {
    fn answer(&mut self, what: isize) -> Result<Answer> {
        let gate = SERVER.flexpage(Rights::READ);
        Ok(match what {
            MAP => Answer::items([Item::map(0, gate)]),
            GRANT => {
                // A second capability in its own table, made from the first.
                TASK.map(SERVER.item(COPY, Rights::READ))?;
                let copy = Shareable::capabilities(COPY.0, 0, Rights::READ);
                Answer::items([Item::grant(0, copy)])
            }
            MAP_TASK => {
                let rights = Rights::from_bits_truncate(message::get(0) as u8);
                let task = TASK.flexpage(rights);
                Answer::items([Item::map(0, task)])
            }
            REVOKE => {
                // The copy was granted away, so that there is nobody behind it any more.
                assert_eq!(echo(Cap::new(COPY)), Err(Error::Ipc(IpcError::NoPartner)));
                TASK.unmap([gate], Take::EVERYTHING)?;
                println!("owner: takes back what came from its gate");
                Answer::words([])
            }
            CALL => {
                let caller = echo(SERVER)?;
                Answer::words([caller])
            }
            _ => Answer::refuse(ObjectError::BadProtocol),
        })
    }
}

/// Answers with what it is sent, and with who its caller is.
pub fn echo_server() -> ! {
    serve(&mut Echo)
}

struct Echo;

impl Pager for Echo {
    fn request(&mut self, client: Client, _: MessageTag) -> Answer {
        Answer::words([message::get(0), client.0])
    }
}
