//! What the operations may cost.

use super::{
    exact::{Counts, SMALL},
    guest_report::GuestReport,
};

/// The most that operations may cost, in instructions.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// A page fault: touch, pager in another task, map a page, resume.
    pub page_fault: u64,
    /// The same without the trace.
    pub page_fault_untraced: u64,
    /// A call to another task and its answer.
    pub ipc_call: u64,
    /// What it adds to a call that there is a limit to its time.
    pub timeout: u64,
    /// What it adds to a call that its answer is set aside and given later.
    pub reply_later: u64,
    /// A system call that does nothing.
    pub null_syscall: u64,
    /// Taking back a page that one other task has, without the trace: the figure comes from kernels
    /// that have none.
    pub unmap: u64,
    /// What mapping a page adds to a call, without the trace too.
    pub map: u64,
    /// Each page of a large flexpage of small pages, without touching it.
    pub page_of_item: f64,
    /// Each mapping of many that are taken back.
    pub revoke: f64,
    /// Making a thread and ending it, without the trace as well.
    pub thread_cycle: u64,
    /// The same of a task with a thread, three mappings and one message.
    pub task_cycle: u64,
    /// Setting the pointers of another thread.
    pub ex_regs: u64,
    /// An exception, to a handler in another task and back.
    pub exception: u64,
    /// Of the kernel's, without a preemption point.
    pub longest_stretch: u64,
    /// From the kernel's entry to the first user instruction.
    pub boot: u64,
    /// What the trace may add to a page fault.
    pub trace: u64,
}

/// By how much the boot with much memory may differ from the one with little, in percent.
const GROWTH_PERCENT: u64 = 10;

/// By how much the cost of a mapping that is taken back may differ with their number, in percent.
const REVOKE_PERCENT: f64 = 25.0;

/// Says for each limit that is exceeded by how much.
pub fn exceeded(counts: &Counts) -> Vec<String> {
    let budget = &counts.architecture.budget;
    let mut found = exceeded_by_operations(budget, &counts.traced, &counts.untraced);
    found.extend(exceeded_by_many(budget, &counts.traced));
    found.extend(exceeded_by([
        ("the longest stretch", counts.longest_stretch, budget.longest_stretch),
        ("the boot", counts.boot, budget.boot),
    ]));
    let (small, large) = (counts.boot, counts.boot_large);
    if small.abs_diff(large) * 100 > small * GROWTH_PERCENT {
        let large_memory = counts.architecture.large_memory;
        found.push(format!(
            "the boot takes {small} instructions with {SMALL} MiB and {large} with {large_memory} \
             MiB, more than {GROWTH_PERCENT} % apart"
        ));
    }
    found
}

/// The same for single operations, with the trace on and off.
pub fn exceeded_by_operations(
    budget: &Budget,
    traced: &GuestReport,
    untraced: &GuestReport,
) -> Vec<String> {
    exceeded_by([
        ("a page fault", traced.page_fault, budget.page_fault),
        ("a page fault without the trace", untraced.page_fault, budget.page_fault_untraced),
        ("the trace of a page fault", trace_of_fault(traced, untraced), budget.trace),
        ("a call and its reply", traced.ipc_call, budget.ipc_call),
        ("the timeout of a call", traced.timeout(), budget.timeout),
        ("an answer that comes later", traced.reply_later(), budget.reply_later),
        ("a null system call", traced.null_syscall, budget.null_syscall),
        ("an unmap of a page", untraced.unmap_1, budget.unmap),
        ("a page in a message", untraced.map_1(), budget.map),
        ("the life of a thread", untraced.thread_cycle, budget.thread_cycle),
        ("ex_regs", traced.ex_regs, budget.ex_regs),
        ("an exception", traced.exception, budget.exception),
        ("the life of a task", untraced.task_cycle, budget.task_cycle),
    ])
}

/// The same for many pages and many mappings at once.
fn exceeded_by_many(budget: &Budget, traced: &GuestReport) -> Vec<String> {
    let mut found = Vec::new();
    let page = traced.page_of_item();
    if page > budget.page_of_item {
        let limit = budget.page_of_item;
        found.push(format!(
            "a page of a large flexpage takes {page:.1} instructions, more than {limit}"
        ));
    }
    let each = traced.revoke_each();
    let [least, most] = [f64::min, f64::max].map(|of| each.into_iter().reduce(of).unwrap_or(0.0));
    if most > budget.revoke {
        let limit = budget.revoke;
        found
            .push(format!("taking back a mapping takes {most:.1} instructions, more than {limit}"));
    }
    if most > least * (1.0 + REVOKE_PERCENT / 100.0) {
        found.push(format!(
            "taking back a mapping takes from {least:.1} to {most:.1} instructions, more than \
             {REVOKE_PERCENT} % apart"
        ));
    }
    found
}

fn exceeded_by<const N: usize>(counts: [(&str, u64, u64); N]) -> Vec<String> {
    let over = counts.into_iter().filter(|(_, count, limit)| count > limit);
    over.map(|(what, count, limit)| format!("{what} takes {count} instructions, more than {limit}"))
        .collect()
}

/// What the trace adds to a page fault.
pub fn trace_of_fault(traced: &GuestReport, untraced: &GuestReport) -> u64 {
    traced.page_fault.saturating_sub(untraced.page_fault)
}

#[cfg(test)]
mod tests {
    use super::exceeded;
    use crate::{
        architecture::{AMD64, IA32},
        bench::{exact::Counts, guest_report::GuestReport},
    };

    fn counts() -> Counts {
        let untraced = GuestReport {
            known_loop: 2_000_003,
            null_syscall: 105,
            ipc_call: 280,
            ipc_call_within: 320,
            ipc_call_4_words: 380,
            ipc_call_later: 530,
            page_fault: 467,
            ipc_call_map: 520,
            unmap_1: 320,
            map_512_one_item: 57 * 512,
            map_512_faults: 500_000,
            touch_512: 5 * 512,
            revoke_0: 100,
            thread_cycle: 1350,
            task_cycle: 17_500,
            ex_regs: 450,
            exception: 1125,
            revoke: [178, 1065, 9750, 96_600, 965_100],
        };
        // The trace may make these dearer.
        let traced = GuestReport { page_fault: 540, unmap_1: 500, ipc_call_map: 780, ..untraced };
        let (boot, boot_large) = (60_000, 66_000);
        Counts { architecture: &AMD64, traced, untraced, boot, boot_large, longest_stretch: 2000 }
    }

    #[test]
    fn what_is_just_within_the_budgets_passes() {
        assert_eq!(exceeded(&counts()), Vec::<String>::new());
    }

    type Worsen = fn(&mut Counts);

    #[test]
    fn each_budget_is_held() {
        let cases: [(Worsen, &str); 19] = [
            (|counts| counts.untraced.unmap_1 = 321, "an unmap of a page takes 321"),
            (|counts| counts.untraced.ipc_call_map = 521, "a page in a message takes 241"),
            (|counts| counts.untraced.thread_cycle = 1351, "the life of a thread takes 1351"),
            (|counts| counts.untraced.task_cycle = 17_501, "the life of a task takes 17501"),
            (|counts| counts.longest_stretch = 2001, "the longest stretch takes 2001"),
            (|counts| counts.traced.map_512_one_item += 100, "flexpage takes 52.2"),
            (|counts| counts.traced.revoke[0] -= 1, "from 77.0 to 96.5"),
            (|counts| counts.traced.revoke[2] += 10, "taking back a mapping takes 96.6"),
            (|counts| counts.traced.page_fault = 541, "a page fault takes 541"),
            (|counts| counts.untraced.page_fault = 468, "without the trace takes 468"),
            (|counts| counts.untraced.page_fault = 464, "the trace of a page fault takes 76"),
            (|counts| counts.traced.ipc_call = 281, "a call and its reply takes 281"),
            (|counts| counts.traced.ipc_call_within = 321, "timeout of a call takes 41"),
            (|counts| counts.traced.ipc_call_later = 531, "comes later takes 251"),
            (|counts| counts.traced.ex_regs = 451, "ex_regs takes 451"),
            (|counts| counts.traced.exception = 1126, "an exception takes 1126"),
            (|counts| counts.traced.null_syscall = 106, "a null system call takes 106"),
            (|counts| counts.boot = 60_001, "the boot takes 60001"),
            (|counts| counts.boot_large = 66_001, "66001 with 2048 MiB"),
        ];
        for (worsen, complaint) in cases {
            let mut counts = counts();
            worsen(&mut counts);
            let found = exceeded(&counts);
            assert!(found.iter().any(|line| line.contains(complaint)), "{complaint}: {found:?}");
        }
    }

    #[test]
    fn each_architecture_has_its_own_budget() {
        let mut counts = Counts { architecture: &IA32, ..counts() };
        counts.traced =
            GuestReport { null_syscall: 90, ipc_call: 270, ipc_call_within: 310, ..counts.traced };
        counts.untraced = GuestReport { unmap_1: 300, ..counts.untraced };
        // More than on amd64.
        counts.traced.page_fault = 560;
        counts.untraced.page_fault = 462;
        assert_eq!(exceeded(&counts), Vec::<String>::new());
    }
}
