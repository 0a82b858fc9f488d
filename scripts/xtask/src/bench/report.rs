//! The results as a table for people and as JSON for programs.

use super::{
    budget::trace_of_fault,
    exact::{Counts, SMALL},
    guest_report::{GuestReport, REVOKED},
    others,
    timed::Times,
};
use serde_json::{Value, json};
use std::fmt::Write;

/// One object on one line.
pub fn json(counts: &Counts, times: Option<&Times>) -> Value {
    let Counts { architecture, traced, untraced, boot, boot_large, longest_stretch } = counts;
    let mut object = json!({
        "arch": architecture.name,
        "page_fault": traced.page_fault,
        "page_fault_untraced": untraced.page_fault,
        "ipc_call": traced.ipc_call,
        "ipc_call_untraced": untraced.ipc_call,
        "ipc_call_4_words": traced.ipc_call_4_words,
        "call_with_timeout": traced.timeout(),
        "reply_later": traced.reply_later(),
        "null_syscall": traced.null_syscall,
        "null_syscall_untraced": untraced.null_syscall,
        "unmap_1": traced.unmap_1,
        "map_1": traced.map_1(),
        "map_512_one_item": traced.map_512_one_item,
        "map_512_one_item_per_page": rounded(traced.page_of_item()),
        "map_512_faults": traced.map_512_faults,
        "touch_512": traced.touch_512,
        "thread_cycle": traced.thread_cycle,
        "thread_cycle_untraced": untraced.thread_cycle,
        "task_cycle": traced.task_cycle,
        "task_cycle_untraced": untraced.task_cycle,
        "ex_regs": traced.ex_regs,
        "exception": traced.exception,
        "exception_untraced": untraced.exception,
        "longest_stretch": longest_stretch,
        "boot": boot,
        "boot_large": boot_large,
        "boot_large_mib": architecture.large_memory,
        "kvm": times.map(times_json),
    });
    for (count, each) in REVOKED.into_iter().zip(traced.revoke_each()) {
        object[format!("revoke_{count}")] = rounded(each).into();
    }
    object
}

fn times_json(times: &Times) -> Value {
    json!({
        "backend": times.backend,
        "cpu": times.cpu,
        "page_fault_us": rounded(times.page_fault),
        "ipc_call_us": rounded(times.ipc_call),
        "null_syscall_us": rounded(times.null_syscall),
        "linux_anonymous_fault_us": rounded(times.anonymous_fault),
        "linux_sigsegv_mprotect_us": rounded(times.sigsegv_mprotect),
        "linux_userfaultfd_copy_us": times.userfaultfd_copy.as_ref().ok().copied().map(rounded),
    })
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Tables of the counts and, if there are some, of the times.
pub fn table(counts: &Counts, times: Option<&Times>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_counts(&mut text, counts);
    if let Some(times) = times {
        let _ = write_times(&mut text, times);
    }
    text
}

/// What stands below all tables.
pub const NOTES: &str = "\
seL4: measured by the same method, user stubs included.
L4Re publishes 587 instructions for an IPC between tasks on amd64, 543 inside one.
";

const CALL: &str = "call and reply, 0 words";
const NULL: &str = "null system call";

fn write_counts(text: &mut String, counts: &Counts) -> std::fmt::Result {
    let Counts { architecture, traced, untraced, boot, boot_large, longest_stretch } = counts;
    let (budget, others) = (&architecture.budget, &architecture.others);
    writeln!(
        text,
        "{}, instructions (QEMU, one tick an instruction; medians)\n",
        architecture.name
    )?;
    let mut row = |what: &str, traced: &str, untraced: &str, budget: &str, other: &str| {
        writeln!(text, "{what:<26}{traced:>9}{untraced:>10}{budget:>9}{other:>13}")
    };
    row("", "traced", "untraced", "budget", others::NAME)?;
    type Operation = fn(&GuestReport) -> u64;
    let rows: [(&str, Operation, String, &str); 15] = [
        ("page fault", |run| run.page_fault, budget.page_fault.to_string(), others.page_fault),
        (CALL, |run| run.ipc_call, budget.ipc_call.to_string(), others.ipc_call),
        ("call and reply, 4 words", |run| run.ipc_call_4_words, String::new(), ""),
        ("the timeout of a call", GuestReport::timeout, budget.timeout.to_string(), ""),
        (
            "an answer that comes later",
            GuestReport::reply_later,
            budget.reply_later.to_string(),
            "",
        ),
        (NULL, |run| run.null_syscall, budget.null_syscall.to_string(), others.null_syscall),
        ("unmap a page, one mapping", |run| run.unmap_1, budget.unmap.to_string(), ""),
        ("a page in a message", GuestReport::map_1, budget.map.to_string(), ""),
        (
            "make and end a thread",
            |run| run.thread_cycle,
            budget.thread_cycle.to_string(),
            others.thread_cycle,
        ),
        (
            "make and end a task",
            |run| run.task_cycle,
            budget.task_cycle.to_string(),
            others.task_cycle,
        ),
        ("ex_regs", |run| run.ex_regs, budget.ex_regs.to_string(), ""),
        ("an exception", |run| run.exception, budget.exception.to_string(), ""),
        ("512 pages, one flexpage", |run| run.map_512_one_item, String::new(), ""),
        ("512 pages, 512 faults", |run| run.map_512_faults, String::new(), ""),
        ("512 pages that are there", |run| run.touch_512, String::new(), ""),
    ];
    for (what, operation, budget, others) in rows {
        let [traced, untraced] = [traced, untraced].map(|run| operation(run).to_string());
        row(what, &traced, &untraced, &budget, others)?;
    }
    let rounded = |pages: &GuestReport| format!("{:.1}", pages.page_of_item());
    let limit = budget.page_of_item.to_string();
    row("one page of the flexpage", &rounded(traced), &rounded(untraced), &limit, "")?;
    for (case, count) in REVOKED.into_iter().enumerate() {
        let [traced, untraced] =
            [traced, untraced].map(|run| format!("{:.1}", run.revoke_each()[case]));
        row(&format!("revoke {count}, each"), &traced, &untraced, &budget.revoke.to_string(), "")?;
    }
    let limit = budget.longest_stretch.to_string();
    row("longest stretch", &longest_stretch.to_string(), "", &limit, "")?;
    let boots = [
        (SMALL, boot, budget.boot.to_string()),
        (architecture.large_memory, boot_large, String::new()),
    ];
    for (size, count, budget) in boots {
        row(&format!("boot, {size} MiB"), &count.to_string(), "", &budget, "")?;
    }
    let (trace, most) = (trace_of_fault(&counts.traced, &counts.untraced), budget.trace);
    writeln!(text, "\nThe trace adds {trace} to a page fault; {most} are the budget.")
}

fn write_times(text: &mut String, times: &Times) -> std::fmt::Result {
    writeln!(
        text,
        "\nmicroseconds (KVM: {}; {}; medians, for information)\n",
        times.backend, times.cpu
    )?;
    let mut row = |what: &str, time: f64| writeln!(text, "{what:<40}{time:>9.2}");
    row("guest: page fault", times.page_fault)?;
    row(&format!("guest: {CALL}"), times.ipc_call)?;
    row(&format!("guest: {NULL}"), times.null_syscall)?;
    row("Linux: anonymous page fault", times.anonymous_fault)?;
    row("Linux: SIGSEGV and mprotect", times.sigsegv_mprotect)?;
    match &times.userfaultfd_copy {
        Ok(time) => row("Linux: userfaultfd copy, same CPU", *time),
        Err(why) => writeln!(text, "{:<40}{:>9} ({why})", "Linux: userfaultfd copy, same CPU", "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::{json, table};
    use crate::{
        architecture::{AMD64, IA32},
        bench::{exact::Counts, guest_report::GuestReport, timed::Times},
    };

    const TRACED: GuestReport = GuestReport {
        known_loop: 2_000_003,
        null_syscall: 99,
        ipc_call: 444,
        ipc_call_within: 480,
        ipc_call_4_words: 455,
        ipc_call_later: 644,
        page_fault: 1111,
        ipc_call_map: 666,
        unmap_1: 333,
        map_512_one_item: 28_160,
        map_512_faults: 555_555,
        touch_512: 2560,
        revoke_0: 100,
        thread_cycle: 1234,
        task_cycle: 12_345,
        ex_regs: 321,
        exception: 987,
        revoke: [150, 600, 5100, 50_100, 505_100],
    };

    fn counts() -> Counts {
        let untraced = GuestReport { page_fault: 1010, ..TRACED };
        let (boot, boot_large) = (40_000, 41_000);
        let longest_stretch = 1777;
        Counts { architecture: &AMD64, traced: TRACED, untraced, boot, boot_large, longest_stretch }
    }

    #[test]
    fn json_has_the_promised_keys_on_one_line() {
        let value = json(&counts(), None);
        assert_eq!(value["arch"], "amd64");
        for (key, count) in [
            ("page_fault", 1111),
            ("page_fault_untraced", 1010),
            ("ipc_call", 444),
            ("reply_later", 200),
            ("call_with_timeout", 36),
            ("null_syscall", 99),
            ("unmap_1", 333),
            ("map_1", 222),
            ("map_512_one_item", 28_160),
            ("map_512_faults", 555_555),
            ("thread_cycle", 1234),
            ("task_cycle_untraced", 12_345),
            ("ex_regs", 321),
            ("exception", 987),
            ("longest_stretch", 1777),
            ("boot", 40_000),
        ] {
            assert_eq!(value[key], count, "{key}");
        }
        assert_eq!((&value["revoke_1"], &value["revoke_10000"]), (&50.0.into(), &50.5.into()));
        assert_eq!(value["map_512_one_item_per_page"], 50.0);
        assert!(value["kvm"].is_null());
        assert!(!value.to_string().contains('\n'));
        let value = json(&Counts { architecture: &IA32, ..counts() }, None);
        assert_eq!((&value["arch"], &value["boot_large_mib"]), (&"ia32".into(), &960.into()));
    }

    #[test]
    fn the_table_shows_counts_times_and_what_is_missing() {
        let times = Times {
            backend: "svm".to_owned(),
            cpu: "Fast CPU".to_owned(),
            page_fault: 2.5,
            ipc_call: 1.0,
            null_syscall: 0.25,
            anonymous_fault: 0.5,
            sigsegv_mprotect: 1.5,
            userfaultfd_copy: Err("not permitted".to_owned()),
        };
        let text = table(&counts(), Some(&times));
        for part in [
            "1111",
            "1010",
            "adds 101 to",
            "KVM: svm; Fast CPU",
            "2.50",
            "not permitted",
            "50.5",
            "1777",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
