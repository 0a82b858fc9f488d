//! A machine from its parts: memory, what is loaded into it, a processor, a console.

use crate::{
    exit::Devices,
    kernel::Kernel,
    kvm::{self, KvmError, Vm, call},
    loader::{self, LoadError},
    memory::{Memory, MemoryError, RamSize},
    registers,
    vcpu::{self, Outcome},
};
use std::{
    fmt,
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc, Once,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};
use thiserror::Error;
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

/// What a machine is made of.
#[derive(Debug)]
pub struct Config<'a> {
    /// KVM's device, usually [`crate::KVM_DEVICE`].
    pub device: PathBuf,
    /// How much RAM.
    pub ram: RamSize,
    /// The kernel.
    pub kernel: &'a Kernel<'a>,
    /// The boot modules, as [`crate::bundle`] packs them.
    pub bundle: &'a [u8],
    /// The kernel's command line.
    pub command_line: &'a str,
}

/// Why there is no machine.
#[derive(Debug, Error)]
pub enum MachineError {
    /// KVM won't.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// No memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The guest does not fit.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No thread for the processor.
    #[error("cannot start a thread for the guest's processor: {0}")]
    Thread(io::Error),
}

/// A machine that is loaded and has not run yet.
pub struct Machine {
    vm: Vm,
    ticks_per_second: u64,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("memory", &self.vm.memory).finish_non_exhaustive()
    }
}

impl Machine {
    /// Builds the machine and loads the guest.
    pub fn new(config: &Config<'_>) -> Result<Self, MachineError> {
        let kvm = kvm::open(&config.device)?;
        let memory = Memory::new(config.ram)?;
        loader::load(&memory, config.kernel, config.bundle, config.command_line)?;
        let vm = Vm::new(&kvm, &config.device, memory)?;
        let mut sregs = call("read system registers", vm.vcpu.get_sregs())?;
        registers::protected_mode(&mut sregs);
        call("set system registers", vm.vcpu.set_sregs(&sregs))?;
        call("set registers", vm.vcpu.set_regs(&registers::at_entry(config.kernel.entry)))?;
        let kilohertz = call("tell the rate of time stamps", vm.vcpu.get_tsc_khz())?;
        Ok(Self { vm, ticks_per_second: u64::from(kilohertz) * 1000 })
    }

    /// The guest's RAM, to be read while the guest runs.
    pub fn memory(&self) -> Memory {
        self.vm.memory.clone()
    }

    /// Ticks of the guest's time stamp counter in a second.
    pub fn ticks_per_second(&self) -> u64 {
        self.ticks_per_second
    }

    /// Runs the guest in a thread of its own. `console` gets what it prints; `ended` is called
    /// when it is over.
    pub fn start(
        self,
        console: impl Write + Send + 'static,
        ended: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<Running, MachineError> {
        listen_for_kicks();
        let stop = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&stop);
        let mut vm = self.vm;
        let body = move || {
            let mut devices = Devices::new(console);
            ended(vcpu::run(&mut vm, &mut devices, &heard));
        };
        let thread = thread::Builder::new().name("vcpu0".to_owned()).spawn(body);
        Ok(Running { stop, thread: thread.map_err(MachineError::Thread)? })
    }
}

/// A guest that runs.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Running {
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
