//! Attacks by what every task may do: who is refused what, and a victim that does not notice. The kernel's promises
//! hold meanwhile and in the end, and all kernel memory comes back.

mod common;

use common::{Ran, Target, on_every_target};
use serde_json::{Value, json};

/// A run of an attack.
struct Siege {
    ran: Ran,
    events: Vec<Value>,
}

/// Rounds that the victim works on when the attack has done its worst.
const ROUNDS: u64 = 4;

impl Siege {
    /// Runs an attack, which must leave the victim alone and give all back.
    #[track_caller]
    fn run(on: Target, name: &str) -> Self {
        let ran = on.checked(&[name, "--json"]).expect_status(0);
        let siege = Self { events: ran.events(), ran };
        siege.expect_unharmed();
        siege.expect_all_back(name);
        siege
    }

    /// The victim got what its pager had for it, each time, and all faults of both were resolved.
    #[track_caller]
    fn expect_unharmed(&self) {
        let sum: u64 = (1..=8).map(|page: u64| page.pow(2)).sum();
        let said = self.ran.stdout.lines().find_map(|line| line.strip_prefix("victim: "));
        let said = said.unwrap_or_else(|| panic!("no victim in\n{}", self.ran.stdout));
        let rounds = said.strip_prefix(&format!("the sum is {sum}, ")).expect("the sum");
        let after = rounds.split(", ").nth(1).expect("two numbers");
        assert_eq!(after, format!("{ROUNDS} times after"));
        let faults = self.of_kind("fault");
        let own = faults.filter(|fault| fault["task"] == "victim" || fault["task"] == "keeper");
        let own: Vec<_> = own.collect();
        assert!(own.iter().all(|fault| fault["result"] == "resumed"));
        let looked_at = own.iter().filter(|fault| fault["area"] == "pager area").count() as u64;
        assert!(looked_at >= 8 * ROUNDS, "only {looked_at} pages");
    }

    /// How often the victim did its work before the attack had done its worst.
    fn rounds_beside(&self) -> u64 {
        let said = self.ran.stdout.lines().find(|line| line.starts_with("victim: "));
        let number = said.and_then(|line| line.split(", ").nth(1)?.split(' ').next()?.parse().ok());
        number.expect("a number")
    }

    #[track_caller]
    fn expect_all_back(&self, name: &str) {
        let prefix = format!("{name}: kernel memory left: ");
        let said = self.ran.stdout.lines().find_map(|line| line.strip_prefix(prefix.as_str()));
        let said = said.unwrap_or_else(|| panic!("nothing is said in\n{}", self.ran.stdout));
        let (before, after) = said.split_once(" bytes before, ").expect("two numbers");
        assert_eq!(after, format!("{before} after"));
        assert!(before.parse::<u64>().expect("a number") > 0);
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.events.iter().filter(move |event| event["k"] == kind)
    }

    /// Whose faults and exceptions were not resolved, who was asked, and why not: in the order of their beginnings.
    fn failures(&self) -> Vec<[&str; 3]> {
        let failed = self.events.iter().filter(|event| {
            let is_span = event["k"] == "fault" || event["k"] == "exception";
            is_span && event["result"] != "resumed"
        });
        let mut failed: Vec<_> = failed.collect();
        // What is read while others are open may be shown before them.
        failed.sort_by_key(|span| span["t"].as_u64());
        let words = failed.into_iter().map(|span| {
            let why = if span["result"] == "unresolved" { "reason" } else { "result" };
            ["task", "pager", why].map(|key| span[key].as_str().unwrap_or("-"))
        });
        words.collect()
    }

    /// What the attack says, in its order.
    fn said(&self, name: &str) -> Vec<&str> {
        let prefix = format!("{name}: ");
        let said = self.ran.stdout.lines();
        let said = said.filter_map(|line| line.strip_prefix(prefix.as_str()));
        said.filter(|line| !line.starts_with("kernel memory left")).collect()
    }

    /// Items that were not entered: for whom, and why.
    fn refused_items(&self) -> Vec<[&str; 2]> {
        let items = self.of_kind("map").filter(|item| item["status"] != "done");
        items.map(|item| ["task", "status"].map(|key| item[key].as_str().unwrap_or("-"))).collect()
    }
}

/// The number at the beginning of a line.
#[track_caller]
fn number(line: &str) -> u64 {
    let word = line.split(' ').next().unwrap_or_default();
    word.parse().unwrap_or_else(|_| panic!("no number: {line}"))
}

fn mapbomb(on: Target) {
    let siege = Siege::run(on, "mapbomb");
    let said = siege.said("mapbomb");
    assert_eq!(said.len(), 2, "{said:?}");
    for line in said {
        let places = line.strip_prefix("a page at ").expect("places");
        assert!(number(places) >= 4096, "{line}");
        assert!(line.ends_with("twice as many: no memory is left"), "{line}");
    }
    assert_eq!(siege.refused_items(), [["bomb", "no_memory"]; 2]);
    assert!(siege.failures().is_empty(), "{:?}", siege.failures());
    assert!(siege.rounds_beside() > 0);
}

fn thread_bomb(on: Target) {
    let siege = Siege::run(on, "thread-bomb");
    let said = siege.said("thread-bomb");
    let [gates, factories, tasks, threads] = said[..] else { panic!("{said:?}") };
    for (line, what) in [(gates, "gates"), (factories, "factories"), (tasks, "tasks")] {
        let rest = format!("{} {what}, one more: no memory is left", number(line));
        assert!(number(line) > 0 && line == rest, "{line}");
    }
    let running = number(threads);
    assert!(running > 10 && threads.ends_with("one more: no memory is left"), "{threads}");
    // The kernel says the same; and all of them have ended.
    let of_bomb = |kind| siege.of_kind(kind).filter(|event| event["task"] == "bomb");
    assert_eq!(of_bomb("thread").count() as u64, running);
    let ended = siege.of_kind("ended").filter(|event| event["kind"] == "thread");
    assert!(ended.count() as u64 >= running);
    assert!(siege.rounds_beside() > 0);
}

fn ipc_storm(on: Target) {
    let siege = Siege::run(on, "ipc-storm");
    let expected = [
        "in the victim's name: 120 refused",
        "with no sense: 120 refused",
        "with an item that nobody wants: 120 failed",
        "without waiting for an answer: 120 sent",
    ];
    assert_eq!(siege.said("ipc-storm"), expected);
    assert_eq!(siege.refused_items(), [["keeper", "overflow"]; 120]);
    assert!(siege.failures().is_empty(), "{:?}", siege.failures());
    assert!(siege.rounds_beside() > 0);
}

fn recursive_map(on: Target) {
    let siege = Siege::run(on, "recursive-map");
    let expected = [
        "there and back 126 times, once more: a mapping is too far from its origin to be mapped on",
        "over where it comes from: done",
    ];
    assert_eq!(siege.said("recursive-map"), expected);
    assert_eq!(siege.refused_items(), [["other", "too_deep"]]);
    assert!(siege.failures().is_empty(), "{:?}", siege.failures());
}

/// Neither of them ever gets an answer.
fn pager_cycle(on: Target) {
    let siege = Siege::run(on, "pager-cycle");
    // The first one's task ends, and then there is nobody to answer the other one.
    let mut failures = siege.failures();
    failures.sort_unstable();
    assert_eq!(failures, [["a", "b", "thread_ended"], ["b", "a", "no_pager"]]);
    for (who, other) in [("a", "b"), ("b", "a")] {
        let fault = siege.of_kind("fault").find(|fault| fault["task"] == who);
        let fault = fault.expect("a fault");
        assert_eq!((&fault["pager_waits_for"], &fault["circle"]), (&json!([who]), &true.into()));
        assert_eq!(fault["pager"], other);
    }
    let words = on.run(&["pager-cycle"]).expect_status(0).stderr;
    assert!(words.contains("= <thread ended> asked b, which waits for a: a circle"), "{words}");
    assert!(words.contains("a waits for b: a circle"), "{words}");
    assert!(words.contains("hint     a circle: each of them waits for the next one"), "{words}");
}

/// The last one has nobody to turn to, and so on to the first.
fn handler_chain(on: Target) {
    let siege = Siege::run(on, "handler-chain");
    let expected = [
        ["first", "second", "reply_lost"],
        ["second", "third", "reply_lost"],
        ["third", "fourth", "reply_lost"],
        ["fourth", "last", "reply_lost"],
        ["last", "kernel", "no_pager"],
    ];
    assert_eq!(siege.failures(), expected);
    let expected =
        "5 exceptions, one in the handler of the other: there is nobody behind the capability";
    assert_eq!(siege.said("handler-chain"), [expected]);
}

fn pager_dies(on: Target) {
    let siege = Siege::run(on, "pager-dies");
    assert_eq!(siege.said("pager-dies").len(), 3);
    // The exception that each of these becomes ends with its thread.
    let faults: Vec<_> =
        siege.failures().into_iter().filter(|[.., why]| *why != "thread_ended").collect();
    let expected = [
        ["client", "deaf pager", "no_pager"],
        ["client", "mute pager", "reply_lost"],
        ["client", "clumsy pager", "reply_lost"],
        ["clumsy pager", "attacker", "reply_lost"],
    ];
    assert_eq!(faults, expected);
    let words = on.run(&["pager-dies"]).expect_status(0).stderr;
    for part in [
        "hint     deaf pager has ended, or was stopped, before it took the message",
        "hint     clumsy pager has come to a fault of its own that nobody resolved",
    ] {
        assert!(words.contains(part), "{words}");
    }
}

fn pager_lies(on: Target) {
    let siege = Siege::run(on, "pager-lies");
    let said = siege.said("pager-lies");
    assert_eq!(said.len(), 7, "{said:?}");
    assert_eq!(said[6], "then it maps what it has, and its client goes on");
    let reasons =
        ["no_progress", "no_progress", "no_progress", "no_progress", "map_failed", "refused"];
    let expected = reasons.map(|reason| ["client", "liar", reason]);
    let failures = siege.failures();
    assert_eq!(failures, expected);
}

fn pager_sleeps(on: Target) {
    let siege = Siege::run(on, "pager-sleeps");
    assert_eq!(siege.failures(), [["lost", "asker", "thread_ended"]]);
    let late = siege
        .of_kind("fault")
        .find(|fault| fault["task"] == "patient" && fault["pager"] == "sleeper");
    let late = late.expect("a client that waits long");
    assert_eq!(late["result"], "resumed");
    assert_eq!(late["maps"][0]["from"], "sleeper");
}

on_every_target! {
    mapbomb,
    thread_bomb,
    ipc_storm,
    recursive_map,
    pager_cycle,
    handler_chain,
    pager_dies,
    pager_lies,
    pager_sleeps,
}
