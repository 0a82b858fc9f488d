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
        NAME_LENGTH, NOBODY,
        mapping::ObjectKind,
        record::{
            Kind, MapStatus, Record, UNMAP_ACCESSED, UNMAP_DIRTY, UNMAP_OWN, UNMAP_REPLACED,
            Unresolved, asked, ids, split_asked, split_ids,
        },
    },
    layout::{HEAP_BASE, PROGRAM_BASE},
    message::MessageTag,
    object::label,
};

/// Ids of the threads that take part.
pub(crate) const SIGMA0: u64 = ids(0, 0);
pub(crate) const ROOT: u64 = ids(1, 1);
pub(crate) const WORDS: u64 = ids(3, 5);
pub(crate) const KERNEL: u64 = ids(NOBODY, NOBODY);

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

/// A record about the thread `who`.
pub(crate) fn record(kind: Kind, time: u64, who: u64) -> Record {
    let (task, thread) = ((who >> 16) as u16, who as u16);
    Record { kind: kind as u8, time, task, thread, ..Record::default() }
}

/// A fault of a thread that owes nobody an answer.
pub(crate) fn fault(
    time: u64,
    who: u64,
    access: Access,
    address: u64,
    pager: u64,
    n: u64,
) -> Record {
    let flags = access.bits();
    Record {
        flags,
        a: address,
        b: CODE,
        c: asked(pager, NOBODY),
        d: n,
        e: 0x9000,
        ..record(Kind::Fault, time, who)
    }
}

/// The same of a thread that owes `whom` an answer.
pub(crate) fn owing(whom: u64, fault: Record) -> Record {
    Record { c: asked(split_asked(fault.c).0, whom as u16), ..fault }
}

pub(crate) fn map(time: u64, to: u64, from: u64, sent: Flexpage, at: u64, n: u64) -> Record {
    Record {
        flags: sent.rights().bits(),
        order: sent.order() as u8,
        cpu: WHOLE_SPACE_ORDER as u8,
        a: at | (sent.address() as u64) << 32,
        b: sent.0 as u64,
        c: sent.address() as u64,
        d: n,
        e: from << 32 | 1,
        ..record(Kind::Map, time, to)
    }
}

/// `times`: when the pager got the message, answered, and the thread ran on.
pub(crate) fn resume(times: [u64; 3], who: u64, by: u64, n: u64) -> Record {
    let [received, answered, resumed] = times;
    let d = MessageTag::new(0, 0, 1).0 as u64;
    Record { a: n, b: received, c: answered, d, e: by, ..record(Kind::Resume, resumed, who) }
}

pub(crate) fn page(address: u64, rights: Rights) -> Flexpage {
    Flexpage::memory(address as usize, 12, rights)
}

const HEAP: u64 = HEAP_BASE as u64;

/// The program faults; its pager faults while it serves that, twice; all is resolved.
pub(crate) fn nested_faults() -> Vec<Record> {
    let frame = page(0x1f3_c000, Rights::READ_WRITE);
    vec![
        Record { a: ROOT, ..record(Kind::TaskCreated, 1000, ids(3, NOBODY)) },
        Record { a: ROOT, ..record(Kind::ThreadStarted, 2000, WORDS) },
        map(3000, ids(3, NOBODY), ROOT, Flexpage::capabilities(5, 0, Rights::READ), 4, 0),
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
pub(crate) fn null_jump() -> Vec<Record> {
    let fault = Record { b: 0, ..fault(9000, WORDS, Access::EXECUTE, 0, ROOT, 13) };
    let refused = ObjectError::InvalidArgument.tag().0 as u64;
    vec![
        map(8100, WORDS, ROOT, page(0x5000, Rights::READ_EXECUTE), PROGRAM_BASE as u64, 0),
        map(8200, WORDS, ROOT, page(0x6000, Rights::READ), PROGRAM_BASE as u64 + 0x1000, 0),
        fault,
        Record {
            flags: Unresolved::Refused as u8,
            order: Access::EXECUTE.bits(),
            b: 0,
            c: ROOT,
            d: 13,
            e: refused,
            ..record(Kind::Unresolved, 9650, WORDS)
        },
    ]
}

/// What a pager takes back, gives away, and puts in the place of something else; and ports.
pub(crate) fn revocations() -> Vec<Record> {
    let frame = page(0x1f3_c000, Rights::empty());
    let text = page(HEAP + 0x1000, Rights::READ_WRITE);
    let grant = map(9110, WORDS, ROOT, page(0x8000, Rights::READ_WRITE), HEAP + 0x2000, 0);
    let ports = Flexpage::io_ports(0x3f8, 3);
    let replaced = Rights::all().bits() | UNMAP_OWN | UNMAP_REPLACED;
    vec![
        unmap(9100, ROOT, 1, frame, Rights::WRITE.bits() | UNMAP_ACCESSED | UNMAP_DIRTY, 0, 1),
        Record { flags: grant.flags | 8, ..grant },
        unmap(9120, ROOT, 3, text, Rights::all().bits() | UNMAP_OWN, 2, 0),
        unmap(9130, ROOT, 1, frame, 0, 0, 0),
        Record {
            order: 12,
            cpu: 12,
            a: (HEAP + 0x6000) | 0x1f3_d000 << 32,
            c: 0x1f3_d000,
            ..map(9140, WORDS, ROOT, Flexpage::memory(0x1f3_c000, 14, Rights::READ), 0, 0)
        },
        fault(9200, WORDS, Access::WRITE, HEAP + 0x1008, ROOT, 15),
        Record { d: 15, ..unmap(9230, ROOT, 3, text, replaced, 1, 0) },
        map(9240, WORDS, ROOT, page(0x9000, Rights::READ), HEAP + 0x1000, 15),
        resume([9210, 9220, 9250], WORDS, ROOT, 15),
        fault(9300, WORDS, Access::PORT, 0x3f8, ROOT, 16),
        Record { c: 0, ..map(9340, WORDS, ROOT, ports, 0x3f8, 16) },
        resume([9310, 9320, 9350], WORDS, ROOT, 16),
    ]
}

/// `by` unmaps a flexpage in terms of `task`: `removed` mappings go, `reduced` ones have less.
pub(crate) fn unmap(
    time: u64,
    by: u64,
    task: u16,
    flexpage: Flexpage,
    flags: u8,
    removed: u64,
    reduced: u64,
) -> Record {
    Record {
        task,
        flags,
        order: flexpage.order() as u8,
        a: flexpage.address() as u64,
        b: flexpage.0 as u64,
        c: removed << 32 | reduced,
        e: by,
        ..record(Kind::Unmap, time, by)
    }
}

/// The other kinds of records.
pub(crate) fn others() -> Vec<Record> {
    let exit = MessageTag::new(label::EXIT, 1, 0).0 as u64;
    let failed = map(9700, ROOT, SIGMA0, page(0x7000, Rights::READ), 0x7000, 0);
    vec![
        Record { flags: (MapStatus::SourceEmpty as u8) << 4, ..failed },
        Record { flags: 1, a: ROOT, b: exit, c: 4, d: 3, ..record(Kind::Message, 9800, WORDS) },
        Record {
            flags: 6,
            b: CODE,
            c: asked(KERNEL, NOBODY),
            d: 14,
            e: 0x9000,
            ..record(Kind::Exception, 9900, WORDS)
        },
        ended(ObjectKind::Thread, 10_000, ids(7, 9), 2, "disk"),
        ended(ObjectKind::Task, 10_100, ids(7, NOBODY), 1, "reader"),
        Record { e: 4, ..ended(ObjectKind::Gate, 10_200, ids(NOBODY, 6), 1, "") },
        Record { a: 3, ..record(Kind::ShutDown, 12_345_678, ROOT) },
    ]
}

/// The end of a task or thread that was called `name`; of other objects their number is the thread's.
pub(crate) fn ended(kind: ObjectKind, time: u64, who: u64, generation: u32, name: &str) -> Record {
    let (task, thread) = split_ids(who);
    let number = if kind == ObjectKind::Task { task } else { thread };
    let name: [u8; NAME_LENGTH] = pad_name(name.as_bytes());
    let word = |half: usize| u64::from_le_bytes(name[8 * half..][..8].try_into().unwrap());
    let is_numbered = matches!(kind, ObjectKind::Task | ObjectKind::Thread);
    let who = if is_numbered { who } else { KERNEL };
    Record {
        flags: kind as u8,
        a: ROOT,
        b: u64::from(number) | u64::from(generation) << 32,
        c: word(0),
        d: word(1),
        e: if kind == ObjectKind::Task { 4 } else { 0 },
        ..record(Kind::ObjectEnded, time, who)
    }
}

/// What an observer makes of records, read in one go and then finished.
pub(crate) fn events(guest: FakeGuest, records: impl IntoIterator<Item = Record>) -> Vec<Event> {
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
