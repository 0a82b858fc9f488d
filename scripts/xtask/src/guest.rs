//! `xtask guest`: builds the kernel and the programs that run on it, for all architectures.
//!
//! The two kinds have different code generation flags, and so a cargo invocation and a target
//! folder each. The finished images are copied to a folder in `target/guest` for each architecture,
//! but only if they changed: the host's build embeds them, and is thus not repeated for nothing.

use crate::{
    architecture::{ALL, Architecture},
    command::{cargo, run, say},
    workspace::Workspace,
};
use anyhow::{Context, Result};
use std::{env, fs, path::Path, process::Command};

/// One kind of guest code.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Kernel,
    Programs,
}

impl Kind {
    /// Of the folder in which cargo builds it.
    const fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Programs => "programs",
        }
    }

    const fn flags(self, architecture: &Architecture) -> &'static [&'static str] {
        match self {
            Self::Kernel => architecture.kernel_flags,
            Self::Programs => architecture.program_flags,
        }
    }
}

/// Builds everything for the guest.
pub fn build(workspace: &Workspace) -> Result<()> {
    let programs = workspace.programs().context("cannot list guest-pagers")?;
    ALL.iter().try_for_each(|architecture| build_for(workspace, architecture, &programs))
}

fn build_for(
    workspace: &Workspace,
    architecture: &Architecture,
    programs: &[String],
) -> Result<()> {
    let name = architecture.name;
    let images = workspace.images(name);
    let product = |kind: Kind, name: &str| {
        let folder = workspace.guest_target(kind.name()).join(architecture.target);
        folder.join("guest").join(name)
    };
    say(&format!("build: kernel for {name}"));
    let mut command = cargo_for(workspace, architecture, Kind::Kernel, "build");
    run(command.args(["--package", "guest-kernel"]))?;
    install(&product(Kind::Kernel, "guest-kernel"), &images.join("kernel"))?;
    say(&format!("build: programs for {name} ({})", programs.join(", ")));
    let mut command = cargo_for(workspace, architecture, Kind::Programs, "build");
    run(command.args(packages(programs)))?;
    for name in programs {
        install(&product(Kind::Programs, name), &images.join(name))?;
    }
    remove_others(&images, programs)
}

/// Removes images of programs that there are no more.
fn remove_others(images: &Path, programs: &[String]) -> Result<()> {
    for entry in fs::read_dir(images).context("cannot list the images")? {
        let path = entry.context("cannot list the images")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // What has an extension is being written by somebody else.
        let is_ours = name == "kernel" || programs.iter().any(|program| *program == name);
        if !is_ours && path.is_file() && path.extension().is_none() {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// Lints everything for the guest.
pub fn lint(workspace: &Workspace) -> Result<()> {
    let mut programs = workspace.programs().context("cannot list guest-pagers")?;
    programs.extend(["children", "runtime"].map(str::to_owned));
    for architecture in ALL {
        let mut command = cargo_for(workspace, architecture, Kind::Kernel, "clippy");
        run(command.args(["--package", "guest-kernel", "--", "-D", "warnings"]))?;
        let mut command = cargo_for(workspace, architecture, Kind::Programs, "clippy");
        run(command.args(packages(&programs)).args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

fn packages(names: &[String]) -> impl Iterator<Item = &str> {
    names.iter().flat_map(|name| ["--package", name.as_str()])
}

fn cargo_for(
    workspace: &Workspace,
    architecture: &Architecture,
    kind: Kind,
    what: &str,
) -> Command {
    let mut flags = kind.flags(architecture).to_vec();
    let mut command = cargo(workspace);
    command.args([what, "--profile", "guest", "--target", architecture.target]);
    command.env("CARGO_TARGET_DIR", workspace.guest_target(kind.name()));
    if env::var("GLASS_TOOLCHAIN").is_ok_and(|name| name == "debian") {
        flags.extend(architecture.debian.flags);
        command.args(architecture.debian.arguments).env("RUSTC_BOOTSTRAP", "1");
    }
    command.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // For measuring: `general-paths-only` is a kernel without quick paths.
    if let (Kind::Kernel, Ok(features)) = (kind, env::var("GLASS_KERNEL_FEATURES")) {
        command.args(["--features", &format!("guest-kernel/{features}")]);
    }
    command
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
