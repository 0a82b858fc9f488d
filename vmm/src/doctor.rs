//! `glass doctor`: what this host can do, and how to repair what it can't.

use crate::{cli::DoctorArgs, screen, trial};
use anyhow::Result;
use machine::{
    Architecture, Engine, KvmError, Qemu, QemuError,
    host::{Backend, Host, HugePages},
    human,
    probe::{Attempt, PagingMode, Probe, SyscallEntry},
};
use serde::Serialize;
use std::{fmt::Display, io::Write, path::Path};

/// Everything that was found out.
#[derive(Debug, Serialize)]
struct Findings {
    /// Version of this form.
    v: u32,
    /// Whether `amd64` guests run under KVM here.
    ok: bool,
    kvm: Kvm,
    qemu: QemuFindings,
    guests: Guests,
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

/// What QEMU's program says.
#[derive(Debug, Serialize)]
struct QemuFindings {
    program: String,
    usable: bool,
    /// Why it is not usable and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// The machine that guests get.
    #[serde(skip_serializing_if = "Option::is_none")]
    machine: Option<&'static str>,
}

/// What became of a guest of each architecture.
#[derive(Debug, Serialize)]
struct Guests {
    amd64: Engines,
    ia32: Engines,
}

/// What became of a guest on each engine.
#[derive(Debug, Serialize)]
struct Engines {
    kvm: Tried,
    qemu: Tried,
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

/// Examines the host and shows what was found. The status is 0 if `amd64` guests run under KVM.
pub fn run(args: &DoctorArgs) -> Result<u8> {
    let findings = examine(&args.kvm, &args.qemu);
    let mut out = screen::output();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&findings)?)?;
    } else {
        for (what, answer) in table(&findings) {
            writeln!(out, "{what:<16}{answer}")?;
        }
    }
    Ok(u8::from(!findings.ok))
}

fn examine(device: &Path, program: &Path) -> Findings {
    let host = Host::here();
    let HugePages { transparent, shared, reserved, free } = host.huge_pages();
    let kvm = examine_kvm(device);
    let qemu = Qemu::find(program);
    let guests = |architecture| Engines {
        kvm: match kvm.usable {
            true => try_guest(device, architecture),
            false => Tried::fails("KVM is not usable"),
        },
        qemu: match &qemu {
            Ok(qemu) => tried_out(&Engine::Qemu(qemu.clone()), architecture),
            Err(_) => Tried::fails("QEMU is not usable"),
        },
    };
    let guests = Guests { amd64: guests(Architecture::Amd64), ia32: guests(Architecture::Ia32) };
    Findings {
        v: 1,
        ok: guests.amd64.kvm.works,
        kvm,
        qemu: describe_qemu(program, qemu),
        guests,
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

fn describe_qemu(program: &Path, qemu: Result<Qemu, QemuError>) -> QemuFindings {
    let program = program.display().to_string();
    let problem = qemu.as_ref().err().map(QemuError::to_string);
    let qemu = qemu.ok();
    QemuFindings {
        program,
        usable: qemu.is_some(),
        problem,
        version: qemu.as_ref().map(|qemu| qemu.version().to_string()),
        machine: qemu.as_ref().map(Qemu::machine),
    }
}

/// Runs a guest under KVM, unless KVM cannot page its architecture.
fn try_guest(device: &Path, architecture: Architecture) -> Tried {
    match machine::kvm_can_run(device, architecture) {
        Ok(()) => tried_out(&Engine::Kvm(device.to_owned()), architecture),
        Err(refusal) => Tried::fails(refusal),
    }
}

fn tried_out(engine: &Engine, architecture: Architecture) -> Tried {
    match trial::run(engine, architecture) {
        Ok(()) => Tried::WORKS,
        Err(error) => Tried::fails(format_args!("{error:#}")),
    }
}

impl Tried {
    const WORKS: Self = Self { works: true, instead: None };

    fn fails(reason: impl Display) -> Self {
        Self { works: false, instead: Some(reason.to_string()) }
    }
}

fn ask(probe: &Probe) -> Answers {
    let paging = |mode| match probe.paging(mode) {
        Ok(Attempt::Works) => Tried::WORKS,
        Ok(Attempt::Fails(reason)) => Tried::fails(reason),
        Err(error) => Tried::fails(error),
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
    let Findings { kvm, qemu, guests, backend, processors, memory, huge_pages, .. } = findings;
    let mut rows = vec![("KVM device", device_row(kvm))];
    rows.push(("backend", backend_row(backend, findings.nested)));
    if let Some(answers) = &kvm.answers {
        rows.extend(answer_rows(answers));
    }
    rows.push(("QEMU", qemu_row(qemu)));
    rows.push(("amd64 guests", guests_row(&guests.amd64)));
    rows.push(("ia32 guests", guests_row(&guests.ia32)));
    let model = processors.model.as_deref().unwrap_or("unknown");
    rows.push(("processors", format!("{} x {model}", processors.count)));
    let bytes = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), human);
    rows.push((
        "memory",
        format!("{}, {} available", bytes(memory.total), bytes(memory.available)),
    ));
    rows.push(("huge pages", huge_pages_row(huge_pages)));
    rows.push(("verdict", verdict(guests)));
    rows
}

fn verdict(guests: &Guests) -> String {
    let line = |name, engines: &Engines| match (engines.kvm.works, engines.qemu.works) {
        (true, _) => format!("{name} guests run under KVM here"),
        (false, true) => format!("{name} guests do not run under KVM here, but under QEMU"),
        (false, false) => format!("{name} guests do not run here: see above"),
    };
    format!("{}; {}", line("amd64", &guests.amd64), line("ia32", &guests.ia32))
}

fn device_row(kvm: &Kvm) -> String {
    match &kvm.problem {
        None => format!("{}: usable", kvm.device),
        Some(problem) => problem.clone(),
    }
}

fn qemu_row(qemu: &QemuFindings) -> String {
    match (&qemu.problem, &qemu.version, qemu.machine) {
        (None, Some(version), Some(machine)) => {
            format!("{}: version {version}, machine {machine}", qemu.program)
        }
        (problem, ..) => problem.clone().unwrap_or_default(),
    }
}

fn guests_row(engines: &Engines) -> String {
    let engine = |name, tried: &Tried| match &tried.instead {
        None => format!("{name} runs one"),
        Some(reason) => format!("{name} runs none: {reason}"),
    };
    format!("{}; {}", engine("KVM", &engines.kvm), engine("QEMU", &engines.qemu))
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
    fn without_an_engine_the_reasons_and_the_ways_out_are_shown() {
        let findings = examine(Path::new("/nonexistent/kvm"), Path::new("/nonexistent/qemu"));
        assert!(!findings.ok);
        let rows = table(&findings);
        let row = |name| &rows.iter().find(|(known, _)| *known == name).expect(name).1;
        assert!(row("KVM device").contains("/nonexistent/kvm does not exist: load KVM with"));
        assert!(row("QEMU").contains("/nonexistent/qemu is not installed: run `sudo apt-get"));
        assert_eq!(
            row("ia32 guests"),
            "KVM runs none: KVM is not usable; QEMU runs none: QEMU is not usable"
        );
        assert_eq!(
            row("verdict"),
            "amd64 guests do not run here: see above; ia32 guests do not run here: see above"
        );
        let json = serde_json::to_value(&findings).unwrap();
        assert_eq!((&json["v"], &json["ok"]), (&1.into(), &false.into()));
        assert_eq!(
            (&json["kvm"]["usable"], &json["qemu"]["usable"]),
            (&false.into(), &false.into())
        );
        assert_eq!(json["guests"]["ia32"]["qemu"]["works"], false);
        assert!(json["kvm"].get("long_mode").is_none());
    }

    #[test]
    fn guests_of_both_architectures_are_run_on_qemu() {
        let findings = examine(Path::new("/nonexistent/kvm"), Path::new(machine::QEMU_PROGRAM));
        let (Guests { amd64, ia32 }, qemu) = (&findings.guests, &findings.qemu);
        assert!(amd64.qemu.works && ia32.qemu.works, "this test needs QEMU: {findings:?}");
        assert!(qemu_row(qemu).contains(": version "), "{qemu:?}");
        assert_eq!(guests_row(ia32), "KVM runs none: KVM is not usable; QEMU runs one");
        assert_eq!(
            verdict(&findings.guests),
            "amd64 guests do not run under KVM here, but under QEMU; \
             ia32 guests do not run under KVM here, but under QEMU"
        );
    }

    #[test]
    fn a_refused_mode_is_shown_with_what_happened_instead() {
        let answers = Answers {
            api_version: 12,
            recommended_processors: 2,
            long_mode: Tried::WORKS,
            two_level_paging: Tried::fails("triple fault"),
            pae_paging: Tried::fails("triple fault"),
            syscall: Syscall::PageFault,
        };
        let rows = answer_rows(&answers);
        assert_eq!(rows[1].1, "works (amd64 guests need it)");
        assert_eq!(rows[2].1, "refused (ia32 guests need it, or QEMU): triple fault");
    }
}
