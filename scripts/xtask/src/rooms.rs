//! `xtask rooms`: who may import whom, and where unsafe code may be.
//!
//! The rules are the tables below; what `cargo metadata` says is held against them, and for the modules
//! of the kernel's core what [`modules`] finds in its sources.

mod modules;

use crate::{command::cargo, workspace::Workspace};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{collections::HashSet, fs};

/// Each crate of ours and those of ours that it may depend on.
const EDGES: [(&str, &[&str]); 17] = [
    ("memory-functions", &[]),
    ("protocol", &[]),
    ("images", &["protocol"]),
    ("kernel-core", &["images", "protocol"]),
    ("guest-kernel", &["images", "kernel-core", "memory-functions", "protocol"]),
    ("linking", &["protocol"]),
    ("policy", &["images", "protocol"]),
    ("runtime", &["images", "memory-functions", "policy", "protocol"]),
    ("children", &["runtime"]),
    ("confine", &[]),
    // The kernel only in tests: what it makes of sigma0 and the root task.
    ("machine", &["images", "kernel-core", "policy", "protocol"]),
    ("observe", &["protocol"]),
    ("glass", &["confine", "machine", "observe", "protocol"]),
    ("fuzz", &["glass", "images", "kernel-core", "machine", "observe", "policy", "protocol"]),
    ("svm-init", &[]),
    ("xtask", &["images", "protocol", "svm-init"]),
    ("yardsticks", &[]),
];

/// What any other crate in `guest-pagers`, which is a program then, may depend on.
const PROGRAM_EDGES: [&str; 6] = ["children", "images", "linking", "policy", "protocol", "runtime"];

/// The one crate that knows KVM.
const KVM_ROOM: &str = "machine";

/// Crates that may have unsafe code: they touch the processor, the machine or the system, or break
/// rules on purpose.
const UNSAFE_ALLOWED: [&str; 13] = [
    "memory-functions",
    "guest-kernel",
    "runtime",
    "confine",
    "machine",
    "glass",
    "yardsticks",
    "attack",
    "bench",
    "broken",
    "fuzzer",
    "hostile",
    "sums",
];

const FORBID: &str = "#![forbid(unsafe_code)]";

/// What the rules need to know about a crate.
#[derive(Clone, Debug)]
struct Crate {
    name: String,
    is_in_guest_pagers: bool,
    dependencies: Vec<String>,
    /// Root files of its libraries and programs that do not forbid unsafe code.
    lax_roots: Vec<String>,
}

/// Fails with all that breaks a rule.
pub fn check_workspace(workspace: &Workspace) -> Result<()> {
    let mut violations = violations(&read(workspace)?);
    violations.extend(modules::check(&workspace.root().join("guest-kernel/core/src"))?);
    if !violations.is_empty() {
        bail!("the rules in scripts/xtask/src/rooms.rs are broken:\n  {}", violations.join("\n  "));
    }
    Ok(())
}

fn violations(crates: &[Crate]) -> Vec<String> {
    let ours: HashSet<&str> = crates.iter().map(|each| each.name.as_str()).collect();
    crates.iter().flat_map(|each| violations_of(each, &ours)).collect()
}

fn violations_of(subject: &Crate, ours: &HashSet<&str>) -> Vec<String> {
    let name = &subject.name;
    let Some(allowed) = allowed_edges(subject) else {
        return vec![format!("`{name}` is not in the table: add it with what it may depend on")];
    };
    let mut found = Vec::new();
    for dependency in &subject.dependencies {
        if ours.contains(dependency.as_str()) && !allowed.contains(&dependency.as_str()) {
            found.push(format!("`{name}` must not depend on `{dependency}`"));
        }
        if dependency.starts_with("kvm-") && name != KVM_ROOM {
            found.push(format!("`{name}` depends on `{dependency}`: only `{KVM_ROOM}` knows KVM"));
        }
    }
    if !UNSAFE_ALLOWED.contains(&name.as_str()) {
        found.extend(subject.lax_roots.iter().map(|root| format!("{root} lacks `{FORBID}`")));
    }
    found
}

fn allowed_edges(subject: &Crate) -> Option<&'static [&'static str]> {
    let listed = EDGES.iter().find(|(name, _)| *name == subject.name).map(|(_, edges)| *edges);
    listed.or(subject.is_in_guest_pagers.then_some(&PROGRAM_EDGES))
}

fn read(workspace: &Workspace) -> Result<Vec<Crate>> {
    let output = cargo(workspace)
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .context("cannot start cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
    list(&metadata["packages"])?.iter().map(|package| read_crate(workspace, package)).collect()
}

fn read_crate(workspace: &Workspace, package: &Value) -> Result<Crate> {
    let mut lax_roots = Vec::new();
    for target in list(&package["targets"])? {
        let kind = text(&target["kind"][0])?;
        if kind != "lib" && kind != "bin" {
            continue;
        }
        let path = text(&target["src_path"])?;
        let source = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        if !source.lines().any(|line| line.trim() == FORBID) {
            lax_roots.push(path.to_owned());
        }
    }
    let names = list(&package["dependencies"])?.iter().map(|each| text(&each["name"]));
    let guest_pagers = workspace.root().join("guest-pagers");
    Ok(Crate {
        name: text(&package["name"])?.to_owned(),
        is_in_guest_pagers: text(&package["manifest_path"])?
            .starts_with(&*guest_pagers.to_string_lossy()),
        dependencies: names.map(|name| name.map(str::to_owned)).collect::<Result<_>>()?,
        lax_roots,
    })
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().context("cargo metadata lacks a list")
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().context("cargo metadata lacks a string")
}

#[cfg(test)]
mod tests {
    use super::{Crate, check_workspace, violations};
    use crate::Workspace;

    fn a_crate(name: &str, dependencies: &[&str]) -> Crate {
        Crate {
            name: name.to_owned(),
            is_in_guest_pagers: false,
            dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
            lax_roots: Vec::new(),
        }
    }

    #[test]
    fn this_workspace_keeps_the_rules() {
        let result = check_workspace(&Workspace::find());
        assert!(result.is_ok(), "{:#}", result.unwrap_err());
    }

    #[test]
    fn rooms_that_must_not_meet_are_told_apart() {
        let crates = [
            a_crate("protocol", &["zerocopy"]),
            a_crate("observe", &["protocol", "machine"]),
            a_crate("machine", &["protocol", "kvm-ioctls"]),
        ];
        assert_eq!(violations(&crates), ["`observe` must not depend on `machine`"]);
    }

    #[test]
    fn only_one_room_knows_kvm() {
        let found = violations(&[a_crate("glass", &["kvm-bindings"])]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("only `machine` knows KVM"), "{found:?}");
    }

    #[test]
    fn programs_need_no_line_but_others_do() {
        let mut program = a_crate("new-pager", &["runtime", "machine"]);
        let crates = [program.clone(), a_crate("runtime", &[]), a_crate("machine", &[])];
        assert!(violations(&crates)[0].contains("`new-pager` is not in the table"));
        program.is_in_guest_pagers = true;
        let crates = [program, a_crate("runtime", &[]), a_crate("machine", &[])];
        assert_eq!(violations(&crates), ["`new-pager` must not depend on `machine`"]);
    }

    #[test]
    fn unsafe_code_must_be_forbidden_where_it_is_not_needed() {
        let mut strict = a_crate("observe", &[]);
        strict.lax_roots = vec!["lib.rs".to_owned()];
        let mut free = a_crate("machine", &[]);
        free.lax_roots = vec!["lib.rs".to_owned()];
        assert_eq!(violations(&[strict, free]), ["lib.rs lacks `#![forbid(unsafe_code)]`"]);
    }
}
