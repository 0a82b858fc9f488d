//! A machine from its parts: memory, what is loaded into it, a processor, a console.

use super::{
    Vm, call,
    exit::{Devices, Exit, Next},
    open, registers,
    serial::{Line, Port},
    statistics, vcpu,
};
use crate::{
    input::Input,
    loader,
    machine::{Config, MachineError},
    memory::Memory,
    outcome::Outcome,
};
use std::{
    fmt,
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler, unblock_signal};

/// A machine that is loaded and has not run yet.
pub struct Machine {
    vm: Vm,
    ticks_per_second: u64,
    input: Option<Input>,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("memory", &self.vm.memory).finish_non_exhaustive()
    }
}

impl Machine {
    /// Builds the machine and loads the guest.
    pub fn new(device: &Path, config: &Config<'_>) -> Result<Self, MachineError> {
        let kvm = open(device)?;
        let memory = Memory::new(config.ram)?;
        // KVM goes by this process' mapping.
        memory.seal();
        loader::load(&memory, config.kernel, config.bundle, config.command_line)?;
        let vm = Vm::new(&kvm, device, memory)?;
        let mut sregs = call("read system registers", vm.vcpu.get_sregs())?;
        registers::protected_mode(&mut sregs);
        call("set system registers", vm.vcpu.set_sregs(&sregs))?;
        call("set registers", vm.vcpu.set_regs(&registers::at_entry(config.kernel.entry)))?;
        let kilohertz = call("tell the rate of time stamps", vm.vcpu.get_tsc_khz())?;
        Ok(Self { vm, ticks_per_second: u64::from(kilohertz) * 1000, input: None })
    }

    /// What comes in by the serial line when the guest runs.
    pub fn connect(&mut self, input: Input) {
        self.input = Some(input);
    }

    /// The guest's RAM, to be read while the guest runs.
    pub fn memory(&self) -> Memory {
        self.vm.memory.clone()
    }

    /// The files in which KVM counts what it does for the machine and for its processor.
    pub fn statistics(&self) -> Vec<File> {
        let files = [statistics::file(&self.vm.vm), statistics::file(&self.vm.vcpu)];
        files.into_iter().flatten().collect()
    }

    /// Ticks of the guest's time stamp counter in a second.
    pub fn ticks_per_second(&self) -> u64 {
        self.ticks_per_second
    }

    /// Runs the guest in a thread of its own, which calls `ready` first. `console` gets what it
    /// prints; `ended` is called when it is over.
    pub fn start(
        self,
        console: impl Write + Send + 'static,
        ready: impl FnOnce() + Send + 'static,
        ended: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<Running, MachineError> {
        let port = Port::new(Line(Arc::clone(&self.vm.vm)), console);
        if let Some(input) = self.input {
            port.connect(input).map_err(MachineError::Thread)?;
        }
        let mut devices = Devices::new(port);
        let handle = move |exit: Exit<'_>| devices.handle(exit);
        Running::new(self.vm, handle, ready, ended).map_err(MachineError::Thread)
    }
}

/// A guest that runs.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Running {
    /// Runs a processor in a thread of its own, which calls `ready` first.
    pub(crate) fn new(
        mut vm: Vm,
        handle: impl FnMut(Exit<'_>) -> Next + Send + 'static,
        ready: impl FnOnce() + Send + 'static,
        ended: impl FnOnce(Outcome) + Send + 'static,
    ) -> io::Result<Self> {
        listen_for_kicks();
        let stop = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&stop);
        let body = move || {
            // Whoever has started this process may have blocked it. A thread that cannot hear it ends
            // only by itself.
            let _ = unblock_signal(SIGRTMIN());
            ready();
            ended(vcpu::run(&mut vm, handle, &heard));
        };
        let thread = thread::Builder::new().name("vcpu0".to_owned()).spawn(body)?;
        Ok(Self { stop, thread })
    }

    /// Stops the guest if it still runs, and waits until its thread has ended.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        while !self.thread.is_finished() {
            // A signal between the thread's look at `stop` and KVM_RUN would go unheard, so it
            // comes again until it is heard.
            let _ = self.thread.kill(SIGRTMIN());
            thread::sleep(Duration::from_millis(1));
        }
        // An error means that the thread panicked, which has been printed already.
        let _ = self.thread.join();
    }
}

/// The signal's only effect is that a system call of the processor's thread returns.
fn listen_for_kicks() {
    extern "C" fn nothing(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        register_signal_handler(SIGRTMIN(), nothing)
            .expect("a real-time signal and a handler are all that sigaction asks for");
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Architecture, Cause, Crash, KVM_DEVICE, Kernel, RamSize,
        host::{Backend, Host},
        kernel::tests::sample,
        testing::Paper,
    };
    use images::sample::Sample;
    use std::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn boot(code: &[u8]) -> Machine {
        let bytes = Sample { code: code.to_vec(), ..sample() }.bytes();
        let kernel = Kernel::parse(&bytes, Architecture::Amd64).unwrap();
        let config = Config {
            ram: RamSize::new(16 << 20).unwrap(),
            kernel: &kernel,
            bundle: b"bundle",
            command_line: "",
        };
        Machine::new(Path::new(KVM_DEVICE), &config)
            .unwrap_or_else(|error| panic!("this test boots a machine: {error}"))
    }

    /// Runs 32-bit code to its end.
    fn run(code: &[u8]) -> (Outcome, Vec<u8>) {
        let (sender, receiver) = mpsc::channel();
        let paper = Paper::default();
        let running = boot(code)
            .start(paper.clone(), || {}, move |outcome| sender.send(outcome).unwrap())
            .unwrap();
        let outcome = receiver.recv_timeout(PATIENCE).expect("the guest does not end");
        running.stop();
        let printed = paper.0.lock().unwrap().clone();
        (outcome, printed)
    }

    fn crash(code: &[u8]) -> Crash {
        match run(code).0 {
            Outcome::Crash(crash) => crash,
            other => panic!("no crash: {other:?}"),
        }
    }

    #[test]
    fn a_guest_prints_and_ends_with_its_status() {
        let (outcome, printed) = run(&[
            0x66, 0xBA, 0xF8, 0x03, // mov dx, 0x3f8
            0xB0, b'h', 0xEE, // mov al, 'h'; out dx, al
            0xB0, b'i', 0xEE, // mov al, 'i'; out dx, al
            0xB0, 0x2A, 0xE6, 0xF4, // mov al, 42; out 0xf4, al
        ]);
        assert!(matches!(outcome, Outcome::Exit(42)), "{outcome:?}");
        assert_eq!(printed, b"hi");
    }

    #[test]
    fn a_guest_finds_the_start_info_in_ebx() {
        let (outcome, _) = run(&[
            0x8A, 0x03, // mov al, [ebx]
            0xE6, 0xF4, // out 0xf4, al
        ]);
        assert!(matches!(outcome, Outcome::Exit(0x78)), "{outcome:?}");
    }

    #[test]
    fn a_triple_fault_is_reported_with_its_place() {
        let crash = crash(&[
            0x0F, 0x01, 0x1D, 0x20, 0x00, 0x10, 0x00, // lidt [0x100020]
            0x0F, 0x0B, // ud2
            0xEB, 0xFE, // jmp .
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // padding to 0x20
            0, 0, 0, 0, 0, 0, // an interrupt table of no length
        ]);
        // KVM on AMD's processors keeps no place, and says so.
        let place = crash.cpu.map(|cpu| cpu.instruction_pointer());
        match Host::here().backend() {
            Backend::Svm => assert_eq!((crash.cause, place), (Cause::TripleFaultAndReset, None)),
            _ => assert_eq!((crash.cause, place), (Cause::TripleFault, Some(0x10_0007))),
        }
    }

    #[test]
    fn what_kvm_cannot_run_is_reported_with_what_it_said() {
        // A jump to where there is neither memory nor device.
        let crash = crash(&[0xB8, 0, 0, 0, 0xD0, 0xFF, 0xE0]); // mov eax, 0xd0000000; jmp eax
        let Cause::InternalError(error) = crash.cause else { panic!("{crash:?}") };
        assert_eq!(error.suberror, 1);
        assert_eq!(crash.cpu.expect("registers").instruction_pointer(), 0xD000_0000);
    }

    #[test]
    fn ports_and_addresses_without_a_device_are_harmless() {
        let (outcome, _) = run(&[
            0xB0, 0xFF, 0xE6, 0x21, 0xE6, 0xA1, // mov al, 0xff; out 0x21, al; out 0xa1, al
            0xE4, 0x60, // in al, 0x60
            0xA2, 0, 0, 0, 0xD0, // mov [0xd0000000], al
            0xA0, 0, 0, 0, 0xD0, // mov al, [0xd0000000]
            0x24, 0x07, // and al, 7
            0xE6, 0xF4, // out 0xf4, al
        ]);
        assert!(matches!(outcome, Outcome::Exit(7)), "{outcome:?}");
    }

    #[test]
    fn an_endless_guest_can_be_stopped() {
        for code in [&[0xEB, 0xFE][..], &[0xFA, 0xF4]] {
            // jmp . and cli; hlt
            let (sender, receiver) = mpsc::channel();
            let running =
                boot(code).start(io::sink(), || {}, move |outcome| sender.send(outcome).unwrap());
            let running = running.unwrap();
            thread::sleep(Duration::from_millis(20));
            running.stop();
            let outcome = receiver.try_recv().expect("stop() waits for the end");
            let Outcome::Stopped(Some(cpu)) = outcome else { panic!("{outcome:?}") };
            assert!((0x10_0000..=0x10_0002).contains(&cpu.instruction_pointer()), "{cpu}");
        }
    }

    #[test]
    fn memory_is_seen_while_the_guest_runs() {
        let machine = boot(&[0xFF, 0x05, 0, 0, 0x20, 0, 0xEB, 0xF8]); // inc dword [0x200000]; jmp
        let memory = machine.memory();
        let count = || memory.read_plain::<u32>(0x20_0000).unwrap();
        let start = count();
        let running = machine.start(io::sink(), || {}, |_| {}).unwrap();
        let since = std::time::Instant::now();
        while count() == start && since.elapsed() < PATIENCE {
            thread::yield_now();
        }
        assert_ne!(count(), start);
        running.stop();
    }

    #[test]
    fn time_stamps_have_a_rate() {
        assert!(boot(&[]).ticks_per_second() > 100_000_000);
    }
}
