//! A Linux kernel and its KVM, out of the distribution's package. Fetched by apt once, and not
//! installed.

use crate::{command::say, workspace::Workspace};
use anyhow::{Context, Result, bail, ensure};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The package that depends on the newest kernel.
const NEWEST: &str = "linux-image-amd64";

/// The module that is wanted; what it depends on comes along.
const MODULE: &str = "kvm-amd";

/// What of the package is unpacked: all of it would take longer than all the rest.
const WANTED: [&str; 4] = [
    "./boot/vmlinuz-*",
    "*/kernel/arch/x86/kvm/*",
    "*/kernel/virt/lib/*",
    "*/kernel/drivers/crypto/ccp/*",
];

/// A kernel and modules that it can load.
#[derive(Debug)]
pub struct Linux {
    folder: PathBuf,
}

impl Linux {
    /// The one that is there, or else a new one.
    pub fn get(workspace: &Workspace) -> Result<Self> {
        let parent = workspace.root().join("target/svm");
        let folder = parent.join("linux");
        if !folder.exists() {
            fetch(&parent, &folder).context(
                "cannot get a Linux for the tests under emulated SVM (`./scripts/test --without \
                 svm` leaves them out)",
            )?;
        }
        Ok(Self { folder })
    }

    /// The kernel.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The modules, uncompressed, in the order in which they can be loaded: that of their names.
    pub fn modules(&self) -> Result<Vec<PathBuf>> {
        let folder = self.folder.join("modules");
        let mut modules = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {folder:?}"))? {
            modules.push(entry?.path());
        }
        modules.sort();
        Ok(modules)
    }
}

/// Leaves a kernel and modules in `folder`, whole or not at all.
fn fetch(parent: &Path, folder: &Path) -> Result<()> {
    let packages = parent.join("package");
    fs::create_dir_all(packages.join("lists/partial"))?;
    fs::create_dir_all(packages.join("cache/archives/partial"))?;
    let package = download(&packages)?;
    let unpacked = parent.join("unpacked");
    unpack(&package, &unpacked)?;
    let files = files_below(&unpacked)?;
    let kernel = files.iter().find(|file| is_named(file, "vmlinuz-"));
    let kernel = kernel.with_context(|| format!("{} has no kernel", package.display()))?;
    let partial = parent.join("linux.partial");
    remove(&partial)?;
    fs::create_dir_all(partial.join("modules"))?;
    fs::copy(kernel, partial.join("vmlinuz"))?;
    let mut order = Vec::new();
    add_module(MODULE, &files, &mut order)?;
    for (number, (name, image)) in order.iter().enumerate() {
        fs::write(partial.join(format!("modules/{number}-{name}.ko")), image)?;
    }
    remove(&unpacked)?;
    fs::rename(&partial, folder)?;
    Ok(())
}

/// Downloads the package, and says where it is.
fn download(folder: &Path) -> Result<PathBuf> {
    // Where the system's lists are old or missing, there are some of our own: that needs no root.
    let option = |key: &str, place: &str| ["-o".into(), format!("{key}={place}")];
    let (lists, cache) = (folder.join("lists"), folder.join("cache"));
    let own: Vec<String> = [
        option("Dir::State::Lists", &lists.display().to_string()),
        option("Dir::Cache", &cache.display().to_string()),
        option("Debug::NoLocking", "1"),
        // Else an update that reaches nobody succeeds.
        option("APT::Update::Error-Mode", "any"),
    ]
    .concat();
    match download_with(folder, &[]) {
        Ok(package) => Ok(package),
        Err(_) => {
            apt("apt-get", folder, &own, &["update"])?;
            download_with(folder, &own)
        }
    }
}

fn download_with(folder: &Path, options: &[String]) -> Result<PathBuf> {
    let depends = apt("apt-cache", folder, options, &["depends", NEWEST])?;
    let name = newest(&depends)
        .with_context(|| format!("apt knows no package {NEWEST}, which Debian has"))?;
    say(&format!("svm: downloading {name}"));
    apt("apt-get", folder, options, &["download", name])?;
    let files = files_below(folder)?;
    let is_it = |file: &&PathBuf| {
        is_named(file, &format!("{name}_")) && file.extension().is_some_and(|end| end == "deb")
    };
    files.iter().find(is_it).cloned().context("apt-get downloaded no package")
}

/// The kernel that the package for the newest one depends on.
fn newest(depends: &str) -> Option<&str> {
    let names = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    names.into_iter().find(|name| name.starts_with("linux-image-"))
}

/// Runs one of apt's programs, and gives what it prints.
fn apt(program: &str, folder: &Path, options: &[String], arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .arg("-q")
        .args(options)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("`{program} {}` failed: {complaint}", arguments.join(" "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Unpacks what is wanted of a package.
fn unpack(package: &Path, folder: &Path) -> Result<()> {
    remove(folder)?;
    fs::create_dir_all(folder)?;
    let mut dpkg = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let archive = dpkg.stdout.take().context("dpkg-deb has an output")?;
    // What matters is looked for by name.
    Command::new("tar")
        .args(["-x", "--wildcards", "-C"])
        .arg(folder)
        .args(WANTED)
        .stdin(archive)
        // It complains where a pattern fits nothing: kernels differ in what is a module.
        .stderr(Stdio::null())
        .status()
        .context("cannot start tar")?;
    let dpkg = dpkg.wait().context("cannot wait for dpkg-deb")?;
    ensure!(dpkg.success(), "`dpkg-deb --fsys-tarfile {}` failed ({dpkg})", package.display());
    Ok(())
}

/// Adds a module, behind those that it depends on.
fn add_module(name: &str, files: &[PathBuf], order: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    if order.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    let file = files.iter().find(|file| is_named(file, &format!("{name}.ko")));
    let Some(file) = file else {
        // Only what this one module is about must not be built into the kernel.
        ensure!(name != MODULE, "the package has no module {name}");
        return Ok(());
    };
    let image = uncompressed(file)?;
    for dependency in dependencies(&image) {
        add_module(&dependency, files, order)?;
    }
    order.push((name.to_owned(), image));
    Ok(())
}

/// The modules that a module says it depends on; files have `-` where names have `_`.
fn dependencies(image: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = image.windows(KEY.len()).position(|bytes| bytes == KEY) else {
        return Vec::new();
    };
    let value = image[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value).replace('_', "-");
    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn uncompressed(file: &Path) -> Result<Vec<u8>> {
    let program = match file.extension().and_then(|end| end.to_str()) {
        Some("ko") => return Ok(fs::read(file)?),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => "gzip",
    };
    let packed = File::open(file)?;
    let output = Command::new(program).arg("-dc").stdin(packed).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    ensure!(output.status.success(), "`{program} -dc` failed for {}", file.display());
    Ok(output.stdout)
}

fn is_named(file: &Path, beginning: &str) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(beginning))
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {folder:?}"))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn remove(folder: &Path) -> Result<()> {
    match folder.exists() {
        true => fs::remove_dir_all(folder).with_context(|| format!("cannot remove {folder:?}")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{dependencies, newest};

    #[test]
    fn the_newest_kernel_is_what_the_package_depends_on() {
        let depends = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n";
        assert_eq!(newest(depends), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(newest("linux-image-amd64\n"), None);
    }

    #[test]
    fn modules_name_what_they_depend_on() {
        assert_eq!(dependencies(b"\x7fELF\0license=GPL\0depends=kvm,ccp\0x"), ["kvm", "ccp"]);
        assert_eq!(dependencies(b"\x7fELF\0depends=\0"), Vec::<String>::new());
        assert_eq!(dependencies(b"\0depends=some_thing\0"), ["some-thing"]);
        assert_eq!(dependencies(b"nothing"), Vec::<String>::new());
    }
}
