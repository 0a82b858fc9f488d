//! The first process of the emulated machine: loads KVM, runs the jobs one after the other, and says
//! over the second serial port what becomes of them.
#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use rustix::{
    mount::{MountFlags, mount},
    system::{RebootCommand, init_module, reboot},
    termios::{OptionalActions, tcgetattr, tcsetattr},
};
use std::{
    ffi::CString,
    fmt::Display,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use svm_init::{FIRST, GUESTS, JOBS, Job, LIST, MODULES, Mark, NESTED_PAGING};

/// The serial port for what `xtask` reads; the kernel's messages go to the first one.
const PORT: &str = "/dev/ttyS1";

/// How often the machine says that time passes.
const BEAT: Duration = Duration::from_secs(2);

/// The module that has the parameter.
const PARAMETRISED: &str = "kvm-amd";

fn main() {
    if let Err(error) = live() {
        eprintln!("init: {error:#}");
    }
    // Nothing is left to do if this fails: the machine is killed then.
    let _ = reboot(RebootCommand::PowerOff);
}

fn live() -> Result<()> {
    prepare().context("cannot prepare the file system")?;
    let port = Port::open().context("cannot open the serial port")?;
    port.keep_beating();
    if let Err(error) = work(&port) {
        port.say(&Mark::Trouble(format!("{error:#}")));
    }
    port.drain();
    Ok(())
}

/// Mounts what programs expect to be there.
fn prepare() -> Result<()> {
    let mounts =
        [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("devpts", "/dev/pts")];
    for (kind, place) in mounts.into_iter().chain([("tmpfs", "/dev/shm"), ("tmpfs", "/tmp")]) {
        fs::create_dir_all(place).with_context(|| format!("cannot make {place}"))?;
        mount(kind, place, kind, MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {kind} at {place}"))?;
    }
    Ok(())
}

fn work(port: &Port) -> Result<()> {
    let words = fs::read_to_string("/proc/cmdline").context("cannot read the command line")?;
    let word = |key: &str| words.split_whitespace().find_map(|word| word.strip_prefix(key));
    let list = word(LIST).context("the command line names no list of jobs")?;
    let first: usize = word(FIRST).unwrap_or("0").parse().context("a number was expected")?;
    load_kvm(word(NESTED_PAGING).unwrap_or("1"))?;
    port.say(&Mark::Up(kind()?));
    let list = Path::new(JOBS).join(list);
    let jobs = fs::read_to_string(&list).with_context(|| format!("cannot read {list:?}"))?;
    for (number, line) in jobs.lines().enumerate().skip(first) {
        port.say(&Mark::Begin { job: number });
        let status = port.run(&Job::read(line))?;
        port.say(&Mark::End { job: number, status });
    }
    port.say(&Mark::Done);
    Ok(())
}

fn load_kvm(nested_paging: &str) -> Result<()> {
    let mut modules: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(MODULES).context("cannot list the modules")? {
        modules.push(entry.context("cannot list the modules")?.path());
    }
    modules.sort();
    for module in modules {
        let is_parametrised = module.to_string_lossy().contains(PARAMETRISED);
        let parameters =
            if is_parametrised { format!("npt={nested_paging}") } else { String::new() };
        let image = fs::read(&module).with_context(|| format!("cannot read {module:?}"))?;
        init_module(&image, &CString::new(parameters)?)
            .with_context(|| format!("cannot load {module:?}"))?;
    }
    if !Path::new("/dev/kvm").exists() {
        bail!("there is no /dev/kvm");
    }
    Ok(())
}

/// What runs here: the kernel's release, and whether KVM uses nested page tables.
fn kind() -> Result<String> {
    let file = |path: &str| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    let release = file("/proc/sys/kernel/osrelease")?;
    let nested_paging = file("/sys/module/kvm_amd/parameters/npt")?;
    Ok(format!("Linux {}, kvm_amd npt={}", release.trim(), nested_paging.trim()))
}

/// The way out. Whoever writes writes whole lines.
#[derive(Clone)]
struct Port(Arc<Mutex<File>>);

impl Port {
    fn open() -> Result<Self> {
        let file = File::options().read(true).write(true).open(PORT)?;
        let mut settings = tcgetattr(&file)?;
        settings.make_raw();
        tcsetattr(&file, OptionalActions::Now, &settings)?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    fn say(&self, mark: &impl Display) {
        self.print(format!("{mark}\n").as_bytes());
    }

    fn print(&self, line: &[u8]) {
        let mut file = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // Who listens notices the silence.
        let _ = file.write_all(line);
    }

    /// Waits until everything has left the port.
    fn drain(&self) {
        let file = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = rustix::termios::tcdrain(&*file);
    }

    /// A machine that stands still is silent.
    fn keep_beating(&self) {
        let port = self.clone();
        thread::spawn(move || {
            loop {
                port.say(&Mark::Alive);
                thread::sleep(BEAT);
            }
        });
    }

    /// Runs a job to its end, passes on what it prints, and gives its status.
    fn run(&self, job: &Job) -> Result<i32> {
        let [program, arguments @ ..] = &job.command[..] else { bail!("an empty job") };
        let (output, input) = io::pipe().context("no pipe")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(input.try_clone().context("no pipe")?)
            .stderr(input)
            .env_clear()
            .envs([("PATH", "/usr/bin:/bin"), ("HOME", "/tmp"), ("SHELL", "/bin/sh")])
            .envs([("XDG_RUNTIME_DIR", "/tmp"), ("TERM", "dumb"), ("GLASS_GUEST_DIR", GUESTS)]);
        let child = command.spawn().with_context(|| format!("cannot start {program}"));
        // It holds the ends of the pipe that are to be closed when the job ends.
        drop(command);
        self.pass_on(output)?;
        let status = child?.wait().context("cannot wait for a job")?;
        Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    fn pass_on(&self, output: io::PipeReader) -> Result<()> {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).context("cannot read what a job prints")? > 0 {
            if line.last() != Some(&b'\n') {
                line.push(b'\n');
            }
            self.print(&line);
            line.clear();
        }
        Ok(())
    }
}
