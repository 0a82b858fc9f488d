//! One machine, whatever engine runs it.

use crate::{
    Architecture, Kernel, Outcome,
    input::Input,
    kvm::{self, KvmError},
    layout::ram_limit,
    loader::{self, BundlePlace, LoadError},
    memory::{Memory, MemoryError, RamSize, human},
    qemu::{self, Qemu, QemuError},
};
use std::{
    fs::File,
    io::{self, Write},
    os::fd::RawFd,
    path::PathBuf,
};
use thiserror::Error;

/// What runs a guest.
#[derive(Clone, Debug)]
pub enum Engine {
    /// KVM, by its device, usually [`crate::KVM_DEVICE`].
    Kvm(PathBuf),
    /// QEMU's software emulation.
    Qemu(Qemu),
}

/// What a machine is made of.
#[derive(Debug)]
pub struct Config<'a> {
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
    /// QEMU won't.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// No memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// More memory than the kernel can use.
    #[error(
        "{} of memory is too much for an {architecture} guest: its kernel can map {} at most; \
         give less with --memory", human(*.ram), human(ram_limit(*.architecture))
    )]
    TooMuchRam {
        /// The guest's architecture.
        architecture: Architecture,
        /// What was asked for.
        ram: u64,
    },
    /// The guest does not fit.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// No thread for the machine.
    #[error("cannot start a thread for the guest's machine: {0}")]
    Thread(io::Error),
}

/// A machine that is loaded and has not run yet.
#[derive(Debug)]
pub enum Machine {
    /// On KVM.
    Kvm(kvm::vm::Machine),
    /// On QEMU.
    Qemu(qemu::Machine),
}

impl Machine {
    /// Builds a machine with the guest in it.
    pub fn new(engine: &Engine, config: &Config<'_>) -> Result<Self, MachineError> {
        let (architecture, ram) = (config.kernel.architecture, config.ram.bytes());
        if ram > ram_limit(architecture) {
            return Err(MachineError::TooMuchRam { architecture, ram });
        }
        let (place, most) = match engine {
            Engine::Kvm(_) => (BundlePlace::BehindKernel, ram_limit(architecture)),
            Engine::Qemu(_) => (BundlePlace::EndOfRam, ram_limit(architecture).min(qemu::RAM_MAX)),
        };
        loader::check(ram, most, place, config.kernel, config.bundle, config.command_line)?;
        Ok(match engine {
            Engine::Kvm(device) => Self::Kvm(kvm::vm::Machine::new(device, config)?),
            Engine::Qemu(qemu) => Self::Qemu(qemu::Machine::new(qemu, config)?),
        })
    }

    /// What comes in by the serial line when the guest runs. Otherwise nothing does.
    pub fn connect(&mut self, input: Input) {
        match self {
            Self::Kvm(machine) => machine.connect(input),
            Self::Qemu(machine) => machine.connect(input),
        }
    }

    /// The guest's RAM, to be read while the guest runs.
    pub fn memory(&self) -> Memory {
        match self {
            Self::Kvm(machine) => machine.memory(),
            Self::Qemu(machine) => machine.memory(),
        }
    }

    /// Ticks of the guest's time stamp counter in a second.
    pub fn ticks_per_second(&self) -> u64 {
        match self {
            Self::Kvm(machine) => machine.ticks_per_second(),
            Self::Qemu(machine) => machine.ticks_per_second(),
        }
    }

    /// The files in which KVM counts what it does for the machine and for its processor, if that
    /// is the engine and has such files.
    pub fn statistics(&self) -> Vec<File> {
        match self {
            Self::Kvm(machine) => machine.statistics(),
            Self::Qemu(_) => Vec::new(),
        }
    }

    /// Runs the guest in a thread of its own. `console` gets what it prints; `ended` is called
    /// when it is over. The thread calls `ready` when nothing is missing any more: KVM's processor
    /// has not run yet then, QEMU has been started.
    pub fn start(
        self,
        console: impl Write + Send + 'static,
        ready: impl FnOnce() + Send + 'static,
        ended: impl FnOnce(Outcome) + Send + 'static,
    ) -> Result<Running, MachineError> {
        Ok(match self {
            Self::Kvm(machine) => Running::Kvm(machine.start(console, ready, ended)?),
            Self::Qemu(machine) => Running::Qemu(machine.start(console, ready, ended)?),
        })
    }
}

/// A guest that runs.
#[derive(Debug)]
pub enum Running {
    /// On KVM.
    Kvm(kvm::vm::Running),
    /// On QEMU.
    Qemu(qemu::Running),
}

impl Running {
    /// The process in which the guest runs, if that is not this one.
    pub fn child(&self) -> Option<u32> {
        match self {
            Self::Kvm(_) => None,
            Self::Qemu(running) => Some(running.process()),
        }
    }

    /// The descriptor that input is written to, if there is input and somebody else has the line.
    pub fn input(&self) -> Option<RawFd> {
        match self {
            Self::Kvm(_) => None,
            Self::Qemu(running) => running.input(),
        }
    }

    /// Stops the guest if it still runs, and waits until its thread has ended.
    pub fn stop(self) {
        match self {
            Self::Kvm(running) => running.stop(),
            Self::Qemu(running) => running.stop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tests::sample_for;

    #[test]
    fn memory_that_the_kernel_cannot_map_is_refused_with_the_limit() {
        let bytes = sample_for(Architecture::Ia32).bytes();
        let kernel = Kernel::parse(&bytes, Architecture::Ia32).unwrap();
        let ram = RamSize::new(961 << 20).unwrap();
        let config = Config { ram, kernel: &kernel, bundle: b"", command_line: "" };
        let error = Machine::new(&Engine::Kvm("/dev/kvm".into()), &config).unwrap_err();
        assert_eq!(
            error.to_string(),
            "961 MiB of memory is too much for an ia32 guest: its kernel can map 960 MiB at most; \
             give less with --memory"
        );
    }

    #[test]
    fn what_does_not_fit_is_refused_whatever_the_engine() {
        let bytes = sample_for(Architecture::Amd64).bytes();
        let kernel = Kernel::parse(&bytes, Architecture::Amd64).unwrap();
        let ram = RamSize::new(16 << 20).unwrap();
        let engine = Engine::Kvm("/no/such/device".into());
        let refusal = |bundle: &[u8], command_line| {
            let config = Config { ram, kernel: &kernel, bundle, command_line };
            Machine::new(&engine, &config).unwrap_err()
        };
        let big = refusal(&vec![0; 15 << 20], "");
        assert!(matches!(big, MachineError::Load(LoadError::BundleTooBig { .. })), "{big}");
        let line = refusal(b"", "two\nlines");
        assert!(matches!(line, MachineError::Load(LoadError::CommandLine(_))), "{line}");
    }
}
