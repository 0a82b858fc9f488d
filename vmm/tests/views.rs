//! The views look into machines of other processes, which run on meanwhile.

mod common;

use common::{
    Machine, Ran, Target, finish, glass, hex, lines, named, on_every_target, tree, within,
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, IoSliceMut},
    mem::MaybeUninit,
    os::unix::{fs::FileExt, net::UnixStream},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

fn views_show(target: Target) {
    let machine = Machine::start(target);
    let listed = machine.json(&["ls"]);
    assert_eq!(
        (&listed["pid"], &listed["architecture"]),
        (&machine.child.id().into(), &target.arch.into())
    );

    let levels: &[&str] = match target.arch {
        "amd64" => &["PML4", "PDPT", "directory", "table"],
        _ => &["directory", "table"],
    };
    let text = machine.json(&["walk", "second:0x400000"]);
    let names: Vec<_> = text["levels"].as_array().unwrap().iter().map(|l| &l["level"]).collect();
    assert_eq!(names, levels);
    // Each level leads to the table of the next one, and the last one to the page.
    let steps = text["levels"].as_array().unwrap();
    for pair in steps.windows(2) {
        let table = hex(&pair[0]["value"]) & 0x000f_ffff_ffff_f000;
        assert_eq!(table, hex(&pair[1]["entry_at"]) & !0xfff, "{text}");
    }
    let value = hex(&steps.last().unwrap()["value"]);
    assert_eq!(value & 0x000f_ffff_ffff_f000, hex(&text["page"]["physical"]), "{text}");
    assert_eq!(
        (&text["page"]["rights"], &text["page"]["writable"]),
        (&"r-x".into(), &false.into())
    );

    let stack = machine.json(&["walk", "second:0xaffffff8"]);
    assert_eq!(stack["page"]["rights"], "rw-");
    // Without PAE the processor cannot withhold the right to execute.
    assert_eq!(stack["page"]["executable"], target.arch == "ia32", "{stack}");
    let nothing = machine.json(&["walk", "second:0x20000000"]);
    assert_eq!(nothing["page"], Value::Null);
    assert_eq!(nothing["ends"], "nothing there: not present in the directory");

    let check = machine.json(&["check"]);
    assert_eq!((&check["ok"], &check["violations"]), (&true.into(), &Value::Array(vec![])));
    for checked in check["checked"].as_array().unwrap() {
        assert!(checked["count"].as_u64().unwrap() > 0, "{check}");
    }
    let missing = machine.view(&["walk", "nobody:0x0"]).expect_status(1);
    assert!(missing.stderr.contains("there are sigma0, root, first, second"), "{missing:?}");
    let missing = machine.view(&["check", "--machine", "1"]).expect_status(1);
    assert!(missing.stderr.contains(&machine.child.id().to_string()), "{missing:?}");
}

#[test]
fn views_show_an_amd64_machine() {
    views_show(Target::AMD64_ON_KVM);
}

#[test]
fn views_show_an_ia32_machine() {
    views_show(Target::IA32);
}

fn tasks_say_who_pages_them_and_what_they_have(on: Target) {
    let machine = Machine::start(on);
    let tasks = lines(&machine.view(&["tasks", "--json"]).expect_status(0));
    for (task, pager) in [("root", "sigma0"), ("first", "root"), ("second", "first")] {
        assert_eq!(named(&tasks, task)["threads"][0]["pager_name"], pager);
    }
    assert_eq!(named(&tasks, "sigma0")["threads"][0]["pager"], Value::Null);
    for task in &tasks {
        let number = |key: &str| task[key].as_u64().unwrap();
        let used = number("kernel_memory_used");
        assert!(used > 0x1_0000 && used <= number("kernel_memory_limit"), "{task}");
        // Its map has as many pages.
        let map = machine.json(&["map", task["name"].as_str().unwrap()]);
        let ranges = map["memory"].as_array().unwrap();
        let bytes: u64 = ranges.iter().map(|range| range["size"].as_u64().unwrap()).sum();
        assert_eq!(bytes, number("pages") * 4096, "{map}");
    }
}

/// Two clients wait for answers that their pager, which expects a third one, has set aside.
fn tasks_say_who_waits_for_which_reply(on: Target) {
    let image = on.image("elevator").display().to_string();
    let [pager, one, two] = [
        format!("{image},name=disk,pager 3"),
        format!("{image},name=one,pager=disk,client 1"),
        format!("{image},name=two,pager=disk,client 2"),
    ];
    let machine = Machine::run(on, &["--module", &pager, "--module", &one, "--module", &two]);
    machine.wait_until_idle("two");
    let tasks = lines(&machine.view(&["tasks", "--json"]).expect_status(0));
    let mut slots = Vec::new();
    for client in ["one", "two"] {
        let thread = &named(&tasks, client)["threads"][0];
        assert_eq!((&thread["state"], &thread["partner"]), (&"page_fault".into(), &Value::Null));
        let reply = &thread["reply"];
        let holder = &named(&tasks, "disk")["number"];
        assert_eq!((&reply["holder_name"], &reply["holder"]), (&"disk".into(), holder));
        slots.push(reply["capability"].as_u64().expect("a number"));
    }
    assert_ne!(slots[0], slots[1]);
    assert_eq!(named(&tasks, "disk")["threads"][0]["reply"], Value::Null);
    let text = machine.view(&["tasks"]).expect_status(0).stdout;
    for slot in &slots {
        let state = format!("page fault, waits for the reply that disk has as capability {slot}");
        assert!(text.lines().any(|line| line.ends_with(&state)), "{text}");
    }
    let table = machine.view(&["map", "disk", "--caps"]).expect_status(0).stdout;
    for client in ["one", "two"] {
        assert!(table.contains(&format!("the answer that {client} waits for")), "{table}");
    }
    machine.view(&["check"]).expect_status(0);
}

fn a_map_shows_ranges_and_where_they_came_from(on: Target) {
    let machine = Machine::start(on);
    let map = machine.json(&["map", "second"]);
    let ranges = map["memory"].as_array().unwrap();
    let at = |address: &str| ranges.iter().find(|range| range["address"] == address).unwrap();
    let text = at("0x400000");
    assert_eq!((&text["rights"], &text["from"]["name"]), (&"r-x".into(), &"first".into()));
    assert_eq!((&text["from"]["by"], &text["page_size"]), (&"map".into(), &4096.into()));
    assert!(text["accessed"].as_u64() > Some(0) && text["dirty"] == 0, "{text}");
    let stack = at("0xaffff000");
    assert_eq!((&stack["rights"], &stack["letters"]), (&"rw-".into(), &"D".into()));
    assert_eq!(
        (&at("0xbffe0000")["rights"], &at("0xbffe0000")["from"]["by"]),
        (&"r--".into(), &"kernel".into())
    );
    let sigma0 = machine.json(&["map", "sigma0"]);
    let large: u64 = if on.arch == "amd64" { 2 << 20 } else { 4 << 20 };
    let is_large = |range: &Value| range["page_size"] == large && range["from"]["by"] == "root";
    assert!(sigma0["memory"].as_array().unwrap().iter().any(is_large), "{sigma0}");

    let letters = machine.view(&["map", "second", "-x"]).expect_status(0);
    let line = letters.stdout.lines().find(|line| line.starts_with("0x00400000  4K  a"));
    assert!(line.is_some(), "{letters:?}");
    let capabilities = machine.json(&["map", "second", "--caps"]);
    let rows = capabilities["capabilities"].as_array().unwrap();
    let parent = rows.iter().find(|row| row["index"] == 4).unwrap();
    assert!(parent["object"].as_str().unwrap().contains(" to root, label 0x"), "{parent}");
    assert_eq!(parent["from"]["name"], "root");
    assert_eq!(machine.json(&["map", "second", "--ports"])["ports"], Value::Array(vec![]));
    for bad in [&["--ports", "--caps"][..], &["-x", "--json"]] {
        machine.view(&[&["map", "second"], bad].concat()).expect_status(2);
    }
}

fn a_frame_has_a_tree(on: Target) {
    let machine = Machine::start(on);
    let who = machine.json(&["who", "second:0x400123"]);
    let mappings = tree(&who);
    let names: Vec<_> = mappings.iter().map(|mapping| &mapping["name"]).collect();
    assert_eq!(names[..3], ["sigma0", "root", "first"]);
    let own = named(&mappings, "second");
    assert_eq!((&own["depth"], &own["parent"]), (&3.into(), &2.into()));
    assert_eq!((&own["asked"], &own["granted"]), (&true.into(), &false.into()));
    assert_eq!((&mappings[0]["depth"], &mappings[0]["rights"]), (&0.into(), &"rwx".into()));
    // The frame is the one that the page tables lead to, and its view is the same.
    let walk = machine.json(&["walk", "second:0x400123"]);
    assert_eq!(walk["page"]["frame"], who["frame"]);
    assert_eq!(walk["node"]["index"], own["node"]);
    assert_eq!(walk["node"]["parent"]["name"], "first");
    let frame = machine.json(&["frame", who["frame"].as_str().unwrap()]);
    assert_eq!(tree(&frame).len(), mappings.len());
    // A page out of a superpage.
    let stack = machine.json(&["who", "second:0xaffffff8"]);
    assert!(tree(&stack)[0]["size"].as_u64() > Some(4096), "{stack}");
    assert!(stack["trees"][0]["left_out"].as_u64() > Some(0), "{stack}");
    let dot = machine.view(&["who", "second:0x400000", "--dot"]).expect_status(0).stdout;
    assert!(dot.starts_with("digraph ") && dot.contains("m0_0 -> m0_1"), "{dot}");
    // The kernel keeps the frame of the page directory for itself.
    let step = walk["levels"].as_array().unwrap().last().unwrap();
    let table = format!("{:#x}", hex(&step["entry_at"]) >> 12);
    let kernels = machine.json(&["frame", &table]);
    assert_eq!(
        (&kernels["kernel"], &kernels["trees"]),
        (&"a page table".into(), &Value::Array(vec![]))
    );
}

fn a_dry_run_says_what_an_unmap_would_take(on: Target) {
    let machine = Machine::start(on);
    let would_take = |of: &str, by: &[&str]| {
        let view = machine.json(&[&["who", of, "--unmap-dry-run", "--from"], by].concat());
        let taken = tree(&view).into_iter().filter(|mapping| mapping["taken"] == true);
        let names: Vec<_> =
            taken.map(|mapping| mapping["name"].as_str().unwrap().to_owned()).collect();
        (view["unmap"]["mappings"].as_u64().unwrap(), names.join(" "))
    };
    let stack = "second:0xaffffff8";
    assert_eq!(would_take(stack, &["root"]), (2, "first second".to_owned()));
    assert_eq!(would_take(stack, &["first"]), (1, "second".to_owned()));
    assert_eq!(would_take(stack, &["second"]), (0, String::new()));
    assert_eq!(would_take(stack, &["second", "--own"]), (1, "second".to_owned()));
    // sigma0's superpage was mapped to the root task as one: it goes with all that came of it.
    let (count, names) = would_take(stack, &["sigma0"]);
    assert!(count > 3 && names == "root first second", "{count} {names}");
    let text = machine.view(&["who", stack, "--unmap-dry-run", "--from", "first"]).expect_status(0);
    let verdict = "an unmap of this page by first would take 1 mapping in 1 task\n";
    assert!(text.stdout.ends_with(verdict) && text.stdout.contains("would go"), "{text:?}");
    let others = "first:0xaffffff8";
    let other =
        machine.view(&["who", others, "--unmap-dry-run", "--from", "second"]).expect_status(1);
    assert!(other.stderr.contains("second does not have frame 0x"), "{other:?}");
}

fn ports_and_objects_have_trees(on: Target) {
    let machine = Machine::after(on, "ioport");
    let port = machine.json(&["who", "driver:port:0x3ff"]);
    assert_eq!((&port["port"], &port["frame"]), (&"0x3ff".into(), &Value::Null));
    let mappings = tree(&port);
    let names: Vec<_> = mappings.iter().map(|mapping| &mapping["name"]).collect();
    assert_eq!(names, ["sigma0", "root", "driver"]);
    let own = named(&mappings, "driver");
    assert_eq!(
        (&own["depth"], &own["parent"], &own["asked"]),
        (&2.into(), &1.into(), &true.into())
    );
    assert_eq!(
        (&own["first"], &own["count"], &own["rights"]),
        (&"0x3ff".into(), &1.into(), &"rw-".into())
    );
    // sigma0 has all ports of a directory entry at once, unless the kernel keeps one of them.
    let (first, count) = if on.arch == "amd64" { ("0x200", 512) } else { ("0x3ff", 1) };
    assert_eq!((&mappings[0]["first"], &mappings[0]["count"]), (&first.into(), &count.into()));
    let text = machine.view(&["who", "driver:port:1023"]).expect_status(0).stdout;
    assert!(text.starts_with("port 0x3ff\n"), "{text}");
    assert!(text.ends_with("3 mappings in 3 tasks, depth 2\n"), "{text}");

    let parent = machine.json(&["who", "driver:cap:4"]);
    assert!(parent["object"].as_str().unwrap().contains(" to root, label 0x"), "{parent}");
    let places: Vec<_> = tree(&parent)
        .iter()
        .map(|mapping| (mapping["name"].clone(), mapping["depth"].clone()))
        .collect();
    assert_eq!(places, [("root".into(), 0.into()), ("driver".into(), 1.into())]);
    assert_eq!(tree(&parent)[1]["index"], 4);
    let dot = machine.view(&["who", "driver:cap:4", "--dot"]).expect_status(0).stdout;
    assert!(dot.starts_with("digraph \"gate ") && dot.contains("m0_0 -> m0_1"), "{dot}");

    for (of, by, mappings, verdict) in [
        (
            "driver:port:0x3ff",
            "root",
            1,
            "an unmap of this port by root would take 1 mapping in 1 task",
        ),
        (
            "driver:port:0x3ff",
            "sigma0",
            2,
            "an unmap of this port by sigma0 would take 2 mappings in 2 tasks",
        ),
        (
            "driver:cap:4",
            "root",
            1,
            "an unmap of this capability by root would take 1 mapping in 1 task",
        ),
        (
            "driver:cap:4",
            "driver",
            0,
            "an unmap of this capability by driver would take 0 mappings in 0 tasks",
        ),
    ] {
        let arguments = ["who", of, "--unmap-dry-run", "--from", by];
        assert_eq!(machine.json(&arguments)["unmap"]["mappings"], mappings);
        let text = machine.view(&arguments).expect_status(0).stdout;
        assert_eq!(text.lines().last(), Some(verdict));
    }
    let intruders = ["who", "driver:port:0x3ff", "--unmap-dry-run", "--from", "intruder"];
    for (arguments, answer) in [
        (&intruders[..], "intruder does not have port 0x3ff: it can unmap nothing of it"),
        (
            &["who", "intruder:port:0x3ff"],
            "intruder has no port 0x3ff: `glass map intruder --ports`",
        ),
        (&["who", "driver:port:0x20"], "no task can have port 0x20: the kernel keeps it"),
        (&["who", "driver:cap:99"], "driver has no capability 99: `glass map driver --caps`"),
    ] {
        let ran = machine.view(arguments).expect_status(1);
        assert!(ran.stderr.contains(answer) && ran.stderr.lines().count() == 1, "{ran:?}");
    }
    for (place, answer) in [
        ("driver:port:0x10000", "there is no port 0x10000: the last one is 0xffff"),
        ("driver:cap:4096", "there is no capability 4096: the last one is 4095"),
        ("driver:gate:4", "write a task and a hexadecimal address, a port or a capability"),
    ] {
        let ran = machine.view(&["who", place]).expect_status(2);
        assert!(ran.stderr.contains(answer), "{ran:?}");
    }
}

fn a_walk_of_a_port_ends_at_the_bitmap(on: Target) {
    let machine = Machine::after(on, "ioport");
    let walk = machine.json(&["walk", "driver:port:0x3ff"]);
    let steps = walk["levels"].as_array().unwrap();
    let names: Vec<_> = steps.iter().map(|step| &step["level"]).collect();
    assert_eq!(names, ["directory", "table"]);
    let address = |value: &Value| hex(value) & 0x000f_ffff_ffff_f000;
    assert_eq!(address(&steps[0]["value"]), hex(&steps[1]["entry_at"]) & !0xfff, "{walk}");
    assert_eq!(address(&steps[1]["value"]), 0x3ff << 12, "{walk}");
    assert_eq!(
        walk["ports"],
        json!({"first": "0x3ff", "count": 1, "rights": "rw-", "usable": true})
    );
    assert_eq!(walk["node"]["from"]["name"], "root");
    assert_eq!(walk["node"]["parent"]["first"], "0x3ff");
    let bitmap = &walk["bitmap"];
    assert_eq!((&bitmap["installed"], &bitmap["bit"]), (&true.into(), &7.into()), "{bitmap}");
    assert_eq!(bitmap["owner_name"], "driver");
    // The driver has ended long ago: the last one that ran was the keeper.
    assert_eq!(bitmap["applies"], false);

    let intruder = machine.json(&["walk", "intruder:port:1023"]);
    assert_eq!((&intruder["levels"], &intruder["ports"]), (&json!([]), &Value::Null));
    assert_eq!(intruder["bitmap"]["installed"], false);
    let block = if on.arch == "amd64" {
        "\n  ports      0x200-0x3ff: 512"
    } else {
        "\n  port       0x3ff\n"
    };
    let for_driver = "\n  bitmap     not installed: it is for ports of driver; ";
    for (place, answers) in [
        (
            "driver:port:0x3ff",
            ["\n  rights     rw-\n", "bitmap     installed: bit 7 of the byte at 0x"],
        ),
        ("driver:port:0x3fe", ["not present in the table\n", "is 1; to use it is a port fault\n"]),
        (
            "driver:port:0xffff",
            ["not present in the directory\n", "is 1; to use it is a port fault\n"],
        ),
        ("root:port:0x3ff", [for_driver, "the kernel installs it when the task uses it\n"]),
        ("sigma0:port:0x3ff", [block, for_driver]),
        ("sigma0:port:0x5000", [for_driver, "sigma0 gets it when it uses it\n"]),
        ("sigma0:port:0x20", [for_driver, "the kernel keeps this port for itself\n"]),
        ("intruder:port:0x3ff", ["the task has no directory of ports\n", "a port fault\n"]),
    ] {
        let text = machine.view(&["walk", place]).expect_status(0).stdout;
        for answer in answers {
            assert!(text.contains(answer), "{place}: {answer} is not in\n{text}");
        }
    }
    for (place, status, answer) in [
        ("driver:cap:4", 1, "there is nothing to walk: `glass who driver:cap:4` shows whose it is"),
        ("nobody:port:1", 1, "there are sigma0, root, driver, intruder, keeper"),
        ("driver:port:0x10000", 2, "there is no port 0x10000: the last one is 0xffff"),
    ] {
        let ran = machine.view(&["walk", place]).expect_status(status);
        assert!(ran.stderr.contains(answer) && ran.stdout.is_empty(), "{ran:?}");
    }
}

fn a_walk_goes_on_in_the_host(on: Target) {
    let machine = Machine::start(on);
    let walk = machine.json(&["walk", "second:0xaffffff8"]);
    let host = &walk["host"];
    assert_eq!(host["residence"], "present", "{walk}");
    assert_eq!(hex(&host["address"]) % 4096, 0xff8);
    assert_eq!(host["ram_kib"], 256 << 10);
    let resident = host["resident_kib"].as_u64().unwrap();
    assert!(resident >= 4 && host["large_kib"].as_u64().unwrap() <= resident, "{host}");
    // Old KVMs have no statistics.
    second_level_is_known(&machine, &walk);
    let counts = walk["kvm"].is_null() || walk["kvm"]["exits"].as_u64() > Some(0);
    assert!(counts && (on != Target::AMD64_ON_QEMU || walk["kvm"].is_null()), "{walk}");
    let text = machine.view(&["walk", "second:0xaffffff8"]).expect_status(0).stdout;
    assert!(text.lines().any(|line| line.starts_with("  KVM        ")), "{text}");
}

/// What KVM puts behind the guest's page tables is what its module says, and the frame of the host is told to
/// whoever may know it.
fn second_level_is_known(machine: &Machine, walk: &Value) {
    let second = &walk["second_level"];
    if machine.json(&["ls"])["engine"] != "kvm" {
        assert_eq!(second, &Value::Null);
        return;
    }
    let on = |parameter| {
        fs::read_to_string(format!("/sys/module/{parameter}")).is_ok_and(|on| on == "Y\n")
    };
    match second["kind"].as_str() {
        Some("npt") => assert!(on("kvm_amd/parameters/npt")),
        Some("ept") => assert!(on("kvm_intel/parameters/ept")),
        Some("shadow") => {
            assert!(!on("kvm_amd/parameters/npt") && !on("kvm_intel/parameters/ept"));
        }
        other => assert_eq!(other, None, "{walk}"),
    }
    let only_small = walk["kvm"]["pages_4k"].as_u64() > Some(0)
        && walk["kvm"]["pages_2m"] == 0
        && walk["kvm"]["pages_1g"] == 0;
    assert_eq!(second["page_kib"] == 4, only_small, "{walk}");
    let may_know = rustix::process::geteuid().is_root();
    assert!(walk["host"]["frame"].is_string() || !may_know, "{walk}");
}

fn bad_questions_get_one_clear_answer(on: Target) {
    let machine = Machine::start(on);
    for (arguments, answer) in [
        (&["map", "nobody"][..], "there are sigma0, root, first, second"),
        (&["who", "second:0x20000000"], "second has no page at 0x20000000: `glass map second`"),
        (&["frame", "0x10000"], "there is no frame 0x10000: the last one of 256 MiB is 0xffff"),
    ] {
        let ran = machine.view(arguments).expect_status(1);
        assert!(ran.stderr.contains(answer) && ran.stderr.lines().count() == 1, "{ran:?}");
    }
    for arguments in [
        &["frame", "zero"][..],
        &["who", "second"],
        &["who", "second:0x400000", "--from", "root"],
        &["who", "second:0x400000", "--unmap-dry-run"],
        &["who", "second:0x400000", "--dot", "--json"],
        &["check", "--watch", "soon"],
    ] {
        machine.view(arguments).expect_status(2);
    }
}

/// Looks at a machine from before there is anything to see until after it has ended, by itself or
/// killed.
fn machines_that_begin_or_end_give_one_clear_answer(on: Target) {
    const VIEWS: [&[&str]; 6] = [
        &["check"],
        &["map", "words"],
        &["who", "words:0x400000"],
        &["who", "words:cap:4"],
        &["frame", "0x202"],
        &["tasks"],
    ];
    const ANSWERS: [&str; 8] = [
        "no machine runs: start one with",
        "no machine answers: ",
        "the kernel has no valid introspection header yet; try again in a moment",
        "there is no task 'words': there are ",
        "there is no task 'words': the kernel has not made any yet",
        "words has no page at 0x400000: `glass map words` shows",
        "words has no capability 4: `glass map words --caps` shows",
        "the machine ended while it was checked",
    ];
    for killed_after in [None, Some(12)] {
        let mut machine = Machine::run(on, &["words"]);
        for (number, view) in VIEWS.iter().cycle().enumerate() {
            let has_ended = matches!(machine.child.try_wait(), Ok(Some(_)));
            let ran = machine.view(view);
            let lines = ran.stderr.lines().count();
            match ran.status {
                Some(0) => assert!(lines <= 1 && !has_ended, "{view:?}: {ran:?}"),
                Some(1) => {
                    let known = ANSWERS.iter().filter(|answer| ran.stderr.contains(**answer));
                    assert!(lines == 1 && known.count() == 1, "{view:?}: {ran:?}");
                    assert_eq!(ran.stdout, "", "{view:?}");
                }
                _ => panic!("{view:?}: {ran:?}"),
            }
            if has_ended {
                assert!(ran.stderr.contains(ANSWERS[0]), "{ran:?}");
                break;
            }
            if killed_after == Some(number) {
                machine.child.kill().expect("it can be killed");
                machine.child.wait().expect("it can be waited for");
            }
        }
    }
}

fn a_watch_ends_with_its_machine(on: Target) {
    let checks = watch_until_killed(Machine::start(on), "100ms", 2);
    assert!(checks.iter().all(|check| check["ok"] == true), "{checks:?}");
}

/// The checks of a watch whose machine is killed after so many of them.
fn watch_until_killed(mut machine: Machine, interval: &str, least: usize) -> Vec<Value> {
    let mut watch = within(&machine.folder)
        .args(["check", "--watch", interval, "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("glass can be started");
    let out = BufReader::new(watch.stdout.take().expect("it has an output"));
    let mut lines = out.lines().map(|line| line.expect("it can be read"));
    let mut checks: Vec<String> = lines.by_ref().take(least).collect();
    assert_eq!(checks.len(), least, "the watch has ended: {checks:?}");
    assert!(matches!(machine.child.try_wait(), Ok(None)), "the guest has ended");
    machine.child.kill().expect("it runs");
    machine.child.wait().expect("it can be waited for");
    checks.extend(lines);
    assert_eq!(watch.wait().expect("it ends").code(), Some(0), "{checks:?}");
    let parse = |line: &String| serde_json::from_str(line).expect("an object a line");
    checks.iter().map(parse).collect()
}

/// Twelve tasks map, grant and unmap at random while the database is checked, again and again.
fn nothing_is_wrong_while_tasks_map_at_random(on: Target) {
    let scenario = include_str!("../scenarios/stress.toml");
    let for_ever = common::file(scenario.replace(" 200\"", " 1000000\"").as_bytes());
    let path = for_ever.path().display().to_string();
    let machine = Machine::run(on, &[&path]);
    let deadline = Instant::now() + common::PATIENCE;
    let is_busy = |check: &Value| most_of(check, "tasks") == 14 && most_of(check, "derived") > 500;
    let has_begun = |ran: &Ran| lines(ran).iter().any(is_busy);
    loop {
        let ran = machine.view(&["check", "--json"]);
        if ran.status == Some(0) && has_begun(&ran) {
            break;
        }
        assert!(Instant::now() < deadline, "{ran:?}");
        thread::sleep(Duration::from_millis(50));
    }
    let checks = watch_until_killed(machine, "10ms", 4);
    assert!(checks.iter().all(|check| check["ok"] == true), "{checks:?}");
    assert!(checks.iter().all(|check| most_of(check, "tasks") == 14), "{checks:?}");
}

/// The greatest count of something in a check.
fn most_of(check: &Value, unit: &str) -> u64 {
    let rows = check["checked"].as_array().unwrap().iter().filter(|row| row["unit"] == unit);
    rows.map(|row| row["count"].as_u64().unwrap()).max().unwrap_or(0)
}

on_every_target!(
    tasks_say_who_pages_them_and_what_they_have,
    tasks_say_who_waits_for_which_reply,
    a_map_shows_ranges_and_where_they_came_from,
    a_frame_has_a_tree,
    a_dry_run_says_what_an_unmap_would_take,
    ports_and_objects_have_trees,
    a_walk_of_a_port_ends_at_the_bitmap,
    a_walk_goes_on_in_the_host,
    bad_questions_get_one_clear_answer,
    machines_that_begin_or_end_give_one_clear_answer,
    a_watch_ends_with_its_machine,
    nothing_is_wrong_while_tasks_map_at_random,
);

#[test]
fn viewers_cannot_write_and_leftovers_vanish() {
    let mut machine = Machine::start(Target::AMD64_ON_KVM);
    let stream = UnixStream::connect(machine.socket()).expect("somebody listens");
    let mut line = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut line)];
    let flags = rustix::net::RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(&stream, &mut parts, &mut control, flags).expect("a message");
    let descriptor = control.drain().find_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut all) => all.next(),
        _ => None,
    });
    let ram = fs::File::from(descriptor.expect("a descriptor"));
    ram.read_exact_at(&mut [0; 8], 0x10_0000).expect("it can be read");
    ram.write_at(&[0; 8], 0x10_0000).expect_err("it was written");
    ram.set_len(4096).expect_err("it was cut off");

    // Killed, it cannot tidy up: the next viewer does.
    machine.child.kill().expect("it runs");
    machine.child.wait().expect("it ends");
    assert!(Path::exists(&machine.socket()));
    let listed = machine.view(&["ls", "--json"]).expect_status(0);
    assert_eq!(listed.stdout, "");
    assert!(!Path::exists(&machine.socket()));
    let none = machine.view(&["tasks"]).expect_status(1);
    assert!(none.stderr.contains("no machine runs: start one with"), "{none:?}");
}

#[test]
fn a_run_that_nobody_can_view_runs_all_the_same() {
    common::require_kvm();
    let target = Target::AMD64_ON_KVM;
    let mut command = glass();
    command.env("XDG_RUNTIME_DIR", "/proc/no/such/folder").args(["run", "--quiet"]);
    command.args(target.options()).args(["--module", &target.assist("exit 3")]);
    let ran = finish(command.output().expect("glass can be started")).expect_status(3);
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("nobody can view this run: cannot create"), "{ran:?}");
}
