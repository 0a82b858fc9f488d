//! The virtual machine: the one room that knows KVM and QEMU.
//!
//! [`Machine::new`] makes a guest of a kernel image, a bundle of boot modules ([`bundle`]) and a
//! [`Config`] for an [`Engine`]; [`Machine::start`] runs it in a thread of its own until it ends
//! ([`Outcome`]). Meanwhile others read its [`Memory`]: running and watching don't know each other.
//!
//! What the guest finds is a small PC: RAM from address 0 ([`layout`]), a 16550 for its console, a
//! port that ends the machine, and a local APIC. It enters at the kernel's PVH entry. Nothing that
//! a guest does makes this crate panic: what it writes is data.

pub mod bundle;
mod cpu;
pub mod host;
mod input;
mod kernel;
mod kvm;
pub mod layout;
mod loader;
pub mod locale;
mod machine;
mod memfd;
mod memory;
mod outcome;
mod qemu;
#[cfg(test)]
mod testing;

pub use cpu::CpuState;
pub use images::{Architecture, architecture::UnknownArchitecture};
pub use input::Input;
pub use kernel::{Kernel, KernelError};
pub use kvm::{KvmError, PROCESSOR_REQUESTS, can_run as kvm_can_run, probe, ring0 as kvm_ring0};
pub use layout::SERIAL_INTERRUPT;
pub use loader::LoadError;
pub use machine::{Config, Engine, Machine, MachineError, Running};
pub use memory::{Memory, MemoryError, OutsideRam, RamSize, RamSizeError, human};
pub use outcome::{Cause, Crash, InternalError, Outcome};
pub use qemu::{Qemu, QemuError};

/// Where KVM's device usually is.
pub const KVM_DEVICE: &str = "/dev/kvm";

/// What QEMU's program is usually called. It runs guests of both architectures.
pub const QEMU_PROGRAM: &str = "qemu-system-x86_64";
