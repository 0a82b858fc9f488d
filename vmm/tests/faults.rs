//! Faults and exceptions that nobody resolves, and programs that fail in other ways.

mod common;

use common::{Target, hex, on_every_target};

fn a_null_function_pointer_is_reported_with_caller_and_source_line(on: Target) {
    let ran = on.checked(&["broken"]).expect_status(1);
    let report: String = ran.stderr.split("glass: broken: ").skip(1).collect();
    for part in [
        "unresolved page fault",
        if on.arch == "ia32" { "read at 0x" } else { "execute at 0x0000000000000000" },
        "broken::call_the_handler",
        "guest-pagers/broken/src/main.rs:",
        "root refused",
        "above: text 0x00400000",
        "null function pointer",
    ] {
        assert!(report.contains(part), "no '{part}' in:\n{}", ran.stderr);
    }
}

fn the_unresolved_fault_is_in_the_json_trace(on: Target) {
    let ran = on.checked(&["broken", "--json"]).expect_status(1);
    let faults = ran.events_of("fault");
    let unresolved: Vec<_> =
        faults.iter().filter(|fault| fault["result"] == "unresolved").collect();
    let [fault] = unresolved[..] else { panic!("one unresolved fault: {unresolved:?}") };
    // Without an execute right, the processor does not tell a fetch from a read.
    let access = if on.arch == "ia32" { "r" } else { "x" };
    assert_eq!((hex(&fault["va"]), &fault["access"]), (0, &access.into()));
    assert_eq!((&fault["task"], &fault["reason"]), (&"broken".into(), &"refused".into()));
    assert_eq!(fault["label"], -22);
    let source = fault["diagnosis"]["caller"]["source"].as_str().expect("a source line");
    assert!(source.contains("broken/src/main.rs:"), "{source}");
    let [shut_down] = &ran.events_of("shutdown")[..] else { panic!("one shutdown") };
    assert_eq!(shut_down["status"], 1);
}

fn exit_statuses_come_through(on: Target) {
    for status in [0, 3, 127] {
        on.checked(&["--quiet", "--module", &on.assist(&format!("exit {status}"))])
            .expect_status(status);
    }
}

fn a_panic_names_its_place(on: Target) {
    let ran = on.run(&["--quiet", "--module", &on.assist("panic")]).expect_status(101);
    assert!(ran.stdout.contains("as told"), "{}", ran.stdout);
    assert!(ran.stdout.contains("test-assist/src/main.rs:"), "{}", ran.stdout);
}

fn an_undefined_instruction_is_an_exception_of_its_program_alone(on: Target) {
    let ran = on.checked(&["--json", "--module", &on.assist("undefined")]).expect_status(1);
    let exceptions = ran.events_of("exception");
    let [exception] = &exceptions[..] else { panic!("one exception: {exceptions:?}") };
    assert_eq!((&exception["vector"], &exception["task"]), (&6.into(), &"test-assist".into()));
    assert_eq!((&exception["pager"], &exception["result"]), (&"root".into(), &"unresolved".into()));
}

fn a_hole_in_the_address_space_is_refused(on: Target) {
    let ran = on.checked(&["--json", "--module", &on.assist("hole")]).expect_status(1);
    let faults = ran.events_of("fault");
    let unresolved = faults.iter().filter(|fault| fault["result"] == "unresolved");
    let addresses: Vec<u64> = unresolved.map(|fault| hex(&fault["va"])).collect();
    assert_eq!(addresses.len(), 1);
    assert_eq!(addresses[0] >> 24, 8, "in the pager area: {addresses:x?}");
}

fn the_stack_grows_by_faults_until_it_ends(on: Target) {
    let ran = on.checked(&["--json", "--module", &on.assist("recurse 100")]).expect_status(0);
    assert_eq!(ran.stdout, "100\n");
    let faults = ran.events_of("fault");
    let on_stack = faults.iter().filter(|fault| fault["area"] == "stack").count();
    assert!(on_stack >= 100, "{on_stack} pages of stack");
    let overflow = on.checked(&["--module", &on.assist("recurse 1000")]).expect_status(1);
    assert!(overflow.stderr.contains("stack"), "{}", overflow.stderr);
}

fn the_heap_grows_by_faults(on: Target) {
    let ran = on.checked(&["--json", "--module", &on.assist("heap 4")]).expect_status(0);
    assert_eq!(ran.stdout, format!("{}\n", 4 << 20));
    let faults = ran.events_of("fault");
    let on_heap = faults.iter().filter(|fault| fault["area"] == "heap").count();
    assert!((1024..1100).contains(&on_heap), "{on_heap} pages of heap");
}

fn memory_that_runs_out_is_an_error_of_the_program_that_wants_it(on: Target) {
    let arguments = ["--quiet", "--memory", "16M", "--module", &on.assist("heap 64")];
    let ran = on.checked(&arguments);
    assert!(matches!(ran.status, Some(1..=101)), "{ran:?}");
    on.checked(&["--quiet", "--memory", "32M", "--module", &on.assist("memory")]).expect_status(0);
}

/// Page tables and mappings count against the quota of the program that causes them.
fn a_quota_of_kernel_memory_limits_one_program_alone(on: Target) {
    let module = |rest: &str| format!("{},{rest}", on.image("test-assist").display());
    let (limited, free) =
        (module("name=limited,quota=200K,heap 32"), module("name=free,recurse 40"));
    let ran = on.run(&["--json", "--check=100", "--module", &limited, "--module", &free]);
    let ran = ran.expect_status(1);
    assert!(ran.checks() > 1);
    assert_eq!(ran.stdout, "40\n", "the other program did its work");
    let faults = ran.events_of("fault");
    let unresolved: Vec<_> =
        faults.iter().filter(|fault| fault["result"] == "unresolved").collect();
    let [fault] = unresolved[..] else { panic!("one unresolved fault: {unresolved:?}") };
    assert_eq!((&fault["task"], &fault["reason"]), (&"limited".into(), &"map_failed".into()));
    assert_eq!(fault["maps"][0]["status"], "no_memory");

    let ran = on.run(&["--quiet", "--module", &module("quota=20K,exit 0")]).expect_status(126);
    assert!(ran.stdout.contains("its quota of kernel memory is 20 KiB"), "{}", ran.stdout);
}

fn arguments_and_files_arrive(on: Target) {
    let ran = on.run(&["--quiet", "--module", &on.assist("arguments one two")]).expect_status(0);
    assert_eq!(ran.stdout, "arguments one two\n");
    let file = common::file(b"0123456789");
    let module = format!("{},name=digits,kind=file", file.path().display());
    let ran =
        on.run(&["--quiet", "--module", &on.assist("files"), "--module", &module]).expect_status(0);
    assert!(ran.stdout.contains("digits") && ran.stdout.contains("10"), "{}", ran.stdout);
}

/// Safe code of a program has no way to change what a reference leads to.
fn what_a_reference_leads_to_stays(on: Target) {
    let ran = on.checked(&["--quiet", "--module", &on.assist("alias")]).expect_status(0);
    let expected =
        "mapped: Err(NotOpen)\nfor others to write: None\nfor others to read: true\nit is 1\n";
    assert_eq!(ran.stdout, expected);
}

fn a_pager_of_ones_own_answers_for_its_area(on: Target) {
    let ran = on.checked(&["squares", "--json"]).expect_status(0);
    assert!(ran.stdout.starts_with("7 squared is 49\n12 squared is 144\n"), "{}", ran.stdout);
    let faults = ran.events_of("fault");
    let of_table: Vec<_> = faults.iter().filter(|fault| fault["area"] == "pager area").collect();
    assert_eq!(of_table.len(), 3, "{of_table:?}");
    for fault in of_table {
        assert_eq!((&fault["task"], &fault["pager"]), (&"squares".into(), &"lazy-squares".into()));
        assert_eq!(fault["maps"][0]["rights"], "r--");
    }
}

/// Programs that make any system call there is, beside one that just does its work.
fn hostile_programs_harm_only_themselves(on: Target) {
    let hostile = on.image("hostile");
    let mut arguments = vec!["--json".to_owned()];
    for seed in 1..=8 {
        let module = format!("{},name=hostile{seed},{seed} 400", hostile.display());
        arguments.extend(["--module".to_owned(), module]);
    }
    arguments.extend(["--module".to_owned(), on.assist("recurse 40")]);
    let ran = on.checked(&arguments);
    assert!(
        matches!(ran.status, Some(0 | 1)),
        "the machine ended as its root task wished: {ran:?}"
    );
    assert_eq!(ran.stdout, "40\n");
    let victim = ran.events_of("fault");
    let victim = victim.iter().filter(|fault| fault["task"] == "test-assist");
    assert!(victim.clone().count() > 40);
    assert!(victim.clone().all(|fault| fault["result"] == "resumed"));
}

on_every_target! {
    a_null_function_pointer_is_reported_with_caller_and_source_line,
    the_unresolved_fault_is_in_the_json_trace,
    exit_statuses_come_through,
    a_panic_names_its_place,
    an_undefined_instruction_is_an_exception_of_its_program_alone,
    a_hole_in_the_address_space_is_refused,
    the_stack_grows_by_faults_until_it_ends,
    the_heap_grows_by_faults,
    memory_that_runs_out_is_an_error_of_the_program_that_wants_it,
    a_quota_of_kernel_memory_limits_one_program_alone,
    arguments_and_files_arrive,
    what_a_reference_leads_to_stays,
    a_pager_of_ones_own_answers_for_its_area,
    hostile_programs_harm_only_themselves,
}
