//! A small run of a guest, record by record, for the tests of views and of the observer.

use crate::{
    Images, Observer, Printer, Style,
    event::Event,
    testing::{FakeGuest, HEADER, small_elf},
};
use protocol::{
    boot::pad_name,
    error::ObjectError,
    fault::Access,
    flexpage::{Flexpage, Rights, WHOLE_SPACE_ORDER},
    introspection::{
        NOBODY,
        record::{
            EndedObject, Event as Recorded, Exception, Fault, Gate, Handler, Ids, Interrupt, Map,
            MapStatus, Message, Name, NamedObject, ObjectEnded, ObjectNamed, PagersSet,
            RegistersSet, Resume, SetBy, ShutDown, TaskCreated, ThreadStarted, TimedOut, Traced,
            Unmap, Unresolved, UnresolvedFault,
        },
    },
    layout::{HEAP_BASE, PROGRAM_BASE},
    message::MessageTag,
    object::label,
};

/// Ids of the threads that take part.
pub(crate) const SIGMA0: Ids = Ids::new(0, 0);
pub(crate) const ROOT: Ids = Ids::new(1, 1);
pub(crate) const WORDS: Ids = Ids::new(3, 5);
pub(crate) const KERNEL: Ids = Ids::NOBODY;

/// An instruction in the program's only function.
pub(crate) const CODE: u64 = PROGRAM_BASE as u64 + 0x123;

/// A guest with names, images and the program's first pages, and no records.
pub(crate) fn guest(capacity: u64) -> FakeGuest {
    let guest = FakeGuest::new(capacity);
    for (task, thread, name, image) in [(0, 0, "sigma0", 0), (1, 1, "root", 0), (3, 5, "words", 4)]
    {
        guest.task(task, name, image, guest.address_space());
        guest.thread(thread, task, "");
    }
    guest.generations([3, 5], [1, 1]);
    let (space, text) = (guest.space_of(3), PROGRAM_BASE as u64);
    guest.map(space, text, 0x5000, Rights::READ_EXECUTE);
    guest.map(space, text + 0x1000, 0x6000, Rights::READ);
    guest
}

pub(crate) fn images() -> Images {
    let mut images = Images::new();
    images.add(3, "words", small_elf(PROGRAM_BASE as u64, "_RNvCs1_5words4fill"));
    images
}

/// What happened to `who`.
pub(crate) fn record(time: u64, who: Ids, event: impl Into<Recorded>) -> Traced {
    Traced { sequence: 0, time, who, event: event.into() }
}

/// A fault of a thread that owes nobody an answer.
pub(crate) fn fault(
    time: u64,
    who: Ids,
    access: Access,
    address: u64,
    pager: Ids,
    number: u64,
) -> Traced {
    let (instruction, owed, stack) = (CODE, NOBODY, 0x9000);
    record(time, who, Fault { access, address, instruction, pager, owed, number, stack })
}

/// The same of a thread that owes `whom` an answer.
pub(crate) fn owing(whom: Ids, fault: Traced) -> Traced {
    let Recorded::Fault(event) = fault.event else { panic!("a fault") };
    fault.with(Fault { owed: whom.thread(), ..event }.into())
}

/// A flexpage that arrives whole.
fn arrival(from: Ids, sent: Flexpage, at: u64, fault: u64) -> Map {
    Map {
        status: MapStatus::Done,
        grant: false,
        rights: sent.rights(),
        order: sent.order() as u8,
        window: WHOLE_SPACE_ORDER as u8,
        destination: at as u32,
        source: sent.address() as u32,
        sent,
        physical: sent.address() as u64,
        fault,
        sender: from,
        entries: 1,
    }
}

pub(crate) fn map(time: u64, to: Ids, from: Ids, sent: Flexpage, at: u64, n: u64) -> Traced {
    record(time, to, arrival(from, sent, at, n))
}

/// A page that arrives in a window of another size.
pub(crate) fn placed(time: u64, to: Ids, from: Ids, sent: Flexpage, place: [u32; 4]) -> Traced {
    let [order, window, destination, source] = place;
    let (order, window, physical) = (order as u8, window as u8, source.into());
    let whole = arrival(from, sent, 0, 0);
    record(time, to, Map { order, window, destination, source, physical, ..whole })
}

/// `times`: when the pager got the message, answered, and the thread ran on.
pub(crate) fn resume(times: [u64; 3], who: Ids, by: Ids, number: u64) -> Traced {
    let [delivered, answered, resumed] = times;
    let tag = MessageTag::new(0, 0, 1);
    record(resumed, who, Resume { number, delivered, answered, tag, by })
}

pub(crate) fn page(address: u64, rights: Rights) -> Flexpage {
    Flexpage::memory(address as usize, 12, rights)
}

/// A message of a thread to itself that says nothing.
pub(crate) fn message(time: u64, who: Ids) -> Traced {
    let (tag, gate_label, words) = (MessageTag(0), 0, [0; 2]);
    record(time, who, Message { receiver: SIGMA0, tag, gate_label, words })
}

pub(crate) fn exception(time: u64, who: Ids, vector: u8, handler: Ids, number: u64) -> Traced {
    let (instruction, owed, stack) = (CODE, NOBODY, 0x9000);
    let error_code = 0;
    let event = Exception { vector, error_code, instruction, handler, owed, number, stack };
    record(time, who, event)
}

/// A fault or exception of `who` that its pager does not resolve.
pub(crate) fn unresolved(
    time: u64,
    who: Ids,
    (reason, answer): (Unresolved, u64),
    (access, address, instruction): (Access, u64, u64),
    number: u64,
) -> Traced {
    let pager = ROOT;
    let event = UnresolvedFault { reason, access, address, instruction, pager, number, answer };
    record(time, who, event)
}

const HEAP: u64 = HEAP_BASE as u64;

/// The program faults; its pager faults while it serves that, twice; all is resolved.
pub(crate) fn nested_faults() -> Vec<Traced> {
    let frame = page(0x1f3_c000, Rights::READ_WRITE);
    vec![
        record(1000, Ids::of_task(3), TaskCreated { creator: ROOT }),
        record(2000, WORDS, ThreadStarted { creator: ROOT }),
        map(3000, Ids::of_task(3), ROOT, Flexpage::capabilities(5, 0, Rights::READ), 4, 0),
        fault(5000, WORDS, Access::WRITE, HEAP + 0x1008, ROOT, 10),
        owing(WORDS, fault(5500, ROOT, Access::empty(), 0x1f3_c010, SIGMA0, 11)),
        owing(ROOT, fault(5700, SIGMA0, Access::WRITE, 0xbf00_2000, KERNEL, 12)),
        map(5800, SIGMA0, KERNEL, page(0xbf00_2000, Rights::READ_WRITE), 0xbf00_2000, 12),
        resume([5700, 5850, 5900], SIGMA0, KERNEL, 12),
        map(6400, ROOT, SIGMA0, frame, 0x1f3_c000, 11),
        resume([5600, 6300, 6500], ROOT, SIGMA0, 11),
        map(7440, WORDS, ROOT, frame, HEAP + 0x1000, 10),
        resume([5253, 7320, 8013], WORDS, ROOT, 10),
    ]
}

/// The program jumps through a null pointer and is refused.
pub(crate) fn null_jump() -> Vec<Traced> {
    null_jump_at(0)
}

/// The same with another instruction pointer.
pub(crate) fn null_jump_at(instruction: u64) -> Vec<Traced> {
    let refused = ObjectError::InvalidArgument.tag().0 as u64;
    let jump = Fault {
        access: Access::EXECUTE,
        address: 0,
        instruction,
        pager: ROOT,
        owed: NOBODY,
        number: 13,
        stack: 0x9000,
    };
    let access = (Access::EXECUTE, 0, instruction);
    vec![
        map(8100, WORDS, ROOT, page(0x5000, Rights::READ_EXECUTE), PROGRAM_BASE as u64, 0),
        map(8200, WORDS, ROOT, page(0x6000, Rights::READ), PROGRAM_BASE as u64 + 0x1000, 0),
        record(9000, WORDS, jump),
        unresolved(9650, WORDS, (Unresolved::Refused, refused), access, 13),
    ]
}

/// What a pager takes back, gives away, and puts in the place of something else; and ports.
pub(crate) fn revocations() -> Vec<Traced> {
    let frame = page(0x1f3_c000, Rights::empty());
    let text = page(HEAP + 0x1000, Rights::READ_WRITE);
    let grant = arrival(ROOT, page(0x8000, Rights::READ_WRITE), HEAP + 0x2000, 0);
    let ports = Flexpage::io_ports(0x3f8, 3);
    let of_ports = arrival(ROOT, ports, 0x3f8, 16);
    let large = Flexpage::memory(0x1f3_c000, 14, Rights::READ);
    let place = [12, 12, HEAP_BASE as u32 + 0x6000, 0x1f3_d000];
    let [reduced, removed, looked_at] = [unmap(frame, 0, 1), unmap(text, 2, 0), unmap(frame, 0, 0)];
    let take = Rights::WRITE;
    let [root, words] = [Ids::new(1, ROOT.thread()), Ids::new(3, ROOT.thread())];
    let replaced = Unmap { replaced: true, own: true, fault: 15, ..unmap(text, 1, 0) };
    vec![
        record(9100, root, Unmap { take, accessed: true, dirty: true, ..reduced }),
        record(9110, WORDS, Map { grant: true, ..grant }),
        record(9120, words, Unmap { own: true, ..removed }),
        record(9130, root, Unmap { take: Rights::empty(), ..looked_at }),
        placed(9140, WORDS, ROOT, large, place),
        fault(9200, WORDS, Access::WRITE, HEAP + 0x1008, ROOT, 15),
        record(9230, words, replaced),
        map(9240, WORDS, ROOT, page(0x9000, Rights::READ), HEAP + 0x1000, 15),
        resume([9210, 9220, 9250], WORDS, ROOT, 15),
        fault(9300, WORDS, Access::PORT, 0x3f8, ROOT, 16),
        record(9340, WORDS, Map { physical: 0, ..of_ports }),
        resume([9310, 9320, 9350], WORDS, ROOT, 16),
    ]
}

/// The root task takes a flexpage away: `removed` mappings go, `reduced` ones have less.
pub(crate) fn unmap(flexpage: Flexpage, removed: u32, reduced: u32) -> Unmap {
    Unmap {
        flexpage,
        take: Rights::all(),
        own: false,
        accessed: false,
        dirty: false,
        replaced: false,
        removed,
        reduced,
        fault: 0,
        by: ROOT,
    }
}

/// The other kinds of records.
pub(crate) fn others() -> Vec<Traced> {
    let tag = MessageTag::new(label::EXIT, 1, 0);
    let failed = arrival(SIGMA0, page(0x7000, Rights::READ), 0x7000, 0);
    let pager = Handler { capability: 4, gate: Some(Gate { label: 0x30, thread: ROOT }) };
    let exception_handler = Handler { capability: 9, gate: None };
    vec![
        named(9500, Ids::of_task(3), NamedObject::Task { image: Some(3) }, 1, "words"),
        named(9510, Ids::new(3, 6), NamedObject::Thread, 2, "clock"),
        record(9600, WORDS, PagersSet { by: ROOT, pager, exception_handler }),
        record(
            9700,
            ROOT,
            Map { status: MapStatus::SourceEmpty, rights: Rights::empty(), ..failed },
        ),
        record(9800, WORDS, Message { receiver: ROOT, tag, gate_label: 4, words: [3, 0] }),
        record(9850, WORDS, Interrupt { number: 4, gate_label: 1, came: 9838, told: 3 }),
        exception(9900, WORDS, 6, KERNEL, 14),
        record(
            9950,
            WORDS,
            RegistersSet {
                way: SetBy::Answer,
                by: ROOT,
                instruction: CODE,
                stack: 0xaf_fff0,
                flags: 0x302,
            },
        ),
        ended(10_000, Ids::new(7, 9), 2, EndedObject::Thread { name: name("disk") }),
        ended(10_100, Ids::of_task(7), 1, a_task("reader")),
        ended(10_200, Ids::new(NOBODY, 6), 1, EndedObject::Gate { label: 4 }),
        record(10_300, WORDS, TimedOut { is_sending: false, partner: ROOT, deadline: 20_000 }),
        record(12_345_678, ROOT, ShutDown { status: 3 }),
    ]
}

pub(crate) fn name(text: &str) -> Name {
    pad_name(text.as_bytes())
}

pub(crate) fn named(
    time: u64,
    who: Ids,
    object: NamedObject,
    generation: u32,
    text: &str,
) -> Traced {
    record(time, who, ObjectNamed { object, generation, by: ROOT, name: name(text) })
}

/// A task with that name, and with the image of the program.
pub(crate) fn a_task(text: &str) -> EndedObject {
    EndedObject::Task { name: name(text), image: Some(3) }
}

/// The end of a task or thread; of other objects their number is the thread's.
pub(crate) fn ended(time: u64, who: Ids, generation: u32, object: EndedObject) -> Traced {
    let number = match object {
        EndedObject::Task { .. } => who.task(),
        _ => who.thread(),
    };
    let who = if object.name().is_some() { who } else { KERNEL };
    record(time, who, ObjectEnded { object, number, generation, by: ROOT })
}

/// What an observer makes of records, read in one go and then finished.
pub(crate) fn events(guest: FakeGuest, records: impl IntoIterator<Item = Traced>) -> Vec<Event> {
    records.into_iter().for_each(|record| guest.write(record));
    let mut events = Vec::new();
    let mut observer = Observer::new(guest, HEADER, images(), 1_000_000_000);
    observer.finish(&mut || true, &mut |event| events.push(event.clone())).unwrap();
    events
}

/// What a printer makes of them.
pub(crate) fn shown(style: Style, colour: bool, events: &[Event], lost: u64) -> String {
    let mut out = Vec::new();
    let mut printer = Printer::new(style, colour, &mut out);
    events.iter().for_each(|event| printer.event(event).unwrap());
    printer.finish(lost).unwrap();
    String::from_utf8(out).unwrap()
}
