//! Faults and exceptions that nobody resolves, and programs that fail in other ways.

mod common;

use common::{assist, hex, image, run};

#[test]
fn a_null_function_pointer_is_reported_with_caller_and_source_line() {
    let ran = run(&["broken"]).expect_status(1);
    let report: String = ran.stderr.split("glass: broken: ").skip(1).collect();
    for part in [
        "unresolved page fault",
        "execute at 0x0000000000000000",
        "broken::call_the_handler",
        "guest-pagers/broken/src/main.rs:",
        "root refused",
        "above: text 0x00400000",
        "null function pointer",
    ] {
        assert!(report.contains(part), "no '{part}' in:\n{}", ran.stderr);
    }
}

#[test]
fn the_unresolved_fault_is_in_the_json_trace() {
    let ran = run(&["broken", "--json"]).expect_status(1);
    let faults = ran.events_of("fault");
    let unresolved: Vec<_> =
        faults.iter().filter(|fault| fault["result"] == "unresolved").collect();
    let [fault] = unresolved[..] else { panic!("one unresolved fault: {unresolved:?}") };
    assert_eq!((hex(&fault["va"]), &fault["access"]), (0, &"x".into()));
    assert_eq!((&fault["task"], &fault["reason"]), (&"broken".into(), &"refused".into()));
    assert_eq!(fault["label"], -22);
    let source = fault["diagnosis"]["caller"]["source"].as_str().expect("a source line");
    assert!(source.contains("broken/src/main.rs:"), "{source}");
    let [shut_down] = &ran.events_of("shutdown")[..] else { panic!("one shutdown") };
    assert_eq!(shut_down["status"], 1);
}

#[test]
fn exit_statuses_come_through() {
    for status in [0, 3, 127] {
        run(&["--quiet", "--module", &assist(&format!("exit {status}"))]).expect_status(status);
    }
}

#[test]
fn a_panic_names_its_place() {
    let ran = run(&["--quiet", "--module", &assist("panic")]).expect_status(101);
    assert!(ran.stdout.contains("as told"), "{}", ran.stdout);
    assert!(ran.stdout.contains("test-assist/src/main.rs:"), "{}", ran.stdout);
}

#[test]
fn an_undefined_instruction_is_an_exception_of_its_program_alone() {
    let ran = run(&["--json", "--module", &assist("undefined")]).expect_status(1);
    let exceptions = ran.events_of("exception");
    let [exception] = &exceptions[..] else { panic!("one exception: {exceptions:?}") };
    assert_eq!((&exception["vector"], &exception["task"]), (&6.into(), &"test-assist".into()));
    assert_eq!((&exception["pager"], &exception["result"]), (&"root".into(), &"unresolved".into()));
}

#[test]
fn a_hole_in_the_address_space_is_refused() {
    let ran = run(&["--json", "--module", &assist("hole")]).expect_status(1);
    let faults = ran.events_of("fault");
    let unresolved = faults.iter().filter(|fault| fault["result"] == "unresolved");
    let addresses: Vec<u64> = unresolved.map(|fault| hex(&fault["va"])).collect();
    assert_eq!(addresses.len(), 1);
    assert_eq!(addresses[0] >> 24, 8, "in the pager area: {addresses:x?}");
}

#[test]
fn the_stack_grows_by_faults_until_it_ends() {
    let ran = run(&["--json", "--module", &assist("recurse 100")]).expect_status(0);
    assert_eq!(ran.stdout, "100\n");
    let faults = ran.events_of("fault");
    let on_stack = faults.iter().filter(|fault| fault["area"] == "stack").count();
    assert!(on_stack >= 100, "{on_stack} pages of stack");
    let overflow = run(&["--module", &assist("recurse 1000")]).expect_status(1);
    assert!(overflow.stderr.contains("stack"), "{}", overflow.stderr);
}

#[test]
fn the_heap_grows_by_faults() {
    let ran = run(&["--json", "--module", &assist("heap 4")]).expect_status(0);
    assert_eq!(ran.stdout, format!("{}\n", 4 << 20));
    let faults = ran.events_of("fault");
    let on_heap = faults.iter().filter(|fault| fault["area"] == "heap").count();
    assert!((1024..1100).contains(&on_heap), "{on_heap} pages of heap");
}

#[test]
fn memory_that_runs_out_is_an_error_of_the_program_that_wants_it() {
    let arguments = ["--quiet", "--memory", "16M", "--module", &assist("heap 64")];
    let ran = run(&arguments);
    assert!(matches!(ran.status, Some(1..=101)), "{ran:?}");
    run(&["--quiet", "--memory", "32M", "--module", &assist("memory")]).expect_status(0);
}

#[test]
fn arguments_and_files_arrive() {
    let ran = run(&["--quiet", "--module", &assist("arguments one two")]).expect_status(0);
    assert_eq!(ran.stdout, "arguments one two\n");
    let file = common::file(b"0123456789");
    let module = format!("{},name=digits,kind=file", file.path().display());
    let ran = run(&["--quiet", "--module", &assist("files"), "--module", &module]).expect_status(0);
    assert!(ran.stdout.contains("digits") && ran.stdout.contains("10"), "{}", ran.stdout);
}

#[test]
fn a_pager_of_ones_own_answers_for_its_area() {
    let ran = run(&["squares", "--json"]).expect_status(0);
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
#[test]
fn hostile_programs_harm_only_themselves() {
    let hostile = image("hostile");
    let mut arguments = vec!["--json".to_owned()];
    for seed in 1..=8 {
        let module = format!("{},name=hostile{seed},{seed} 400", hostile.display());
        arguments.extend(["--module".to_owned(), module]);
    }
    arguments.extend(["--module".to_owned(), assist("recurse 40")]);
    let ran = run(&arguments);
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
