//! A hostile task: what it tries is an exception of its own or nothing, the victim beside it notices
//! nothing, and the kernel's promises hold in the end.

mod common;
#[path = "attack/expected.rs"]
mod expected;

use common::{Ran, Target, on_every_target};
use expected::{INSTRUCTIONS, INSTRUCTIONS_OF_AMD64, INSTRUCTIONS_OF_IA32, Processor};
use object::{Object, ObjectSymbol};
use std::{fs, ops::RangeInclusive};

/// A program of a scenario: its name, its arguments, its server and its priority.
type Program<'a> = (&'a str, &'a str, Option<&'a str>, u8);

/// The priority of those to whom it does not matter.
const USUAL: u8 = 10;

/// Runs programs that are all made of `attack`. The victim must be among them, and end well.
#[track_caller]
fn run(on: Target, programs: &[Program<'_>]) -> Ran {
    let image = on.image("attack").display().to_string();
    let mut scenario = "name = \"attack\"\nsummary = \"A test.\"\n".to_owned();
    for (name, arguments, server, priority) in programs {
        scenario += &format!("[[program]]\nimage = {image:?}\nname = {name:?}\n");
        scenario += &format!("priority = {priority}\n");
        scenario += &format!("arguments = {arguments:?}\nquota = \"2M\"\n");
        if let Some(server) = server {
            scenario += &format!("server = {server:?}\n");
        }
    }
    let file = tempfile::Builder::new().suffix(".toml").tempfile().expect("a temporary file");
    fs::write(file.path(), scenario).expect("room for a temporary file");
    let path = file.path().display().to_string();
    let mut arguments = vec![path, "--quiet".to_owned()];
    if let Some(operations) = long_storm() {
        arguments.extend(["--timeout".to_owned(), format!("{}s", 120 + operations / 50)]);
    }
    let ran = on.checked(&arguments).expect_status(0);
    let unharmed = "victim: 16 pages and all registers as they were";
    assert!(ran.stdout.lines().any(|line| line == unharmed), "{}", ran.stdout);
    ran
}

/// Runs some modes of the program at the same time, beside a victim.
#[track_caller]
fn attack(on: Target, modes: &[&str]) -> Ran {
    let victim = format!("victim {}", modes.len());
    let mut programs = vec![("victim", victim.as_str(), None, USUAL)];
    programs.extend(modes.iter().map(|mode| {
        let name = mode.split(' ').next().unwrap_or(mode);
        (name, *mode, Some("victim"), USUAL)
    }));
    let ran = run(on, &programs);
    for (name, ..) in &programs[1..] {
        let through = format!("{name}: through");
        assert!(ran.stdout.lines().any(|line| line == through), "{}", ran.stdout);
    }
    ran
}

/// The address of the kernel's entry for system calls, where that is one that can be jumped to.
fn entry(on: Target) -> u64 {
    if on.arch == "ia32" {
        return 0;
    }
    let image = fs::read(on.image("kernel")).expect("the kernel");
    let file = object::File::parse(&*image).expect("an ELF file");
    let mut symbols = file.symbols();
    let entry = symbols.find(|symbol| symbol.name() == Ok("system_call_entry"));
    entry.expect("the kernel's entry").address()
}

/// The kind of processor, as `int 0x31` tells.
fn processor(on: Target, ran: &Ran) -> Processor {
    let software = rows(ran, "int")
        .any(|(numbers, outcome)| numbers.contains(&0x31) && outcome == "exception 6 0x0");
    match on.arch {
        "ia32" => Processor::Ia32,
        _ if software => Processor::SoftwareKvm,
        _ => Processor::Amd64,
    }
}

/// What came of numbers in a row: lines like `int 0x5 to 0x2f: exception 13 about it`.
fn rows<'a>(ran: &'a Ran, what: &'a str) -> impl Iterator<Item = (RangeInclusive<usize>, &'a str)> {
    let number = |text: &str| {
        let digits = text.strip_prefix("0x").expect("a hexadecimal number");
        usize::from_str_radix(digits, 16).expect("a hexadecimal number")
    };
    let rows =
        ran.stdout.lines().filter_map(move |line| line.strip_prefix(what)?.strip_prefix(' '));
    rows.filter(|row| row.starts_with("0x")).map(move |row| {
        let (numbers, outcome) = row.split_once(": ").expect("an outcome");
        let (first, last) = numbers.split_once(" to ").expect("two numbers");
        (number(first)..=number(last), outcome)
    })
}

/// Whether an outcome is one of those expected: `13` stands for an exception without an error code or
/// with any, `13 about it` for one whose error code names what was tried.
fn is_one_of(outcome: &str, expected: &str) -> bool {
    expected.split('|').any(|expected| match expected {
        "returned" => outcome == "returned",
        _ => {
            let exception = outcome.strip_prefix("exception ").unwrap_or_default();
            exception == expected || exception.split(' ').next() == Some(expected)
        }
    })
}

/// Every number has come to what is expected of it, and there are at least `count` of them.
#[track_caller]
fn expect_rows(ran: &Ran, what: &str, count: usize, expected: impl Fn(usize) -> &'static str) {
    let mut seen = 0;
    for (numbers, outcome) in rows(ran, what) {
        for number in numbers {
            let expected = expected(number);
            assert!(is_one_of(outcome, expected), "{what} {number:#x}: {outcome}, not {expected}");
            seen += 1;
        }
    }
    assert!(seen >= count, "{what}: only {seen} in\n{}", ran.stdout);
}

fn instructions_and_interrupts(on: Target) {
    let ran = attack(on, &["instructions", "interrupts"]);
    let processor = processor(on, &ran);
    expect_rows(&ran, "int", 256, |number| processor.interrupt(number));
    let own = if on.arch == "ia32" { INSTRUCTIONS_OF_IA32 } else { INSTRUCTIONS_OF_AMD64 };
    for (name, expected) in INSTRUCTIONS.iter().chain(own) {
        let prefix = format!("{name}: ");
        let outcome = ran.stdout.lines().find_map(|line| line.strip_prefix(prefix.as_str()));
        let outcome = outcome.unwrap_or_else(|| panic!("no {name} in\n{}", ran.stdout));
        let expected = expected[processor.column()];
        assert!(is_one_of(outcome, expected), "{name}: {outcome}, not {expected}");
    }
}

fn flags(on: Target) {
    const TRAP: usize = 8;
    const ALL: usize = 22;
    let entry = entry(on);
    let ran = attack(on, &[&format!("flags {entry:#x}"), &format!("df {entry:#x}")]);
    let stepping = |number| if number == TRAP || number == ALL { "1" } else { "returned" };
    expect_rows(&ran, "flag, system call,", 23, stepping);
    expect_rows(&ran, "flag, exception,", 23, |_| "6");
    if entry != 0 {
        expect_rows(&ran, "flag, jump,", 23, stepping);
        expect_rows(&ran, "flag, jump with all in r11,", 23, |_| "1");
        for line in [
            "df: every byte of this line is written in its order, forwards",
            // Written, named, and told that the protocol is unknown.
            "df: 0x0 0x0 -39",
        ] {
            assert!(ran.stdout.lines().any(|said| said == line), "{}", ran.stdout);
        }
    }
}

/// All of the kernel's table and of the local one, with all privileges, and some beyond.
fn selectors(on: Target) {
    let count = if on.has_steady_clock() { 0x200 } else { 0x80 };
    let ran = attack(on, &[&format!("selectors {count}"), "interrupts"]);
    let processor = processor(on, &ran);
    for register in ["es", "ss", "ds", "fs", "gs"] {
        expect_rows(&ran, register, count, |selector| processor.segment(register, selector));
    }
    for operation in ["far jump", "far call"] {
        expect_rows(&ran, operation, count, |selector| processor.far(selector));
    }
}

fn addresses_and_returns(on: Target) {
    let entry = entry(on);
    let ran = attack(on, &[&format!("pointers {entry:#x}"), "returns"]);
    let mut seen = 0;
    for usage in ["jump", "return", "stack", "push", "call"] {
        for line in ran.stdout.lines().filter(|line| line.split(' ').next() == Some(usage)) {
            let (_, outcome) = line.split_once(": ").expect("an outcome");
            let expected = Processor::Amd64.pointer(usage);
            assert!(is_one_of(outcome, expected), "{line}, not {expected}");
            seen += 1;
        }
    }
    assert!(seen >= 60, "{}", ran.stdout);
    // Each was an exception of the task, or came back to where it should.
    let counts = ran.stdout.lines().filter_map(|line| line.strip_prefix("returns: "));
    let counts = counts.filter_map(|line| line.split(' ').next()?.parse::<usize>().ok());
    assert_eq!(counts.sum::<usize>(), 672, "{}", ran.stdout);
}

/// Modes and tables that nobody has set up lead nowhere.
fn the_lowest_pages(on: Target) {
    let ran = attack(on, &["cstar", "ldt", "vm86"]);
    for mode in ["cstar", "ldt", "vm86"] {
        let refused = format!("{mode}: mapping the page: Err(Object(NoSuchCapability))");
        assert!(ran.stdout.lines().any(|line| line == refused), "{}", ran.stdout);
    }
    let tried = |mode: &str| {
        let of_mode = ran.stdout.lines().filter(|line| line.starts_with(&format!("{mode} ")));
        let outcomes: Vec<_> = of_mode.filter_map(|line| Some(line.split_once(": ")?.1)).collect();
        assert!(outcomes.iter().all(|outcome| is_one_of(outcome, "6|13")), "{}", ran.stdout);
        outcomes.len()
    };
    let expected = if on.arch == "ia32" { [0, 2, 8] } else { [1, 2, 0] };
    assert_eq!(["cstar", "ldt", "vm86"].map(tried), expected);
}

fn chains_end(on: Target) {
    let ran = attack(on, &["chain 1000"]);
    // sigma0, the root task, and the program itself have it before.
    let end = ran.stdout.lines().find_map(|line| line.strip_prefix("chain: "));
    let expected = "253, then: the mapping is too far from its origin to be mapped on";
    assert_eq!(end, Some(expected), "{}", ran.stdout);
}

fn two_who_take_back_the_same(on: Target) {
    let rounds = if on.has_steady_clock() { 100 } else { 12 };
    let ran = attack(on, &[&format!("cut {rounds}")]);
    assert!(ran.stdout.contains("cut: interrupted"), "{}", ran.stdout);
}

fn nothing_is_left_in_registers(on: Target) {
    let ran = attack(on, &["leftovers", "interrupts"]);
    assert!(ran.stdout.contains("leftovers: pointers none"), "{}", ran.stdout);
    // A software KVM leaves the selectors of ring 3 alone, whatever ring 0 loads.
    if processor(on, &ran) != Processor::SoftwareKvm {
        assert!(ran.stdout.contains("leftovers: selectors none"), "{}", ran.stdout);
    }
}

/// The victim runs last: whatever the deputy is made to tell it arrives.
fn a_deputy_is_not_confused(on: Target) {
    let ran = run(
        on,
        &[
            ("victim", "victim 1", None, USUAL),
            ("deputy", "deputy", Some("victim"), 20),
            ("misuse", "misuse", Some("deputy"), 30),
            ("distract", "distract", Some("deputy"), 30),
        ],
    );
    let all = "deputy: 6 taken, 6 answered";
    assert!(ran.stdout.lines().any(|line| line == all), "{}", ran.stdout);
}

/// GLASS_STORM=OPERATIONS. The time limit grows with it: 20 ms for each are far too long.
fn long_storm() -> Option<u64> {
    std::env::var("GLASS_STORM").ok().and_then(|text| text.parse().ok())
}

/// Longer with GLASS_STORM=OPERATIONS.
fn a_storm_of_three(on: Target) {
    let operations = long_storm().unwrap_or(if on.has_steady_clock() { 20_000 } else { 2000 });
    let storms = [1, 2, 3].map(|seed| format!("storm {seed} {operations}"));
    run(
        on,
        &[
            ("victim", "victim 3", None, USUAL),
            ("first", &storms[0], Some("victim"), USUAL),
            ("second", &storms[1], Some("victim"), USUAL),
            ("third", &storms[2], Some("victim"), USUAL),
        ],
    );
}

on_every_target! {
    instructions_and_interrupts,
    flags,
    selectors,
    addresses_and_returns,
    the_lowest_pages,
    chains_end,
    two_who_take_back_the_same,
    nothing_is_left_in_registers,
    a_deputy_is_not_confused,
    a_storm_of_three,
}
