//! `glass doctor`: what this host can do, and how to repair what it can't.

use crate::cli::DoctorArgs;
use anyhow::Result;
use machine::{
    KvmError,
    host::{Backend, Host, HugePages},
    human,
    probe::{Attempt, PagingMode, Probe, SyscallEntry},
};
use serde::Serialize;
use std::{
    fmt::Display,
    io::{self, Write},
    path::Path,
};

/// Everything that was found out.
#[derive(Debug, Serialize)]
struct Findings {
    /// Version of this form.
    v: u32,
    /// Whether `amd64` guests run under KVM here.
    ok: bool,
    kvm: Kvm,
    backend: Named,
    /// Whether the host is itself a virtual machine.
    nested: bool,
    processors: Processors,
    memory: Memory,
    huge_pages: Huge,
}

/// What KVM's device says.
#[derive(Debug, Serialize)]
struct Kvm {
    device: String,
    usable: bool,
    /// Why it is not usable and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    answers: Option<Answers>,
}

/// What the probes found out.
#[derive(Debug, Serialize)]
struct Answers {
    api_version: i32,
    recommended_processors: usize,
    long_mode: Tried,
    two_level_paging: Tried,
    pae_paging: Tried,
    syscall: Syscall,
}

/// Something that works or doesn't.
#[derive(Debug, Serialize)]
struct Tried {
    works: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<String>,
}

/// Where `syscall` arrives.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Syscall {
    Ring0,
    PageFault,
    Fails(String),
}

/// What KVM stands on.
#[derive(Debug, Serialize)]
struct Named {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    module: Option<String>,
}

#[derive(Debug, Serialize)]
struct Processors {
    count: usize,
    model: Option<String>,
}

#[derive(Debug, Serialize)]
struct Memory {
    total: Option<u64>,
    available: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Huge {
    transparent: Option<String>,
    transparent_shared: Option<String>,
    reserved_2m: u64,
    free_2m: u64,
}

/// Examines the host and shows what was found. The status is 0 if `amd64` guests run here.
pub fn run(args: &DoctorArgs) -> Result<u8> {
    let findings = examine(&args.kvm);
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&findings)?)?;
    } else {
        for (what, answer) in table(&findings) {
            writeln!(out, "{what:<16}{answer}")?;
        }
    }
    Ok(u8::from(!findings.ok))
}

fn examine(device: &Path) -> Findings {
    let host = Host::here();
    let HugePages { transparent, shared, reserved, free } = host.huge_pages();
    let kvm = examine_kvm(device);
    Findings {
        v: 1,
        ok: kvm.answers.as_ref().is_some_and(Answers::run_amd64),
        kvm,
        backend: host.backend().into(),
        nested: host.is_virtual(),
        processors: Processors { count: host.processors(), model: host.processor_model() },
        memory: Memory { total: host.memory_total(), available: host.memory_available() },
        huge_pages: Huge {
            transparent,
            transparent_shared: shared,
            reserved_2m: reserved,
            free_2m: free,
        },
    }
}

fn examine_kvm(device: &Path) -> Kvm {
    let answers = Probe::open(device).map(|probe| ask(&probe));
    let problem = answers.as_ref().err().map(KvmError::to_string);
    Kvm {
        device: device.display().to_string(),
        usable: problem.is_none(),
        problem,
        answers: answers.ok(),
    }
}

fn ask(probe: &Probe) -> Answers {
    let paging = |mode| match probe.paging(mode) {
        Ok(Attempt::Works) => Tried { works: true, instead: None },
        Ok(Attempt::Fails(reason)) => Tried { works: false, instead: Some(reason) },
        Err(error) => Tried { works: false, instead: Some(error.to_string()) },
    };
    Answers {
        api_version: probe.api_version(),
        recommended_processors: probe.recommended_processors(),
        long_mode: paging(PagingMode::Long),
        two_level_paging: paging(PagingMode::TwoLevels),
        pae_paging: paging(PagingMode::Pae),
        syscall: match probe.syscall_entry() {
            Ok(SyscallEntry::Ring0) => Syscall::Ring0,
            Ok(SyscallEntry::PageFault) => Syscall::PageFault,
            Ok(SyscallEntry::Fails(reason)) => Syscall::Fails(reason),
            Err(error) => Syscall::Fails(error.to_string()),
        },
    }
}

impl Answers {
    fn run_amd64(&self) -> bool {
        self.long_mode.works && !matches!(self.syscall, Syscall::Fails(_))
    }
}

impl From<Backend> for Named {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Vmx => Self { kind: "vmx", module: Some("kvm_intel".to_owned()) },
            Backend::Svm => Self { kind: "svm", module: Some("kvm_amd".to_owned()) },
            Backend::Software(module) => Self { kind: "software", module: Some(module) },
            Backend::Unknown => Self { kind: "unknown", module: None },
        }
    }
}

/// The findings for people.
fn table(findings: &Findings) -> Vec<(&'static str, String)> {
    let Findings { kvm, backend, processors, memory, huge_pages, .. } = findings;
    let mut rows = vec![("KVM device", device_row(kvm))];
    rows.push(("backend", backend_row(backend, findings.nested)));
    if let Some(answers) = &kvm.answers {
        rows.extend(answer_rows(answers));
    }
    let model = processors.model.as_deref().unwrap_or("unknown");
    rows.push(("processors", format!("{} x {model}", processors.count)));
    let bytes = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), human);
    rows.push((
        "memory",
        format!("{}, {} available", bytes(memory.total), bytes(memory.available)),
    ));
    rows.push(("huge pages", huge_pages_row(huge_pages)));
    let verdict = match findings.ok {
        true => "amd64 guests run under KVM here",
        false => "amd64 guests do not run under KVM here: see above",
    };
    rows.push(("verdict", verdict.to_owned()));
    rows
}

fn device_row(kvm: &Kvm) -> String {
    match &kvm.problem {
        None => format!("{}: usable", kvm.device),
        Some(problem) => problem.clone(),
    }
}

fn backend_row(backend: &Named, nested: bool) -> String {
    let name = match backend.kind {
        "vmx" => "VMX, Intel's hardware virtualisation",
        "svm" => "SVM, AMD's hardware virtualisation",
        "software" => "software: no help of the processor, ring 0 is interpreted and slow",
        _ => "unknown",
    };
    let module = backend.module.as_ref().map(|module| format!("; module {module}"));
    let place = if nested { "; in a virtual machine" } else { "" };
    format!("{name}{}{place}", module.unwrap_or_default())
}

fn answer_rows(answers: &Answers) -> Vec<(&'static str, String)> {
    let syscall = match &answers.syscall {
        Syscall::Ring0 => "syscall arrives in ring 0, as the manual says".to_owned(),
        Syscall::PageFault => {
            "syscall arrives as a page fault: the kernel's special case is in force".to_owned()
        }
        Syscall::Fails(reason) => format!("syscall does not arrive: {reason}"),
    };
    vec![
        ("KVM API", format!("version {}", answers.api_version)),
        ("long mode", tried(&answers.long_mode, "amd64 guests need it")),
        ("32-bit paging", tried(&answers.two_level_paging, "ia32 guests need it, or QEMU")),
        ("PAE paging", tried(&answers.pae_paging, "no guest of ours needs it")),
        ("system calls", syscall),
        ("virtual CPUs", format!("up to {} recommended", answers.recommended_processors)),
    ]
}

fn tried(attempt: &Tried, use_: impl Display) -> String {
    match &attempt.instead {
        None => format!("works ({use_})"),
        Some(reason) => format!("refused ({use_}): {reason}"),
    }
}

fn huge_pages_row(pages: &Huge) -> String {
    let setting = |value: &Option<String>| value.clone().unwrap_or_else(|| "unknown".to_owned());
    format!(
        "transparent: {}, for shared memory: {}; reserved: {} of 2 MiB, {} free",
        setting(&pages.transparent),
        setting(&pages.transparent_shared),
        pages.reserved_2m,
        pages.free_2m
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_device_the_reason_and_the_way_out_are_shown() {
        let findings = examine(Path::new("/nonexistent/kvm"));
        assert!(!findings.ok);
        let rows = table(&findings);
        assert!(rows[0].1.contains("/nonexistent/kvm does not exist: load KVM with"), "{rows:?}");
        assert!(rows.last().unwrap().1.contains("do not run under KVM"), "{rows:?}");
        let json = serde_json::to_value(&findings).unwrap();
        assert_eq!((&json["v"], &json["ok"]), (&1.into(), &false.into()));
        assert_eq!(json["kvm"]["usable"], false);
        assert!(json["kvm"].get("long_mode").is_none());
    }

    #[test]
    fn a_refused_mode_is_no_obstacle_but_long_mode_is() {
        let works = |works| Tried { works, instead: (!works).then(|| "triple fault".to_owned()) };
        let answers = |long_mode, syscall| Answers {
            api_version: 12,
            recommended_processors: 2,
            long_mode: works(long_mode),
            two_level_paging: works(false),
            pae_paging: works(false),
            syscall,
        };
        assert!(answers(true, Syscall::PageFault).run_amd64());
        assert!(answers(true, Syscall::Ring0).run_amd64());
        assert!(!answers(false, Syscall::Ring0).run_amd64());
        assert!(!answers(true, Syscall::Fails(String::new())).run_amd64());
        let rows = answer_rows(&answers(true, Syscall::PageFault));
        assert_eq!(rows[2].1, "refused (ia32 guests need it, or QEMU): triple fault");
    }
}
