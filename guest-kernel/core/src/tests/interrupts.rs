//! Interrupts: who is told of them, when, and what they cost those who are not.

use super::{Bench, random::Random, soundness};
use crate::{
    mapping::capability::{Capability, Object},
    memory::index::{InterruptIndex, TableIndex, ThreadIndex},
};
use protocol::{
    Word,
    error::ObjectError,
    flexpage::{Flexpage, Rights},
    introspection::{
        ThreadState,
        mapping::InterruptRecord,
        record::{EndedObject, Event},
    },
    message::MessageTag,
    object::{CapabilityIndex, label},
    operation::{
        Operation as _, interrupt,
        interrupts::{self, INTERRUPTS, LINES},
        task,
    },
    syscall::Operation,
};

const ALL: CapabilityIndex = CapabilityIndex::INTERRUPTS;
/// Where the driver has its interrupts and its gates, one for each.
const INTERRUPT: usize = 40;
const GATE: usize = 60;
const LABEL: Word = 700;

const TOLD: MessageTag = MessageTag::new(label::INTERRUPT, 0, 0);

/// A driver with some gates to itself, and somebody who runs while it waits.
#[derive(Clone)]
struct Scene {
    bench: Bench,
    driver: u16,
    other: u16,
}

impl Scene {
    fn new(priority: u8) -> Self {
        let mut bench = Bench::new();
        let driver = bench.spawn(1, priority);
        let other = bench.spawn(1, 10);
        let (task, others) = (bench.task_of(driver), bench.task_of(other));
        bench.give(task, ALL, Object::Interrupts);
        for number in 0..4 {
            bench.gate(task, CapabilityIndex(GATE + number), driver, LABEL + number);
        }
        bench.gate(others, CapabilityIndex(GATE), driver, 1);
        Self { bench, driver, other }
    }

    /// One that has made its interrupt 4, bound it to its first gate, and lets it come.
    fn ready() -> Self {
        let mut scene = Self::new(100);
        scene.create(4, 0);
        scene.bind(0, 0);
        scene.unmask(0);
        scene
    }

    /// An operation of an object by the driver.
    fn operation(&mut self, index: CapabilityIndex, words: &[Word]) -> Result<(), ObjectError> {
        self.bench.run(self.driver);
        self.bench.message(self.driver)[..words.len()].copy_from_slice(words);
        let tag = MessageTag::new(label::INTERRUPT, words.len(), 0);
        self.bench.call(Operation::CALL, index, tag);
        match self.bench.result(self.driver).0 {
            tag if tag.is_ipc_error() => Err(ObjectError::NoSuchCapability),
            tag if tag.label() == 0 => Ok(()),
            tag => Err(ObjectError::from_label(tag.label()).expect("an error")),
        }
    }

    fn create(&mut self, number: u16, place: usize) {
        let slot = CapabilityIndex(INTERRUPT + place);
        let create = interrupts::Create { slot, interrupt: number };
        self.operation(ALL, &create.encode()).expect("it is made");
    }

    fn bind(&mut self, place: usize, gate: usize) {
        let gate = CapabilityIndex(GATE + gate);
        let bind = interrupt::Bind { gate };
        self.operation(CapabilityIndex(INTERRUPT + place), &bind.encode()).expect("it is bound");
    }

    fn unmask(&mut self, place: usize) {
        let index = CapabilityIndex(INTERRUPT + place);
        self.operation(index, &interrupt::Unmask.encode()).expect("it may come");
    }

    /// The driver asks for the next message, and whoever else there is runs if there is none.
    fn wait(&mut self) -> Option<(MessageTag, Word)> {
        self.bench.run(self.driver);
        self.bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag::default());
        self.told()
    }

    /// What the driver has been told, if it does not wait any more.
    fn told(&mut self) -> Option<(MessageTag, Word)> {
        let runs = self.bench.thread(self.driver).is(ThreadState::Ready);
        runs.then(|| self.bench.result(self.driver))
    }

    /// The device raises its line, as far as the controller lets it.
    fn raise(&mut self, number: u16) {
        let machine = &mut self.bench.kernel.mappings.machine;
        if machine.open_interrupts.remove(&number) || number >= LINES {
            self.bench.kernel.interrupt_came(InterruptIndex::from_position(number));
        }
    }

    fn interrupt(&self, number: u16) -> &InterruptRecord {
        &self.bench.kernel.interrupts[InterruptIndex::from_position(number)].record
    }

    /// The driver takes the first capability to something of its own away.
    fn end(&mut self, index: usize) {
        self.bench.run(self.driver);
        let page = Flexpage::capabilities(index, 0, Rights::all());
        let take = Word::from(Rights::all().bits()) | task::Unmap::OWN_TOO;
        let message = [task::Unmap::NUMBER, take, 1, page.0];
        self.bench.message(self.driver)[..4].copy_from_slice(&message);
        let tag = MessageTag::new(label::TASK, 4, 0);
        self.bench.call(Operation::CALL, CapabilityIndex::TASK, tag);
        self.bench.drain();
    }
}

#[test]
fn who_waits_is_told_at_once_and_takes_the_processor() {
    let mut scene = Scene::ready();
    assert_eq!(scene.wait(), None);
    scene.bench.run(scene.other);
    scene.raise(4);
    assert_eq!(scene.told(), Some((TOLD, LABEL)));
    let told = scene.bench.events().iter().any(|traced| {
        matches!(traced.event, Event::Interrupt(event)
            if (event.number, event.gate_label, event.told) == (4, LABEL as u64, 1)
                && traced.who.thread() == scene.driver && event.came <= traced.time)
    });
    assert!(told, "nothing says so");
}

#[test]
fn priorities_count() {
    for (priority, runs) in [(9, false), (10, false), (11, true)] {
        let mut scene = Scene::new(priority);
        scene.create(4, 0);
        scene.bind(0, 0);
        scene.unmask(0);
        scene.wait();
        for thread in [0, 1] {
            // Nobody else is there.
            let index = ThreadIndex::from_position(thread);
            scene.bench.kernel.cancel(index);
            scene.bench.run(thread);
            scene.bench.call(Operation::WAIT, CapabilityIndex::NIL, MessageTag::default());
        }
        assert_eq!(scene.bench.current(), scene.other);
        scene.raise(4);
        let expected = if runs { scene.driver } else { scene.other };
        assert_eq!(scene.bench.current(), expected, "priority {priority}");
    }
}

#[test]
fn it_comes_once_until_it_is_acknowledged() {
    let mut scene = Scene::ready();
    for round in 0..3 {
        scene.bench.run(scene.other);
        for _ in 0..3 {
            scene.raise(4);
        }
        assert_eq!(scene.wait(), Some((TOLD, LABEL)), "round {round}");
        assert_eq!(scene.wait(), None);
        // It waits, and is told nothing of a line that is masked.
        scene.raise(4);
        assert_eq!(scene.told(), None);
        let thread = ThreadIndex::from_position(scene.driver);
        scene.bench.kernel.cancel(thread);
        scene.unmask(0);
    }
    assert_eq!(scene.interrupt(4).told, 3);
}

#[test]
fn one_that_is_message_signalled_is_not_lost_while_it_is_masked() {
    let mut scene = Scene::new(100);
    scene.create(LINES + 1, 0);
    let message = scene.bench.message(scene.driver)[..2].to_vec();
    assert_eq!(message, [0xfee0_0000, usize::from(LINES) + 1]);
    scene.bind(0, 0);
    scene.raise(LINES + 1);
    assert_eq!(scene.wait(), None, "it was never let come");
    let thread = ThreadIndex::from_position(scene.driver);
    scene.bench.kernel.cancel(thread);
    scene.unmask(0);
    assert_eq!(scene.wait(), Some((TOLD, LABEL)));
    scene.raise(LINES + 1);
    scene.raise(LINES + 1);
    scene.unmask(0);
    assert_eq!(scene.wait(), Some((TOLD, LABEL)));
    assert_eq!(scene.wait(), None);
}

#[test]
fn a_line_has_one_object_at_a_time() {
    let mut scene = Scene::ready();
    let create =
        |slot, interrupt| [interrupts::Create::NUMBER, INTERRUPT + slot, Word::from(interrupt)];
    assert_eq!(scene.operation(ALL, &create(1, 4_u16)), Err(ObjectError::Busy));
    assert_eq!(scene.operation(ALL, &create(0, 5)), Err(ObjectError::Busy));
    for number in [INTERRUPTS, u16::MAX] {
        assert_eq!(scene.operation(ALL, &create(1, number)), Err(ObjectError::OutOfRange));
    }
    scene.raise(4);
    scene.end(INTERRUPT);
    assert_eq!(scene.interrupt(4).state, 0);
    assert!(scene.bench.kernel.mappings.machine.open_interrupts.is_empty(), "it may still come");
    assert_eq!(scene.wait(), None, "nobody is told of what is gone");
    let thread = ThreadIndex::from_position(scene.driver);
    scene.bench.kernel.cancel(thread);
    let ended = scene.bench.events().iter().any(|traced| {
        matches!(traced.event, Event::ObjectEnded(event)
            if event.object == EndedObject::Interrupt && event.number == 4)
    });
    assert!(ended, "nothing says that it has ended");
    scene.create(4, 0);
    assert_eq!(scene.interrupt(4).generation, 2);
    soundness::check(&mut scene.bench).expect("sound");
}

#[test]
fn each_operation_needs_its_rights() {
    let mut scene = Scene::ready();
    let task = scene.bench.task_of(scene.driver);
    let object = Object::Interrupt(InterruptIndex::from_position(4));
    let weak = CapabilityIndex(50);
    scene.bench.give_with(task, weak, Capability { object, rights: Rights::READ });
    let denied = Err(ObjectError::PermissionDenied);
    let bind = |gate| interrupt::Bind { gate: CapabilityIndex(gate) }.encode();
    assert_eq!(scene.operation(weak, &bind(GATE)), denied);
    assert_eq!(scene.operation(weak, &interrupt::Unbind.encode()), denied);
    assert_eq!(scene.operation(weak, &interrupt::Mask.encode()), Ok(()));
    assert_eq!(scene.operation(weak, &interrupt::Unmask.encode()), Ok(()));
    let strong = CapabilityIndex(INTERRUPT);
    assert_eq!(scene.operation(strong, &bind(INTERRUPT)), Err(ObjectError::InvalidArgument));
    assert_eq!(scene.operation(strong, &bind(99)), Err(ObjectError::NoSuchCapability));
    // A gate that leads to somebody else is not to be bound by whoever may only send through it.
    let gate = scene.bench.slot(task, GATE as u32 + 1).expect("a gate");
    let rights = Rights::READ_WRITE;
    scene.bench.give_with(task, CapabilityIndex(51), Capability { object: gate, rights });
    assert_eq!(scene.operation(strong, &bind(51)), denied);
    // A gate has one interrupt.
    scene.create(5, 1);
    let second = CapabilityIndex(INTERRUPT + 1);
    assert_eq!(scene.operation(second, &bind(GATE)), Err(ObjectError::Busy));
    let weak = CapabilityIndex(52);
    let capability = Capability { object: Object::Interrupts, rights: Rights::READ };
    scene.bench.give_with(task, weak, capability);
    let create = interrupts::Create { slot: CapabilityIndex(90), interrupt: 7 };
    assert_eq!(scene.operation(weak, &create.encode()), denied);
}

#[test]
fn a_storm_keeps_nobody_waiting_who_wants_to_send() {
    let mut scene = Scene::ready();
    scene.bench.run(scene.other);
    scene.bench.call(Operation::CALL, CapabilityIndex(GATE), MessageTag::new(5, 0, 0));
    let mut labels = Vec::new();
    for _ in 0..4 {
        // It comes whenever it may.
        scene.raise(4);
        labels.push(scene.wait().expect("there is always something").1);
        scene.unmask(0);
    }
    assert_eq!(labels, [LABEL, 1, LABEL, LABEL]);
}

#[test]
fn each_of_several_comes_in_its_turn() {
    let mut scene = Scene::new(100);
    for place in 0..3 {
        scene.create(4 + place as u16, place);
        scene.bind(place, place);
        scene.unmask(place);
    }
    let mut told = [0; 3];
    for _ in 0..30 {
        for number in 4..7 {
            scene.raise(number);
        }
        let (_, label) = scene.wait().expect("there is always something");
        told[label - LABEL] += 1;
        scene.unmask(label - LABEL);
    }
    assert_eq!(told, [10; 3]);
}

#[test]
fn what_is_pending_survives_its_gate() {
    let mut scene = Scene::ready();
    scene.raise(4);
    scene.end(GATE);
    soundness::check(&mut scene.bench).expect("sound");
    assert_eq!(scene.wait(), None);
    let thread = ThreadIndex::from_position(scene.driver);
    scene.bench.kernel.cancel(thread);
    scene.bind(0, 1);
    assert_eq!(scene.wait(), Some((TOLD, LABEL + 1)));
}

/// What is known of an interrupt of the driver's.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    exists: bool,
    gate: Option<usize>,
    is_open: bool,
    is_pending: bool,
    was_missed: bool,
}

impl Known {
    /// It may come. Whoever it is bound to is to be told of what came before.
    fn unmask(&mut self) {
        if std::mem::take(&mut self.was_missed) {
            self.is_pending = true;
        } else {
            self.is_open = true;
        }
    }

    fn raise(&mut self, is_line: bool) {
        if !self.exists || (is_line && !self.is_open) {
            return;
        }
        if std::mem::take(&mut self.is_open) {
            self.is_pending = true;
        } else {
            self.was_missed = true;
        }
    }
}

/// Anything that a driver, its devices and its gates do, in any order, against what is known of it.
#[test]
fn every_order_is_as_the_model_has_it() {
    const NUMBERS: [u16; 3] = [4, 17, LINES + 2];
    let mut told = 0;
    for seed in 0..60 {
        let mut random = Random::new(seed);
        let mut scene = Scene::new(100);
        let mut known = [Known::default(); 3];
        for step in 0..300 {
            let place = (random.next() % 3) as usize;
            let index = CapabilityIndex(INTERRUPT + place);
            let waits = scene.told().is_none();
            if waits && random.next().is_multiple_of(2) {
                let thread = ThreadIndex::from_position(scene.driver);
                scene.bench.kernel.cancel(thread);
            }
            let waits = scene.told().is_none();
            let choice = if waits { 0 } else { random.next() % 14 };
            match choice {
                0 | 9 | 10 => {
                    scene.bench.run(if waits { scene.other } else { scene.driver });
                    known[place].raise(NUMBERS[place] < LINES);
                    scene.raise(NUMBERS[place]);
                }
                1 | 2 | 11 => {
                    let before = known.map(|known| known.is_pending && known.gate.is_some());
                    let found = scene.wait();
                    assert_eq!(found.is_some(), before.contains(&true), "{seed}/{step}: {known:?}");
                    note_told(&mut known, found);
                    told += u32::from(found.is_some());
                }
                3 => {
                    let create = interrupts::Create { slot: index, interrupt: NUMBERS[place] };
                    let done = scene.operation(ALL, &create.encode());
                    assert_eq!(done.is_err(), known[place].exists);
                    known[place].exists = true;
                }
                4 => {
                    let gate = (random.next() % 4) as usize;
                    let bind = interrupt::Bind { gate: CapabilityIndex(GATE + gate) };
                    let is_taken =
                        (0..3).any(|other| other != place && known[other].gate == Some(gate));
                    let done = scene.operation(index, &bind.encode());
                    if known[place].exists {
                        let expected = if is_taken { Err(ObjectError::Busy) } else { Ok(()) };
                        assert_eq!(done, expected, "{seed}/{step}: {place} to {gate}: {known:?}");
                    }
                    if done.is_ok() {
                        known[place].gate = Some(gate);
                    }
                }
                5 if known[place].exists => {
                    scene.operation(index, &interrupt::Unbind.encode()).expect("done");
                    known[place].gate = None;
                }
                6 if known[place].exists => {
                    scene.operation(index, &interrupt::Mask.encode()).expect("done");
                    known[place].is_open = false;
                }
                7 | 12 | 13 if known[place].exists => {
                    scene.operation(index, &interrupt::Unmask.encode()).expect("done");
                    known[place].unmask();
                }
                8 if random.next().is_multiple_of(4) && known[place].exists => {
                    scene.end(INTERRUPT + place);
                    known[place] = Known::default();
                }
                _ => {}
            }
            if waits {
                let found = scene.told();
                let is_due = known.iter().any(|known| known.is_pending && known.gate.is_some());
                assert_eq!(found.is_some(), is_due, "{seed}/{step}: who waits is told: {known:?}");
                note_told(&mut known, found);
                told += u32::from(found.is_some());
            }
            for (number, known) in NUMBERS.into_iter().zip(known) {
                let flags = scene.interrupt(number).flags;
                let found =
                    [InterruptRecord::OPEN, InterruptRecord::PENDING, InterruptRecord::MISSED]
                        .map(|flag| flags & flag != 0);
                let expected = [known.is_open, known.is_pending, known.was_missed];
                assert_eq!(found, expected, "{seed}/{step}: {number}");
            }
            if step % 4 != 0 {
                continue;
            }
            soundness::check(&mut scene.bench)
                .unwrap_or_else(|error| panic!("{seed}/{step}: {error}"));
        }
    }
    assert!(told > 500, "hardly anything came: {told}");
}

/// The driver was told of the interrupt that is bound to a gate.
fn note_told(known: &mut [Known; 3], found: Option<(MessageTag, Word)>) {
    let Some((tag, label)) = found else { return };
    assert_eq!(tag, TOLD);
    let which = known.iter_mut().find(|known| known.gate == Some(label - LABEL));
    let which = which.expect("it is bound to that gate");
    assert!(std::mem::take(&mut which.is_pending), "it was told twice");
}
