//! `xtask guest`: builds the kernel and the programs that run on it.
//!
//! The two kinds have different code generation flags, and so a cargo invocation and a target
//! folder each. The finished images are copied to `target/guest`, but only if they changed: the
//! host's build embeds them, and is thus not repeated for nothing.

use crate::{
    command::{cargo, run, say},
    workspace::Workspace,
};
use anyhow::{Context, Result};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const TARGET: &str = "x86_64-unknown-none";

/// One kind of guest code.
#[derive(Debug)]
struct Kind {
    name: &'static str,
    flags: &'static [&'static str],
}

/// Linked in the upper half of the address space, at a fixed place.
const KERNEL: Kind =
    Kind { name: "kernel", flags: &["-Crelocation-model=static", "-Ccode-model=kernel"] };

/// Linked at a fixed place anywhere in the lower 4 GiB, so that all addresses in the code must be
/// relative to the instruction pointer.
const PROGRAMS: Kind = Kind { name: "programs", flags: &["-Crelocation-model=pic"] };

/// Debian's compiler brings no linker for this target and no core library, but sources of one.
const DEBIAN_FLAGS: [&str; 2] = ["-Clinker=/usr/bin/ld", "-Clinker-flavor=ld"];
const DEBIAN_STD: [&str; 2] =
    ["-Zbuild-std=core,alloc,compiler_builtins", "-Zbuild-std-features=compiler-builtins-mem"];

/// Builds everything for the guest.
pub fn build(workspace: &Workspace) -> Result<()> {
    let programs = workspace.programs().context("cannot list guest-pagers")?;
    say("build: kernel");
    run(cargo_for(workspace, &KERNEL, "build").args(["--package", "guest-kernel"]))?;
    say(&format!("build: programs ({})", programs.join(", ")));
    run(cargo_for(workspace, &PROGRAMS, "build").args(packages(&programs)))?;

    install(&product(workspace, &KERNEL, "guest-kernel"), &workspace.kernel())?;
    for name in &programs {
        install(&product(workspace, &PROGRAMS, name), &workspace.images().join(name))?;
    }
    remove_others(&workspace.images(), &programs)
}

/// Removes images of programs that there are no more.
fn remove_others(images: &Path, programs: &[String]) -> Result<()> {
    for entry in fs::read_dir(images).context("cannot list the images")? {
        let path = entry.context("cannot list the images")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What has an extension is being written by somebody else.
        let is_ours = name == "kernel" || programs.iter().any(|program| *program == name);
        if !is_ours && path.extension().is_none() {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Lints everything for the guest.
pub fn lint(workspace: &Workspace) -> Result<()> {
    let deny = ["--", "-D", "warnings"];
    run(cargo_for(workspace, &KERNEL, "clippy").args(["--package", "guest-kernel"]).args(deny))?;
    let mut programs = workspace.programs().context("cannot list guest-pagers")?;
    programs.push("runtime".to_owned());
    run(cargo_for(workspace, &PROGRAMS, "clippy").args(packages(&programs)).args(deny))
}

fn packages(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().flat_map(|name| ["--package", name.as_str()])
}

fn cargo_for(workspace: &Workspace, kind: &Kind, what: &str) -> Command {
    let mut flags = kind.flags.to_vec();
    let mut command = cargo(workspace);
    command.args([what, "--profile", "guest", "--target", TARGET]);
    command.env("CARGO_TARGET_DIR", workspace.guest_target(kind.name));
    if env::var("GLASS_TOOLCHAIN").is_ok_and(|name| name == "debian") {
        flags.extend(DEBIAN_FLAGS);
        command.args(DEBIAN_STD).env("RUSTC_BOOTSTRAP", "1");
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    command
}

fn product(workspace: &Workspace, kind: &Kind, name: &str) -> PathBuf {
    workspace.guest_target(kind.name).join(TARGET).join("guest").join(name)
}

/// Copies `from` to `to` unless they are the same already.
pub fn install(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    let folder = to.parent().context("an installed file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // Renamed into place: nobody sees half a file, and a running program keeps its own.
    let partial = to.with_extension(format!("{}.partial", std::process::id()));
    fs::copy(from, &partial)
        .and_then(|_| fs::rename(&partial, to))
        .with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::install;
    use std::{env, fs};

    #[test]
    fn an_unchanged_file_is_left_alone() {
        let folder = env::temp_dir().join(format!("glass-install-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("temporary folder");
        let (from, to) = (folder.join("from"), folder.join("there/to"));
        let modified = || fs::metadata(&to).and_then(|data| data.modified()).expect("installed");

        fs::write(&from, "one").expect("write");
        install(&from, &to).expect("first copy");
        let first = modified();
        fs::write(&from, "one").expect("write");
        install(&from, &to).expect("nothing to do");
        assert_eq!(modified(), first);

        fs::write(&from, "two").expect("write");
        install(&from, &to).expect("second copy");
        assert_eq!(fs::read(&to).expect("read"), b"two");
        fs::remove_dir_all(&folder).expect("clean up");
    }
}
