//! Making objects: what it costs, what is left when it fails, and what it takes to use them.

use super::Bench;
use crate::{
    mapping::capability::{Capability, Object},
    memory::index::{FactoryIndex, TableIndex, TaskIndex, ThreadIndex},
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    error::ObjectError,
    flexpage::{Flexpage, Rights},
    introspection::record::{Event, Gate, Handler, Ids, NamedObject, PagersSet},
    layout::UTCB_AREA,
    message::MessageTag,
    object::{CAPABILITY_TABLE_SIZE, CapabilityIndex, label},
    operation::{Operation as _, debugger, factory, thread},
    syscall::Operation,
    utcb::UTCB_SIZE,
};

const FACTORY: CapabilityIndex = CapabilityIndex::FACTORY;
const SLOT: Word = 40;

/// A program with a factory of its own, which may spend so many bytes more.
struct Program {
    bench: Bench,
    thread: u16,
    task: TaskIndex,
    factory: FactoryIndex,
}

impl Program {
    fn new(quota: u64) -> Self {
        let mut bench = Bench::new();
        let factory = bench.factory(u64::MAX);
        let thread = bench.spawn(1, 255);
        let task = bench.task_of(thread);
        bench.give(task, FACTORY, Object::Factory(factory));
        bench.give(task, CapabilityIndex::DEBUGGER, Object::Debugger);
        bench.kernel.mappings.factories[factory].record.limit = quota;
        Self { bench, thread, task, factory }
    }

    fn call<const N: usize>(
        &mut self,
        index: CapabilityIndex,
        label: isize,
        message: [Word; N],
    ) -> Result<(), ObjectError> {
        self.bench.kernel.current = ThreadIndex::from_position(self.thread).into();
        self.bench.message(self.thread)[..N].copy_from_slice(&message);
        self.bench.call(Operation::CALL, index, MessageTag::new(label, N, 0));
        let answer = self.bench.result(self.thread).0.label();
        ObjectError::from_label(answer).map_or(Ok(()), Err)
    }

    fn create<const N: usize>(&mut self, message: [Word; N]) -> Result<(), ObjectError> {
        self.call(FACTORY, label::FACTORY, message)
    }

    fn spent(&self) -> u64 {
        self.bench.kernel.mappings.factories[self.factory].record.used
    }

    fn made(&self) -> [u16; 4] {
        let kernel = &self.bench.kernel;
        [
            kernel.mappings.tasks.used(),
            kernel.threads.used(),
            kernel.gates.used(),
            kernel.mappings.factories.used(),
        ]
    }
}

/// Every way to make an object, each with what it makes.
fn ways() -> [[Word; 4]; 4] {
    let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE).0;
    [
        [factory::CreateTask::NUMBER, SLOT, area, 0],
        [factory::CreateThread::NUMBER, SLOT, 0, 0],
        [factory::CreateGate::NUMBER, SLOT, 7, CapabilityIndex::THREAD.0],
        [factory::CreateFactory::NUMBER, SLOT, 0, 0],
    ]
}

#[test]
fn a_task_with_a_small_quota_leaves_room_for_all_others() {
    for way in ways() {
        let mut program = Program::new(1 << 20);
        let mut count = 0;
        let mut kept = way;
        while program.create(kept) == Ok(()) {
            count += 1;
            kept[1] = SLOT + count;
            assert!(kept[1] < CAPABILITY_TABLE_SIZE, "{way:?} costs nothing");
        }
        assert!(count > 0, "{way:?}");
        let made = program.made();
        let other = FactoryIndex::from_position(0);
        program.bench.give(program.task, CapabilityIndex(20), Object::Factory(other));
        for way in ways() {
            let way = [way[0], SLOT + count, way[2], way[3]];
            let made = program.call(CapabilityIndex(20), label::FACTORY, way);
            assert_eq!(made, Ok(()), "{way:?} after {count} of another kind");
            count += 1;
        }
        assert_ne!(program.made(), made);
    }
}

/// The capability finds no room: for want of memory that the task would have to pay for, or since the
/// factory has enough for a part of the object only.
#[test]
fn what_fails_costs_nothing() {
    const FAR: Word = 3000;
    for mut way in ways() {
        let mut program = Program::new(u64::MAX / 2);
        let payer = program.bench.kernel.mappings.tasks[program.task].factory;
        let record = &mut program.bench.kernel.mappings.factories[payer].record;
        record.limit = record.used;
        way[1] = FAR;
        let before = (program.spent(), program.made());
        assert_eq!(program.create(way), Err(ObjectError::NoMemory), "{way:?}");
        assert_eq!((program.spent(), program.made()), before, "{way:?}");
    }
    for way in ways() {
        for quota in (0..80).map(|step| step * PAGE_SIZE as u64 / 2) {
            let mut program = Program::new(quota);
            let made = program.made();
            if program.create(way).is_err() {
                assert_eq!((program.spent(), program.made()), (0, made), "{way:?} for {quota}");
            }
        }
    }
}

#[test]
fn a_utcb_is_of_one_thread() {
    let mut program = Program::new(u64::MAX / 2);
    let bind = |program: &mut Program, slot: Word, utcb: Word| {
        let own = CapabilityIndex::TASK.0;
        program.call(
            CapabilityIndex(slot),
            label::THREAD,
            [thread::Control::NUMBER, 4, 4, own, utcb],
        )
    };
    for slot in [SLOT, SLOT + 1] {
        assert_eq!(program.create([factory::CreateThread::NUMBER, slot]), Ok(()));
    }
    assert_eq!(bind(&mut program, SLOT, UTCB_AREA), Err(ObjectError::Busy), "the first thread's");
    let second = UTCB_AREA + UTCB_SIZE;
    assert_eq!(bind(&mut program, SLOT, second), Ok(()));
    assert_eq!(bind(&mut program, SLOT, second), Ok(()), "once more the same");
    assert_eq!(bind(&mut program, SLOT + 1, second), Err(ObjectError::Busy));
    assert_eq!(bind(&mut program, SLOT + 1, second + UTCB_SIZE), Ok(()));
}

#[test]
fn a_name_is_given_by_who_controls_the_object() {
    let mut program = Program::new(u64::MAX / 2);
    for (own, needed) in
        [(CapabilityIndex::TASK, Rights::WRITE), (CapabilityIndex::THREAD, Rights::EXECUTE)]
    {
        let machine = &mut program.bench.kernel.mappings.machine;
        let found =
            program.bench.kernel.mappings.tasks[program.task].capabilities.get(machine, own);
        let object = found.expect("it has them").object;
        for rights in (0..8).map(Rights::from_bits_truncate) {
            let slot = CapabilityIndex(SLOT + Word::from(rights.bits()) + 8 * own.0);
            let given = Capability { object, rights };
            program.bench.give_with(program.task, slot, given);
            let name = [debugger::SetName::NUMBER, slot.0, Word::MAX, 1, 0x61];
            let named = program.call(CapabilityIndex::DEBUGGER, label::DEBUGGER, name);
            let wanted = rights.contains(needed).then_some(()).ok_or(ObjectError::PermissionDenied);
            assert_eq!(named, wanted, "{object:?} with {rights:?}");
        }
    }
}

#[test]
fn what_things_are_called_and_whom_threads_turn_to_is_recorded() {
    let mut program = Program::new(u64::MAX / 2);
    let (own, by) = (CapabilityIndex::TASK.0, Ids::new(program.task.position(), program.thread));
    assert_eq!(program.create([factory::CreateThread::NUMBER, SLOT]), Ok(()));
    let thread = program.bench.kernel.threads.used() - 1;
    program.bench.kernel.mappings.machine.records.clear();
    let control = |pager| [thread::Control::NUMBER, pager, 200, own, UTCB_AREA + UTCB_SIZE];
    let parent = CapabilityIndex::PARENT.0;
    for pager in [parent, parent, 300] {
        let done = program.call(CapabilityIndex(SLOT), label::THREAD, control(pager));
        assert_eq!(done, Ok(()));
    }
    // What is behind the end of a name does not count.
    let name = |slot, image| [debugger::SetName::NUMBER, slot, image, 3, 0x62_0061];
    for (slot, image) in [(own, 6), (own, Word::MAX), (SLOT, Word::MAX)] {
        let named = program.call(CapabilityIndex::DEBUGGER, label::DEBUGGER, name(slot, image));
        assert_eq!(named, Ok(()));
    }
    let events = program.bench.events();
    let bound = Ids::new(program.task.position(), thread);
    let empty = |capability| Handler { capability, gate: None };
    let gate = Gate { label: program.thread.into(), thread: Ids::new(1, 1) };
    let to_root = Handler { capability: parent as u16, gate: Some(gate) };
    let set = |pager| PagersSet { by, pager, exception_handler: empty(200) };
    let pagers = events.iter().filter_map(|traced| match traced.event {
        Event::PagersSet(set) => Some((traced.who, set)),
        _ => None,
    });
    let expected = [to_root, to_root, empty(300)].map(|pager| (bound, set(pager)));
    assert_eq!(pagers.collect::<Vec<_>>(), expected);
    let names = events.iter().filter_map(|traced| match traced.event {
        Event::ObjectNamed(named) => {
            assert_eq!((named.by, named.name), (by, protocol::boot::pad_name(b"a")));
            Some((traced.who, named.object))
        }
        _ => None,
    });
    let task = Ids::of_task(program.task.position());
    let expected = [
        (task, NamedObject::Task { image: Some(6) }),
        (task, NamedObject::Task { image: None }),
        (bound, NamedObject::Thread),
    ];
    assert_eq!(names.collect::<Vec<_>>(), expected);
}

/// The thread that it leads to has a number, and no task yet.
#[test]
fn a_gate_to_a_thread_in_no_task_is_no_empty_place_in_the_record() {
    let mut program = Program::new(u64::MAX / 2);
    let own = CapabilityIndex::TASK.0;
    for slot in [SLOT, SLOT + 1] {
        assert_eq!(program.create([factory::CreateThread::NUMBER, slot]), Ok(()));
    }
    let gate = [factory::CreateGate::NUMBER, SLOT + 2, 0x30, SLOT + 1];
    assert_eq!(program.create(gate), Ok(()));
    program.bench.kernel.mappings.machine.records.clear();
    let control = [thread::Control::NUMBER, SLOT + 2, 200, own, UTCB_AREA + UTCB_SIZE];
    assert_eq!(program.call(CapabilityIndex(SLOT), label::THREAD, control), Ok(()));
    let events = program.bench.events();
    let pager = events.iter().find_map(|traced| match traced.event {
        Event::PagersSet(set) => Some(set.pager),
        _ => None,
    });
    let pager = pager.expect("a record of it");
    let gate = pager.gate.expect("it is there");
    assert_eq!((gate.label, gate.thread.task()), (0x30, protocol::introspection::NOBODY));
    assert_ne!(gate.thread, Ids::NOBODY);
}
