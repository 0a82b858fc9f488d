//! Times under KVM, beside what Linux itself takes on the same machine. For information only: they
//! depend on the machine and on what else it does.

use super::guest_report::GuestReport;
use crate::{
    Architecture,
    command::{cargo, run, say},
    workspace::Workspace,
};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::process::{Command, Stdio};

/// Medians in microseconds, and where they were taken.
#[derive(Clone, Debug)]
pub struct Times {
    /// What KVM itself runs on: `vmx`, `svm` or `software`.
    pub backend: String,
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
    /// Runs the scenario `bench` under KVM; `None`, said in one line, where KVM can't.
    pub fn measure(workspace: &Workspace, architecture: &Architecture) -> Result<Option<Self>> {
        let name = architecture.name;
        say(&format!("bench: timing {name} under KVM, and Linux"));
        let console = match guest_console(workspace, name)? {
            Ok(console) => console,
            Err(refusal) => {
                say(&format!("bench: no times for {name}: {refusal}"));
                return Ok(None);
            }
        };
        let host = Host::read(&doctor(workspace)?)?;
        let ticks = GuestReport::find(&console)?;
        let linux = yardsticks(workspace)?;
        let number = |key: &str| {
            linux[key].as_f64().with_context(|| format!("yardsticks printed no `{key}`: {linux}"))
        };
        let ticks_per_microsecond = number("tsc_mhz")?;
        let microseconds = |ticks: u64| ticks as f64 / ticks_per_microsecond;
        let refusal = linux["userfaultfd_error"].as_str().unwrap_or("no reason given");
        Ok(Some(Self {
            backend: host.backend,
            cpu: host.cpu,
            page_fault: microseconds(ticks.page_fault),
            ipc_call: microseconds(ticks.ipc_call),
            null_syscall: microseconds(ticks.null_syscall),
            anonymous_fault: number("anonymous_fault")?,
            sigsegv_mprotect: number("sigsegv_mprotect")?,
            userfaultfd_copy: number("userfaultfd_copy").map_err(|_| refusal.to_owned()),
        }))
    }
}

/// What `glass doctor` says about this machine.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    backend: String,
    cpu: String,
}

impl Host {
    fn read(findings: &Value) -> Result<Self> {
        let backend = findings["backend"]["kind"].as_str();
        let cpu = findings["processors"]["model"].as_str().unwrap_or("unknown processor");
        Ok(Self {
            backend: backend.with_context(|| format!("unexpected: {findings}"))?.to_owned(),
            cpu: cpu.to_owned(),
        })
    }
}

fn doctor(workspace: &Workspace) -> Result<Value> {
    let output = Command::new(workspace.glass())
        .args(["doctor", "--json"])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start target/release/glass")?;
    // Its exit status says whether KVM can be used; so does what it prints.
    serde_json::from_slice(&output.stdout).context("glass doctor printed no JSON")
}

/// What the guest prints, or why KVM does not run it. It reads the same time stamp counter as the
/// host, or one that is as fast.
fn guest_console(workspace: &Workspace, architecture: &str) -> Result<Result<String, String>> {
    let output = Command::new(workspace.glass())
        .args(["run", "bench", "--quiet", "--timeout", "120s"])
        .args(["--engine", "kvm", "--arch", architecture])
        .stdin(Stdio::null())
        .output()
        .context("cannot start target/release/glass")?;
    let [printed, complaint] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match output.status.success() {
        true => Ok(Ok(printed)),
        // No guest has run.
        false if printed.is_empty() => Ok(Err(complaint.trim().to_owned())),
        false => bail!("the scenario `bench` failed:\n{printed}{complaint}"),
    }
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

#[cfg(test)]
mod tests {
    use super::Host;
    use serde_json::json;

    #[test]
    fn the_doctor_is_understood() {
        let mut findings = json!({
            "backend": {"kind": "svm", "module": "kvm_amd"},
            "processors": {"count": 2, "model": "Fast CPU"},
        });
        let host = Host::read(&findings).expect("complete");
        assert_eq!((host.backend.as_str(), host.cpu.as_str()), ("svm", "Fast CPU"));
        findings["backend"] = json!(null);
        assert!(Host::read(&findings).is_err_and(|error| error.to_string().contains("unexpected")));
    }
}
