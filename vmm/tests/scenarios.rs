//! Each slide's scenario: what its trace shows, with the database checked at every step, and what is in
//! the database when it has ended.

mod common;

use common::{Machine, Ran, Target, hex, lines, named, on_every_target, tree};
use serde_json::{Value, json};

/// Where pagers offer what they have.
const AREA: u64 = 0x0800_0000;
const PAGE: u64 = 0x1000;

/// A run of a scenario.
struct Scenario {
    ran: Ran,
    events: Vec<Value>,
}

impl Scenario {
    #[track_caller]
    fn run(on: Target, name: &str) -> Self {
        Self::run_to(on, name, 0)
    }

    #[track_caller]
    fn run_to(on: Target, name: &str, status: i32) -> Self {
        let ran = on.run(&[name, "--json", "--check"]).expect_status(status);
        assert!(ran.checks() > 50);
        Self::of(ran)
    }

    fn of(ran: Ran) -> Self {
        let events = ran.events();
        Self { ran, events }
    }

    /// The faults of a task on what its pager offers.
    fn faults(&self, task: &str) -> Vec<&Value> {
        let of_task = |event: &&Value| {
            event["k"] == "fault" && event["task"] == task && event["area"] == "pager area"
        };
        self.events.iter().filter(of_task).collect()
    }

    /// Address, access, and what was mapped for each of these faults, as `op rights from`.
    fn answers(&self, task: &str) -> Vec<(u64, &str, String)> {
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let of_item = |item: &Value| match item["status"] == "done" {
            true => [&item["op"], &item["rights"], &item["from"]].map(text).join(" "),
            false => text(&item["status"]),
        };
        let answer = |fault: &&Value| {
            let items = fault["maps"].as_array().expect("items").iter().map(of_item);
            items.collect::<Vec<_>>().join(", ")
        };
        let all = self.faults(task).into_iter();
        all.map(|fault| {
            let access = fault["access"].as_str().expect("an access");
            (hex(&fault["va"]), access, answer(&fault))
        })
        .collect()
    }

    /// What was unmapped by request: what was taken, whether from the task's own mappings too, and how
    /// many mappings are gone and reduced.
    fn unmaps(&self) -> Vec<(&str, bool, u64, u64)> {
        let by_request = self.events.iter().filter(|event| event["op"] == "unmap");
        let number = |value: &Value| value.as_u64().expect("a number");
        by_request
            .map(|event| {
                let taken = event["taken"].as_str().expect("rights");
                let own = event["own"].as_bool().expect("a flag");
                (taken, own, number(&event["gone"]), number(&event["reduced"]))
            })
            .collect()
    }

    /// The items that a task got in messages and operations, not for faults.
    fn items(&self, task: &str, kind: &str) -> Vec<&Value> {
        let is_item =
            |event: &&Value| event["k"] == "map" && event["task"] == task && event["kind"] == kind;
        self.events.iter().filter(is_item).collect()
    }

    #[track_caller]
    fn expect_output(&self, lines: &[&str]) {
        for line in lines {
            assert!(self.ran.stdout.lines().any(|said| said == *line), "{}", self.ran.stdout);
        }
    }
}

/// The mappings of a frame as `depth name rights`, with a star if they came by grant.
fn shape(machine: &Machine, place: &str) -> Vec<String> {
    let mappings = tree(&machine.json(&["who", place]));
    let line = |mapping: &Value| {
        let star = if mapping["granted"] == true { "*" } else { "" };
        let text = |key: &str| mapping[key].as_str().unwrap_or("?").to_owned();
        format!("{} {}{star} {}", mapping["depth"], text("name"), text("rights"))
    };
    mappings.iter().map(line).collect()
}

fn expect_sound(machine: &Machine) {
    let check = machine.json(&["check"]);
    assert_eq!((&check["ok"], &check["of_one_moment"]), (&true.into(), &true.into()), "{check}");
}

fn map(on: Target) {
    let scenario = Scenario::run(on, "map");
    scenario.expect_output(&[
        "app: page 1 reads 42: it is the same frame",
        "app: wrote 43 to page 1, page 0 reads 43",
        "app: page 2 reads 43",
    ]);
    let mapped = |what: &str| format!("map {what} pager");
    let expected = [
        (AREA, "w", mapped("rw-")),
        (AREA + PAGE, "r", mapped("r--")),
        (AREA + PAGE, "w", mapped("rw-")),
        (AREA + 2 * PAGE, "r", "source_empty".to_owned()),
        (AREA + 2 * PAGE, "r", mapped("rw-")),
    ];
    assert_eq!(scenario.answers("app"), expected);
    let frames: Vec<_> = scenario.faults("app").iter().map(|f| &f["maps"][0]["pfn"]).collect();
    assert!(frames[1] == frames[0] && frames[4] == frames[0], "{frames:?}");
    assert_eq!(scenario.faults("app")[2]["present"], true);
    // Rights grew: nothing was taken away for that.
    assert!(scenario.faults("app").iter().all(|fault| fault["unmaps"].is_null()));

    let machine = Machine::after(on, "map");
    let shape = shape(&machine, "app:0x8000000");
    assert_eq!(shape[2..], ["2 pager rwx", "3 app rw-", "3 app rw-", "3 app rw-"]);
    expect_sound(&machine);
}

fn grant(on: Target) {
    let scenario = Scenario::run(on, "grant");
    scenario.expect_output(&["app: my friend reads 2: aliases remain"]);
    assert_eq!(scenario.answers("friend"), [(AREA, "r", "map r-- pager".to_owned())]);
    let expected = [
        (AREA, "w", "grant rw- pager".to_owned()),
        // The pager has it no more.
        (AREA + PAGE, "r", "source_empty".to_owned()),
        (AREA + PAGE, "r", "map rw- pager".to_owned()),
    ];
    assert_eq!(scenario.answers("app"), expected);
    assert_eq!(scenario.unmaps(), [("r--", false, 0, 0)]);

    let machine = Machine::after(on, "grant");
    let shape = shape(&machine, "app:0x8000000");
    assert_eq!(shape[1..], ["1 root rwx", "2 app* rw-", "3 friend r--"]);
    expect_sound(&machine);
}

fn unmap(on: Target) {
    let scenario = Scenario::run(on, "unmap");
    scenario.expect_output(&[
        "app: the pager can tell whether I read or wrote since it last asked",
        "app: without the right to write I still read 1",
        "app: the page was taken and came back with a fault: it reads 2",
    ]);
    let nothing = ("---", false, 0, 0);
    let expected = [
        nothing,
        nothing,
        nothing,
        ("-w-", false, 0, 1),
        ("r--", false, 1, 0),
        // The client's and its own
        ("r--", true, 2, 0),
    ];
    assert_eq!(scenario.unmaps(), expected);
    let mapped = || "map rw- pager".to_owned();
    let faults = ["w", "w", "r", "r"].map(|access| (AREA, access, mapped()));
    assert_eq!(scenario.answers("app"), faults);
    let present: Vec<_> = scenario.faults("app").iter().map(|f| &f["present"]).collect();
    assert_eq!(present, [false, true, false, false]);
    let frames: Vec<_> = scenario.faults("app").iter().map(|f| &f["maps"][0]["pfn"]).collect();
    assert!(frames[2] == frames[0] && frames[3] != frames[0], "{frames:?}");

    let machine = Machine::after(on, "unmap");
    // The pager has nothing any more where the first page was.
    let map = machine.json(&["map", "pager"]);
    let ranges = map["memory"].as_array().unwrap();
    let first = ranges.iter().find(|range| range["address"] == "0xb0000000");
    assert!(first.is_none(), "{map}");
    assert_eq!(shape(&machine, "app:0x8000000")[2..], ["2 pager rwx", "3 app rw-"]);
    expect_sound(&machine);
}

fn window_larger(on: Target) {
    let scenario = Scenario::run(on, "window-larger");
    let items = scenario.items("receiver", "memory");
    let placed: Vec<_> = items
        .iter()
        .map(|item| {
            assert_eq!((&item["order"], &item["window"]), (&12.into(), &15.into()));
            (hex(&item["source"]) / PAGE % 8, (hex(&item["to"]) - AREA) / PAGE)
        })
        .collect();
    assert_eq!(placed, [(3, 0), (5, 3), (6, 7), (2, 4)]);
    scenario.expect_output(&["  window [ ][ ][ ][5][ ][ ][ ][ ]"]);

    let machine = Machine::after(on, "window-larger");
    let map = machine.json(&["map", "receiver"]);
    let ranges = map["memory"].as_array().unwrap().iter();
    let pages: Vec<_> = ranges
        .filter(|range| range["from"]["name"] == "sender")
        .map(|range| (hex(&range["address"]) - AREA, range["size"].as_u64().unwrap()))
        .collect();
    assert_eq!(pages, [(0, PAGE), (3 * PAGE, 2 * PAGE), (7 * PAGE, PAGE)]);
    expect_sound(&machine);
}

fn window_smaller(on: Target) {
    let scenario = Scenario::run(on, "window-smaller");
    let items = scenario.items("receiver", "memory");
    let parts: Vec<_> = items
        .iter()
        .map(|item| {
            assert_eq!((&item["order"], &item["sent_order"]), (&13.into(), &15.into()));
            assert_eq!(hex(&item["to"]), AREA + 4 * PAGE);
            (hex(&item["source"]) - hex(&item["sent"])) / PAGE
        })
        .collect();
    assert_eq!(parts, [0, 2, 4, 6]);
    // Each took the place of the one before.
    let replaced = scenario.events.iter().filter(|event| event["op"] == "replace");
    let replaced = replaced.filter(|event| event["task"] == "receiver");
    assert_eq!(replaced.map(|event| event["gone"].as_u64().unwrap()).sum::<u64>(), 6);
    scenario.expect_output(&["  sends  [0][1][2][3][4][5][6][7]", "  window             [4][5]"]);

    let machine = Machine::after(on, "window-smaller");
    assert_eq!(shape(&machine, "receiver:0x8004000")[2..], ["2 sender rwx", "3 receiver r--"]);
    expect_sound(&machine);
}

fn many_pages(on: Target) {
    let scenario = Scenario::run(on, "many-pages");
    scenario.expect_output(&["app: 255 faults saved"]);
    let faults = scenario.faults("app");
    assert_eq!(faults.len(), 257);
    let orders = |order: u64| faults.iter().filter(|f| f["maps"][0]["order"] == order).count();
    assert_eq!((orders(12), orders(20)), (256, 1));
    let large = &faults[256]["maps"][0];
    assert_eq!((&large["entries"], hex(&large["to"])), (&256.into(), AREA + 256 * PAGE));

    let machine = Machine::after(on, "many-pages");
    let map = machine.json(&["map", "app"]);
    let ranges = map["memory"].as_array().unwrap().iter();
    let offered = ranges.filter(|range| (AREA..2 * AREA).contains(&hex(&range["address"])));
    assert_eq!(offered.map(|range| range["mappings"].as_u64().unwrap()).sum::<u64>(), 512);
    // Both copies are of one memory.
    let shape = shape(&machine, "app:0x8107000");
    assert_eq!(shape[2..], ["2 pager rwx", "3 app r--", "3 app r--"]);
    expect_sound(&machine);
}

fn superpage(on: Target) {
    let order = if on.arch == "ia32" { 22 } else { 21 };
    let behind = AREA + (1 << order);
    let scenario = Scenario::run(on, "superpage");
    let faults = scenario.faults("app");
    let mapped: Vec<_> = faults
        .iter()
        .map(|fault| {
            let item = &fault["maps"][0];
            (hex(&item["to"]), item["order"].as_u64().unwrap(), &item["entries"])
        })
        .collect();
    let one = &json!(1);
    let whole = (AREA, order, one);
    let small = |number: u64| (behind + number * PAGE, 12, one);
    let expected = [whole, small(0), small(1), small(2), small(3), small(0), small(1), whole];
    assert_eq!(mapped, expected);
    // Two small pages, and the superpage that they were in.
    assert_eq!(scenario.unmaps(), [("r--", false, 3, 0)]);

    let machine = Machine::after(on, "superpage");
    let mappings = tree(&machine.json(&["who", "app:0x8000000"]));
    let of_app = mappings.iter().filter(|mapping| mapping["name"] == "app");
    let sizes: Vec<_> = of_app.map(|mapping| mapping["size"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [1 << order, PAGE]);
    assert_eq!(named(&mappings, "pager")["size"], 1 << order);
    expect_sound(&machine);
}

fn ioport(on: Target) {
    // The intruder is stopped: that is its end, and the machine's status.
    let scenario = Scenario::run_to(on, "ioport", 1);
    scenario.expect_output(&["driver: wrote 0xa5 to port 0x3ff and read it back"]);
    assert!(!scenario.ran.stdout.contains("which must not be"), "{}", scenario.ran.stdout);
    let of = |task: &str| {
        let events = scenario.events.iter();
        let is_port = |event: &&Value| event["access"] == "port" && event["task"] == task;
        let [fault] = events.filter(is_port).collect::<Vec<_>>()[..] else {
            panic!("one port fault of {task}");
        };
        fault
    };
    let fault = of("driver");
    assert_eq!((&fault["pager"], &fault["result"]), (&"root".into(), &"resumed".into()));
    let item = &fault["maps"][0];
    assert_eq!((&item["kind"], &item["to"]), (&"ports".into(), &"0x3ff".into()));
    assert_eq!((&item["order"], &item["rights"]), (&0.into(), &"rw-".into()));
    let fault = of("intruder");
    assert_eq!((&fault["result"], &fault["reason"]), (&"unresolved".into(), &"refused".into()));

    let machine = Machine::after(on, "ioport");
    let ports = machine.json(&["map", "driver", "--ports"]);
    let [range] = &ports["ports"].as_array().unwrap()[..] else { panic!("{ports}") };
    assert_eq!(range["from"]["name"], "root");
    assert_eq!(machine.json(&["map", "intruder", "--ports"])["ports"], json!([]));
    expect_sound(&machine);
}

fn capability(on: Target) {
    let scenario = Scenario::run(on, "capability");
    scenario.expect_output(&[
        "app: the one that came by grant works too",
        "app: revoked: behind both gates there is nobody",
        "app: the owner still has its own",
    ]);
    let items = scenario.items("app", "capabilities").into_iter();
    let from_owner = items.filter(|item| item["from"] == "owner");
    let got: Vec<_> = from_owner
        .map(|item| (hex(&item["to"]), item["op"].as_str(), item["rights"].as_str()))
        .collect();
    let expected =
        [(32, "map", "r--"), (33, "grant", "r--"), (34, "map", "r--"), (34, "map", "rw-")];
    assert_eq!(got, expected.map(|(to, op, rights)| (to, Some(op), Some(rights))));
    // Both gates; the calls that unmap no flexpage leave no record.
    assert_eq!(scenario.unmaps(), [("r--", false, 2, 0)]);

    let machine = Machine::after(on, "capability");
    let table = machine.json(&["map", "app", "--caps"]);
    let rows = table["capabilities"].as_array().unwrap();
    let from_owner = rows.iter().filter(|row| row["from"]["name"] == "owner");
    let indices: Vec<_> = from_owner.map(|row| row["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [34]);
    expect_sound(&machine);
}

fn revoke_tree(on: Target) {
    let scenario = Scenario::run(on, "revoke-tree");
    scenario.expect_output(&[
        "10 tasks read the page: the sum is 10",
        "the top took it back and wrote 2",
        "10 tasks read the page: the sum is 20",
    ]);
    let pager_of = |number: usize| match number {
        1 | 2 => "top".to_owned(),
        _ => format!("node{}", (number - 1) / 2),
    };
    for number in 1..10 {
        let answer = format!("map r-- {}", pager_of(number));
        let twice = [(AREA, "r", answer.clone()), (AREA, "r", answer)];
        assert_eq!(scenario.answers(&format!("node{number}")), twice);
    }
    assert_eq!(scenario.unmaps(), [("r--", false, 9, 0)]);

    let machine = Machine::after(on, "revoke-tree");
    let mappings = tree(&machine.json(&["who", "node9:0x8000000"]));
    for number in 1..10 {
        let node = named(&mappings, &format!("node{number}"));
        let parent = &mappings[node["parent"].as_u64().unwrap() as usize];
        assert_eq!(parent["name"], pager_of(number).as_str());
    }
    let dry = ["who", "node9:0x8000000", "--unmap-dry-run", "--from", "top"];
    assert_eq!(machine.json(&dry)["unmap"]["mappings"], 9);
    expect_sound(&machine);
}

/// Thirty clients fault, and a pager with one thread keeps all of them waiting until the last one is
/// there; it answers in the order of their blocks, which is not the one in which they came.
fn elevator(on: Target) {
    const CLIENTS: u64 = 30;
    // So many tasks take a check long.
    let ran = on.run(&["elevator", "--json", "--check=32"]).expect_status(0);
    assert!(ran.checks() > 5);
    let scenario = Scenario::of(ran);
    scenario.expect_output(&["pager: 30 wait"]);
    let of_client = |number| format!("client{number}");
    let mut faults: Vec<&Value> = Vec::new();
    for number in 0..CLIENTS {
        let name = of_client(number);
        let block = number * 7 % CLIENTS;
        let answer = (AREA + block * PAGE, "r", "map r-- elevator".to_owned());
        assert_eq!(scenario.answers(&name), [answer], "{name}");
        faults.extend(scenario.faults(&name));
        let line = format!("block {block} is here");
        assert!(scenario.ran.stdout.contains(&line[1..]), "{}", scenario.ran.stdout);
    }
    let number = |fault: &Value, key: &str| fault[key].as_u64().expect("a number");
    assert!(faults.iter().all(|fault| fault["result"] == "resumed" && fault["by"] == "elevator"));
    if on.has_steady_clock() {
        // All had asked before the first one was answered.
        let last_received = faults.iter().map(|fault| number(fault, "received")).max();
        let first_answered = faults.iter().map(|fault| number(fault, "answered")).min();
        assert!(last_received < first_answered, "{last_received:?}, {first_answered:?}");
        let order = |key: &str| {
            let mut faults = faults.clone();
            faults.sort_by_key(|fault| number(fault, key));
            faults.into_iter().map(|fault| hex(&fault["va"])).collect::<Vec<_>>()
        };
        assert!(order("answered").is_sorted());
        assert!(!order("received").is_sorted());
    }

    let machine = Machine::after(on, "elevator");
    let tasks = lines(&machine.view(&["tasks", "--json"]).expect_status(0));
    let waits = |task: &&Value| !task["threads"][0]["reply"].is_null();
    assert_eq!(tasks.iter().filter(waits).count(), 0, "{tasks:?}");
    expect_sound(&machine);
}

/// The tasks of a machine: all names, and what their factories have spent.
fn living(machine: &Machine) -> Vec<(String, u64)> {
    let ran = machine.view(&["tasks", "--json"]);
    let of = |task: &Value| {
        let name = task["name"].as_str().expect("a name").to_owned();
        (name, task["kernel_memory_used"].as_u64().expect("a number"))
    };
    lines(&ran).iter().map(of).collect()
}

fn task_creation(on: Target) {
    let scenario = Scenario::run(on, "task-creation");
    let said = scenario.ran.stdout.lines().filter_map(|line| line.strip_prefix("creation: "));
    // How many pages of code a thread touches is the compiler's affair: of its faults the first one.
    let mut is_first = false;
    let said: Vec<_> = said
        .filter(|line| {
            let was_first = std::mem::replace(&mut is_first, line.starts_with("ex_regs"));
            was_first || !line.contains("a fault of")
        })
        .collect();
    let expected = [
        "create_task: UTCBs from 0xbfff0000 on, else nothing",
        "create_thread: thread 1, in no task yet",
        "control: thread 1 in the task, its pager is pager one",
        "create_thread: thread 2, in no task yet",
        "control: thread 2 in the task, its pager is pager two",
        "ex_regs: thread 1 is to run",
        "pager one: a fault of thread 1, fetch of an instruction",
        "thread 1 runs",
        "thread 1 answers",
        "unmap: the task has no code any more",
        "ex_regs: thread 2 is to run",
        "pager two: a fault of thread 2, fetch of an instruction",
        "thread 2 runs",
        "thread 1 has ended; thread 2 answers",
        "the task has ended; thread 2 does not",
    ];
    assert_eq!(said, expected);
    // What the kernel says of it. It got its name when it was made.
    let number = |event: &Value| (event["task"] == "made").then(|| event["task_id"].clone());
    let number = scenario.events.iter().find_map(number).expect("the task");
    let of_made = |event: &&Value| event["task_id"] == number;
    let made: Vec<_> = scenario.events.iter().filter(of_made).collect();
    let threads: Vec<_> = made.iter().filter(|event| event["k"] == "thread").collect();
    assert_eq!((&made[0]["k"], &made[0]["by"]), (&"task".into(), &"creator".into()));
    assert_eq!(threads.len(), 2);
    for (thread, pager) in threads.iter().zip(["pager one", "pager two"]) {
        let is_own = |event: &&&Value| event["thread_id"] == thread["thread_id"];
        let own = made.iter().filter(|event| event["k"] == "fault").filter(is_own);
        let faults: Vec<_> = own.collect();
        // The first of them is the fetch of the first instruction.
        assert_eq!(faults[0]["va"], faults[0]["ip"], "{}", faults[0]);
        assert!(faults.len() >= 2, "{faults:?}");
        for fault in faults {
            assert_eq!((&fault["pager"], &fault["result"]), (&pager.into(), &"resumed".into()));
            assert_eq!(fault["maps"][0]["from"], pager, "{fault}");
        }
    }
    let ended = scenario.events.iter().filter(|event| event["k"] == "ended");
    let kinds: Vec<_> = ended.map(|event| &event["kind"]).take(4).collect();
    assert_eq!(kinds, ["gate", "thread", "task", "thread"]);
    let machine = Machine::after(on, "task-creation");
    expect_sound(&machine);
    assert!(living(&machine).iter().all(|(task, _)| task != "made"), "it has ended");
}

fn debugger(on: Target) {
    let scenario = Scenario::of(on.run(&["debugger", "--json", "--check"]).expect_status(0));
    let said = scenario.ran.stdout.lines().filter_map(|line| line.strip_prefix("debugger: "));
    let expected = [
        "breakpoint 0x3 at +0x6: ax=5 cx=0",
        "step 0x1 at +0x8: ax=5 cx=0",
        "step 0x1 at +0xa: ax=5 cx=5",
        "step 0x1 at +0xd: ax=4 cx=5",
        "step 0x1 at +0x8: ax=4 cx=5",
        "breakpoint 0x3 at +0x10: ax=0 cx=15",
        "changed: breakpoint 0x3 at +0x10: ax=0 cx=18",
        "foreign: system call 0x80 at +0x12: ax=0 cx=18",
        "answered: exception 0x6 at +0x12: ax=42 cx=18",
        "triggered: exception 0xff at +0x14: ax=42 cx=7",
        "it masks the floating-point exceptions 0x3f",
    ];
    assert_eq!(said.collect::<Vec<_>>(), expected);
    let set = scenario.events.iter().filter(|event| event["k"] == "registers");
    let ways: Vec<_> = set.map(|event| event["way"].as_str().expect("a way")).collect();
    let pieces = if on.arch == "ia32" { 3 } else { 2 };
    let mut expected = vec!["answer"; 8];
    expected.push("write");
    expected.extend(vec!["write-floating-point"; pieces]);
    expected.push("trigger");
    assert_eq!(ways, expected);
}

fn sums(on: Target) {
    let ran = on.run(&["sums", "--quiet"]).expect_status(0);
    let said: Vec<_> = ran.stdout.lines().filter_map(|line| line.strip_prefix("sums: ")).collect();
    // All begin before the first one has its sum: each was preempted.
    let (begun, done) = said.split_at(3);
    assert!(begun.iter().all(|line| line.ends_with("begins")), "{said:?}");
    let mut done = done.to_vec();
    done.sort_unstable();
    let kinds = if on.arch == "ia32" { 1 } else { 2 };
    let expected = [3, 5, 7].map(|step| {
        let sums = vec![step * 100_000_000u64; kinds];
        format!("{step} times 100000000 is {sums:?}")
    });
    assert_eq!(done, expected);
}

fn delete_midway(on: Target) {
    let ran = on.run(&["delete-midway", "--json", "--check=64"]).expect_status(0);
    assert!(ran.checks() > 50);
    let scenario = Scenario { events: ran.events(), ran };
    // Each case twice, in this order, with the other programs' words in between.
    let said: Vec<_> =
        scenario.ran.stdout.lines().filter_map(|line| line.strip_prefix("midway: ")).collect();
    let cases = [
        "a task that runs: it counts no more",
        "a thread that runs: it counts no more, the other one of its task does",
        "who waits for an answer of a task that ends: the partner will never answer",
        "who waits for an answer of a thread that ends: the partner will never answer",
        "who waits for the ear of a task that ends: there is nobody behind the capability",
        "who waits for the ear of a thread that ends: there is nobody behind the capability",
        "who waits for a message of a task that ends: there is nobody behind the capability",
        "who waits for a message of a thread that ends: there is nobody behind the capability",
        "who waits for a pager that ends: exception 14",
        "a pager whose client ends: it serves the next one",
        "who maps 256 pages: ended 3 times",
        "who takes back 256 pages: ended 3 times",
        "a task that has mapped a page on: who got it faults, its first owner has it",
        "who waits for an answer of a task that ends itself: the partner will never answer",
        "a server whose client ends: nobody holds the gate 72 any more",
        "a factory and the 4 tasks that it has made, each the next one's pager",
    ];
    let (last, rounds) = said.split_last().expect("some lines");
    assert_eq!(rounds, [cases, cases].concat());
    let left =
        last.strip_prefix("kernel memory left: ").and_then(|left| left.strip_suffix(" after"));
    let (before, after) =
        left.and_then(|left| left.split_once(" bytes before, ")).expect("numbers");
    assert_eq!(before, after);
    assert!(before.parse::<u64>().expect("a number") > 0);
    // The pager that ended owed an answer, in each round.
    let unresolved: Vec<_> =
        scenario.events.iter().filter(|event| event["result"] == "unresolved").collect();
    assert_eq!(unresolved.len(), 2, "{unresolved:?}");
    for fault in unresolved {
        let who = [&fault["task"], &fault["pager"], &fault["reason"]];
        assert_eq!(who, ["child021", "child022", "reply_lost"]);
    }
    // Those that their threads' ends closed are of the tasks that ended before.
    let faults = || scenario.events.iter().filter(|event| event["k"] == "fault");
    assert!(faults().any(|fault| fault["result"] == "thread_ended"));
    for fault in faults() {
        let task = fault["task"].as_str().expect("a name");
        assert!(!task.starts_with("task"), "{fault}");
    }
    // Others' faults are resolved all the time.
    assert_eq!(scenario.faults("squares").len(), 3);
    scenario.expect_output(&["16000000 squared is 256000000000000"]);

    let machine = Machine::after(on, "delete-midway");
    let names: Vec<_> = living(&machine).into_iter().map(|(name, _)| name).collect();
    let programs = ["sigma0", "root", "reaper", "squares", "lazy-squares", "keeper"];
    assert_eq!(names, programs);
    expect_sound(&machine);
}

fn churn(on: Target) {
    // A KVM that interprets ring 0 takes a third of a second for a round.
    let rounds = if on == Target::AMD64_ON_KVM { 50 } else { 250 };
    let scenario = include_str!("../scenarios/churn.toml");
    let shorter =
        common::file(scenario.replace("churn 1 250", &format!("churn 1 {rounds}")).as_bytes());
    let path = shorter.path().to_str().expect("a plain name");
    let ran = on.run(&[path, "--quiet", "--check=256"]).expect_status(0);
    assert!(ran.checks() > 10);
    let (tasks, others) = (5 * rounds, 6 * rounds);
    let counted = format!("churn: {tasks} tasks, {others} threads, {others} gates and ");
    assert!(ran.stdout.contains(&counted), "{}", ran.stdout);
    assert!(ran.stdout.contains("pages read, all of them of the arena"), "{}", ran.stdout);
    // Ten times as much leaves what little leaves.
    let [little, much] = [2, 20].map(|rounds| {
        let image = on.image("lifetimes").display().to_string();
        let maker = format!("{image},name=maker,quota=4M,churn 1 {rounds}");
        let keeper = format!("{},name=keeper", on.image("lazy-squares").display());
        let machine = Machine::run(on, &["--module", &maker, "--module", &keeper]);
        machine.wait_until_idle("keeper");
        expect_sound(&machine);
        living(&machine)
    });
    assert_eq!(little, much);
}

fn sleep(on: Target) {
    let scenario = Scenario::of(on.run(&["sleep", "--json"]).expect_status(0));
    let said = scenario.ran.stdout.lines().filter_map(|line| line.strip_prefix("sleep: "));
    let said: Vec<_> = said.collect();
    let expected = [
        "200 ms have passed: true",
        "the machine slept too: true",
        "no message came",
        "the deaf one took the call and gave no answer",
        "the deaf one took no other message",
    ];
    assert_eq!(said, expected);
    let is_timeout = |event: &&Value| event["k"] == "timeout" && event["task"] == "sleeper";
    let timeouts: Vec<_> = scenario.events.iter().filter(is_timeout).collect();
    let about: Vec<_> = timeouts.iter().map(|event| (&event["phase"], &event["for"])).collect();
    let [send, receive] = [json!("send"), json!("receive")];
    let [own, deaf] = [json!("sleeper"), json!("deaf")];
    let expected = [(&receive, &own), (&receive, &Value::Null), (&receive, &deaf), (&send, &deaf)];
    assert_eq!(about, expected);
    let deadlines: Vec<_> = timeouts.iter().map(|event| event["deadline"].as_u64()).collect();
    assert!(deadlines.is_sorted(), "{deadlines:?}");
}

on_every_target! {
    sleep,
    elevator,
    map,
    grant,
    unmap,
    window_larger,
    window_smaller,
    many_pages,
    superpage,
    ioport,
    capability,
    revoke_tree,
    task_creation,
    debugger,
    sums,
    delete_midway,
    churn,
}
