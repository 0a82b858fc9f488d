//! A machine that is a process: QEMU.
//!
//! Kernel, bundle and RAM are files without names that QEMU inherits, and the kernel of the host
//! ends QEMU when its parent ends, however that happens: nothing remains.

use super::{
    Qemu, QemuError, clock,
    command::{Descriptors, arguments},
    start_error,
};
use crate::{
    input::Input,
    machine::{Config, MachineError},
    memfd,
    memory::Memory,
    outcome::{Cause, Crash, Outcome},
};
use std::{
    ffi::CStr,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::{fs::FileExt, process::CommandExt},
    },
    process::{self, Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often to look whether QEMU has mapped the RAM.
const MAP_INTERVAL: Duration = Duration::from_millis(1);

/// How long it may take to map the RAM. It takes some 40 ms.
const MAP_PATIENCE: Duration = Duration::from_secs(10);

/// A machine that has not run yet.
#[derive(Debug)]
pub struct Machine {
    qemu: Qemu,
    command_line: String,
    memory: Memory,
    kernel: File,
    bundle: File,
    /// What QEMU says on standard error.
    messages: File,
    /// Guest addresses where the kernel's segments will lie: start and length of what the file has of each.
    image: Vec<(u64, usize)>,
    ticks_per_second: u64,
    input: Option<Input>,
}

impl Machine {
    /// Prepares everything that QEMU will open.
    pub fn new(qemu: &Qemu, config: &Config<'_>) -> Result<Self, MachineError> {
        qemu.can_have(config.ram.bytes())?;
        let memory = Memory::new(config.ram)?;
        let executable = &config.kernel.executable;
        let file = |name, bytes| file(name, bytes).map_err(QemuError::Files);
        let segments = executable.segments();
        Ok(Self {
            qemu: qemu.clone(),
            command_line: config.command_line.to_owned(),
            memory,
            kernel: file(c"kernel", executable.bytes)?,
            bundle: file(c"bundle", config.bundle)?,
            messages: file(c"messages", b"")?,
            image: segments
                .map(|segment| (segment.physical_address, segment.contents.len()))
                .collect(),
            ticks_per_second: clock::ticks_per_second(),
            input: None,
        })
    }

    /// What comes in by the serial line when the guest runs.
    pub fn connect(&mut self, input: Input) {
        self.input = Some(input);
    }

    /// The guest's RAM, to be read while the guest runs.
    pub fn memory(&self) -> Memory {
        self.memory.clone()
    }

    /// Ticks of the guest's time stamp counter in a second.
    pub fn ticks_per_second(&self) -> u64 {
        self.ticks_per_second
    }

    /// Starts QEMU. `console` gets what the guest prints; `ended` is called when it is over. The
    /// thread that waits for QEMU calls `ready` when it has started it.
    pub fn start(
        mut self,
        console: impl Write + Send + 'static,
        ready: impl FnOnce() + Send + 'static,
        ended: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<Running, MachineError> {
        let (sender, started) = mpsc::channel();
        // QEMU ends with the thread that starts it, which must therefore be the one that waits.
        let input = self.input.take();
        let body = move || match self.spawn(input) {
            Err(error) => {
                // Without a receiver nobody wants to know.
                let _ = sender.send(Err(start_error(self.qemu.program(), error)));
            }
            Ok((child, output, input)) => {
                let child = Mutex::new(child);
                let shared = Arc::new(Shared { child, stop: false.into(), input });
                self.seal_when_mapped(&shared);
                let _ = sender.send(Ok(Arc::clone(&shared)));
                ready();
                pass_on(output, console);
                ended(self.outcome(&shared));
            }
        };
        let thread = thread::Builder::new()
            .name("qemu".to_owned())
            .spawn(body)
            .map_err(MachineError::Thread)?;
        match started.recv() {
            Ok(Ok(shared)) => Ok(Running { shared, thread }),
            Ok(Err(error)) => Err(error.into()),
            Err(mpsc::RecvError) => Err(MachineError::Thread(io::ErrorKind::Other.into())),
        }
    }

    /// Starts it, and lets the input come. Returns it with its output, and the descriptor of its input.
    fn spawn(&self, input: Option<Input>) -> io::Result<(Child, ChildStdout, Option<RawFd>)> {
        let descriptors = Descriptors {
            ram: self.memory.file().as_raw_fd(),
            kernel: self.kernel.as_raw_fd(),
            bundle: self.bundle.as_raw_fd(),
        };
        let mut command = Command::new(self.qemu.program());
        command
            .args(arguments(&self.qemu, self.memory.size(), descriptors, &self.command_line))
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(self.messages.try_clone()?)
            // Ctrl-C is for us; what comes of it for QEMU is our decision.
            .process_group(0);
        let (parent, descriptors) = (process::id(), descriptors.all());
        // SAFETY: between fork and exec only system calls are made, which are safe to call there;
        // all that they use was copied into the closure, and nothing is allocated.
        unsafe { command.pre_exec(move || prepare_child(parent, descriptors)) };
        let mut child = command.spawn()?;
        let output = child.stdout.take().expect("it was asked for");
        let mut descriptor = None;
        if let (Some(line), Some(input)) = (child.stdin.take(), input) {
            descriptor = Some(line.as_raw_fd());
            // Without that thread QEMU goes, too: it ends with the one that has started it.
            let body = move || pass_in(input, line);
            thread::Builder::new().name("input".to_owned()).spawn(body)?;
        }
        Ok((child, output, descriptor))
    }

    /// Waits until QEMU has mapped the RAM, which it opens by itself, or has ended. From then on
    /// nobody else can. What does not map it is no QEMU, or starts one: nobody can view that run.
    fn seal_when_mapped(&self, shared: &Shared) {
        let qemu = shared.child().id();
        let deadline = Instant::now() + MAP_PATIENCE;
        while Instant::now() < deadline && matches!(shared.child().try_wait(), Ok(None)) {
            if self.memory.is_mapped_by(qemu) {
                return self.memory.seal();
            }
            thread::sleep(MAP_INTERVAL);
        }
    }

    /// Waits for QEMU, which has closed its standard output, and says what its end means.
    fn outcome(&self, shared: &Shared) -> Outcome {
        let result = shared.child().wait();
        if shared.stop.load(Ordering::Acquire) {
            return Outcome::Stopped(None);
        }
        let cause = match result {
            Err(error) => Cause::QemuLost(error.to_string()),
            Ok(status) => match meaning(status, self.has_booted(), &self.said()) {
                Ok(status) => return Outcome::Exit(status),
                Err(cause) => cause,
            },
        };
        Outcome::Crash(Crash { cause, cpu: None })
    }

    /// Whether QEMU has come as far as loading the kernel, the last thing before it starts the
    /// guest: fresh RAM is zero, and of some segments so is all that is loaded.
    fn has_booted(&self) -> bool {
        self.image.iter().any(|(address, length)| {
            let mut bytes = vec![0; *length];
            self.memory.read(*address, &mut bytes).is_ok() && bytes.iter().any(|byte| *byte != 0)
        })
    }

    fn said(&self) -> String {
        const MOST: usize = 4096;
        let mut bytes = vec![0; MOST];
        let length = self.messages.read_at(&mut bytes, 0).unwrap_or(0);
        // A crash has one line for its cause.
        String::from_utf8_lossy(&bytes[..length]).trim().replace('\n', "; ")
    }
}

/// Runs in the child before it becomes QEMU: it ends with its parent, keeps its files, and gains no
/// rights.
pub fn prepare_child<const N: usize>(parent: u32, descriptors: [RawFd; N]) -> io::Result<()> {
    let check = |result: i32| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: this call changes one attribute of the calling process and takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
    // SAFETY: this call changes one attribute of the calling process and takes no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    // A parent that had ended before that call will never end again.
    // SAFETY: the call cannot fail and touches nothing.
    if unsafe { libc::getppid() } != parent as i32 {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    for descriptor in descriptors {
        // SAFETY: this call changes one flag of a descriptor and takes no pointers.
        check(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) })?;
    }
    Ok(())
}

/// The guest's exit status, or why there is none.
fn meaning(status: ExitStatus, has_booted: bool, said: &str) -> Result<u8, Cause> {
    match status.code() {
        // The exit device: (status << 1) | 1. QEMU itself fails with 1, but before the guest runs.
        Some(code) if code & 1 == 1 && has_booted => Ok((code >> 1) as u8),
        Some(0) if said.is_empty() => Err(Cause::Reset),
        // Its device asserts that it is asked for its own ports only, but is asked for all bytes of
        // an access that begins there.
        None if said.contains("serial_ioport_") => {
            Err(Cause::QemuSerialPort { message: said.to_owned() })
        }
        _ => Err(Cause::QemuEnded { status, message: said.to_owned() }),
    }
}

fn file(name: &CStr, bytes: &[u8]) -> io::Result<File> {
    let mut file = memfd::create(name)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Passes on what comes in until QEMU is gone. The line stays open: nobody else shall have its number.
fn pass_in(input: Input, mut line: ChildStdin) {
    input.send(|bytes| line.write_all(bytes));
    std::mem::forget(line);
}

/// Passes on what the guest prints until QEMU closes its end.
fn pass_on(mut output: ChildStdout, mut console: impl Write) {
    let mut bytes = [0; 4096];
    loop {
        match output.read(&mut bytes) {
            Ok(0) => return,
            // The guest can't help it if the console's reader is gone; whoever gave us the writer
            // hears of it there.
            Ok(length) => drop(console.write_all(&bytes[..length])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// What the thread that waits for QEMU shares with those who may end it.
#[derive(Debug)]
struct Shared {
    /// Locked for long only once QEMU has closed its standard output, when it is about to end.
    child: Mutex<Child>,
    stop: AtomicBool,
    /// Where its input is written.
    input: Option<RawFd>,
}

impl Shared {
    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guest that runs.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Running {
    /// QEMU's process.
    pub fn process(&self) -> u32 {
        self.shared.child().id()
    }

    /// Where its input is written, if it has any.
    pub fn input(&self) -> Option<RawFd> {
        self.shared.input
    }

    /// Ends QEMU if it still runs, and waits until its thread has ended.
    pub fn stop(self) {
        self.shared.stop.store(true, Ordering::Release);
        // An error means that it has ended already.
        let _ = self.shared.child().kill();
        // An error means that the thread panicked, which has been printed already.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Board, OLDEST},
        *,
    };
    use crate::{
        Architecture, Kernel, QEMU_PROGRAM, RamSize, kernel::tests::sample_for, testing::Paper,
    };
    use images::sample::Sample;
    use std::{
        os::unix::process::ExitStatusExt,
        path::Path,
        time::{Duration, Instant},
    };

    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn the_exit_device_makes_odd_codes_of_the_guests_status() {
        for status in [0, 1, 42, 127] {
            assert_eq!(meaning(exited(status << 1 | 1), true, "warning"), Ok(status as u8));
        }
    }

    #[test]
    fn a_failure_of_qemu_is_no_status_of_the_guest() {
        let failed = meaning(exited(1), false, "qemu: no such machine").unwrap_err();
        assert_eq!(failed.to_string(), "QEMU ended (exit status: 1): qemu: no such machine");
        let killed = meaning(ExitStatus::from_raw(6), true, "qemu: fatal").unwrap_err();
        assert_eq!(killed.to_string(), "QEMU ended (signal: 6 (SIGABRT)): qemu: fatal");
        let told = meaning(exited(0), true, "terminating on signal 15").unwrap_err();
        assert!(matches!(told, Cause::QemuEnded { .. }), "{told}");
        assert_eq!(meaning(exited(0), true, ""), Err(Cause::Reset));
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A machine with 32-bit code in the image of a kernel of this architecture.
    fn boot(code: &[u8], architecture: Architecture, command_line: &str) -> Machine {
        let bytes = Sample { code: code.to_vec(), ..sample_for(architecture) }.bytes();
        let kernel = Kernel::parse(&bytes, architecture).unwrap();
        let ram = RamSize::new(16 << 20).unwrap();
        let config = Config { ram, kernel: &kernel, bundle: b"bundle", command_line };
        let qemu = Qemu::find(Path::new(QEMU_PROGRAM))
            .unwrap_or_else(|error| panic!("this test needs QEMU: {error}"));
        Machine::new(&qemu, &config).unwrap()
    }

    fn run(code: &[u8], architecture: Architecture) -> (Outcome, Vec<u8>) {
        let (sender, receiver) = mpsc::channel();
        let paper = Paper::default();
        let machine = boot(code, architecture, "");
        let running = machine
            .start(paper.clone(), || {}, move |outcome| sender.send(outcome).unwrap())
            .unwrap();
        let outcome = receiver.recv_timeout(PATIENCE).expect("the guest does not end");
        running.stop();
        let printed = paper.0.lock().unwrap().clone();
        (outcome, printed)
    }

    #[test]
    fn a_guest_prints_and_ends_with_its_status() {
        let code = [
            0x66, 0xBA, 0xF8, 0x03, // mov dx, 0x3f8
            0xB0, b'h', 0xEE, // mov al, 'h'; out dx, al
            0xB0, b'i', 0xEE, // mov al, 'i'; out dx, al
            0xB0, 0x2A, 0xE6, 0xF4, // mov al, 42; out 0xf4, al
        ];
        for architecture in Architecture::ALL {
            let (outcome, printed) = run(&code, architecture);
            assert!(matches!(outcome, Outcome::Exit(42)), "{architecture}: {outcome:?}");
            assert_eq!(printed, b"hi");
        }
    }

    /// `mov dx, port; mov eax, 0`, then the instruction.
    fn access(port: u16, instruction: &[u8]) -> Vec<u8> {
        let [low, high] = port.to_le_bytes();
        [&[0x66, 0xBA, low, high, 0xB8, 0, 0, 0, 0], instruction].concat()
    }

    /// `out dx, ...` and `in ..., dx` with their widths.
    const ACCESSES: [(u16, &[u8]); 6] = [
        (1, &[0xEE]),
        (2, &[0x66, 0xEF]),
        (4, &[0xEF]),
        (1, &[0xEC]),
        (2, &[0x66, 0xED]),
        (4, &[0xED]),
    ];

    /// `mov al, 42; out 0xf4, al`
    const END: [u8; 4] = [0xB0, 0x2A, 0xE6, 0xF4];

    #[test]
    fn accesses_around_the_serial_port_end_qemu_only_behind_its_end() {
        let ports = || 0x3F4..=0x401_u16;
        let all =
            || ACCESSES.into_iter().flat_map(move |kind| ports().map(move |port| (port, kind)));
        let reaches_behind = |(port, (width, _)): &(u16, (u16, _))| {
            *port < 0x400 && *port >= 0x3F8 && port + width > 0x400
        };
        let harmless = all().filter(|access| !reaches_behind(access));
        let code: Vec<u8> =
            harmless.flat_map(|(port, (_, instruction))| access(port, instruction)).collect();
        let (outcome, _) = run(&[&code[..], &END].concat(), Architecture::Amd64);
        assert!(matches!(outcome, Outcome::Exit(42)), "{outcome:?}");
        let deadly: Vec<_> = all().filter(reaches_behind).collect();
        assert_eq!(deadly.len(), 8);
        for (port, (width, instruction)) in deadly {
            let code = [&access(port, instruction)[..], &END].concat();
            match run(&code, Architecture::Amd64).0 {
                // A QEMU that can do it.
                Outcome::Exit(42) => {}
                Outcome::Crash(Crash { cause: Cause::QemuSerialPort { .. }, .. }) => {}
                other => panic!("{width} bytes at {port:#x}: {other:?}"),
            }
        }
    }

    /// As on the bus of our own machine, but that QEMU drops what is not aligned.
    #[test]
    fn only_an_access_to_the_exit_port_itself_ends_the_machine() {
        for (width, instruction) in ACCESSES {
            let is_write = instruction.iter().any(|byte| matches!(byte, 0xEE | 0xEF));
            let around = (0xF0..=0xF8).filter(|port| *port != 0xF4 || !is_write);
            let code: Vec<u8> = around.flat_map(|port| access(port, instruction)).collect();
            let (outcome, _) = run(&[&code[..], &END].concat(), Architecture::Amd64);
            assert!(matches!(outcome, Outcome::Exit(42)), "{width} bytes: {outcome:?}");
            if is_write {
                let code = [&access(0xF4, instruction)[..], &END].concat();
                let (outcome, _) = run(&code, Architecture::Amd64);
                assert!(matches!(outcome, Outcome::Exit(0)), "{width} bytes: {outcome:?}");
            }
        }
    }

    #[test]
    fn a_triple_fault_is_reported_as_what_qemu_makes_of_it() {
        let (outcome, _) = run(
            &[
                0x0F, 0x01, 0x1D, 0x20, 0x00, 0x10, 0x00, // lidt [0x100020]
                0x0F, 0x0B, // ud2
                0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0, // to 0x20
                0, 0, 0, 0, 0, 0, // an interrupt table of no length
            ],
            Architecture::Amd64,
        );
        let Outcome::Crash(Crash { cause, cpu: None }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(cause, Cause::Reset);
    }

    #[test]
    fn an_endless_guest_can_be_stopped_and_its_memory_seen() {
        // inc dword [0x200000]; jmp
        let code = [0xFF, 0x05, 0, 0, 0x20, 0, 0xEB, 0xF8];
        let (sender, receiver) = mpsc::channel();
        let machine = boot(&code, Architecture::Ia32, "");
        let memory = machine.memory();
        let running =
            machine.start(io::sink(), || {}, move |outcome| sender.send(outcome).unwrap());
        let running = running.unwrap();
        let since = Instant::now();
        while memory.read_plain::<u32>(0x20_0000).unwrap() == 0 && since.elapsed() < PATIENCE {
            thread::yield_now();
        }
        assert_ne!(memory.read_plain::<u32>(0x20_0000).unwrap(), 0);
        let qemu = running.shared.child().id();
        running.stop();
        assert!(matches!(receiver.try_recv(), Ok(Outcome::Stopped(None))));
        assert!(!Path::new(&format!("/proc/{qemu}")).exists(), "QEMU {qemu} is still there");
    }

    #[test]
    fn memory_in_two_pieces_is_refused_with_the_limit() {
        let bytes = sample_for(Architecture::Amd64).bytes();
        let kernel = Kernel::parse(&bytes, Architecture::Amd64).unwrap();
        let qemu =
            Qemu { program: "qemu".into(), version: OLDEST, board: Board::Pc, has_sandbox: false };
        let ram = RamSize::new(3 << 30).unwrap();
        let config = Config { ram, kernel: &kernel, bundle: b"", command_line: "" };
        let error = Machine::new(&qemu, &config).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "3 GiB of memory is too much for QEMU's machines: the most is 2815 MiB"
            ),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_is_gone_is_reported_before_the_guest_runs() {
        let machine = boot(&[], Architecture::Amd64, "");
        let qemu = Qemu { program: "/no/qemu".into(), ..machine.qemu };
        let error = Machine { qemu, ..machine }.start(io::sink(), || {}, |_| {}).unwrap_err();
        assert!(matches!(error, MachineError::Qemu(QemuError::Missing(_))), "{error}");
    }

    #[test]
    fn what_qemu_says_when_it_fails_is_passed_on() {
        let machine = boot(&[], Architecture::Amd64, "");
        let (sender, receiver) = mpsc::channel();
        // No kernel of any kind.
        let kernel = file(c"kernel", b"").unwrap();
        let running = Machine { kernel, ..machine }
            .start(io::sink(), || {}, move |outcome| sender.send(outcome).unwrap())
            .unwrap();
        let outcome = receiver.recv_timeout(PATIENCE).expect("QEMU does not end");
        running.stop();
        let Outcome::Crash(Crash { cause, .. }) = outcome else { panic!("{outcome:?}") };
        let Cause::QemuEnded { message, .. } = &cause else { panic!("{cause}") };
        assert!(!message.is_empty(), "{cause}");
    }
}
