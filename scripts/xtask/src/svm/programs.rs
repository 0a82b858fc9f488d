//! What runs on the emulated machine: the tests, `glass`, and the tools that tests start.

use crate::{
    command::{cargo, run},
    workspace::Workspace,
};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Programs of the host that tests start.
const TOOLS: [&str; 8] = ["sh", "env", "kill", "nohup", "ps", "script", "stty", "wc"];

/// Where the tools are to be: the places that `PATH` names there.
const TOOLS_PLACE: &str = "/usr/bin";

/// Where `script` looks for a shell.
const SHELL: &str = "/bin/sh";

/// Programs, by where the host's build left them.
#[derive(Debug)]
pub struct Programs {
    /// The first process.
    pub init: PathBuf,
    /// Where tests look for the command under test.
    pub glass: PathBuf,
    /// Test programs by their names: those that run the command, and those of the crate that knows
    /// KVM.
    pub tests: Vec<(String, PathBuf)>,
}

impl Programs {
    /// Builds them, if `cargo test` has not done so just before: with the same words, since those decide on
    /// the features of dependencies.
    pub fn build(workspace: &Workspace) -> Result<Self> {
        run(cargo(workspace).args(["build", "--quiet", "--package", "svm-init"]))?;
        let output = cargo(workspace)
            .args(["test", "--no-run", "--quiet", "--message-format", "json"])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot start cargo test")?;
        if !output.status.success() {
            bail!("cargo test --no-run failed");
        }
        let (mut glass, mut tests) = (None, Vec::new());
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let artifact: Value = serde_json::from_str(line).context("cargo printed no JSON")?;
            match kind(&artifact) {
                Some((Kind::Test(name), path)) => tests.push((name.to_owned(), path.into())),
                Some((Kind::Command, path)) => glass = Some(path.into()),
                None => {}
            }
        }
        tests.sort();
        Ok(Self {
            init: workspace.target().join("debug/svm-init"),
            glass: glass.context("cargo test has not built glass")?,
            tests,
        })
    }
}

enum Kind<'a> {
    Command,
    Test(&'a str),
}

/// What cargo has built, if it is to run there.
fn kind(artifact: &Value) -> Option<(Kind<'_>, &str)> {
    let path = artifact["executable"].as_str()?;
    let target = &artifact["target"];
    let (name, kind) = (target["name"].as_str()?, target["kind"][0].as_str()?);
    let is_test = artifact["profile"]["test"] == true;
    let is_of_glass = artifact["manifest_path"].as_str()?.ends_with("/vmm/Cargo.toml");
    match (kind, name, is_test) {
        ("bin", "glass", false) => Some((Kind::Command, path)),
        ("test", _, true) if is_of_glass => Some((Kind::Test(name), path)),
        ("lib", "machine", true) => Some((Kind::Test(name), path)),
        _ => None,
    }
}

/// The names of the tests of a test program.
pub fn list_tests(program: &Path) -> Result<Vec<String>> {
    let output = Command::new(program)
        .args(["--list", "--format", "terse"])
        .output()
        .with_context(|| format!("cannot start {program:?}"))?;
    if !output.status.success() {
        bail!("{program:?} does not list its tests");
    }
    let lines = String::from_utf8_lossy(&output.stdout);
    let tests = lines.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(tests.map(str::to_owned).collect())
}

/// The tools: where each is to be, and where it is here.
pub fn tools() -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut tools = Vec::new();
    for name in TOOLS {
        let here = find(name).with_context(|| format!("`{name}` is not installed"))?;
        tools.push((Path::new(TOOLS_PLACE).join(name), here));
    }
    tools.push((SHELL.into(), find("sh").context("there is no shell")?));
    Ok(tools)
}

fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::{Kind, kind};
    use serde_json::json;

    #[test]
    fn system_tests_and_the_command_are_taken() {
        let artifact = |name: &str, sort: &str, is_test: bool, manifest: &str| {
            json!({
                "executable": "/there",
                "manifest_path": manifest,
                "profile": {"test": is_test},
                "target": {"name": name, "kind": [sort]},
            })
        };
        let glass = "/root/vmm/Cargo.toml";
        let words = artifact("words", "test", true, glass);
        assert!(matches!(kind(&words), Some((Kind::Test("words"), "/there"))));
        let command = artifact("glass", "bin", false, glass);
        assert!(matches!(kind(&command), Some((Kind::Command, "/there"))));
        for other in [
            artifact("glass", "bin", true, glass),
            artifact("budgets", "test", true, "/root/scripts/xtask/Cargo.toml"),
            artifact("observe", "lib", true, "/root/vmm/observe/Cargo.toml"),
            json!({"reason": "build-finished"}),
        ] {
            assert!(kind(&other).is_none(), "{other}");
        }
    }
}
