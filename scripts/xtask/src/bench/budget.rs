//! What the operations may cost.

use super::exact::Counts;

/// Instructions for a page fault: touch, pager in another task, map a page, resume.
pub const PAGE_FAULT: u64 = 1200;
/// Instructions for a call to another task and its answer.
pub const IPC_CALL: u64 = 600;
/// Instructions for a system call that does nothing.
pub const NULL_SYSCALL: u64 = 150;
/// Instructions from the kernel's entry to the first user instruction.
pub const BOOT: u64 = 60_000;
/// What the trace may add to a page fault, in percent.
pub const TRACE_PERCENT: f64 = 15.0;
/// By how much the boot with 2 GiB of memory may differ from the one with 128 MiB, in percent.
pub const GROWTH_PERCENT: u64 = 10;

/// Says for each budget that is exceeded by how much.
pub fn exceeded(counts: &Counts) -> Vec<String> {
    let mut found = Vec::new();
    for (what, count, budget) in [
        ("a page fault", counts.traced.page_fault, PAGE_FAULT),
        ("a call and its reply", counts.traced.ipc_call, IPC_CALL),
        ("a null system call", counts.traced.null_syscall, NULL_SYSCALL),
        ("the boot", counts.boot, BOOT),
    ] {
        if count > budget {
            found.push(format!("{what} takes {count} instructions, more than {budget}"));
        }
    }
    if counts.trace_share() > TRACE_PERCENT {
        let share = counts.trace_share();
        found.push(format!(
            "the trace adds {share:.1} % to a page fault, more than {TRACE_PERCENT}"
        ));
    }
    let (small, large) = (counts.boot, counts.boot_large);
    if small.abs_diff(large) * 100 > small * GROWTH_PERCENT {
        found.push(format!(
            "the boot takes {small} instructions with 128 MiB and {large} with 2 GiB, \
             more than {GROWTH_PERCENT} % apart"
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::exceeded;
    use crate::bench::{exact::Counts, guest_report::GuestReport};

    fn counts() -> Counts {
        let traced = GuestReport {
            known_loop: 2_000_003,
            null_syscall: 150,
            ipc_call: 600,
            ipc_call_4_words: 700,
            page_fault: 1150,
        };
        let untraced = GuestReport { page_fault: 1000, ..traced };
        Counts { traced, untraced, boot: 60_000, boot_large: 66_000 }
    }

    #[test]
    fn what_is_just_within_the_budgets_passes() {
        assert_eq!(exceeded(&counts()), Vec::<String>::new());
    }

    type Worsen = fn(&mut Counts);

    #[test]
    fn each_budget_is_held() {
        let cases: [(Worsen, &str); 6] = [
            (|counts| counts.traced.page_fault = 1201, "a page fault takes 1201"),
            (|counts| counts.traced.ipc_call = 601, "a call and its reply takes 601"),
            (|counts| counts.traced.null_syscall = 151, "a null system call takes 151"),
            (|counts| counts.boot = 60_001, "the boot takes 60001"),
            (|counts| counts.untraced.page_fault = 990, "the trace adds 16.2 %"),
            (|counts| counts.boot_large = 66_001, "66001 with 2 GiB"),
        ];
        for (worsen, complaint) in cases {
            let mut counts = counts();
            worsen(&mut counts);
            let found = exceeded(&counts);
            assert!(found.iter().any(|line| line.contains(complaint)), "{complaint}: {found:?}");
        }
    }
}
