//! Pagers that let their clients wait: one answers when others have done their work, the other one asks somebody
//! who never answers.

use crate::{
    keeper::THROUGH,
    scene::{Scene, connect},
};
use children::{
    child::{PEER, report, rest, word},
    house::expect,
};
use runtime::{
    Result,
    capability::SERVER,
    ipc,
    pager::{Answer, Client, Pager, serve},
    println,
    protocol::{
        PAGE_ORDER, PAGE_SIZE, Word,
        error::ObjectError,
        fault::PageFault,
        flexpage::{Flexpage, Rights, align_down},
        layout::PAGER_AREA,
        message::MessageTag,
        object::CapabilityIndex,
    },
    share::Shareable,
};

const PATIENT: Word = 1;
const LOST: Word = 2;
const SLEEPER: Word = 3;
const ASKER: Word = 4;
const SILENT: Word = 5;

/// The client's access was possible.
const WRITTEN: isize = 1;

/// What the sleeper has.
const OWN: usize = 16;
/// A page of the clients.
const MISSING: usize = 7;

pub fn run(scene: &mut Scene) -> Result<()> {
    let (patient, sleeper) = (scene.client("patient", PATIENT)?, scene.child("sleeper", SLEEPER)?);
    let (lost, asker) = (scene.client("lost", LOST)?, scene.child("asker", ASKER)?);
    let silent = scene.child("silent", SILENT)?;
    let page = scene.house.page()?;
    sleeper.give_page(OWN, &page)?;
    let gates = [
        connect(&patient, CapabilityIndex::PAGER, &sleeper, PATIENT)?,
        connect(&lost, CapabilityIndex::PAGER, &asker, LOST)?,
        connect(&asker, PEER.index(), &silent, ASKER)?,
    ];
    sleeper.task.map(SERVER.item(PEER.index(), Rights::READ))?;
    silent.start(keep_silent)?;
    asker.start(ask)?;
    sleeper.start(sleep)?;
    patient.start(write)?;
    lost.start(write)?;
    println!("pager-sleeps: one pager sleeps, the other one asks somebody who keeps silent");
    scene.stand()?;
    expect(PATIENT, WRITTEN);
    println!("pager-sleeps: the sleeper wakes up, and its client goes on");
    for child in [patient, lost, asker, sleeper, silent] {
        scene.house.end(child)?;
    }
    println!("pager-sleeps: the other one's client has waited until its end");
    gates.into_iter().try_for_each(|gate| gate.end())?;
    scene.house.pool.give_back(page)
}

extern "C" fn write() -> ! {
    word(MISSING).set(1);
    report(WRITTEN, [0, 0]);
    rest()
}

extern "C" fn keep_silent() -> ! {
    let _ = ipc::wait();
    // The answer that is set aside is given to nobody.
    let _ = ipc::set_aside(CapabilityIndex::PAGER);
    rest()
}

extern "C" fn ask() -> ! {
    let _ = ipc::wait();
    let _ = PEER.call(MessageTag::new(0, 0, 0));
    rest()
}

extern "C" fn sleep() -> ! {
    serve(&mut Sleeper)
}

struct Sleeper;

impl Pager for Sleeper {
    fn page_fault(&mut self, _: Client, fault: PageFault) -> Answer {
        // The keeper answers when the victim has done its work.
        let _ = PEER.call(MessageTag::new(THROUGH, 0, 0));
        let own = PAGER_AREA + OWN * PAGE_SIZE;
        match Shareable::new(Flexpage::memory(own, PAGE_ORDER, Rights::READ_WRITE)) {
            Some(page) => Answer::map(align_down(fault.address, PAGE_ORDER), page),
            None => Answer::refuse(ObjectError::InvalidArgument),
        }
    }
}
