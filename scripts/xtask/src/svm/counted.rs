//! The benchmark under KVM with nested page tables, while QEMU counts the instructions of all that runs
//! on the emulated processor: guest, KVM and Linux.
//!
//! What takes no more there than without KVM has caused no exit to it.

use crate::{
    Architecture,
    architecture::ALL,
    bench::{budget, exact, guest_report::GuestReport},
    command::say,
    test::Tally,
    workspace::Workspace,
};
use anyhow::{Context, Result, ensure};
use std::fmt;

/// Ticks of the time stamp counter in two nanoseconds, which an instruction takes there.
const TICKS: u64 = 2;

/// A run of the benchmark.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    architecture: &'static Architecture,
    command_line: &'static str,
}

impl PartialEq for Run {
    fn eq(&self, other: &Self) -> bool {
        (self.architecture.name, self.command_line) == (other.architecture.name, other.command_line)
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { architecture: Architecture { name, .. }, command_line } = self;
        write!(f, "bench on {name} ({command_line:?}), instructions counted")
    }
}

impl Run {
    /// How `glass` is told to do it.
    pub fn command(&self, glass: &str) -> Vec<String> {
        let Self { architecture, command_line } = self;
        [
            &[glass, "run", "bench", "--quiet", "--engine", "kvm"][..],
            &["--arch", architecture.name, "--cmdline", command_line],
        ]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect()
    }
}

/// With the trace and without.
pub fn runs_of(architecture: &'static Architecture) -> [Run; 2] {
    ["", "trace=off"].map(|command_line| Run { architecture, command_line })
}

/// Holds what the runs printed against the budgets, and against the same runs without KVM.
pub fn judge(workspace: &Workspace, runs: &[(Run, String)], total: &mut Tally) -> Result<bool> {
    let mut is_success = true;
    for architecture in ALL {
        let found = complaints(workspace, architecture, runs)
            .with_context(|| format!("cannot judge the benchmark on {}", architecture.name))?;
        for complaint in &found {
            say(&format!("svm: {} under KVM: {complaint}", architecture.name));
        }
        total.add_test(found.is_empty());
        is_success &= found.is_empty();
    }
    Ok(is_success)
}

fn complaints(
    workspace: &Workspace,
    architecture: &'static Architecture,
    runs: &[(Run, String)],
) -> Result<Vec<String>> {
    let [traced, untraced] = runs_of(architecture).map(|run| -> Result<_> {
        let is_it = |(other, _): &&(Run, String)| *other == run;
        let (_, console) = runs.iter().find(is_it).context("it did not run")?;
        let under_kvm = GuestReport::find(console)?.divided(TICKS);
        let plain = exact::report(workspace, architecture, run.command_line)?;
        ensure!(
            counts_instructions(under_kvm.known_loop, plain.known_loop),
            "a loop of {} instructions counts as {}",
            plain.known_loop,
            under_kvm.known_loop
        );
        println!("  {run}: {}", operations(&under_kvm).map(words).join(", "));
        let found = dearer(&under_kvm, &plain);
        Ok((under_kvm, found))
    });
    let ((traced, found), (untraced, more)) = (traced?, untraced?);
    let exceeded = budget::exceeded_by_operations(&architecture.budget, &traced, &untraced);
    Ok([found, more, exceeded].concat())
}

/// Whether a loop counts as what it is, or a bit more: it is so long that Linux' clock ticks meanwhile.
fn counts_instructions(under_kvm: u64, plain: u64) -> bool {
    (plain..=plain + plain / 20).contains(&under_kvm)
}

/// What takes more instructions than without KVM. An exit takes some thousand.
fn dearer(under_kvm: &GuestReport, plain: &GuestReport) -> Vec<String> {
    let pairs = operations(under_kvm).into_iter().zip(operations(plain));
    let dearer = pairs.filter(|((_, here), (_, there))| here > there);
    dearer
        .map(|((what, here), (_, there))| format!("{what} takes {here}, but {there} without KVM"))
        .collect()
}

/// Operations of the benchmark for which everything is warm: those that map 512 pages use some memory for
/// the first time, of which KVM must hear.
fn operations(report: &GuestReport) -> [(&'static str, u64); 7] {
    [
        ("a null system call", report.null_syscall),
        ("a call and its reply", report.ipc_call),
        ("the same with four words", report.ipc_call_4_words),
        ("a call that is answered later", report.ipc_call_later),
        ("a page fault", report.page_fault),
        ("a call with a page", report.ipc_call_map),
        ("an unmap of a page", report.unmap_1),
    ]
}

fn words((what, count): (&str, u64)) -> String {
    format!("{what} {count}")
}

#[cfg(test)]
mod tests {
    use super::{GuestReport, counts_instructions, dearer, runs_of};
    use crate::architecture::AMD64;

    fn report(page_fault: u64) -> GuestReport {
        GuestReport {
            known_loop: 2_000_003,
            null_syscall: 146,
            ipc_call: 391,
            ipc_call_within: 411,
            ipc_call_4_words: 400,
            ipc_call_later: 600,
            page_fault,
            ipc_call_map: 700,
            unmap_1: 380,
            map_512_one_item: 30_000,
            map_512_faults: 400_000,
            touch_512: 2000,
            revoke_0: 200,
            thread_cycle: 1400,
            task_cycle: 19_000,
            ex_regs: 445,
            exception: 1102,
            revoke: [300; 5],
        }
    }

    #[test]
    fn an_exit_in_a_fault_is_noticed() {
        assert_eq!(dearer(&report(706), &report(706)), Vec::<String>::new());
        assert_eq!(
            dearer(&report(3706), &report(706)),
            ["a page fault takes 3706, but 706 without KVM"]
        );
    }

    #[test]
    fn a_clock_is_no_counter() {
        assert!(counts_instructions(2_042_857, 2_000_003));
        assert!(!counts_instructions(1_999_999, 2_000_003));
        assert!(!counts_instructions(4_000_006, 2_000_003));
    }

    #[test]
    fn runs_are_told_apart() {
        let [traced, untraced] = runs_of(&AMD64);
        assert_eq!(
            untraced.command("/glass").join(" "),
            "/glass run bench --quiet --engine kvm --arch amd64 --cmdline trace=off"
        );
        assert!(traced != untraced && traced == runs_of(&AMD64)[0]);
    }
}
