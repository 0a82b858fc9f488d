//! The default scenario: an ordinary program, paged in as it runs.

mod common;

use common::{Ran, Target, file, hex, on_every_target};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

/// The first three numbers of a line.
fn numbers(line: &str) -> Vec<u64> {
    let words = line.split_whitespace().take(3);
    words.map(|word| word.parse().unwrap_or_else(|_| panic!("no number in: {line}"))).collect()
}

fn wc(path: &Path) -> Vec<u64> {
    let output = Command::new("wc").arg(path).output().expect("wc can be started");
    numbers(&String::from_utf8_lossy(&output.stdout))
}

fn count(on: Target, path: &Path, options: &[&str]) -> Ran {
    let path = path.to_str().expect("a plain name");
    on.checked(&[&["words", "--file", path], options].concat()).expect_status(0)
}

#[track_caller]
fn agrees_with_wc(on: Target, contents: &[u8]) {
    let file = file(contents);
    let ran = count(on, file.path(), &["--quiet"]);
    assert_eq!(numbers(&ran.stdout), wc(file.path()));
    assert_eq!(ran.trace().count(), 0, "--quiet prints no trace: {}", ran.stderr);
}

/// Bytes without any pattern that matters, the same every time (splitmix64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend((mixed ^ mixed >> 31).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn an_empty_file(on: Target) {
    agrees_with_wc(on, b"");
}

fn text_with_and_without_a_last_newline(on: Target) {
    agrees_with_wc(on, b"one two\nthree\n");
    agrees_with_wc(on, b"\n \t one\x0btwo\x0cthree\rfour");
}

fn a_file_that_ends_with_a_page(on: Target) {
    agrees_with_wc(on, &b"abc\n".repeat(1024));
}

fn a_binary_file(on: Target) {
    // Bytes below 0x80, of which all kinds of wc agree on what a word is.
    let bytes: Vec<u8> = noise(100_000).into_iter().map(|byte| byte & 0x7f).collect();
    agrees_with_wc(on, &bytes);
}

fn eight_megabytes(on: Target) {
    let text = b"The quick brown fox jumps over the lazy dog.\n".repeat(8_000_000 / 45 + 1);
    agrees_with_wc(on, &text[..8_000_000]);
}

fn the_built_in_text(on: Target) {
    let ran = on.checked(&["words", "--quiet"]).expect_status(0);
    assert_eq!(numbers(&ran.stdout), [13, 201, 994]);
}

/// Every page that the program uses was mapped because it faulted, by the pager that it has, and the
/// page that arrived is the one that was asked for.
fn nothing_is_mapped_ahead_of_time(on: Target) {
    let file = file(&b"some words on a line\n".repeat(2000));
    let ran = count(on, file.path(), &["--json"]);
    let faults: Vec<Value> =
        ran.events_of("fault").into_iter().filter(|fault| fault["task"] == "words").collect();
    let mut pages = BTreeSet::new();
    let mut areas: BTreeMap<String, usize> = BTreeMap::new();
    for fault in &faults {
        assert_eq!(fault["pager"], "root", "{fault}");
        assert_eq!((&fault["result"], &fault["present"]), (&"resumed".into(), &false.into()));
        let page = hex(&fault["va"]) & !0xfff;
        assert!(pages.insert(page), "page {page:#x} faulted twice");
        let [map] = fault["maps"].as_array().expect("maps").as_slice() else {
            panic!("one page, one map: {fault}")
        };
        assert_eq!((hex(&map["to"]), &map["order"]), (page, &12.into()), "{fault}");
        assert_eq!(map["status"], "done");
        *areas.entry(fault["area"].as_str().unwrap_or("none").to_owned()).or_default() += 1;
    }
    // 42 000 bytes are eleven pages; the program has text, rodata, data, a heap and a stack.
    assert_eq!(areas["files"], 11, "{areas:?}");
    for area in ["text", "rodata", "data", "heap", "stack", "program info"] {
        assert!(areas.contains_key(area), "no fault in {area}: {areas:?}");
    }
    // Whatever the task got besides was no memory, and it came from the root task.
    for map in ran.events_of("map").iter().filter(|map| map["task"] == "words") {
        assert_eq!((&map["kind"], &map["from"]), (&"capabilities".into(), &"root".into()), "{map}");
    }
}

fn rights_are_no_more_than_the_area_needs(on: Target) {
    let ran = on.checked(&["words", "--json"]).expect_status(0);
    for fault in ran.events_of("fault").iter().filter(|fault| fault["task"] == "words") {
        // Without an execute right in the page table, what arrives is more than what was sent.
        let rights = &fault["maps"][0]["sent_rights"];
        let expected = match fault["area"].as_str() {
            Some("text") => "r-x",
            Some("rodata" | "files" | "program info") => "r--",
            _ => "rw-",
        };
        assert_eq!(rights, expected, "{fault}");
    }
}

/// The pagers' own faults, while they serve one, go up to sigma0 and to the kernel.
fn pagers_form_a_hierarchy(on: Target) {
    let file = file(&noise(20_000));
    let ran = count(on, file.path(), &["--json"]);
    let faults = ran.events_of("fault");
    let nested: Vec<_> = faults.iter().filter(|fault| fault["serving"].is_u64()).collect();
    assert!(!nested.is_empty(), "no pager faulted while it served");
    for fault in nested {
        let served = faults.iter().find(|other| other["n"] == fault["serving"]);
        let served = served.unwrap_or_else(|| panic!("nobody served by {fault}"));
        assert_eq!((&served["pager"], &served["by"]), (&fault["task"], &fault["task"]), "{fault}");
        // Faults are numbered as they begin; the times of some hosts run backwards.
        assert!(served["n"].as_u64() < fault["n"].as_u64(), "{fault}");
        let depth = |fault: &Value| fault["depth"].as_u64().expect("a depth");
        assert_eq!(depth(fault), depth(served) + 1, "{fault}");
    }
    for fault in faults.iter().filter(|fault| fault["task"] == "root") {
        assert_eq!(fault["pager"], "sigma0");
    }
    for fault in faults.iter().filter(|fault| fault["task"] == "sigma0") {
        assert_eq!(fault["pager"], "kernel");
    }
}

fn stages_add_up_and_nothing_is_lost(on: Target) {
    let ran = on.checked(&["words", "--json"]).expect_status(0);
    let mut with_stages = 0;
    for fault in ran.events_of("fault").iter().filter(|fault| fault["pager"] != "kernel") {
        assert_eq!(fault["complete"], true);
        let stage = |key: &str| fault[key].as_u64().unwrap_or_else(|| panic!("{key}: {fault}"));
        // A clock that ran backwards meanwhile leaves a fault without stages, never with wrong ones.
        if fault["to_pager_ns"].is_null() && !on.has_steady_clock() {
            continue;
        }
        let sum = stage("to_pager_ns") + stage("pager_ns") + stage("reply_ns");
        assert!(sum.abs_diff(stage("total_ns")) <= 2, "{fault}");
        with_stages += 1;
    }
    assert!(with_stages > 0, "{}", ran.stderr);
    let end = ran.events().pop().expect("events");
    assert_eq!((&end["k"], &end["lost"]), (&"end".into(), &0.into()));
}

fn a_small_ring_loses_records_and_says_so(on: Target) {
    let file = file(&noise(2_000_000));
    let path = file.path().to_str().expect("a plain name");
    let options = ["words", "--file", path, "--json", "--cmdline", "trace_ring=2"];
    let ran = on.run(&options).expect_status(0);
    let end = ran.events().pop().expect("events");
    assert!(end["lost"].as_u64() > Some(0), "{end}");
}

fn without_a_trace_the_program_runs_all_the_same(on: Target) {
    let ran = on.run(&["words", "--cmdline", "trace=off"]).expect_status(0);
    assert_eq!(numbers(&ran.stdout), [13, 201, 994]);
    assert!(!ran.stderr.contains("#PF"), "{}", ran.stderr);
}

fn messages_are_traced_when_asked_for(on: Target) {
    let ran = on.checked(&["words", "--json", "--cmdline", "trace=all"]).expect_status(0);
    let messages = ran.events_of("message");
    assert!(messages.iter().any(|message| message["task"] == "words"), "{messages:?}");
}

fn every_style_shows_the_same_faults(on: Target) {
    let blocks = on.run(&["words"]).expect_status(0);
    let first = if on.arch == "ia32" { "#PF R 0x004000" } else { "#PF X 0x004000" };
    assert!(blocks.stderr.contains(first), "{}", blocks.stderr);
    assert!(blocks.stderr.contains("-> root"));
    let flat = on.run(&["words", "--flat"]).expect_status(0);
    let in_blocks = blocks.stderr.lines().filter(|line| line.contains("words  ")).count();
    let in_flat = flat.stderr.lines().filter(|line| line.contains(" words ")).count();
    assert!(in_blocks > 5 && in_flat > 5, "{in_blocks} {in_flat}");
    let summary = on.run(&["words", "-c"]).expect_status(0);
    let words = summary.stderr.lines().find(|line| line.starts_with("words"));
    assert!(words.is_some_and(|line| line.split_whitespace().count() > 6), "{}", summary.stderr);
    assert!(summary.stderr.contains("lost 0"), "{}", summary.stderr);
}

fn little_memory_and_much(on: Target) {
    for memory in ["16M", "512M", on.most_memory()] {
        let ran = on.checked(&["words", "--quiet", "--memory", memory]).expect_status(0);
        assert_eq!(numbers(&ran.stdout), [13, 201, 994], "{memory}");
    }
}

on_every_target! {
    an_empty_file,
    text_with_and_without_a_last_newline,
    a_file_that_ends_with_a_page,
    a_binary_file,
    eight_megabytes,
    the_built_in_text,
    nothing_is_mapped_ahead_of_time,
    rights_are_no_more_than_the_area_needs,
    pagers_form_a_hierarchy,
    stages_add_up_and_nothing_is_lost,
    a_small_ring_loses_records_and_says_so,
    without_a_trace_the_program_runs_all_the_same,
    messages_are_traced_when_asked_for,
    every_style_shows_the_same_faults,
    little_memory_and_much,
}
