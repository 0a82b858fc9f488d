//! The tests once more on a KVM with hardware virtualisation, on a host that need not have one.
//!
//! QEMU's software emulation has AMD's SVM, with nested page tables. An ordinary Linux boots on it, loads
//! `kvm_amd`, and runs the tests of `glass` that boot machines: real KVM, real 32-bit paging.
//!
//! | module | what |
//! |---|---|
//! | this one | what runs there, and what is expected of it |
//! | [`package`] | the Linux, from apt |
//! | [`files`] | the file system that it finds |
//! | [`programs`] | the tests, and what they need |
//! | [`machine`] | a boot, from QEMU's start to its end |
//! | [`counted`] | the benchmark, with instructions counted |

mod counted;
mod files;
mod machine;
mod package;
mod programs;

use crate::{Architecture, architecture::ALL, command::say, test::Tally, workspace::Workspace};
use anyhow::{Context, Result};
use files::Files;
use machine::{Ended, Machine};
use package::Linux;
use programs::Programs;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
    thread,
};
use svm_init::{JOBS, Job};

/// Tests whose names have this in them run on QEMU, which is not there.
const LEFT_OUT: &str = "qemu";

/// Test files that do not run there: they are about the host's processes, pipes and terminals, to which
/// it is all the same what runs a guest; and `attack`, whose lists take too long there.
const FILES_LEFT_OUT: [&str; 7] =
    ["attach", "attack", "confinement", "echo", "source_lines", "text", "unending"];

/// Test files that run with shadow page tables too.
const WITH_SHADOW_PAGING: [&str; 2] = ["words", "check"];

/// A list of jobs for one machine.
struct List {
    name: &'static str,
    nested_paging: bool,
    is_counting: bool,
    tasks: Vec<Task>,
}

/// A job, and what is expected of it.
struct Task {
    /// What people call it.
    name: String,
    job: Job,
    expected: Expected,
}

/// What is expected of a job.
enum Expected {
    /// That it is a test and passes.
    Test,
    /// That it ends well.
    Success,
    /// That it prints a report of the benchmark.
    Report(counted::Run),
}

/// What came of it all so far.
struct Report<'t> {
    total: &'t mut Tally,
    is_success: bool,
    counted: Vec<(counted::Run, String)>,
}

/// Runs the tests, adds up their results, and says whether all is well.
pub fn test(workspace: &Workspace, total: &mut Tally) -> Result<bool> {
    let linux = Linux::get(workspace)?;
    let programs = Programs::build(workspace)?;
    let lists = [everything(&programs)?, shadow(&programs)?, counting(&programs)];
    let scratch = Scratch::new(workspace)?;
    let files = scratch.0.join("files");
    pack(&files, &scratch.0, workspace, &linux, &programs, &lists)?;
    let report = Mutex::new(Report { total, is_success: true, counted: Vec::new() });
    // One processor each: two machines at a time keep the smallest of hosts busy.
    let (first, others) = lists.split_first().context("there are lists")?;
    thread::scope(|scope| {
        let run = |list: &List| run(list, &linux, &files, &scratch.0, &report);
        let beside = scope.spawn(move || others.iter().try_for_each(run));
        let result = run(first);
        beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(result)
    })?;
    let report = report.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let counted = counted::judge(workspace, &report.counted, report.total)?;
    Ok(report.is_success && counted)
}

/// Every test that hangs on what runs a machine, with nested page tables.
fn everything(programs: &Programs) -> Result<List> {
    let mut tasks = Vec::new();
    for (name, program) in &programs.tests {
        if !FILES_LEFT_OUT.contains(&name.as_str()) {
            tasks.extend(test_tasks(name, program)?);
        }
    }
    Ok(List { name: "nested", nested_paging: true, is_counting: false, tasks })
}

/// A few of them, with shadow page tables, and tasks that map and unmap at random.
fn shadow(programs: &Programs) -> Result<List> {
    let mut tasks = Vec::new();
    for wanted in WITH_SHADOW_PAGING {
        let found = programs.tests.iter().find(|(name, _)| name == wanted);
        let (name, program) = found.with_context(|| format!("there is no test file {wanted}"))?;
        tasks.extend(test_tasks(name, program)?);
    }
    for Architecture { name, .. } in ALL {
        let glass = programs.glass.display().to_string();
        let run = ["run", "stress", "--quiet", "--check=64", "--engine", "kvm", "--arch", name];
        let command = [glass].into_iter().chain(run.map(str::to_owned)).collect();
        let job = Job { command };
        tasks.push(Task { name: format!("stress on {name}"), job, expected: Expected::Success });
    }
    Ok(List { name: "shadow", nested_paging: false, is_counting: false, tasks })
}

/// The benchmark, with nested page tables.
fn counting(programs: &Programs) -> List {
    let runs = ALL.into_iter().flat_map(counted::runs_of);
    let task = |run: counted::Run| Task {
        name: run.to_string(),
        job: Job { command: run.command(&programs.glass.display().to_string()) },
        expected: Expected::Report(run),
    };
    let tasks = runs.map(task).collect();
    List { name: "counting", nested_paging: true, is_counting: true, tasks }
}

/// A job for each test of a program that runs there.
fn test_tasks(file: &str, program: &Path) -> Result<Vec<Task>> {
    let tests = programs::list_tests(program)?;
    let is_there = |test: &&String| {
        // The other tests of that file boot nothing.
        !test.contains(LEFT_OUT) && (file != "machine" || test.starts_with("kvm::"))
    };
    let task = |test: &String| Task {
        name: format!("{file}, {test}"),
        job: Job {
            command: vec![program.display().to_string(), "--exact".to_owned(), test.clone()],
        },
        expected: Expected::Test,
    };
    Ok(tests.iter().filter(is_there).map(task).collect())
}

/// Writes the machine's files.
fn pack(
    path: &Path,
    scratch: &Path,
    workspace: &Workspace,
    linux: &Linux,
    programs: &Programs,
    lists: &[List],
) -> Result<()> {
    let mut files = Files::create(path)?;
    files.add_stripped(Path::new("/init"), &programs.init, scratch)?;
    // Optimised: the processor there is slow enough.
    files.add_stripped(&programs.glass, &workspace.glass(), scratch)?;
    for (_, program) in &programs.tests {
        files.add_stripped(program, program, scratch)?;
    }
    for (place, source) in programs::tools()? {
        files.add_program(&place, &source)?;
    }
    for module in linux.modules()? {
        let name = module.file_name().context("a module is a file")?;
        files.add_file(&Path::new(svm_init::MODULES).join(name), &module)?;
    }
    for architecture in ALL {
        let images = workspace.images(architecture.name);
        for entry in fs::read_dir(&images).with_context(|| format!("cannot list {images:?}"))? {
            let image = entry?.path();
            let name = image.file_name().context("an image is a file")?;
            let place = Path::new(svm_init::GUESTS).join(architecture.name).join(name);
            files.add_file(&place, &image)?;
        }
    }
    for list in lists {
        let lines: Vec<String> = list.tasks.iter().map(|task| task.job.to_string()).collect();
        files.add(&Path::new(JOBS).join(list.name), lines.join("\n").as_bytes())?;
    }
    files.add(Path::new("/etc/passwd"), b"root:x:0:0:root:/tmp:/bin/sh\n")?;
    files.add(Path::new("/etc/group"), b"root:x:0:\n")?;
    files.finish()
}

fn run(
    list: &List,
    linux: &Linux,
    files: &Path,
    scratch: &Path,
    report: &Mutex<Report<'_>>,
) -> Result<()> {
    let machine = Machine {
        linux,
        files,
        list: list.name,
        nested_paging: list.nested_paging,
        is_counting: list.is_counting,
        console: scratch.join(list.name),
    };
    machine.run(list.tasks.len(), &say, |number, ended| {
        lock(report).take(list, &list.tasks[number], ended);
    })
}

fn lock<'m, 't>(report: &'m Mutex<Report<'t>>) -> MutexGuard<'m, Report<'t>> {
    report.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Report<'_> {
    /// Counts a job, and shows what it printed if it failed.
    fn take(&mut self, list: &List, task: &Task, ended: Ended) {
        let Ended { status, output, took } = ended;
        let paging = if list.nested_paging { "nested" } else { "shadow" };
        let result = if status == 0 { "ok".to_owned() } else { format!("status {status}") };
        say(&format!("svm: {paging}: {} ... {result}, {} s", task.name, took.as_secs()));
        if status != 0 {
            println!("{output}");
        }
        match &task.expected {
            Expected::Test => self.is_success &= self.total.add_program(&output, status == 0),
            Expected::Success => {
                self.total.add_test(status == 0);
                self.is_success &= status == 0;
            }
            // What it says is judged when all reports are there.
            Expected::Report(run) => self.counted.push((*run, output)),
        }
    }
}

/// A folder for the files of the machines, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.root().join(format!("target/svm/run-{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {folder:?}"))?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it; what is left over lies in `target`.
        let _ = fs::remove_dir_all(&self.0);
    }
}
