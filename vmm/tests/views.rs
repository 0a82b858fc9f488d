//! The views look into machines of other processes, which run on meanwhile.

mod common;

use common::{Ran, Target, finish, glass, hex};
use serde_json::Value;
use std::{
    fs,
    io::IoSliceMut,
    mem::MaybeUninit,
    os::unix::{fs::FileExt, net::UnixStream},
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A machine with two pagers that wait for ever, alone in a runtime folder of its own.
struct Machine {
    child: Child,
    folder: TempDir,
}

impl Machine {
    fn start(target: Target) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        if target == Target::AMD64_ON_KVM {
            common::require_kvm();
        }
        let image = target.image("lazy-squares").display().to_string();
        let child = within(&folder)
            .args(["run", "--quiet", "--timeout", "120s"])
            .args(target.options())
            .args(["--module", &format!("{image},name=first")])
            .args(["--module", &format!("{image},name=second,pager=first")])
            .spawn()
            .expect("glass can be started");
        let machine = Self { child, folder };
        machine.wait_until_idle();
        machine
    }

    /// Until both pagers wait for a message.
    fn wait_until_idle(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let ran = self.view(&["tasks", "--json"]);
            let tasks = ran.stdout.lines().map(parse).collect::<Vec<_>>();
            let waits = |name: &str| {
                let task = tasks.iter().find(|task| task["name"] == name);
                task.is_some_and(|task| task["threads"][0]["state"] == "receiving")
            };
            if waits("first") && waits("second") {
                return;
            }
            assert!(Instant::now() < deadline, "{ran:?}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    fn view(&self, arguments: &[&str]) -> Ran {
        finish(within(&self.folder).args(arguments).output().expect("glass can be started"))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        parse(self.view(&[arguments, &["--json"]].concat()).expect_status(0).stdout.trim())
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join(format!("glass/{}.socket", self.child.id()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn within(folder: &TempDir) -> Command {
    let mut command = glass();
    command.env("XDG_RUNTIME_DIR", folder.path());
    command
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in: {line}"))
}

fn views_show(target: Target) {
    let machine = Machine::start(target);
    let listed = machine.json(&["ls"]);
    assert_eq!(
        (&listed["pid"], &listed["architecture"]),
        (&machine.child.id().into(), &target.arch.into())
    );

    let levels: &[&str] = match target.arch {
        "amd64" => &["PML4", "PDPT", "directory", "table"],
        _ => &["directory", "table"],
    };
    let text = machine.json(&["walk", "second:0x400000"]);
    let names: Vec<_> = text["levels"].as_array().unwrap().iter().map(|l| &l["level"]).collect();
    assert_eq!(names, levels);
    // Each level leads to the table of the next one, and the last one to the page.
    let steps = text["levels"].as_array().unwrap();
    for pair in steps.windows(2) {
        let table = hex(&pair[0]["value"]) & 0x000f_ffff_ffff_f000;
        assert_eq!(table, hex(&pair[1]["entry_at"]) & !0xfff, "{text}");
    }
    let value = hex(&steps.last().unwrap()["value"]);
    assert_eq!(value & 0x000f_ffff_ffff_f000, hex(&text["page"]["physical"]), "{text}");
    assert_eq!(
        (&text["page"]["rights"], &text["page"]["writable"]),
        (&"r-x".into(), &false.into())
    );

    let stack = machine.json(&["walk", "second:0xaffffff8"]);
    assert_eq!(stack["page"]["rights"], "rw-");
    // Without PAE the processor cannot withhold the right to execute.
    assert_eq!(stack["page"]["executable"], target.arch == "ia32", "{stack}");
    let nothing = machine.json(&["walk", "second:0x20000000"]);
    assert_eq!(nothing["page"], Value::Null);
    assert_eq!(nothing["ends"], "nothing there: not present in the directory");

    let check = machine.json(&["check"]);
    assert_eq!((&check["ok"], &check["violations"]), (&true.into(), &Value::Array(vec![])));
    for checked in check["checked"].as_array().unwrap() {
        assert!(checked["count"].as_u64().unwrap() > 0, "{check}");
    }
    let missing = machine.view(&["walk", "nobody:0x0"]).expect_status(1);
    assert!(missing.stderr.contains("there are sigma0, root, first, second"), "{missing:?}");
    let missing = machine.view(&["check", "--machine", "1"]).expect_status(1);
    assert!(missing.stderr.contains(&machine.child.id().to_string()), "{missing:?}");
}

#[test]
fn views_show_an_amd64_machine() {
    views_show(Target::AMD64_ON_KVM);
}

#[test]
fn views_show_an_ia32_machine() {
    views_show(Target::IA32);
}

#[test]
fn viewers_cannot_write_and_leftovers_vanish() {
    let mut machine = Machine::start(Target::AMD64_ON_KVM);
    let stream = UnixStream::connect(machine.socket()).expect("somebody listens");
    let mut line = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut line)];
    let flags = rustix::net::RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(&stream, &mut parts, &mut control, flags).expect("a message");
    let descriptor = control.drain().find_map(|message| match message {
        rustix::net::RecvAncillaryMessage::ScmRights(mut all) => all.next(),
        _ => None,
    });
    let ram = fs::File::from(descriptor.expect("a descriptor"));
    ram.read_exact_at(&mut [0; 8], 0x10_0000).expect("it can be read");
    ram.write_at(&[0; 8], 0x10_0000).expect_err("it was written");
    ram.set_len(4096).expect_err("it was cut off");

    // Killed, it cannot tidy up: the next viewer does.
    machine.child.kill().expect("it runs");
    machine.child.wait().expect("it ends");
    assert!(Path::exists(&machine.socket()));
    let listed = machine.view(&["ls", "--json"]).expect_status(0);
    assert_eq!(listed.stdout, "");
    assert!(!Path::exists(&machine.socket()));
    let none = machine.view(&["tasks"]).expect_status(1);
    assert!(none.stderr.contains("no machine runs: start one with"), "{none:?}");
}

#[test]
fn a_run_that_nobody_can_view_runs_all_the_same() {
    common::require_kvm();
    let target = Target::AMD64_ON_KVM;
    let mut command = glass();
    command.env("XDG_RUNTIME_DIR", "/proc/no/such/folder").args(["run", "--quiet"]);
    command.args(target.options()).args(["--module", &target.assist("exit 3")]);
    let ran = finish(command.output().expect("glass can be started")).expect_status(3);
    assert_eq!(ran.stderr.lines().count(), 1, "{ran:?}");
    assert!(ran.stderr.contains("nobody can view this run: cannot create"), "{ran:?}");
}
