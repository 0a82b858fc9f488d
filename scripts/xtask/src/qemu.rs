//! Booting the guest under QEMU's software emulation, where the time stamp counter counts
//! instructions.

use crate::{Architecture, workspace::Workspace};
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

/// No benchmark and no scenario takes longer than this.
const PATIENCE: Duration = Duration::from_secs(120);

/// The kernel's name among the files of a machine.
const KERNEL: &str = "kernel";

/// A machine to boot.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Its processor.
    pub architecture: &'a Architecture,
    /// Name of the scenario.
    pub scenario: &'a str,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// Size of its memory.
    pub mebibytes: u32,
}

/// What is left when the guest has ended.
#[derive(Debug)]
pub struct Finished {
    folder: PathBuf,
    /// What it printed.
    pub console: String,
}

impl Finished {
    /// The image of its kernel.
    pub fn kernel(&self) -> PathBuf {
        self.folder.join(KERNEL)
    }

    /// The file that was its memory.
    pub fn memory(&self) -> PathBuf {
        self.folder.join("memory")
    }
}

impl Drop for Finished {
    fn drop(&mut self) {
        // Nothing depends on it; what is left over lies in `target`.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Machine<'_> {
    /// Runs the machine to its end, counting instructions.
    pub fn count(&self, workspace: &Workspace) -> Result<Finished> {
        let mut finished = Finished { folder: scratch(workspace)?, console: String::new() };
        let console = finished.folder.join("console");
        let mut command = self.command(workspace, &finished.folder)?;
        command.args(["-icount", "shift=0,sleep=off", "-monitor", "none"]);
        command.arg("-serial").arg(format!("file:{}", console.display()));
        command.stdin(Stdio::null());
        let code = wait(&mut command)?;
        let printed = fs::read(&console).context("cannot read the guest's console")?;
        finished.console = String::from_utf8_lossy(&printed).into_owned();
        // QEMU's exit device makes an odd status of every status of the guest.
        if code != 1 {
            let status = if code & 1 == 1 { "the guest's status" } else { "QEMU's own status" };
            let code = if code & 1 == 1 { code >> 1 } else { code };
            bail!("`{}` failed under QEMU ({status} {code}):\n{}", self.scenario, finished.console);
        }
        Ok(finished)
    }

    fn command(&self, workspace: &Workspace, folder: &Path) -> Result<Command> {
        let (kernel, bundle) = bundle(workspace, self, folder)?;
        let size = self.mebibytes;
        let memory = folder.join("memory");
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-accel", "tcg", "-cpu", "max", "-nodefaults", "-display", "none", "-no-reboot"])
            .args(["-machine", "pc,memory-backend=ram", "-m", &format!("{size}M")])
            .arg("-object")
            .arg(format!(
                "memory-backend-file,id=ram,size={size}M,mem-path={},share=on",
                memory.display()
            ))
            .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(bundle)
            .args(["-append", self.command_line]);
        Ok(command)
    }
}

/// A new folder for the files of one machine.
fn scratch(workspace: &Workspace) -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = workspace.root().join("target/qemu").join(name);
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Writes the machine's kernel and boot bundle into `folder`.
fn bundle(workspace: &Workspace, machine: &Machine, folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let output = Command::new(workspace.glass())
        .args(["bundle", machine.scenario, "--arch", machine.architecture.name, "-o"])
        .arg(folder)
        .output()
        .context("cannot start target/release/glass")?;
    if !output.status.success() {
        bail!("`glass bundle` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok((folder.join(KERNEL), folder.join("bundle")))
}

const MISSING: &str =
    "cannot start qemu-system-x86_64: ./scripts/bench and ./scripts/test install it";

/// Runs QEMU to its end and returns its exit code.
fn wait(command: &mut Command) -> Result<i32> {
    let mut child = command.spawn().context(MISSING)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for QEMU")? {
            return status.code().context("a signal ended QEMU");
        }
        if Instant::now() >= deadline {
            child.kill().context("cannot end QEMU")?;
            child.wait().context("cannot wait for QEMU")?;
            bail!("the guest did not end within {} s under QEMU", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(10));
    }
}
