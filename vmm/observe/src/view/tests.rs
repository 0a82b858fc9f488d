//! Each view's exact text: of the same small run, and of what goes wrong.

use super::Style;
use crate::{
    event::{Event, Lost, Nanoseconds},
    scenario::{
        CODE, KERNEL, ROOT, WORDS, events, exception, fault, guest, message, nested_faults,
        null_jump, others, record, resume, revocations, shown, unresolved,
    },
};
use protocol::{
    error::IpcError,
    fault::Access,
    flexpage::Rights,
    introspection::record::{Ids, TaskCreated, Traced, Unresolved},
    layout::{HEAP_BASE, STACK_BASE},
};
use std::time::{Duration, Instant};

fn run() -> Vec<Event> {
    let records = [nested_faults(), null_jump(), revocations(), others()].concat();
    events(guest(64), records)
}

/// Compares with a file beside this one. `EXPECT=write` writes it anew, to be read before it is
/// committed.
fn compare(style: Style, file: &str) {
    let text = shown(style, false, &run(), 0);
    let path = format!("{}/src/view/expected/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("EXPECT").is_some_and(|value| value == "write") {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    for (line, (text, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(text, expected, "{file}:{}", line + 1);
    }
    assert_eq!(text, expected);
}

#[test]
fn blocks() {
    compare(Style::Blocks, "blocks.txt");
}

#[test]
fn flat() {
    compare(Style::Flat, "flat.txt");
}

#[test]
fn json() {
    compare(Style::Json, "json.txt");
}

#[test]
fn summary() {
    compare(Style::Summary, "summary.txt");
}

#[test]
fn quiet_is_quiet() {
    assert_eq!(shown(Style::Quiet, true, &run(), 7), "");
}

#[test]
fn every_json_line_is_an_object_with_version_and_kind() {
    let mut kinds = Vec::new();
    for line in shown(Style::Json, true, &run(), 3).lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["v"], 1);
        kinds.push(value["k"].as_str().unwrap().to_owned());
    }
    kinds.sort();
    kinds.dedup();
    let known = [
        "end",
        "ended",
        "exception",
        "fault",
        "interrupt",
        "map",
        "message",
        "named",
        "pagers",
        "registers",
        "shutdown",
        "task",
        "thread",
        "timeout",
        "unmap",
    ];
    assert_eq!(kinds, known);
}

/// The documentation shows real lines, and explains every key.
#[test]
fn the_documentation_is_true() {
    let documentation = include_str!("../../../../docs/trace-format.md");
    let real = shown(Style::Json, false, &run(), 0);
    let examples: Vec<_> =
        documentation.lines().filter(|line| line.starts_with("{\"v\"")).collect();
    assert!(examples.len() >= 8);
    for example in examples {
        assert!(real.lines().any(|line| line == example), "not a real line: {example}");
    }
    let mut keys = Vec::new();
    real.lines().for_each(|line| collect_keys(&serde_json::from_str(line).unwrap(), &mut keys));
    for key in keys {
        assert!(documentation.contains(&format!("`{key}`")), "{key} is not documented");
    }
}

fn collect_keys(value: &serde_json::Value, keys: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(object) => {
            for (key, value) in object {
                keys.push(key.clone());
                collect_keys(value, keys);
            }
        }
        serde_json::Value::Array(values) => {
            values.iter().for_each(|value| collect_keys(value, keys));
        }
        _ => {}
    }
}

#[test]
fn colours_only_if_asked_and_never_across_lines() {
    let plain = shown(Style::Blocks, false, &run(), 0);
    assert!(!plain.contains('\x1b'));
    let coloured = shown(Style::Blocks, true, &run(), 0);
    let mut stripped = coloured.clone();
    for code in ["\x1b[1;31m", "\x1b[1m", "\x1b[2m", "\x1b[0m"] {
        assert!(coloured.contains(code));
        stripped = stripped.replace(code, "");
    }
    assert_eq!(stripped, plain);
    for line in coloured.lines() {
        let ends = line.matches("\x1b[0m").count();
        assert_eq!(line.matches('\x1b').count(), 2 * ends, "{line:?}");
    }
}

#[test]
fn lost_records_are_said_where_they_are_missing_and_at_the_end() {
    let heap = HEAP_BASE as u64;
    let records = [
        fault(100, WORDS, Access::WRITE, heap, ROOT, 1),
        record(150, Ids::new(9, 9), TaskCreated { creator: KERNEL }),
        message(200, ROOT),
        message(300, ROOT),
        resume([150, 250, 400], WORDS, ROOT, 2),
        fault(500, WORDS, Access::WRITE, heap, ROOT, 3),
    ];
    let events = events(guest(4), records);
    let text = shown(Style::Blocks, false, &events, 2);
    let expected = "     time us  thread            event
       0.000  -                 2 records lost
       0.000  root              message -> sigma0 label 0
       0.100  root              message -> sigma0 label 0
       0.200  words             (record of the fault lost)
       0.000                      -> root
       0.050                      <- root answers without a map
       0.200                      = resumed (0.100 pager, 0.150 reply) (incomplete: records lost)
       0.300  words             #PF W 0x10000000 [heap] ip=0x00400123 words::fill+0x23
           -                      = <unresolved at end> asked root
lost 2 records: the guest wrote them faster than they were read
";
    assert_eq!(text, expected);
    let lost = Event::Lost(Lost { time: Nanoseconds(7), count: 2 });
    assert_eq!(
        shown(Style::Json, false, &[lost], 2),
        "{\"v\":1,\"k\":\"lost\",\"t\":7,\"lost\":2}\n{\"v\":1,\"k\":\"end\",\"lost\":2}\n"
    );
}

/// The report on an access that ends with `reason`.
fn report(access: Access, address: u64, reason: Unresolved, answer: u64) -> String {
    let records = [
        fault(100, WORDS, access, address, ROOT, 1),
        unresolved(350, WORDS, (reason, answer), (access, address, CODE), 1),
    ];
    let guest = guest(8);
    guest.map(guest.space_of(3), HEAP_BASE as u64, 0x5000, Rights::READ);
    let text = shown(Style::Summary, false, &events(guest, records), 0);
    text.split_once("lost 0\n").unwrap().1.to_owned()
}

#[test]
fn reports_say_what_was_tried_and_what_came_of_it() {
    let heap = HEAP_BASE as u64;
    assert_eq!(
        report(Access::WRITE | Access::PRESENT, heap + 8, Unresolved::NoProgress, 0),
        "glass: words: unresolved page fault
  access   write at 0x0000000010000008 [heap], page present: its rights do not suffice
  code     0x00400123 words::fill+0x23
  pager    root answers, but the access still faults, 0.250 us after the fault
  mapped   here heap 0x10000000-0x10000fff r--; below: 0x00401000-0x00401fff r--; above: -
  hint     root must map the faulting page, with the right that is missing, and must have touched \
it before: a pager can only pass on what it has
"
    );
    assert_eq!(
        report(
            Access::empty(),
            0x2000_0000,
            Unresolved::MapFailed,
            IpcError::WindowOverflow as u64
        ),
        "glass: words: unresolved page fault
  access   read at 0x0000000020000000 [heap], no page there
  code     0x00400123 words::fill+0x23
  pager    root answered, but the map failed: it does not fit the receive window, 0.250 us after \
the fault
  mapped   nothing here; below: heap 0x10000000-0x10000fff r--; above: -
  hint     root sent an item that is malformed: check its send base, order and address
"
    );
}

#[test]
fn ports_have_reports_of_their_own() {
    assert_eq!(
        report(Access::PORT, 0x60, Unresolved::Refused, 0),
        "glass: words: unresolved port fault
  access   port 0x60, which the task may not use
  code     0x00400123 words::fill+0x23
  pager    root refused: label 0, 0.250 us after the fault
  hint     a program gets ports from its pager, or by ports = [\"0x60\"] in its scenario
"
    );
    let kept = report(Access::PORT, 0x20, Unresolved::Refused, 0);
    assert!(kept.contains("hint     the kernel keeps port 0x20 for itself"), "{kept}");
}

#[test]
fn hints_fit_the_access() {
    let refused = protocol::error::ObjectError::NoMemory.tag().0 as u64;
    let heap = HEAP_BASE as u64;
    let lacks = Access::WRITE | Access::PRESENT;
    for (access, address, reason, expected) in [
        (Access::empty(), 8, Unresolved::Refused, "below 0x1000 looks like a null pointer"),
        (Access::EXECUTE, 8, Unresolved::Refused, "looks like a null function pointer"),
        (lacks, heap, Unresolved::Refused, "the page is mapped r--: no right to write"),
        (Access::EXECUTE, heap, Unresolved::Refused, "the page is mapped r--: no right to execute"),
        (Access::EXECUTE, heap + 0x5000, Unresolved::Refused, "memory that is not code"),
        (Access::WRITE, CODE, Unresolved::Refused, "writes to its own code or constants"),
        (Access::WRITE, STACK_BASE as u64 - 8, Unresolved::Refused, "the stack is full"),
        (Access::empty(), 1 << 40, Unresolved::OutsideUserArea, "outside the user area"),
        (Access::empty(), heap, Unresolved::NoPager, "root has ended, or was stopped, before"),
        (Access::empty(), heap, Unresolved::ReplyLost, "root must answer every page fault"),
        (Access::empty(), heap, Unresolved::MapFailed, "no memory left for page tables"),
    ] {
        let text = report(access, address, reason, refused);
        let hint = text.lines().find(|line| line.starts_with("  hint")).unwrap_or_default();
        assert!(hint.contains(expected), "{text}");
    }
    let text = report(Access::WRITE, heap + 0x9000, Unresolved::Refused, refused);
    assert!(!text.contains("hint"), "{text}");
    assert!(text.contains("root refused: no memory (label -12)"), "{text}");
}

#[test]
fn hints_fit_the_exception() {
    for (vector, expected) in [
        (0, "a division by zero"),
        (6, "an instruction that the processor does not know"),
        // A port that the task has not got is a fault of its own.
        (13, "a privileged instruction, an address that is not canonical, or an access beyond"),
    ] {
        let exception = exception(100, WORDS, vector, ROOT, 1);
        let text = shown(Style::Summary, false, &events(guest(8), [exception]), 0);
        let hint = text.lines().find(|line| line.starts_with("  hint")).unwrap_or_default();
        assert!(hint.contains(expected), "{text}");
    }
}

#[test]
fn no_more_reports_than_people_read() {
    let [_, _, fault, unresolved] = &null_jump()[..] else { panic!("four records") };
    let records = (0..20).flat_map(|_| [*fault, *unresolved]);
    let text = shown(Style::Blocks, false, &events(guest(64), records), 0);
    assert_eq!(text.matches("glass: words: unresolved page fault").count(), 16);
    assert!(text.ends_with("and 4 more unresolved\n"));
}

#[test]
fn twenty_thousand_faults_are_shown_at_once() {
    let one = nested_faults().split_off(3);
    let guest = guest(1 << 18);
    let records = (0..6_667).flat_map(|round| {
        one.clone()
            .into_iter()
            .map(move |traced| Traced { time: traced.time + round * 5000, ..traced })
    });
    let start = Instant::now();
    let events = events(guest, records);
    assert_eq!(events.len(), 20_001);
    for style in [Style::Blocks, Style::Flat, Style::Json, Style::Summary] {
        assert!(!shown(style, true, &events, 0).is_empty());
    }
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?} for five times 20 000 faults");
    println!("{elapsed:?}");
}
