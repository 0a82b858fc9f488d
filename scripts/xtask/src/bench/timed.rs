//! Times under KVM, beside what Linux itself takes on the same machine. For information only: they
//! depend on the machine and on what else it does.

use super::guest_report::GuestReport;
use crate::{
    command::{cargo, run, say},
    workspace::Workspace,
};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

const KVM: &str = "/dev/kvm";

/// Medians in microseconds, and where they were taken.
#[derive(Clone, Debug)]
pub struct Times {
    /// What KVM itself runs on: `vmx`, `svm` or `software`.
    pub backend: &'static str,
    /// The processor's name.
    pub cpu: String,
    /// A page fault in the guest.
    pub page_fault: f64,
    /// A call and its reply in the guest.
    pub ipc_call: f64,
    /// A null system call in the guest.
    pub null_syscall: f64,
    /// First touch of anonymous memory under Linux.
    pub anonymous_fault: f64,
    /// SIGSEGV and mprotect under Linux.
    pub sigsegv_mprotect: f64,
    /// A userfaultfd copy on the same CPU, or why there is none.
    pub userfaultfd_copy: Result<f64, String>,
}

impl Times {
    /// Runs the scenario `bench` under KVM; `None`, said in one line, where there is none.
    pub fn measure(workspace: &Workspace) -> Result<Option<Self>> {
        if let Err(error) = File::options().read(true).write(true).open(KVM) {
            say(&format!("bench: no times, cannot open {KVM}: {error}"));
            return Ok(None);
        }
        say("bench: timing under KVM and Linux");
        let ticks = GuestReport::find(&guest_console(workspace)?)?;
        let linux = yardsticks(workspace)?;
        let number = |key: &str| {
            linux[key].as_f64().with_context(|| format!("yardsticks printed no `{key}`: {linux}"))
        };
        let ticks_per_microsecond = number("tsc_mhz")?;
        let microseconds = |ticks: u64| ticks as f64 / ticks_per_microsecond;
        let refusal = linux["userfaultfd_error"].as_str().unwrap_or("no reason given");
        Ok(Some(Self {
            backend: backend(Path::new("/sys/module")),
            cpu: cpu_name(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            page_fault: microseconds(ticks.page_fault),
            ipc_call: microseconds(ticks.ipc_call),
            null_syscall: microseconds(ticks.null_syscall),
            anonymous_fault: number("anonymous_fault")?,
            sigsegv_mprotect: number("sigsegv_mprotect")?,
            userfaultfd_copy: number("userfaultfd_copy").map_err(|_| refusal.to_owned()),
        }))
    }
}

/// The guest reads the same time stamp counter as the host, or one that is as fast.
fn guest_console(workspace: &Workspace) -> Result<String> {
    output(Command::new(workspace.glass()).args(["run", "bench", "--quiet", "--timeout", "120s"]))
}

fn yardsticks(workspace: &Workspace) -> Result<Value> {
    run(cargo(workspace).args(["build", "--quiet", "--release", "--package", "yardsticks"]))?;
    let printed = output(&mut Command::new(workspace.target().join("release/yardsticks")))?;
    serde_json::from_str(&printed).context("yardsticks printed no JSON")
}

fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} failed ({})", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Which of Linux's KVM modules is in use.
fn backend(modules: &Path) -> &'static str {
    if modules.join("kvm_intel").is_dir() {
        "vmx"
    } else if modules.join("kvm_amd").is_dir() {
        "svm"
    } else {
        "software"
    }
}

fn cpu_name(cpuinfo: &str) -> String {
    let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
    name.map_or("unknown CPU", |rest| rest.trim_start_matches([' ', '\t', ':'])).to_owned()
}

#[cfg(test)]
mod tests {
    use super::cpu_name;

    #[test]
    fn the_processor_is_named() {
        let text = "processor\t: 0\nmodel name\t: Fast CPU: the second\nstepping\t: 1\n";
        assert_eq!(cpu_name(text), "Fast CPU: the second");
        assert_eq!(cpu_name(""), "unknown CPU");
    }
}
