//! Makes the inputs in `fuzz/corpus` that a fuzzer starts from, except for the images, which
//! `fuzz/images/make` makes. Run it when a layout changes: `cargo run -p fuzz --example seeds`.
#![forbid(unsafe_code)]

use fuzz::memory::{Kind, RECORDED, Recorded, Step, any_place};
use observe::inspect::{Guest, Mapping};
use protocol::{
    boot::{BundleHeader, ModuleEntry},
    fault::Access,
    flexpage::{Flexpage, Rights},
    introspection::{
        Header, TraceRing,
        mapping::{COMPANION_OFFSET, FactoryRecord, NODE_SIZE, Resource},
        record::{
            EndedObject, Event, Exception, Fault, Gate, Handler, Ids, Map, MapStatus, Message,
            NamedObject, ObjectEnded, ObjectNamed, PagersSet, Record, RegistersSet, Resolve, SetBy,
            TaskCreated, ThreadStarted, Unmap, Unresolved, UnresolvedFault,
        },
    },
    message::MessageTag,
};
use serde_json::json;
use std::{error::Error, fs, mem::offset_of, path::Path};
use zerocopy::{FromZeros, IntoBytes};

fn main() -> Result<(), Box<dyn Error>> {
    let texts = |texts: &[(&'static str, &str)]| -> Vec<(String, Vec<u8>)> {
        texts.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
    };
    write("bundle", [described(), damaged()].concat())?;
    write("module_spec", texts(&SPECS))?;
    write("scenario", texts(&SCENARIOS))?;
    let both = |seeds: fn(&'static Recorded) -> Seeds| {
        (0..).zip(["amd64", "ia32"]).flat_map(move |(which, name)| {
            let seeds = seeds(&RECORDED[usize::from(which)]).into_iter();
            seeds.map(move |(what, steps)| (format!("{name}-{what}"), input(which, &steps)))
        })
    };
    write("tables", both(tables).collect())?;
    write("trace", both(trace).collect())?;
    write("viewer", answers())
}

fn write(target: &str, seeds: Vec<(String, Vec<u8>)>) -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)?;
    for (name, bytes) in seeds {
        fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

fn named(name: &str, bytes: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (name.to_owned(), bytes.into())
}

/// Modules to be packed.
fn described() -> Vec<(String, Vec<u8>)> {
    let ground = "sigma0 s\nroot r\n";
    let many = |count, line: fn(u32) -> String| (0..count).map(line).collect::<String>();
    [
        ("least", String::new()),
        ("programs", "program a b b 30 64 0x60-0x6f,0x3f8 one two\nprogram b\nfile f".to_owned()),
        ("circle", "program a b\nprogram b a".to_owned()),
        ("most-programs", many(32, |number| format!("program p{number}\n"))),
        ("most-files", many(16, |number| format!("file f{number}\n")) + "program p"),
        ("names", "file ä\u{1b}\nfile 0123456789012345678901234567890".to_owned()),
        ("nonsense", "program a nobody - 256 3 0-0xffff".to_owned()),
    ]
    .into_iter()
    .map(|(name, lines)| named(name, format!("\0{ground}{lines}")))
    .collect()
}

/// A sound bundle with something wrong.
fn damaged() -> Vec<(String, Vec<u8>)> {
    let entry = |number: usize, field: usize| {
        size_of::<BundleHeader>() + number * size_of::<ModuleEntry>() + field
    };
    let word = |offset: usize, value: u64| {
        [&((offset / 8) as u16).to_le_bytes()[..], &value.to_le_bytes()].concat()
    };
    [
        ("sound", 0, vec![]),
        ("cut", 4097, vec![]),
        ("length", 0, vec![word(offset_of!(BundleHeader, length), u64::MAX)]),
        ("count", 0, vec![word(offset_of!(BundleHeader, version), u64::MAX << 32 | 2)]),
        ("offset", 0, vec![word(entry(0, offset_of!(ModuleEntry, offset)), 0xffff_f000)]),
        ("module-length", 0, vec![word(entry(1, offset_of!(ModuleEntry, length)), u64::MAX)]),
        ("kind", 0, vec![word(entry(2, offset_of!(ModuleEntry, kind)), 1)]),
        ("arguments", 0, vec![word(entry(2, offset_of!(ModuleEntry, arguments_offset)), !0)]),
        ("image-offset", 0, vec![word(0x1000 + 64 + 8, u64::MAX), word(0x1000 + 64 + 16, 0)]),
    ]
    .into_iter()
    .map(|(name, cut, words)| {
        let cut: u16 = cut;
        named(name, [&[1][..], &cut.to_le_bytes(), &words.concat()].concat())
    })
    .collect()
}

const SPECS: [(&str, &str); 9] = [
    ("all", "a/app,name=app,kind=program,pager=p,server=s,priority=30,ports=0x60,quota=64K,a, b"),
    ("file", "app"),
    ("twice", "a,name=x,name=y"),
    ("ports", "a,ports=0x3f8-0x3ff,ports=5-4"),
    ("size", "256M"),
    ("time", "500ms"),
    ("range", "0x3f8-0x3ff"),
    ("large", "18446744073709551615G"),
    ("empty", ""),
];

const SCENARIOS: [(&str, &str); 5] = [
    (
        "all",
        "name = 'two'\nsummary = 'Two.'\n[[program]]\nimage = 'words'\nname = 'app'\n\
         arguments = 'a {charset}'\npager = 'broken'\nserver = 'broken'\npriority = 30\n\
         ports = ['0x3f8-0x3ff', '0x60']\nquota = '64K'\n[[program]]\nimage = 'broken'\n\
         [[file]]\nname = 'f'\ntext = '''\nx\n'''\n",
    ),
    ("least", "name = ''\nsummary = ''"),
    ("misspelt", "name = 'x'\nsummary = 'X.'\nprogramm = []"),
    ("unknown", "name = 'x'\nsummary = 'X.'\n[[program]]\nimage = 'wrods'"),
    ("nested", "a = [[[[[[[[[[{b.c.d = 1}]]]]]]]]]]"),
];

/// Names, and how a recording changes.
type Seeds = Vec<(&'static str, Vec<Step>)>;

/// The input for a recording and steps.
fn input(which: u8, steps: &[Step]) -> Vec<u8> {
    [&[which], steps.as_bytes()].concat()
}

fn step(kind: Kind, stride: u8, count: u16, place: u32, value: u64) -> Step {
    Step {
        kind: kind as u8,
        stride,
        more: (count - 1).into(),
        place: place.into(),
        value: value.into(),
    }
}

/// One word.
fn put(recorded: &Recorded, address: u64, value: u64) -> Step {
    step(Kind::Write, 0, 1, recorded.place(address / 8 * 8), value)
}

fn tables(recorded: &'static Recorded) -> Seeds {
    let memory = recorded.memory();
    let guest = Guest::open(&memory, recorded.header).expect("the recording is sound");
    let (tasks, snapshot) = (guest.tasks(), guest.snapshot());
    let header = |field: usize| recorded.header + field as u64;
    let first = |task: u16, resource| snapshot.mappings_of(task, resource).next();
    let memory_of = |task| -> Mapping { first(task, Resource::Memory).expect("it has memory") };
    let (entry, other) = (memory_of(1).entry_address / 8 * 8, memory_of(2).entry_address / 8 * 8);
    let node = first(2, Resource::Capability).expect("it has some").node;
    let node_at = u64::from(node) * NODE_SIZE;
    let pool = snapshot.kernel_use(tasks[1].page_table >> 12);
    assert_eq!(pool, Some("a page table"));
    let whole = [
        put(recorded, header(offset_of!(Header, pool_start)), 0),
        put(recorded, header(offset_of!(Header, pool_end)), 16 << 20),
    ];
    let (from, to) = (recorded.place(entry), u64::from(recorded.place(tasks[2].page_table)));
    vec![
        ("sound", vec![]),
        ("no-magic", vec![put(recorded, recorded.header, 0)]),
        ("other-machine", vec![put(recorded, header(8), 3 << 32 | 4)]),
        (
            "many-tasks",
            vec![
                put(recorded, header(offset_of!(Header, tasks) + 8), 0),
                put(recorded, header(offset_of!(Header, tasks) + 16), u64::MAX),
            ],
        ),
        ("escape", vec![step(Kind::Flip, 0, 1, recorded.place(entry), u64::MAX)]),
        ("same-entry", vec![step(Kind::Copy, 0, 1, from, recorded.place(other).into())]),
        ("loop", vec![put(recorded, tasks[1].page_table, tasks[1].page_table | 7)]),
        ("same-table", vec![step(Kind::Alias, 0, 1, from, to)]),
        ("many-pages", vec![step(Kind::WritePages, 0, 512, any_place(entry & !0xfff), 7)]),
        ("no-nodes", vec![step(Kind::Write, 0, 512, recorded.place(entry + COMPANION_OFFSET), 0)]),
        (
            "chain",
            vec![step(
                Kind::WriteLinks,
                1,
                256,
                recorded.place(node_at),
                u64::from(node) << 32 | u64::from(node + 1),
            )],
        ),
        ("deep", vec![step(Kind::Write, 1, 64, recorded.place(node_at + 8), 2 << 32 | 7 << 48)]),
        ("whole-pool", whole.to_vec()),
        (
            "whole-pool-of-tables",
            [
                &whole[..],
                &[
                    step(Kind::Alias, 0, 4096, any_place(0x10_0000), to),
                    step(Kind::WritePages, 0, 512, recorded.place(tasks[1].page_table), 0x20_0007),
                ],
            ]
            .concat(),
        ),
        (
            "factory",
            vec![step(
                Kind::Add,
                0,
                size_of::<FactoryRecord>() as u16 / 8,
                recorded.place(header(offset_of!(Header, factories))),
                1,
            )],
        ),
    ]
}

fn trace(recorded: &'static Recorded) -> Seeds {
    let ring = |field: usize| recorded.header + (offset_of!(Header, trace) + field) as u64;
    let look = step(Kind::Look, 0, 1, 0, 0);
    let written = |count| put(recorded, ring(offset_of!(TraceRing, written)), count);
    // The first slot is where the address says.
    let mut bytes = [0; 8];
    let at = ring(offset_of!(TraceRing, address));
    observe::GuestMemory::read(&recorded.memory(), at, &mut bytes).expect("it is in memory");
    let slots = u64::from_le_bytes(bytes);
    let words = |kind, word: usize, count, value| {
        let place = recorded.place(slots + word as u64 * 8);
        step(kind, 3, count, place, value)
    };
    let each = |event: &Event| -> Vec<Step> {
        let record = event.record(0, SOMEBODY.into());
        let all = record.as_bytes().chunks_exact(8).enumerate().skip(2);
        all.map(|(word, bytes)| {
            let value = u64::from_le_bytes(bytes.try_into().expect("chunks have eight bytes"));
            words(Kind::Write, word, 40, value)
        })
        .chain([look])
        .collect()
    };
    let mut seeds = vec![
        ("sound", vec![look]),
        ("in-two", vec![written(20), look, written(60), look]),
        ("back", vec![look, written(3), look]),
        ("overrun", vec![written(u64::MAX), look]),
        ("capacity", vec![put(recorded, ring(offset_of!(TraceRing, capacity)), 1 << 24), look]),
        ("elsewhere", vec![put(recorded, at, u64::MAX - 63), look]),
        ("times", vec![words(Kind::Flip, 1, 40, u64::MAX << 62), look]),
        ("torn", vec![words(Kind::Add, 0, 30, size_of::<Record>() as u64), look]),
    ];
    seeds.extend(of_each_kind().iter().map(|(name, event)| (*name, each(event))));
    seeds
}

/// A thread of the recording.
const SOMEBODY: Ids = Ids::new(2, 2);

/// An event of each kind that does not end the trace.
fn of_each_kind() -> Vec<(&'static str, Event)> {
    let (sent, access) = (Flexpage::memory(0x1000, 12, Rights::all()), Access::WRITE);
    let (address, instruction, stack, number) = (0x1000, 0x40_0000, 0x9000, 7);
    let (pager, owed, tag) = (Ids::new(1, 1), 3, MessageTag::new(0, 1, 1));
    let (by, name, generation) = (pager, *b"some name\x1b\n\0\0\0\0\0", 1);
    let (reason, answer) = (Unresolved::Refused, 0);
    let gate = Handler { capability: 4, gate: Some(Gate { label: 0x30, thread: pager }) };
    let map = Map {
        status: MapStatus::Done,
        grant: true,
        rights: Rights::all(),
        order: 12,
        window: 16,
        destination: 0x1000,
        source: 0x2000,
        sent,
        physical: 0x2000,
        fault: 0,
        sender: pager,
        entries: 1,
    };
    let resolve = Resolve {
        rights: Rights::all(),
        delivered: u64::MAX,
        sent,
        destination: 0x1000,
        physical: 0x2000,
        number,
        by,
        answer_ticks: 9,
    };
    let unmap = Unmap {
        flexpage: sent,
        take: Rights::all(),
        own: true,
        accessed: true,
        dirty: true,
        replaced: false,
        removed: 1,
        reduced: u32::MAX,
        fault: number,
        by,
    };
    let exception =
        Exception { vector: 13, error_code: 8, instruction, handler: pager, owed, number, stack };
    let unresolved =
        UnresolvedFault { reason, access, address, instruction, pager, number, answer };
    let object = NamedObject::Task { image: Some(1) };
    let ended = EndedObject::Task { name, image: Some(1) };
    vec![
        ("faults", Fault { access, address, instruction, pager, owed, number, stack }.into()),
        ("unresolved", unresolved.into()),
        ("maps", map.into()),
        ("unmaps", unmap.into()),
        ("messages", Message { receiver: by, tag, gate_label: 4, words: [3, 4] }.into()),
        ("exceptions", exception.into()),
        ("made", TaskCreated { creator: by }.into()),
        ("started", ThreadStarted { creator: by }.into()),
        ("resolves", resolve.into()),
        ("named", ObjectNamed { object, generation, by, name }.into()),
        ("pagers", PagersSet { by, pager: gate, exception_handler: gate }.into()),
        (
            "registers",
            RegistersSet { way: SetBy::Write, by, instruction, stack, flags: 0x202 }.into(),
        ),
        ("ended", ObjectEnded { object: ended, number: 2, generation, by }.into()),
    ]
}

/// What runs answer.
fn answers() -> Vec<(String, Vec<u8>)> {
    let sound = json!({
        "v": 1, "pid": 1, "architecture": "amd64", "engine": "kvm", "scenario": "words",
        "header": 0, "ram": 4096, "ticks_per_second": 1, "images": ["sigma0", "root"],
    });
    let words =
        |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let descriptor = [words(&[0, 1 << 16, 0, 0]), b"exits\0\0\0".to_vec()].concat();
    let header = words(&[0, 8, 1, 0, 24, 48]);
    let statistics = [header, descriptor, 5_u64.to_le_bytes().to_vec()].concat();
    let mut ram = vec![0; 1024];
    let memory = RECORDED[0].memory();
    let (head, _) = ram.split_at_mut(size_of::<Header>());
    observe::GuestMemory::read(&memory, RECORDED[0].header, head).expect("it is in memory");
    let answer = |line: &serde_json::Value, statistics: &[u8], ram: &[u8]| {
        let length = (statistics.len() as u16).to_le_bytes();
        [format!("{line}\n").as_bytes(), &length, statistics, ram].concat()
    };
    let changed = |key: &str, value: serde_json::Value| {
        let mut line = sound.clone();
        line[key] = value;
        line
    };
    let mut no_header = Header::new_zeroed();
    no_header.version = 1;
    vec![
        named("sound", answer(&sound, &statistics, &ram)),
        named("no-files", format!("{sound}\n")),
        named("no-header", answer(&changed("header", json!(null)), &[], &[])),
        named("far-header", answer(&changed("header", json!(u64::MAX)), &[], &ram)),
        named("other-version", answer(&changed("v", json!(2)), &[], &ram)),
        named("escapes", answer(&changed("scenario", json!("\u{1b}]0;x\u{7}")), &[], &ram)),
        named("no-memory", answer(&sound, &statistics, &[])),
        named("no-kernel", answer(&sound, &statistics[..40], no_header.as_bytes())),
        named("nested", "[".repeat(200)),
        named("no-text", [0xff; 16]),
    ]
}
