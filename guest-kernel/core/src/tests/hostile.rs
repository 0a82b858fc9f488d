//! Tasks that do anything at all: the kernel does not panic, and its invariants hold.

use super::{
    Bench,
    model::{POOL, RAM_END},
    random::Random,
    soundness,
};
use crate::{
    arch::{TABLE_ENTRIES, TABLE_ORDER},
    ipc::port_fault::{GENERAL_PROTECTION_VECTOR, PORTS_IN_WORD},
    mapping::{capability::Object, life::Mortal, space::DirectoryEntry},
    memory::index::{FactoryIndex, InterruptIndex, TableIndex, TaskIndex, ThreadIndex},
    threads::queue::Queue,
};
use protocol::{
    PAGE_ORDER, PAGE_SIZE, Word,
    fault::Access,
    flexpage::{Flexpage, KERNEL_PORTS, Rights},
    introspection::{
        NOBODY, SET_ASIDE, ThreadState, UNUSED,
        mapping::ObjectKind,
        record::{Event, Kind},
    },
    layout::{KERNEL_INFO_PAGE, USER_END, UTCB_AREA},
    message::{MapItem, MessageTag},
    object::{CapabilityIndex, label},
    operation::{
        Operation as _, factory, interrupt,
        interrupts::{self, INTERRUPTS, LINES},
        task, thread,
    },
    registers::ThreadRegisters,
    syscall::{CAPABILITY_SHIFT, Operation, Timeout, Timeouts},
};
use std::collections::BTreeMap;

/// Enough to reach every state many times over, in a few seconds.
const STEPS: usize = 4_000_000;

/// Everybody has capabilities from here on; the last ones are a thread and a task.
const FIRST_INDEX: Word = 5;
const THREAD_INDEX: Word = 9;
const TASK_INDEX: Word = 10;

/// Where everybody has the interrupts.
const INTERRUPTS_INDEX: Word = 11;

/// Everybody may have answers from here on that were set aside.
const FIRST_REPLY: Word = 20;

/// And objects that were made.
const FIRST_MADE: Word = 40;

/// Where every task has an I/O instruction, and the frame that it is in.
const CODE: Word = 0x40_0000;
const FRAME: u64 = 0x300_0000;

/// Random numbers that favour small ones and words with meaning.
pub struct Source {
    random: Random,
    /// The system call that each thread has made last: its registers.
    last: BTreeMap<u16, [Word; 3]>,
}

impl Source {
    /// Equal seeds do the same.
    pub fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), last: BTreeMap::new() }
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.random.next() % bound as u64) as usize
    }

    fn word(&mut self) -> Word {
        let random = self.random.next();
        let word = match random % 9 {
            0 => random >> 3,
            1 => random >> 32,
            2 => random >> 60,
            3 => (random >> 8 & 0x3f) << 12 | 3 << 4 | 7,
            4 => (random >> 8 & 0x3fff) << 12 | (12 + (random >> 40) % 12) << 6 | 1 << 4 | 7,
            5 => (random >> 8 & 0xffff) << 12 | 8 | (random >> 40 & 2),
            6 => UTCB_AREA as u64 + (random >> 50 << 10),
            7 => (random >> 8 & 0x1ff) << 12 | ((random >> 40) % 10) << 6 | 2 << 4 | 6,
            _ => random >> 8 & 0xff,
        };
        word as Word
    }
}

/// A crowd of tasks with far too many capabilities.
pub fn crowd() -> Bench {
    let mut bench = Bench::new();
    for number in 0..8 {
        // The first ones serve each other, in pairs.
        let parent = if number < 4 { 2 + (number ^ 1) } else { number % 4 };
        let thread = bench.spawn(parent, 50 + number as u8 % 3);
        let task = bench.task_of(thread);
        let objects = [
            Object::Factory(FactoryIndex::from_position(0)),
            Object::Scheduler,
            Object::Debugger,
            Object::Console,
            Object::Thread(ThreadIndex::from_position(number + 2)),
            Object::Task(TaskIndex::from_position(number)),
        ];
        for (index, object) in (FIRST_INDEX..).zip(objects) {
            bench.give(task, CapabilityIndex(index), object);
        }
        bench.give(task, CapabilityIndex(INTERRUPTS_INDEX), Object::Interrupts);
        bench.enter(task, CODE, FRAME, Rights::READ_EXECUTE);
        let ports = MapItem::map(0, Flexpage::io_ports(0x100 + 0x20 * Word::from(number), 5));
        bench.map_item(TaskIndex::SIGMA0, task, ports, Flexpage::WHOLE_SPACE);
    }
    // OUT dx, eax.
    bench.kernel.mappings.machine.user_memory.insert(FRAME, 0xef);
    bench
}

pub fn act(bench: &mut Bench, source: &mut Source) {
    let everybody = bench.kernel.threads.used() as usize;
    let Some(current) = bench.kernel.current.get() else {
        // All wait for each other or are stopped: as `ex_regs` does, set one of them free.
        let thread = ThreadIndex::from_position(source.below(everybody) as u16);
        let known = &bench.kernel.threads[thread];
        if !known.is(ThreadState::Unused) && known.bound_task().is_some() {
            match source.below(2) {
                0 => bench.kernel.cancel(thread),
                _ => bench.kernel.pass(source.below(300) as u64),
            }
        }
        return bench.kernel.timer_tick();
    };
    if bench.kernel.threads[current].undertaking.is_some() && source.below(8) != 0 {
        return begin_again(bench, source, current);
    }
    match source.below(21) {
        _ if bench.kernel.is_foreign(current) && source.below(2) == 0 => {
            bench.kernel.foreign_system_call();
        }
        0 => bench.kernel.timer_tick(),
        20 => bench.kernel.pass(source.below(300) as u64),
        17 => make_or_end(bench, source, current),
        18 => use_interrupt(bench, source, current),
        19 => {
            // A device raises one, whether or not it may.
            let open = &mut bench.kernel.mappings.machine.open_interrupts;
            let any = source.below(INTERRUPTS.into()) as u16;
            let number = open.first().copied().unwrap_or(any);
            if open.remove(&number) || number >= LINES {
                bench.kernel.interrupt_came(InterruptIndex::from_position(number));
            }
        }
        1 => bench.kernel.exception(source.below(32) as u8, source.word()),
        2 => {
            let context = &mut bench.kernel.threads[current].context;
            context.set_pointers(CODE, 0);
            context.set_result(MessageTag(0), source.below(0x200));
            bench.kernel.exception(GENERAL_PROTECTION_VECTOR, 0);
        }
        3 | 4 => {
            let access = Access::from_bits_truncate(source.below(8) as u8);
            bench.kernel.page_fault(source.word(), access);
        }
        _ => {
            for register in 0..8 {
                let word = source.word();
                bench.kernel.utcb(current).message[register] = word;
            }
            let window = source.word();
            bench.kernel.utcb(current).buffer[0] = window;
            let label = [-11, -12, -13, -14, -15, -23, 0, 0][source.below(8)] as isize;
            let mut words = source.below(8);
            if label == label::TASK {
                let arguments = match source.below(2) {
                    0 => [task::Unmap::NUMBER, source.below(16), source.below(4)],
                    _ => [task::Map::NUMBER, source.word() | 8, source.word()],
                };
                bench.kernel.utcb(current).message[..3].copy_from_slice(&arguments);
            }
            if label == label::THREAD && source.below(2) == 0 {
                // One that is there, with as many words as any takes.
                bench.kernel.utcb(current).message[0] = 1 + source.below(8);
                bench.kernel.utcb(current).message[3] = source.below(4);
                words = 1 + ThreadRegisters::WORDS;
            }
            let items = if source.below(3) == 0 { source.below(4) } else { 0 };
            let mut operation = [1, 2, 3, 3, 3, 6, 9, 15][source.below(8)];
            let mut index = match label {
                label::TASK => TASK_INDEX,
                label::THREAD if words > 8 => THREAD_INDEX,
                _ => source.below(14),
            };
            match source.below(48) {
                0 => {
                    // What it owes it sets aside ...
                    (operation, index) = (Operation::SET_ASIDE.0, FIRST_REPLY + source.below(4));
                }
                // ... or it gives, hands on or drops what it has set aside.
                1 => (operation, index) = ([1, 7][source.below(2)], FIRST_REPLY + source.below(4)),
                2 if label == label::TASK => {
                    let slots = [0, 1].map(|_| FIRST_REPLY + source.below(4));
                    let flexpage = Flexpage::capabilities(slots[0], 0, Rights::all());
                    let [first, second] = MapItem::grant(slots[1] << 12, flexpage).to_words();
                    let message = match source.below(4) {
                        0 => [task::Unmap::NUMBER, 7 | task::Unmap::OWN_TOO, 1, flexpage.0],
                        _ => [task::Map::NUMBER, first, second, 0],
                    };
                    bench.kernel.utcb(current).message[..4].copy_from_slice(&message);
                    words = 4;
                }
                _ => {}
            }
            let tag = (label << 16) as Word | items << 6 | words;
            let timeouts = match source.below(8) {
                0..4 => 0,
                4 => 1,
                5 => 1 << 16 | 1,
                // Of any kind.
                6 => source.word() & 0xffff_ffff,
                _ => {
                    let [send, receive] =
                        [0; 2].map(|_| Timeout::at_least(source.below(256) as u64));
                    Timeouts::new(send, receive).0
                }
            };
            let call = [index << 12 | operation, tag, timeouts];
            source.last.insert(current.position(), call);
            bench.kernel.system_call(call[0], call[1], call[2]);
        }
    }
}

/// A system call that was left midway begins again, now and then with other words, or another window.
fn begin_again(bench: &mut Bench, source: &mut Source, current: ThreadIndex) {
    let Some([target, tag, timeouts]) = source.last.get(&current.position()).copied() else {
        return;
    };
    match source.below(16) {
        0 => {
            let (register, word) = (source.below(8), source.word());
            bench.kernel.utcb(current).message[register] = word;
        }
        1 => bench.kernel.utcb(current).buffer[0] = source.word(),
        _ => {}
    }
    bench.kernel.system_call(target, tag, timeouts);
}

/// Makes an object of any kind, or takes away the first capability to one that was made before.
fn make_or_end(bench: &mut Bench, source: &mut Source, current: ThreadIndex) {
    let slot = FIRST_MADE + source.below(4);
    let area = Flexpage::memory(UTCB_AREA, PAGE_ORDER, Rights::READ_WRITE).0;
    let page = Flexpage::capabilities(slot, 0, Rights::all()).0;
    let (index, label, message) = match source.below(9) {
        0 => (FIRST_INDEX, label::FACTORY, [factory::CreateTask::NUMBER, slot, area, 0]),
        1 => (FIRST_INDEX, label::FACTORY, [factory::CreateThread::NUMBER, slot, 0, 0]),
        2 => {
            let thread = FIRST_INDEX + 4;
            (FIRST_INDEX, label::FACTORY, [factory::CreateGate::NUMBER, slot, 1, thread])
        }
        3 => (FIRST_INDEX, label::FACTORY, [factory::CreateFactory::NUMBER, slot, 64 << 10, 0]),
        4 => {
            // A gate comes to lead to somebody else.
            let gate = [CapabilityIndex::PARENT.0, slot][source.below(2)];
            (FIRST_INDEX + 4, label::THREAD, [thread::TakeGate::NUMBER, gate, slot, 0])
        }
        _ => {
            let all = Word::from(Rights::all().bits()) | task::Unmap::OWN_TOO;
            (CapabilityIndex::TASK.0, label::TASK, [task::Unmap::NUMBER, all, 1, page])
        }
    };
    bench.kernel.utcb(current).message[..4].copy_from_slice(&message);
    let tag = MessageTag::new(label, 4, 0);
    bench.kernel.system_call(index << CAPABILITY_SHIFT | Operation::CALL.0, tag.0, 0);
}

/// Makes an object of an interrupt, or does something with one that was made, and with a gate.
fn use_interrupt(bench: &mut Bench, source: &mut Source, current: ThreadIndex) {
    let slots = [0, 1].map(|_| FIRST_MADE + source.below(4));
    let gate = [CapabilityIndex::PARENT.0, slots[1]][source.below(2)];
    let (index, message) = match source.below(6) {
        0 | 1 => {
            let number = source.below(INTERRUPTS.into());
            (INTERRUPTS_INDEX, [interrupts::Create::NUMBER, slots[0], number])
        }
        2 | 3 => (slots[0], [interrupt::Bind::NUMBER, gate, 0]),
        4 => (slots[0], [interrupt::Unmask::NUMBER, 0, 0]),
        _ => (
            slots[0],
            [[interrupt::Unbind::NUMBER, interrupt::Mask::NUMBER][source.below(2)], 0, 0],
        ),
    };
    bench.kernel.utcb(current).message[..3].copy_from_slice(&message);
    let tag = MessageTag::new(label::INTERRUPT, 3, 0);
    bench.kernel.system_call(index << CAPABILITY_SHIFT | Operation::CALL.0, tag.0, 0);
}

/// Every thread is where its state says, and only there.
pub fn check_threads(bench: &mut Bench) {
    let count = bench.kernel.threads.used();
    let queued = bench.kernel.ready.members(&bench.kernel.threads);
    assert!(bench.kernel.bereaved.is_empty());
    let mut in_queues = 0;
    for number in 0..count {
        let index = ThreadIndex::from_position(number);
        let thread = &bench.kernel.threads[index];
        let state = ThreadState::from_u16(thread.record.state).expect("a known state");
        let (partner, queue) = (thread.record.partner, thread.queue());
        let waits = bench.kernel.current != index.into() && state == ThreadState::Ready;
        let times = queued.iter().filter(|other| **other == index).count();
        assert_eq!(times, usize::from(waits), "thread {number}, {state:?}");
        in_queues += usize::from(queue.is_some());
        match state {
            ThreadState::Sending => assert_eq!(queue, Some(Queue::Senders)),
            ThreadState::Receiving if partner == NOBODY => assert_eq!(queue, None),
            ThreadState::PageFault | ThreadState::PortFault | ThreadState::Exception => {
                assert_eq!((queue, partner == NOBODY), (None, false));
            }
            ThreadState::Receiving => {}
            ThreadState::Unused => continue,
            _ => assert_eq!((queue, partner), (None, NOBODY), "thread {number}, {state:?}"),
        }
        let root = bench.kernel.mappings.lives.of(Mortal::Reply(index)).root();
        // Or it was dropped, and its caller is about to learn that.
        let is_dropped = partner == SET_ASIDE && root.is_none() && bench.kernel.is_due();
        let is_sound = root.is_some() == (partner == SET_ASIDE) || is_dropped;
        assert!(is_sound, "thread {number} and its answer");
        if state != ThreadState::Ready && partner < SET_ASIDE && queue.is_none() {
            let server = ThreadIndex::from_position(partner);
            assert_eq!(
                bench.kernel.threads[server].caller,
                index.into(),
                "nobody answers {number}"
            );
        }
    }
    for number in 0..count {
        if let Some(caller) = bench.thread(number).caller.get() {
            let thread = &bench.kernel.threads[caller];
            let waits = thread.record.partner == number && thread.queue().is_none();
            assert!(waits, "{number} owes {caller:?} an answer, who waits for none");
        }
        for queue in [Queue::Senders, Queue::Receivers] {
            for member in queue_of(bench, number, queue) {
                let thread = &bench.kernel.threads[ThreadIndex::from_position(member)];
                assert_eq!((thread.queue(), thread.record.partner), (Some(queue), number));
                in_queues -= 1;
            }
        }
    }
    assert_eq!(in_queues, 0, "somebody is in no queue that says that it is");
    if let Some(current) = bench.kernel.current.get() {
        assert!(bench.kernel.threads[current].is(ThreadState::Ready));
    }
}

fn queue_of(bench: &mut Bench, partner: u16, queue: Queue) -> Vec<u16> {
    let mut members: Vec<u16> = Vec::new();
    let mut walk = bench.thread(partner).queue_mut(queue).first();
    while let Some(member) = walk {
        let thread = &bench.kernel.threads[member];
        let previous = thread.previous_waiting.get().map(TableIndex::position);
        assert_eq!(previous, members.last().copied());
        members.push(member.position());
        assert!(members.len() <= 1024, "the queue of {partner} is a circle");
        walk = thread.next_waiting.get();
    }
    members
}

/// No task can reach the kernel's memory, but for its own UTCBs and the info page.
fn check_spaces(bench: &mut Bench) {
    for number in 0..bench.kernel.mappings.tasks.used() {
        let task = TaskIndex::from_position(number);
        if bench.kernel.mappings.tasks[task].record.state == UNUSED {
            continue;
        }
        for slot in 0..USER_END >> TABLE_ORDER {
            let base = slot << TABLE_ORDER;
            let pages = match bench.directory(task, base) {
                DirectoryEntry::Empty => continue,
                _ => (0..TABLE_ENTRIES).map(|page| base + page * PAGE_SIZE),
            };
            for address in pages {
                let entry = bench.page(task, address);
                let physical = entry.physical().0;
                if !entry.is_present()
                    || (KERNEL_INFO_PAGE..UTCB_AREA + 0x1_0000).contains(&address)
                {
                    continue;
                }
                let outside = !(POOL.start..POOL.end).contains(&physical);
                assert!(outside, "task {number} has kernel memory {physical:#x} at {address:#x}");
                assert!(physical < RAM_END);
            }
        }
    }
}

/// The processor knows nothing that is not so by now.
fn check_ports(bench: &mut Bench) {
    let Some((owner, words)) = bench.kernel.mappings.machine.ports.clone() else { return };
    for (word, known) in words {
        let usable = bench.kernel.usable_ports(owner, word * PORTS_IN_WORD);
        assert_eq!(known & !usable, 0, "{owner:?} may not use all that, word {word}");
        for port in KERNEL_PORTS.into_iter().filter(|port| port / PORTS_IN_WORD == word) {
            assert_eq!(known >> (port % PORTS_IN_WORD) & 1, 0, "port {port:#x} is the kernel's");
        }
    }
}

#[test]
fn anything_that_tasks_do_leaves_the_kernel_sound() {
    let fresh = crowd();
    let mut bench = fresh.clone();
    let mut source = Source::new(2);
    let mut seen = [0; 32];
    let (mut port_faults, mut steps_with_ports, mut steps_with_replies) = (0, 0, 0);
    let (mut crowds, mut ended) = (1, [0; 16]);
    for step in 0..STEPS {
        // Some preemption points are passed, some not.
        bench.kernel.mappings.machine.is_restless = step % 3 == 0;
        act(&mut bench, &mut source);
        if bench.living_threads() < 7 || step % 2048 == 2047 {
            // Too little is left to do much with.
            let mut old = std::mem::replace(&mut bench, fresh.clone());
            old.kernel.mappings.machine.is_restless = false;
            old.drain();
            check_threads(&mut old);
            soundness::check(&mut old).expect("sound");
            bench.kernel.mappings.machine.records = old.kernel.mappings.machine.records;
            crowds += 1;
        }
        for traced in bench.events() {
            seen[traced.event.kind() as usize] += 1;
            if let Event::ObjectEnded(event) = traced.event {
                ended[event.object.kind() as usize] += 1;
            }
            let about_ports =
                matches!(traced.event, Event::Fault(fault) if fault.access.contains(Access::PORT));
            port_faults += u32::from(about_ports);
        }
        bench.kernel.mappings.machine.records.clear();
        let mut threads = (0..bench.kernel.threads.used()).map(ThreadIndex::from_position);
        let waits = threads.any(|thread| bench.kernel.threads[thread].waits_for_reply());
        steps_with_replies += u32::from(waits);
        steps_with_ports += u32::from(bench.kernel.mappings.machine.ports.is_some());
        bench.kernel.mappings.machine.console.clear();
        if step % 64 == 0 {
            check_threads(&mut bench);
            check_ports(&mut bench);
        }
        if step % 4096 == 0 && !bench.kernel.is_due() {
            soundness::check(&mut bench).expect("sound");
        }
        if step % 65_536 == 0 {
            check_spaces(&mut bench);
        }
    }
    check_spaces(&mut bench);
    // The test is worth something only if much of all that could happen did.
    use Kind::{Fault, Map, Message, Resume, TimedOut, Unresolved};
    for kind in [Fault, Map, Resume, Unresolved, Message, Kind::Unmap, TimedOut] {
        assert!(seen[kind as usize] > 1000, "{kind:?}: {seen:?}");
    }
    assert!(seen[Kind::Interrupt as usize] > 200, "interrupts: {seen:?}");
    use ObjectKind::{Factory, Gate, Interrupt, Task, Thread};
    assert!(ended[Interrupt as usize] > 100, "interrupts: {ended:?}");
    for kind in [Gate, Thread, Task, Factory] {
        assert!(ended[kind as usize] > 1000, "{kind:?}, {crowds} crowds: {ended:?}");
    }
    assert!(port_faults > 1000 && steps_with_ports > 1000, "{port_faults}, {steps_with_ports}");
    assert!(seen[Kind::RegistersSet as usize] > 1000, "{seen:?}");
    assert!(steps_with_replies > 1000, "{steps_with_replies}");
}
