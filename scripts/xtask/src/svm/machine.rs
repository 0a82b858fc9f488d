//! One boot of the emulated machine: a Linux under QEMU, whose software emulation has AMD's SVM.

use super::package::Linux;
use anyhow::{Context, Result, bail};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};
use svm_init::{FIRST, LIST, Mark, NESTED_PAGING};

/// The machine says every two seconds of its own time that it lives. If nothing comes for so long, it stands
/// still: even a busy host gives it a few seconds of a processor meanwhile.
const SILENCE: Duration = Duration::from_secs(180);

/// The same while Linux boots, which says nothing until it is up.
const SILENCE_AT_BOOT: Duration = Duration::from_secs(600);

/// No job takes longer, even on a busy host.
const PATIENCE: Duration = Duration::from_secs(1800);

/// Boots in a row that do no job.
const BOOTS: u32 = 4;

/// QEMU 7.2 forgets about an interrupt of the emulated Linux now and then while a guest of KVM runs. With a
/// timer that is set anew after each interrupt everything would stand still from then on; a periodic one
/// fires again.
const TIMER: &str = "nohz=off highres=off";

/// What is booted.
#[derive(Debug)]
pub struct Machine<'a> {
    /// The kernel.
    pub linux: &'a Linux,
    /// The archive of its files.
    pub files: &'a Path,
    /// The list of jobs.
    pub list: &'static str,
    /// Whether KVM uses nested page tables, or else shadow page tables.
    pub nested_paging: bool,
    /// Whether time stamps count instructions.
    pub is_counting: bool,
    /// For the kernel's messages.
    pub console: PathBuf,
}

/// What became of a job.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: i32,
    /// What it printed.
    pub output: String,
    /// How long it took, by the host's clock.
    pub took: Duration,
}

/// Why a boot did not come to the end of its jobs.
enum Stopped {
    /// The machine is frozen.
    StandsStill,
    /// Another boot would not help.
    Failed(anyhow::Error),
}

impl Machine<'_> {
    /// Does `count` jobs, if need be with several boots. `ended` is told of each with its number, `say`
    /// of what else happens.
    pub fn run(
        &self,
        count: usize,
        say: &dyn Fn(&str),
        mut ended: impl FnMut(usize, Ended),
    ) -> Result<()> {
        let (mut next, mut boots) = (0, 0);
        while boots < BOOTS {
            let first = next;
            let result = self.boot(first, say, &mut |job, end| {
                next = job + 1;
                ended(job, end);
            });
            match result {
                Ok(()) if next == count => return Ok(()),
                Ok(()) => bail!("the emulated machine did {next} of {count} jobs"),
                Err(Stopped::Failed(error)) => return Err(error),
                Err(Stopped::StandsStill) => say(&format!(
                    "svm: the emulated machine stands still (QEMU lost an interrupt): it is booted \
                     again, and goes on with job {} of {count}",
                    next + 1
                )),
            }
            boots = if next == first { boots + 1 } else { 0 };
        }
        bail!("the emulated machine stood still {BOOTS} times in a row")
    }

    fn boot(
        &self,
        first: usize,
        say: &dyn Fn(&str),
        ended: &mut dyn FnMut(usize, Ended),
    ) -> Result<(), Stopped> {
        let mut child = self.command(first).spawn().map_err(|error| {
            Stopped::Failed(anyhow::Error::new(error).context("cannot start qemu-system-x86_64"))
        })?;
        let result = self.listen(&mut child, say, ended);
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
        result
    }

    fn listen(
        &self,
        child: &mut Child,
        say: &dyn Fn(&str),
        ended: &mut dyn FnMut(usize, Ended),
    ) -> Result<(), Stopped> {
        let lines = lines(child).map_err(Stopped::Failed)?;
        let (mut output, mut began) = (String::new(), Instant::now());
        let mut patience = SILENCE_AT_BOOT;
        loop {
            let line = match lines.recv_timeout(patience) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return Err(Stopped::StandsStill),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.failed("the emulated machine ended before its jobs"));
                }
            };
            match line.parse() {
                Ok(Mark::Up(kind)) => {
                    say(&format!("svm: {kind} is up"));
                    patience = SILENCE;
                }
                Ok(Mark::Begin { .. }) => (output, began) = (String::new(), Instant::now()),
                Ok(Mark::End { job, status }) => {
                    let output = std::mem::take(&mut output);
                    ended(job, Ended { status, output, took: began.elapsed() });
                }
                Ok(Mark::Trouble(what)) => return Err(self.failed(&what)),
                Ok(Mark::Done) => return Ok(()),
                Ok(Mark::Alive) if began.elapsed() > PATIENCE => {
                    let what = format!("a job takes longer than {PATIENCE:?}:\n{output}");
                    return Err(self.failed(&what));
                }
                Ok(Mark::Alive) => {}
                Err(_) => {
                    output.push_str(&line);
                    output.push('\n');
                }
            }
        }
    }

    /// With the end of what Linux said.
    fn failed(&self, what: &str) -> Stopped {
        let console = fs::read(&self.console).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).into_owned();
        let lines: Vec<&str> = console.lines().collect();
        let last = lines[lines.len().saturating_sub(20)..].join("\n");
        Stopped::Failed(anyhow::anyhow!("{what}\n{last}"))
    }

    fn command(&self, first: usize) -> Command {
        let nested_paging = u8::from(self.nested_paging);
        let words = format!(
            "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr random.trust_cpu=on \
             {TIMER} {LIST}{} {FIRST}{first} {NESTED_PAGING}{nested_paging}",
            self.list
        );
        let mut command = Command::new("qemu-system-x86_64");
        match self.is_counting {
            true => command.args(["-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off"]),
            false => command.args(["-accel", "tcg"]),
        };
        command
            // One processor: with two, QEMU stands still often. Five levels of page tables are more
            // than its emulation of SVM can do.
            .args(["-cpu", "max,-la57", "-smp", "1", "-m", "2G"])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(self.linux.kernel())
            .arg("-initrd")
            .arg(self.files)
            .args(["-append", &words])
            .arg("-serial")
            .arg(format!("file:{}", self.console.display()))
            .args(["-serial", "stdio"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        command
    }
}

/// What the machine says, a line each.
fn lines(child: &mut Child) -> Result<Receiver<String>> {
    let output = child.stdout.take().context("QEMU has an output")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            // Without a receiver the machine is not listened to any more.
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    Ok(lines)
}
