//! A machine that runs while others look into it.

use super::{PATIENCE, Ran, TIMEOUT, Target, finish, glass, require_kvm};
use serde_json::Value;
use std::{
    path::PathBuf,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A machine alone in a runtime folder of its own.
pub struct Machine {
    pub child: Child,
    pub folder: TempDir,
}

impl Machine {
    /// One with two pagers, `first` and `second`, that wait for ever.
    pub fn start(target: Target) -> Self {
        let image = target.image("lazy-squares").display().to_string();
        let modules = [
            "--module",
            &format!("{image},name=first"),
            "--module",
            &format!("{image},name=second,pager=first"),
        ];
        let machine = Self::run(target, &modules);
        machine.wait_until_idle("second");
        machine
    }

    /// One with a scenario that has ended, and a program that keeps it from shutting down.
    pub fn after(target: Target, scenario: &str) -> Self {
        let keeper = format!("{},name=keeper", target.image("lazy-squares").display());
        let machine = Self::run(target, &[scenario, "--module", &keeper]);
        machine.wait_until_idle("keeper");
        machine
    }

    /// One that may well have ended before anybody looks.
    pub fn run(target: Target, what: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        if target == Target::AMD64_ON_KVM {
            require_kvm();
        }
        let child = within(&folder)
            .args(["run", "--quiet", "--timeout", TIMEOUT])
            .args(target.options())
            .args(what)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("glass can be started");
        Self { child, folder }
    }

    /// Until there is a program `last` and no thread has anything to do any more.
    pub fn wait_until_idle(&self, last: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ran = self.view(&["tasks", "--json"]);
            let tasks = lines(&ran);
            let is_idle = |task: &Value| {
                let thread = &task["threads"][0];
                let is_in = |state| thread["state"] == state;
                is_in("receiving") || is_in("stopped") || !thread["reply"].is_null()
            };
            if tasks.iter().any(|task| task["name"] == last) && tasks.iter().all(is_idle) {
                return;
            }
            assert!(Instant::now() < deadline, "{ran:?}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn view(&self, arguments: &[&str]) -> Ran {
        finish(within(&self.folder).args(arguments).output().expect("glass can be started"))
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        parse(self.view(&[arguments, &["--json"]].concat()).expect_status(0).stdout.trim())
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(format!("glass/{}.socket", self.child.id()))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn within(folder: &TempDir) -> Command {
    let mut command = glass();
    command.env("XDG_RUNTIME_DIR", folder.path());
    command
}

/// Objects in the lines of a view that has several.
pub fn lines(ran: &Ran) -> Vec<Value> {
    ran.stdout.lines().map(parse).collect()
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in: {line}"))
}

pub fn named<'v>(rows: &'v [Value], name: &str) -> &'v Value {
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name}: {rows:?}"))
}

/// The mappings in the only tree of a frame.
pub fn tree(view: &Value) -> Vec<Value> {
    let trees = view["trees"].as_array().unwrap();
    assert_eq!(trees.len(), 1, "{view}");
    trees[0]["mappings"].as_array().unwrap().clone()
}
